//! Tiny random models in the published layouts, written tensor by tensor and not by the code under test.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::prelude::Device;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::files;
use eclipse_t2i::models::clip::preprocess::Preprocess;
use eclipse_t2i::models::clip::{ClipConfig, ClipTextConfig, ClipVisionConfig, JOINT_MAPPING};
use eclipse_t2i::models::movq::{self, Movq, MovqConfig};
use eclipse_t2i::models::prior::{DiffusionPrior, MAPPING, Prior, PriorConfig};
use eclipse_t2i::models::text_proj::{self, TextProj, TextProjConfig};
use eclipse_t2i::models::unet::{self, BlockType, Conditioning, TimeShift, UNet, UNetConfig};
use eclipse_t2i::noise::{Noise, Stream};
use eclipse_t2i::testbed::clip::write_word_tokenizer;
use eclipse_t2i::weights::{Mapping, Parameter, parameters};
use eclipse_t2i::world::World;
use safetensors::{Dtype, tensor::TensorView};

/// Name of weights in diffusers' folders.
pub const DIFFUSERS: &str = "diffusion_pytorch_model.safetensors";

/// d_clip of everything here.
pub const D_CLIP: usize = 16;

/// The default device.
pub fn device() -> Device {
    let spec = DeviceSpec::default();
    spec.device().expect("the default device is built in")
}

/// A path in the committed reference fixtures: `FIXTURE/..`, which may be an archive `FIXTURE.zip`. Not to be written to.
pub fn golden(path: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let archive = folder.join(format!("{name}.zip"));
    if !archive.is_file() {
        return folder.join(path);
    }
    // Unpacked once for each content; a rename makes that safe between threads and processes.
    let hash = files::sha256_file(&archive).expect("readable");
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("golden-{}", &hash[..16]));
    if !unpacked.is_dir() {
        let new = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        files::unpack(&archive, new.path()).expect("a fixture");
        let moved = std::fs::rename(new.path(), &unpacked);
        assert!(moved.is_ok() || unpacked.is_dir(), "{moved:?}");
    }
    match rest {
        "" => unpacked.join(name),
        _ => unpacked.join(name).join(rest),
    }
}

/// Tensors by name: dtype, shape, bytes.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Values for every parameter that keep activations near 1: norms near the identity, matrices 1/sqrt(d_in).
pub fn tensors(parameters: &[Parameter], seed: u64) -> Tensors {
    let tensor = |(i, p): (usize, &Parameter)| {
        let n = p.shape.iter().product();
        let is_norm = p.name.contains("norm") || p.name.contains("layrnorm");
        let (offset, scale) = match (p.shape.as_slice(), p.name.ends_with(".weight")) {
            ([_], true) if is_norm => (1.0, 0.1),
            _ if p.name == "clip_std" => (1.0, 0.0),
            _ if p.name == "logit_scale" => (2.0, 0.0),
            ([_] | [], _) => (0.0, 0.1),
            (shape, _) => (0.0, 1.0 / (shape[1..].iter().product::<usize>() as f32).sqrt()),
        };
        let values = Noise::of(seed, Stream::Test(i as u64)).normal_vec(n);
        let bytes = values
            .iter()
            .flat_map(|v| (offset + scale * v).to_le_bytes())
            .collect();
        let shape = if p.name == "logit_scale" {
            Vec::new()
        } else {
            p.shape.clone()
        };
        (p.name.clone(), (Dtype::F32, shape, bytes))
    };
    parameters.iter().enumerate().map(tensor).collect()
}

/// Writes a safetensors file.
pub fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as the shape asks for");
        (name.clone(), view)
    });
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("serialises");
    std::fs::write(path, bytes).expect("written");
}

/// Reads a safetensors file.
pub fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = |(name, view): (String, TensorView<'_>)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// Rewrites a safetensors file.
pub fn alter(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let mut tensors = read(path);
    change(&mut tensors);
    write(path, &tensors);
}

/// Rewrites a JSON file.
pub fn alter_json(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
    change(&mut value);
    std::fs::write(path, value.to_string()).expect("written");
}

/// Sizes of the tiny CLIP for a vocabulary of `n_vocab` words.
pub fn clip_config(n_vocab: usize) -> ClipConfig {
    let text = ClipTextConfig {
        vocab_size: n_vocab,
        hidden_size: D_CLIP,
        intermediate_size: 32,
        projection_dim: D_CLIP,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: World::Emoji.context(),
        eos_token_id: n_vocab as u32 - 1,
        ..Default::default()
    };
    let vision = ClipVisionConfig {
        hidden_size: 12,
        intermediate_size: 24,
        projection_dim: D_CLIP,
        num_hidden_layers: 1,
        num_attention_heads: 3,
        image_size: 16,
        patch_size: 8,
        ..Default::default()
    };
    ClipConfig::new(text, vision)
}

/// A random CLIP for the emoji world, a published folder of 100 kB.
pub fn write_clip(dir: &Path) {
    std::fs::create_dir_all(dir).expect("a folder");
    let n_vocab =
        write_word_tokenizer(&World::Emoji.vocabulary(), World::Emoji.context(), dir).expect("a tokenizer");
    let config = clip_config(n_vocab);
    write_model(
        dir,
        &config,
        &config.init(&device()),
        &JOINT_MAPPING,
        "model.safetensors",
        1,
    );
    let preprocessing = Preprocess::clip(16).to_json().to_string();
    std::fs::write(dir.join("preprocessor_config.json"), preprocessing).expect("written");
}

/// Sizes of the tiny prior without time.
pub fn prior_config() -> PriorConfig {
    PriorConfig {
        n_heads: 2,
        d_head: 8,
        n_layers: 2,
        d_clip: D_CLIP,
        n_text: World::Emoji.context(),
        n_extra: PriorConfig::N_EXTRA,
        ..Default::default()
    }
}

/// A random prior with time in diffusers' layout, with its scheduler.
pub fn write_time_prior(dir: &Path) {
    write_prior(dir, &prior_config().time_conditioned());
    let scheduler = golden("karlo-tiny-s0/karlo/prior_scheduler/scheduler_config.json");
    std::fs::copy(scheduler, dir.join("scheduler_config.json")).expect("copied");
}

/// A random prior in diffusers' layout; one with time where the config says so.
pub fn write_prior(dir: &Path, config: &PriorConfig) {
    std::fs::create_dir_all(dir).expect("a folder");
    let name = DIFFUSERS;
    match config.has_time() {
        true => write_model(
            dir,
            config,
            &DiffusionPrior::init(config, &device()),
            &MAPPING,
            name,
            2,
        ),
        false => write_model(dir, config, &Prior::init(config, &device()), &MAPPING, name, 2),
    }
}

/// The networks of the micro fixture's `karlo/` for embeddings of [`D_CLIP`], with other weights.
pub fn write_karlo(dir: &Path) {
    let source = golden("karlo-micro-s0/karlo");
    for name in ["model_index.json", "decoder_scheduler", "super_res_scheduler"] {
        copy(&source.join(name), &dir.join(name));
    }
    for part in ["text_proj", "decoder", "super_res_first", "super_res_last"] {
        let at = dir.join(part);
        copy(&source.join(part).join("config.json"), &at.join("config.json"));
        let parameters = match part {
            "text_proj" => {
                alter_json(&at.join("config.json"), |c| {
                    c["clip_embeddings_dim"] = D_CLIP.into()
                });
                let config = TextProjConfig::read(&at).expect("a config");
                parameters(&TextProj::init(&config, &device()), &text_proj::MAPPING)
            }
            _ => {
                let config = UNetConfig::read(&at).expect("a config");
                parameters(&UNet::init(&config, &device()), &unet::MAPPING)
            }
        };
        write(&at.join(DIFFUSERS), &tensors(&parameters, part.len() as u64));
    }
}

/// The networks of the micro fixture's `kandinsky22_decoder/` for embeddings of [`D_CLIP`], with other weights.
pub fn write_kandinsky(dir: &Path) {
    let source = golden("kandinsky22-micro-s0/kandinsky22_decoder");
    for name in [
        "model_index.json",
        "scheduler",
        "unet/config.json",
        "movq/config.json",
    ] {
        copy(&source.join(name), &dir.join(name));
    }
    let (unet, movq) = (dir.join("unet"), dir.join("movq"));
    alter_json(&unet.join("config.json"), |c| {
        c["encoder_hid_dim"] = D_CLIP.into()
    });
    let config = UNetConfig::read(&unet).expect("a config");
    let of_unet = parameters(&UNet::init(&config, &device()), &unet::MAPPING);
    write(&unet.join(DIFFUSERS), &tensors(&of_unet, 3));
    let config = MovqConfig::read(&movq).expect("a config");
    let of_movq = parameters(&Movq::init(&config, &device()), &movq::MAPPING);
    write(&movq.join(DIFFUSERS), &tensors(&of_movq, 4));
}

/// Copies a file, or the files of a folder.
pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
    std::fs::copy(from, to).expect("copied");
}

/// Sizes of the tiny UNet: two blocks, conditioned on an image embedding.
pub fn unet_config() -> UNetConfig {
    UNetConfig {
        sample_size: 8,
        in_channels: 3,
        out_channels: 6,
        channels: vec![8, 12],
        n_layers: 1,
        down: vec![BlockType::Resnet, BlockType::CrossAttention],
        mid: BlockType::CrossAttention,
        up: vec![BlockType::CrossAttention, BlockType::Resnet],
        n_groups: 4,
        norm_eps: 1e-5,
        time_shift: TimeShift::ScaleShift,
        d_time: None,
        cosines_first: true,
        frequency_shift: 0,
        conditioning: Conditioning::Image {
            d_clip: D_CLIP,
            d_cross: 10,
            d_head: 4,
            noise_level: false,
        },
    }
}

/// A random UNet in diffusers' layout.
pub fn write_unet(dir: &Path, config: &UNetConfig) {
    std::fs::create_dir_all(dir).expect("a folder");
    let name = DIFFUSERS;
    write_model(
        dir,
        config,
        &UNet::init(config, &device()),
        &unet::MAPPING,
        name,
        3,
    );
}

fn write_model(
    dir: &Path,
    config: &impl serde::Serialize,
    module: &impl Module,
    mapping: &Mapping,
    name: &str,
    seed: u64,
) {
    std::fs::write(
        dir.join("config.json"),
        serde_json::to_string(config).expect("JSON"),
    )
    .expect("written");
    write(&dir.join(name), &tensors(&parameters(module, mapping), seed));
}

/// Files below `root` that a write left unfinished.
pub fn temporaries(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
            let is_temporary = entry.file_name().to_string_lossy().contains("tmp");
            if entry.path().is_dir() {
                left.push(entry.path());
            }
            if is_temporary {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Lets `child` work until `reached`, then kills it as a power cut would.
pub fn kill_when(mut child: Child, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert_eq!(
            child.try_wait().expect("a child"),
            None,
            "the run ended before it could be killed"
        );
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "the run does not get there"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().expect("killed");
    child.wait().expect("reaped");
}
