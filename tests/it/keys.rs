//! Our modules have exactly the parameters of the published checkpoints, at full size and without touching memory; and what is
//! saved is loaded again.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use eclipse_t2i::generate::random_stack;
use eclipse_t2i::models::blip::{BlipConfig, MAPPING as BLIP_MAPPING};
use eclipse_t2i::models::clip::{
    ClipConfig, ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, JOINT_MAPPING, TEXT_MAPPING,
    VISION_MAPPING,
};
use eclipse_t2i::models::movq::{self, Movq, MovqConfig};
use eclipse_t2i::models::prior::{DiffusionPrior, MAPPING, Prior, PriorConfig};
use eclipse_t2i::models::text_proj::{self, TextProj, TextProjConfig};
use eclipse_t2i::models::unet::{self, UNet, UNetConfig};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::weights::{self, Checkpoint, Mapping, parameters};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::program;
use crate::tiny::{self, device, golden};

type Shapes = BTreeMap<String, Vec<usize>>;

/// A component's published tensors, and the config it was built with. The class stands in the first line.
pub fn published(component: &str) -> (serde_json::Value, Shapes) {
    let text = std::fs::read_to_string(golden("keys").join(format!("{component}.txt"))).expect("a key list");
    let config = text
        .lines()
        .find_map(|l| l.strip_prefix("# config "))
        .expect("a config line");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let shape: Vec<usize> = serde_json::from_str(fields[1]).expect("a shape");
        assert_eq!(fields[2], shape.iter().product::<usize>().to_string(), "{line}");
        (fields[0].to_string(), shape)
    };
    let rows = text.lines().filter(|l| !l.starts_with('#')).map(row).collect();
    let mut config: Value = serde_json::from_str(config).expect("JSON");
    let class = text.split_whitespace().nth(2).expect("a class");
    config["_class_name"] = json!(class);
    (config, rows)
}

/// `(parameters, tensors)` of each component.
fn counts() -> BTreeMap<String, (usize, usize)> {
    let text = std::fs::read_to_string(golden("keys/COUNTS.tsv")).expect("the counts");
    let number = |s: &str| s.parse::<usize>().expect("a number");
    let row = |line: &str| {
        let f: Vec<&str> = line.split('\t').collect();
        (f[0].to_string(), (number(f[1]), number(f[3])))
    };
    text.lines().skip(1).map(row).collect()
}

/// Shapes of parameters that were given values already.
struct Awake(Vec<Vec<usize>>);

impl ModuleVisitor for Awake {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_initialized() {
            self.0.push(param.lazy_shape().to_vec());
        }
    }
}

/// Our parameters under their published names; the module must still be lazy.
fn ours<M: Module>(module: &M, mapping: &Mapping) -> Shapes {
    let listed = parameters(module, mapping);
    let n = listed.len();
    // Burn's parameters have one axis at least; the published scale has none, and is saved with none.
    let shape = |name: &str, shape: Vec<usize>| if name == "logit_scale" { Vec::new() } else { shape };
    let shapes: Shapes = listed
        .into_iter()
        .map(|p| (p.name.clone(), shape(&p.name, p.shape)))
        .collect();
    assert_eq!(shapes.len(), n, "two parameters share a published name");
    let mut awake = Awake(Vec::new());
    module.visit(&mut awake);
    awake.0.retain(|shape| *shape != [1]); // the scale starts at a number
    assert!(awake.0.is_empty(), "not lazy: {:?}", awake.0);
    shapes
}

fn unet_config(config: Value) -> UNetConfig {
    UNetConfig::from_json(&config, "config.json").expect("a UNet's config")
}

/// The module of a component, at full size.
fn full_size(component: &str, config: serde_json::Value) -> Shapes {
    let device = device();
    let prior = |config| -> PriorConfig { serde_json::from_value(config).expect("a prior's config") };
    let text = |config| -> ClipTextConfig { serde_json::from_value(config).expect("a text tower's config") };
    let vision =
        |config| -> ClipVisionConfig { serde_json::from_value(config).expect("a vision tower's config") };
    match component {
        "kandinsky22_movq" => {
            let config: MovqConfig = serde_json::from_value(config).expect("a MoVQ's config");
            assert_eq!(config, MovqConfig::kandinsky22());
            ours(&Movq::init(&config, &device), &movq::MAPPING)
        }
        "karlo_text_proj" => {
            let config: TextProjConfig = serde_json::from_value(config).expect("a text projection's config");
            assert_eq!(config, TextProjConfig::karlo());
            ours(&TextProj::init(&config, &device), &text_proj::MAPPING)
        }
        "karlo_decoder" | "karlo_super_res_first" | "karlo_super_res_last" | "kandinsky22_unet" => {
            ours(&UNet::init(&unet_config(config), &device), &unet::MAPPING)
        }
        name if name.starts_with("eclipse") => ours(&Prior::init(&prior(config), &device), &MAPPING),
        name if name.contains("prior") => ours(&DiffusionPrior::init(&prior(config), &device), &MAPPING),
        name if name.ends_with("_text") => ours(&text(config).init(&device), &TEXT_MAPPING),
        name if name.ends_with("_vision") => ours(&vision(config).init(&device), &VISION_MAPPING),
        "blip_vqa_base" => {
            let config = BlipConfig {
                text: serde_json::from_value(config["text"].clone()).expect("BERT's config"),
                vision: serde_json::from_value(config["vision"].clone()).expect("a vision tower's config"),
            };
            ours(&config.init(&device), &BLIP_MAPPING)
        }
        _ => {
            let config = ClipConfig::new(text(config["text"].clone()), vision(config["vision"].clone()));
            ours(&config.init(&device), &JOINT_MAPPING)
        }
    }
}

#[test]
fn full_size_modules_have_the_published_parameters_and_no_others() {
    let start = std::time::Instant::now();
    let counts = counts();
    let lists = std::fs::read_dir(golden("keys")).expect("a folder").flatten();
    let lists = lists.filter(|e| e.path().extension().is_some_and(|e| e == "txt"));
    assert_eq!(counts.len(), lists.count());
    for (component, &(n_parameters, n_tensors)) in &counts {
        let (config, published) = published(component);
        let ours = full_size(component, config);
        let missing: Vec<_> = published
            .keys()
            .filter(|name| !ours.contains_key(*name))
            .collect();
        let unknown: Vec<_> = ours
            .keys()
            .filter(|name| !published.contains_key(*name))
            .collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{component}: we lack {missing:?} and invent {unknown:?}"
        );
        for (name, shape) in &published {
            assert_eq!(&ours[name], shape, "{component}: {name}");
        }
        let n: usize = ours.values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!((n, ours.len()), (n_parameters, n_tensors), "{component}");
    }
    // Filling the 9.1 billion values would take minutes and 36 GB.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// The paper's appendix, Table 3, and section 4.1: 33M and 34M parameters are trained; clip_mean and clip_std are stored beside them.
#[test]
fn trained_parameters_are_the_papers() {
    let trained = |shapes: Shapes| -> usize {
        let is_trained = |name: &String| !["clip_mean", "clip_std"].contains(&name.as_str());
        let kept = shapes.iter().filter(|(name, _)| is_trained(name));
        kept.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    let (karlo, kandinsky) = (PriorConfig::eclipse_karlo(), PriorConfig::eclipse_kandinsky22());
    let one_pass = |config: &PriorConfig| trained(ours(&Prior::init(config, &device()), &MAPPING));
    let diffusion = |config: PriorConfig| {
        trained(ours(
            &DiffusionPrior::init(&config.time_conditioned(), &device()),
            &MAPPING,
        ))
    };
    assert_eq!((one_pass(&karlo), one_pass(&kandinsky)), (33_141_504, 34_190_592));
    assert_eq!(
        (diffusion(karlo.clone()), diffusion(kandinsky)),
        (33_667_328, 34_716_416)
    );
    // The default config is the 1B prior's.
    let billion = DiffusionPrior::init(&PriorConfig::default(), &device());
    assert_eq!(trained(ours(&billion, &MAPPING)), 1_022_030_080 - 2 * 768);
    // A full CLIP is its towers and the scale.
    let counts = counts();
    assert_eq!(
        counts["clip_l14_full"].0,
        counts["clip_l14_text"].0 + counts["clip_l14_vision"].0 + 1
    );
}

#[test]
fn presets_of_unets_are_the_published_configs() {
    for (component, preset) in [
        ("karlo_decoder", UNetConfig::karlo_decoder()),
        ("karlo_super_res_first", UNetConfig::karlo_super_res()),
        ("karlo_super_res_last", UNetConfig::karlo_super_res()),
        ("kandinsky22_unet", UNetConfig::kandinsky22()),
    ] {
        let config = published(component).0;
        assert_eq!(unet_config(config.clone()), preset, "{component}");
        // Written under the published keys, with the published values.
        let written = serde_json::to_value(&preset).expect("JSON");
        for (key, value) in config.as_object().expect("an object") {
            let silent = ["addition_embed_type_num_heads", "class_embeddings_concat"];
            if !silent.contains(&key.as_str()) {
                assert_eq!(&written[key], value, "{component}: {key}");
            }
        }
        assert_eq!(unet_config(written), preset, "{component}");
    }
}

/// Values of a stored tensor as f32.
fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let data = checkpoint.read(name).expect("a tensor");
    data.convert_dtype(DType::F32).iter::<f32>().collect()
}

/// Saves `module` in each dtype, loads what was saved into `fresh()` and saves that in f32: everything as `original` within the dtype's rounding.
fn round_trip<M: Module>(original: &Path, module: &M, mapping: &Mapping, fresh: impl Fn() -> M) {
    let dir = tempfile::tempdir().expect("a folder");
    let original = Checkpoint::open(original).expect("the original");
    // Half the distance of neighbouring numbers, relative; below 2^-14 f16 has a fixed grid of 2^-24.
    for (dtype, stored, relative, absolute) in [
        (DType::F32, Dtype::F32, 0.0, 0.0),
        (DType::F16, Dtype::F16, 2f32.powi(-11), 2f32.powi(-25)),
        (DType::BF16, Dtype::BF16, 2f32.powi(-8), 0.0),
    ] {
        let (first, second) = (
            dir.path().join("first.safetensors"),
            dir.path().join("second.safetensors"),
        );
        weights::save(module, &first, mapping, dtype).expect("saved");
        let saved = Checkpoint::open(&first).expect("opened");
        assert!(saved.tensors().values().all(|t| t.dtype == stored));
        let loaded = weights::load(fresh(), "the same model", &saved, mapping, &[]).expect("loaded");
        weights::save(&loaded, &second, mapping, DType::F32).expect("saved");
        let again = Checkpoint::open(&second).expect("opened");
        let names = |c: &Checkpoint| c.tensors().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&again), names(&original));
        for (name, tensor) in original.tensors() {
            if name != "logit_scale" {
                assert_eq!(again.tensors()[name].shape, tensor.shape, "{name}");
            }
            for (a, b) in values(&original, name).into_iter().zip(values(&again, name)) {
                assert!(
                    (a - b).abs() <= a.abs() * relative + absolute,
                    "{name} as {dtype:?}: {a} became {b}"
                );
            }
        }
    }
}

#[test]
fn what_is_saved_loads_again_in_every_dtype() {
    let dir = tempfile::tempdir().expect("a folder");
    let device = device();

    let one_pass = dir.path().join("one_pass");
    tiny::write_prior(&one_pass, &tiny::prior_config());
    let (config, prior) = Prior::load(&one_pass, &device).expect("loads");
    round_trip(&one_pass, &prior, &MAPPING, || Prior::init(&config, &device));

    let diffusion = dir.path().join("diffusion");
    tiny::write_prior(&diffusion, &tiny::prior_config().time_conditioned());
    let (config, prior) = DiffusionPrior::load(&diffusion, &device).expect("loads");
    round_trip(&diffusion, &prior, &MAPPING, || {
        DiffusionPrior::init(&config, &device)
    });

    let image = dir.path().join("unet");
    tiny::write_unet(&image, &tiny::unet_config());
    let (config, module) = UNet::load(&image, &device).expect("loads");
    round_trip(&image, &module, &unet::MAPPING, || UNet::init(&config, &device));

    let clip = dir.path().join("clip");
    tiny::write_clip(&clip);
    let text = weights_under(
        &clip,
        &["text_model.", "text_projection."],
        &dir.path().join("text.safetensors"),
    );
    let (config, tower) = ClipText::load(&clip, &device).expect("loads");
    round_trip(&text, &tower, &TEXT_MAPPING, || config.init(&device));
    let vision = weights_under(
        &clip,
        &["vision_model.", "visual_"],
        &dir.path().join("vision.safetensors"),
    );
    let (config, tower) = ClipVision::load(&clip, &device).expect("loads");
    round_trip(&vision, &tower, &VISION_MAPPING, || config.init(&device));
}

/// One tower's tensors of a full CLIP, in a file of their own.
fn weights_under(clip: &Path, prefixes: &[&str], file: &Path) -> std::path::PathBuf {
    let mut tensors = tiny::read(&clip.join("model.safetensors"));
    tensors.retain(|name, _| prefixes.iter().any(|p| name.starts_with(p)));
    tiny::write(file, &tensors);
    file.to_path_buf()
}

/// `save` of a prior writes the folder that diffusers would: its file names, its config keys, a load without loss.
#[test]
fn a_saved_prior_is_a_published_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (golden("karlo-tiny-s0/eclipse_prior"), dir.path().join("prior"));
    let (config, prior) = Prior::load(&from, &device()).expect("loads");
    std::fs::create_dir(&to).expect("a folder");
    prior.save(&config, &to).expect("saved");
    let stored = "diffusion_pytorch_model.safetensors";
    assert_eq!(tiny::read(&to.join(stored)), tiny::read(&from.join(stored)));
    let json = |dir: &Path| -> serde_json::Map<String, Value> {
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).expect("a config")).expect("JSON")
    };
    let (ours, published) = (json(&to), json(&from));
    for (key, value) in &published {
        if !key.starts_with('_') {
            assert_eq!(ours.get(key), Some(value), "{key}");
        }
    }
    assert_eq!(ours["_class_name"], "PriorTransformer");
    assert_eq!(Prior::load(&to, &device()).expect("loads").0, config);
}

#[test]
fn a_saved_unet_is_what_was_loaded() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tiny::write_unet(&from, &tiny::unet_config());
    let (config, unet) = UNet::load(&from, &device()).expect("loads");
    unet.save(&config, &to).expect("saved");
    let stored = "diffusion_pytorch_model.safetensors";
    assert_eq!(tiny::read(&to.join(stored)), tiny::read(&from.join(stored)));
    assert_eq!(UNetConfig::read(&to).expect("a config"), tiny::unet_config());
    // A tensor of another UNet is named.
    tiny::alter(&to.join(stored), |t| {
        let tensor = t.remove("mid_block.attentions.0.add_k_proj.bias").expect("it");
        t.insert("mid_block.attentions.0.add_k_proj.biases".into(), tensor);
    });
    let error = UNet::load(&to, &device()).expect_err("refused").to_string();
    let error = error.split_once(" does not fit ").expect("the file first").1;
    insta::assert_snapshot!(error, @r"
    a UNet:
      1 missing:
        mid_block.attentions.0.add_k_proj.bias
      1 unused:
        mid_block.attentions.0.add_k_proj.biases
    ");
}

/// Splits a prior's file into two shards with an index.
fn shard(dir: &Path) {
    let whole = dir.join("diffusion_pytorch_model.safetensors");
    let (mut first, mut second) = (tiny::read(&whole), tiny::Tensors::new());
    let mut map = serde_json::Map::new();
    for (i, name) in first.keys().cloned().collect::<Vec<_>>().into_iter().enumerate() {
        if i % 2 == 1 {
            second.insert(name.clone(), first.remove(&name).expect("it"));
        }
        map.insert(name, json!(format!("part-{}.safetensors", i % 2 + 1)));
    }
    tiny::write(&dir.join("part-1.safetensors"), &first);
    tiny::write(&dir.join("part-2.safetensors"), &second);
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    std::fs::write(
        dir.join("diffusion_pytorch_model.safetensors.index.json"),
        index.to_string(),
    )
    .expect("written");
    std::fs::remove_file(whole).expect("removed");
}

#[test]
fn a_sharded_checkpoint_is_the_whole_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, sharded) = (dir.path().join("whole"), dir.path().join("sharded"));
    for dir in [&whole, &sharded] {
        tiny::write_prior(dir, &tiny::prior_config());
    }
    shard(&sharded);
    let saved = |from: &Path| {
        let (_, prior) = Prior::load(from, &device()).expect("loads");
        let file = dir.path().join("again.safetensors");
        weights::save(&prior, &file, &MAPPING, DType::F32).expect("saved");
        tiny::read(&file)
    };
    assert_eq!(saved(&sharded), saved(&whole));

    // A shard that is not there, and one that lacks what the index promises.
    let error = |dir: &Path| Prior::load(dir, &device()).expect_err("refused").to_string();
    tiny::alter(&sharded.join("part-2.safetensors"), |t| {
        drop(t.remove("prd_embedding"))
    });
    tiny::alter(&sharded.join("part-1.safetensors"), |t| {
        drop(t.remove("prd_embedding"))
    });
    let message = error(&sharded);
    assert!(message.contains("1 missing:\n    prd_embedding"), "{message}");
    std::fs::remove_file(sharded.join("part-2.safetensors")).expect("removed");
    let message = error(&sharded);
    assert!(
        message.starts_with("no such file: ") && message.ends_with("part-2.safetensors"),
        "{message}"
    );
}

#[test]
fn random_networks_have_the_published_configs_and_parameters() {
    for name in random_stack::components() {
        let (wanted, published) = published(name);
        let (config, parameters) = random_stack::describe(name, &device()).expect("a component");
        let ours: Shapes = parameters.into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(ours, published, "{name}");
        for (key, value) in wanted.as_object().expect("a config") {
            // The lists say which code made them; keys that we do not write change nothing.
            let same = key == "_class_name" || config.get(key).is_none_or(|ours| ours == value);
            assert!(
                same,
                "{name}: {key}: {value} is published, ours is {}",
                config[key]
            );
        }
    }
}

#[test]
fn a_random_network_is_a_published_folder() {
    let desk = tempfile::tempdir().expect("a temporary folder");
    let dev = |args: &[&str]| {
        let (code, _, said) = program::eclipse(desk.path(), ["dev", "random-checkpoint"].iter().chain(args));
        (code, said)
    };
    assert_eq!(dev(&["karlo_text_proj", "--to", "made"]), (0, String::new()));
    let file = Checkpoint::open(desk.path().join("made")).expect("weights");
    assert!(file.tensors().values().all(|t| t.dtype == Dtype::F16));
    let (config, module) = TextProj::load(&desk.path().join("made"), &device()).expect("a published folder");
    assert_eq!(config, TextProjConfig::karlo());
    let (mut noise, d) = (Noise::new(0), config.d_clip);
    let mut normal = |n: usize| noise.normal([n, d], &device());
    let (tokens, time) = module.forward(normal(1), normal(1), normal(77).reshape([1, 77, d]), false);
    let values = tokens
        .into_data()
        .iter::<f32>()
        .chain(time.into_data().iter::<f32>())
        .collect::<Vec<_>>();
    let variance = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
    assert!((0.5..2.5).contains(&variance), "{variance}");

    let (code, message) = dev(&["karlo_prior", "--to", "other"]);
    let known = "unknown component `karlo_prior`: expected a stack (karlo, kandinsky22) or a network (clip_l14_text, ";
    assert!(code == 2 && message.contains(known), "{message}");
    let (code, message) = dev(&["karlo", "--to", "other"]);
    assert!(
        code == 2 && message.contains("the stack karlo needs a tokenizer"),
        "{message}"
    );
    assert!(!desk.path().join("other").exists());
}
