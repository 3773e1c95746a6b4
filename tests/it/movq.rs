//! MoVQ, Karlo's text projection and bicubic resampling beyond their goldens: what configs say is done or refused, and what is written is read again.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use eclipse_t2i::models::movq::{self, Movq, MovqConfig};
use eclipse_t2i::models::text_proj::{self, TextProj, TextProjConfig};
use eclipse_t2i::nn::upscale_bicubic;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::verify::{Options, Status, verify};
use eclipse_t2i::weights::{Parameter, parameters};
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};
use serde_json::{Value, json};

use crate::tiny::{self, alter_json, device, golden};

/// Two resolutions, attention at the higher one, 40 codes.
fn tiny_config() -> MovqConfig {
    MovqConfig {
        down_block_types: vec!["AttnDownEncoderBlock2D".into(), "DownEncoderBlock2D".into()],
        up_block_types: vec!["UpDecoderBlock2D".into(), "AttnUpDecoderBlock2D".into()],
        block_out_channels: vec![32, 64],
        layers_per_block: 2,
        n_codes: 40,
        ..MovqConfig::kandinsky22()
    }
}

/// A random MoVQ in diffusers' layout.
fn write_movq(dir: &Path, config: &MovqConfig) {
    let listed = parameters(&Movq::init(config, &device()), &movq::MAPPING);
    write_model(dir, config, &listed);
}

fn write_model(dir: &Path, config: &impl serde::Serialize, listed: &[Parameter]) {
    std::fs::create_dir_all(dir).expect("a folder");
    std::fs::write(
        dir.join("config.json"),
        serde_json::to_string(config).expect("JSON"),
    )
    .expect("written");
    tiny::write(
        &dir.join("diffusion_pytorch_model.safetensors"),
        &tiny::tensors(listed, 5),
    );
}

fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn max_diff(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

#[test]
fn their_goldens_pass() {
    for (fixture, name) in [
        ("kandinsky22-micro-s0", "movq"),
        ("karlo-micro-s0", "text_proj"),
        ("karlo-micro-s0", "bicubic_upscale"),
    ] {
        let options = Options {
            only: Some(name.into()),
            ..Options::default()
        };
        let report = verify(&[golden(fixture)], &options, &device()).expect("a fixture");
        let state: Vec<_> = report
            .records
            .iter()
            .map(|r| (r.golden.as_str(), r.status))
            .collect();
        assert_eq!(state, [(name, Status::Pass)], "{report:#?}");
    }
}

#[test]
fn stages_scale_and_attention_are_the_configs() {
    let dir = tempfile::tempdir().expect("a folder");
    write_movq(dir.path(), &tiny_config());
    let (config, model) = Movq::load(dir.path(), &device()).expect("loads");
    assert_eq!((config.scale(), config.d_code()), (2, 4));
    let names: Vec<String> = parameters(&model, &movq::MAPPING)
        .into_iter()
        .map(|p| p.name)
        .collect();
    let count = |start: &str| names.iter().filter(|n| n.starts_with(start)).count();
    // norm and four linear layers, each with weight and bias; the spatial norm has two convolutions more.
    assert_eq!(count("encoder.down_blocks.0.attentions."), 2 * 10);
    assert_eq!(count("decoder.up_blocks.1.attentions."), 3 * 14);
    assert_eq!(
        count("encoder.down_blocks.1.attentions.") + count("decoder.up_blocks.0.attentions."),
        0
    );

    let mut noise = Noise::new(1);
    let image = noise.normal([2, 3, 10, 6], &device());
    let latents = model.encode(image);
    assert_eq!(latents.dims(), [2, 4, 5, 3]);
    let decoded = model.decode(latents.clone());
    assert_eq!(decoded.dims(), [2, 3, 10, 6]);
    // Rows of a batch do not see each other.
    let second = model.decode(latents.narrow(0, 1, 1));
    assert!(max_diff(&host(decoded.narrow(0, 1, 1)), &host(second)) < 1e-5);
}

#[test]
fn a_latent_becomes_its_nearest_code() {
    let dir = tempfile::tempdir().expect("a folder");
    write_movq(dir.path(), &tiny_config());
    let (_, model) = Movq::load(dir.path(), &device()).expect("loads");
    let stored = tiny::read(&dir.path().join("diffusion_pytorch_model.safetensors"));
    let bytes = &stored["quantize.embedding.weight"].2;
    let codes: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let latents: Tensor<4> = Noise::new(2).normal([2, 4, 3, 5], &device());
    let (quantized, indices) = model.quantize(latents.clone());
    assert_eq!(indices.dims(), [2, 3, 5]);
    let indices: Vec<i64> = indices.into_data().iter::<i64>().collect();
    let rows = host(latents.permute([0, 2, 3, 1]));
    let found = host(quantized.clone().permute([0, 2, 3, 1]));
    let distance =
        |row: &[f32], code: &[f32]| -> f32 { row.iter().zip(code).map(|(a, b)| (a - b).powi(2)).sum() };
    for ((row, &index), found) in rows.chunks(4).zip(&indices).zip(found.chunks(4)) {
        let nearest = codes
            .chunks(4)
            .enumerate()
            .min_by(|a, b| distance(row, a.1).total_cmp(&distance(row, b.1)));
        let (n, code) = nearest.expect("codes");
        assert_eq!((index, found), (n as i64, code));
    }
    // A code is its own nearest.
    let again = host(model.quantize(quantized.clone()).0);
    assert_eq!(again, host(quantized));
}

/// What `save` writes is what was read, and has the keys that diffusers writes.
#[test]
fn saved_folders_are_published_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let json = |dir: &Path| -> serde_json::Map<String, Value> {
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).expect("a config")).expect("JSON")
    };
    let same = |from: &Path, to: &Path| {
        let file = "diffusion_pytorch_model.safetensors";
        assert_eq!(tiny::read(&to.join(file)), tiny::read(&from.join(file)));
        let (ours, published) = (json(to), json(from));
        for (key, value) in published.iter().filter(|(key, _)| *key != "_diffusers_version") {
            assert_eq!(ours.get(key), Some(value), "{key}");
        }
    };
    let (from, to) = (dir.path().join("movq"), dir.path().join("movq_again"));
    write_movq(&from, &tiny_config());
    let (config, model) = Movq::load(&from, &device()).expect("loads");
    model.save(&config, &to).expect("saved");
    same(&from, &to);
    let (from, to) = (dir.path().join("text_proj"), dir.path().join("text_proj_again"));
    let config = TextProjConfig {
        n_extra: 3,
        d_clip: 6,
        d_time: 10,
        d_cross: 8,
        ..TextProjConfig::karlo()
    };
    let listed = parameters(&TextProj::init(&config, &device()), &text_proj::MAPPING);
    write_model(&from, &config, &listed);
    let (config, model) = TextProj::load(&from, &device()).expect("loads");
    model.save(&config, &to).expect("saved");
    same(&from, &to);
}

#[test]
fn configs_of_other_models_are_refused_by_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |good: Value, key: &str, value: Value, read: &dyn Fn(&Path) -> String| {
        std::fs::write(dir.path().join("config.json"), good.to_string()).expect("written");
        assert_eq!(read(dir.path()), "", "the config is good before it is altered");
        alter_json(&dir.path().join("config.json"), |config| config[key] = value);
        let message = read(dir.path());
        let start = format!("{}: ", dir.path().join("config.json").display());
        message
            .strip_prefix(&start)
            .unwrap_or_else(|| panic!("{message}"))
            .to_string()
    };
    let movq = |key: &str, value: Value| {
        let good = serde_json::to_value(tiny_config()).expect("JSON");
        refused(good, key, value, &|dir| {
            MovqConfig::read(dir)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        })
    };
    for (key, value, message) in [
        (
            "_class_name",
            json!("AutoencoderKL"),
            "expected VQModel, found AutoencoderKL",
        ),
        ("norm_type", json!("group"), "expected spatial, found group"),
        ("act_fn", json!("mish"), "expected silu, found mish"),
        (
            "mid_block_add_attention",
            json!(false),
            "expected true, found false",
        ),
        ("lookup_from_codebook", json!(true), "expected false, found true"),
        (
            "down_block_types",
            json!(["DownEncoderBlock2D", "KDownBlock2D"]),
            "expected DownEncoderBlock2D or AttnDownEncoderBlock2D, found KDownBlock2D",
        ),
        (
            "up_block_types",
            json!(["AttnUpDecoderBlock2D"]),
            "expected 2 names, as many as block_out_channels has numbers, found 1",
        ),
        ("layers_per_block", json!(0), "expected at least 1, found 0"),
        ("block_out_channels", json!([]), "expected at least 1, found 0"),
        (
            "block_out_channels",
            json!([32, 48]),
            "expected multiples of 32 (norm_num_groups), found 48",
        ),
        (
            "vq_embed_dim",
            json!(8),
            "expected 4, like latent_channels, found 8",
        ),
    ] {
        assert_eq!(movq(key, value), format!("{key}: {message}"));
    }
    // Fewer groups in the encoder are fine; the decoder's stay 32.
    let mut few = tiny_config();
    (few.n_groups, few.block_out_channels) = (8, vec![32, 40]);
    let message = few.check().expect_err("refused");
    assert_eq!(
        message.to_string(),
        "block_out_channels: expected multiples of 32 (the decoder's groups), found 40"
    );
    few.block_out_channels = vec![32, 64];
    few.check().expect("accepted");
    let message = movq("layers_per_block", json!("two"));
    assert!(
        message.starts_with("layers_per_block: expected a whole number"),
        "{message}"
    );

    let text_proj = |key: &str, value: Value| {
        let good = serde_json::to_value(TextProjConfig::karlo()).expect("JSON");
        refused(good, key, value, &|dir| {
            TextProjConfig::read(dir)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        })
    };
    assert_eq!(
        text_proj("_class_name", json!("UnCLIPTextProj")),
        "_class_name: expected UnCLIPTextProjModel, found UnCLIPTextProj"
    );
    assert_eq!(
        text_proj("time_embed_dim", json!(0)),
        "time_embed_dim: expected at least 1, found 0 or no such key"
    );
}

#[test]
fn weights_of_another_size_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    write_movq(dir.path(), &tiny_config());
    alter_json(&dir.path().join("config.json"), |config| {
        config["num_vq_embeddings"] = json!(41);
    });
    let message = Movq::load(dir.path(), &device())
        .expect_err("refused")
        .to_string();
    assert!(
        message.ends_with("quantize.embedding.weight: expected [41, 4], found [40, 4]"),
        "{message}"
    );
}

/// A smooth picture inside 0.3..0.7, so that nothing is clamped: `[1, 3, h, w]` and the `image` crate's form of it.
fn picture(h: usize, w: usize) -> (Tensor<4>, ImageBuffer<Rgb<f32>, Vec<f32>>) {
    let value = |c: usize, y: usize, x: usize| {
        0.5 + 0.12 * ((0.9 * y as f32 + c as f32).sin() + (0.7 * x as f32 - 0.4 * y as f32).cos()) / 1.5
    };
    let pixels = (0..3 * h * w)
        .map(|i| value(i / (h * w), i / w % h, i % w))
        .collect();
    let tensor = Tensor::from_data(TensorData::new::<f32, _>(pixels, [1, 3, h, w]), &device());
    let image = ImageBuffer::from_fn(w as u32, h as u32, |x, y| {
        Rgb([0, 1, 2].map(|c| value(c, y as usize, x as usize)))
    });
    (tensor, image)
}

/// Up, down, one axis each way, and not at all, against two other implementations: the `image` crate's Catmull-Rom filter, which is the antialiased
/// cubic with a = -0.5, and Burn's own bicubic interpolation, four taps with a = -0.75.
#[test]
fn bicubic_resampling_agrees_with_two_others() {
    let ([h, w], mut largest) = ([13, 17], 0f32);
    let (x, image) = picture(h, w);
    for size in [[52, 68], [31, 23], [5, 6], [40, 4], [13, 17], [1, 1], [39, 17]] {
        let [to_h, to_w] = size;
        let ours = host(upscale_bicubic(x.clone(), size, true).permute([0, 2, 3, 1]));
        let other = imageops::resize(&image, to_w as u32, to_h as u32, FilterType::CatmullRom).into_raw();
        assert!(
            max_diff(&ours, &other) < 2e-5,
            "antialiased, {size:?}: {}",
            max_diff(&ours, &other)
        );

        let options = InterpolateOptions::new(InterpolateMode::Bicubic)
            .with_align_corners(false)
            .with_output_size(size);
        let ours = host(upscale_bicubic(x.clone(), size, false));
        let other = host(interpolate(x.clone(), options));
        assert!(
            max_diff(&ours, &other) < 2e-5,
            "plain, {size:?}: {}",
            max_diff(&ours, &other)
        );
        largest = largest.max(max_diff(&ours, &host(upscale_bicubic(x.clone(), size, true))));
    }
    assert!(largest > 0.01, "the two kernels differ: {largest}");
}
