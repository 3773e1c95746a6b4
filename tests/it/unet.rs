//! Properties of the UNets on tiny random ones. That they compute what the reference computes, `eclipse verify` shows.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use eclipse_t2i::models::unet::{BlockType, Condition, Conditioning, TimeShift, UNet, UNetConfig};
use eclipse_t2i::noise::Noise;
use serde_json::{Value, json};

use crate::tiny::{self, D_CLIP, device, unet_config, write_unet};

const N_CONTEXT: usize = 5;
const D_CROSS: usize = 10;

/// A random UNet of `config` on `device`.
fn unet(config: &UNetConfig, device: &Device) -> UNet {
    let dir = tempfile::tempdir().expect("a folder");
    write_unet(dir.path(), config);
    UNet::load(dir.path(), device).expect("loads").1
}

/// Karlo's kind: tokens, and a vector beside the time.
fn karlo() -> UNetConfig {
    UNetConfig {
        conditioning: Conditioning::Tokens {
            d_cross: D_CROSS,
            d_head: 4,
        },
        ..unet_config()
    }
}

/// Super-resolution's kind.
fn super_res() -> UNetConfig {
    UNetConfig {
        in_channels: 6,
        out_channels: 3,
        down: vec![BlockType::Resnet; 2],
        mid: BlockType::Resnet,
        up: vec![BlockType::Resnet; 2],
        time_shift: TimeShift::Additive,
        conditioning: Conditioning::None,
        ..unet_config()
    }
}

/// A random condition of the kind that `config` asks for; every third token is padding, the first never.
fn condition(config: &UNetConfig, batch: usize, device: &Device) -> Condition {
    let mut noise = Noise::new(8);
    match config.conditioning {
        Conditioning::None => Condition::None,
        Conditioning::Image { .. } => Condition::Image(noise.normal([batch, D_CLIP], device)),
        Conditioning::Tokens { .. } => {
            let mask = (0..batch * N_CONTEXT).map(|i| f32::from(u8::from((i % N_CONTEXT) % 3 != 2)));
            let mask = TensorData::new(mask.collect::<Vec<f32>>(), [batch, N_CONTEXT]);
            Condition::Tokens {
                tokens: noise.normal([batch, N_CONTEXT, D_CROSS], device),
                mask: Some(Tensor::from_data(mask, device)),
                class: noise.normal([batch, config.d_time()], device),
            }
        }
    }
}

/// New layers for noise levels change nothing until they are trained; then the level counts, and the folder says so.
#[test]
fn noise_levels_are_silent_at_first_and_then_count() {
    let (config, device) = (unet_config(), device());
    let folder = tempfile::tempdir().expect("a folder");
    write_unet(folder.path(), &config);
    let (_, plain) = UNet::load(folder.path(), &device).expect("written");
    let told = plain.clone().with_noise_level(&device);
    let x: Tensor<4> = Noise::new(1).normal([2, config.in_channels, 8, 8], &device);
    let Condition::Image(z_x) = condition(&config, 2, &device) else {
        panic!("a decoder that reads an image embedding");
    };
    let draw = |unet: &UNet, level: f64| {
        let levels = vec![level; 2];
        let condition = Condition::NoisyImage {
            z_x: z_x.clone(),
            levels,
        };
        values(unet.forward(x.clone(), &[10.0, 500.0], condition))
    };
    let before = values(plain.forward(x.clone(), &[10.0, 500.0], Condition::Image(z_x.clone())));
    assert_eq!(draw(&told, 0.0), before);
    assert_eq!(draw(&told, 700.0), before);

    let out = folder.path().join("told");
    told.save(told.config(), &out).expect("written");
    let read = UNetConfig::read(&out).expect("diffusers' keys");
    assert!(read.conditioning.has_noise_level());
    let text = std::fs::read_to_string(out.join("config.json")).expect("written");
    assert!(text.contains(r#""class_embed_type": "timestep""#), "{text}");
    let path = out.join("diffusion_pytorch_model.safetensors");
    let names = tiny::read(&path);
    for name in ["class_embedding.linear_1.weight", "class_embedding.linear_2.bias"] {
        assert!(names.contains_key(name), "{name}");
    }
    // Random values in every layer, the new ones too.
    write_unet(&out, &read);
    let (_, told) = UNet::load(&out, &device).expect("written");
    assert_ne!(draw(&told, 0.0), draw(&told, 700.0));
}

fn row(condition: &Condition, i: usize) -> Condition {
    match condition {
        Condition::None => Condition::None,
        Condition::Image(z_x) => Condition::Image(z_x.clone().narrow(0, i, 1)),
        Condition::NoisyImage { z_x, levels } => Condition::NoisyImage {
            z_x: z_x.clone().narrow(0, i, 1),
            levels: vec![levels[i]],
        },
        Condition::Tokens { tokens, mask, class } => Condition::Tokens {
            tokens: tokens.clone().narrow(0, i, 1),
            mask: mask.clone().map(|m| m.narrow(0, i, 1)),
            class: class.clone().narrow(0, i, 1),
        },
    }
}

fn picture(config: &UNetConfig, [batch, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    Noise::new(5).normal([batch, config.in_channels, h, w], device)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}: {a} {b}");
    }
}

/// Also: pictures need not be square.
#[test]
fn a_prediction_does_not_depend_on_the_batch_around_it() {
    for config in [karlo(), unet_config(), super_res()] {
        let (device, t) = (device(), [999.0, 0.0, 412.0]);
        let unet = unet(&config, &device);
        let (x, given) = (
            picture(&config, [3, 4, 10], &device),
            condition(&config, 3, &device),
        );
        let whole = unet.forward(x.clone(), &t, given.clone());
        assert_eq!(whole.dims(), [3, config.out_channels, 4, 10]);
        for i in 0..3 {
            let alone = unet.forward(x.clone().narrow(0, i, 1), &t[i..=i], row(&given, i));
            let kind = config.conditioning.to_string();
            assert_close(&values(alone), &values(whole.clone().narrow(0, i, 1)), &kind);
        }
        // The timestep is looked at.
        let later = unet.forward(x, &[998.0, 1.0, 400.0], given);
        assert_ne!(values(later), values(whole));
    }
}

#[test]
fn padding_of_the_context_is_not_looked_at() {
    let (config, device) = (karlo(), device());
    let unet = unet(&config, &device);
    let x = picture(&config, [2, 4, 4], &device);
    let Condition::Tokens { tokens, mask, class } = condition(&config, 2, &device) else {
        unreachable!("Karlo's condition");
    };
    let mask = mask.expect("a mask");
    let forward = |tokens: &Tensor<3>, mask: Option<&Tensor<2>>, class: &Tensor<2>| {
        let given = Condition::Tokens {
            tokens: tokens.clone(),
            mask: mask.cloned(),
            class: class.clone(),
        };
        values(unet.forward(x.clone(), &[500.0, 20.0], given))
    };
    let kept = mask.clone().unsqueeze_dim::<3>(2).expand([2, N_CONTEXT, D_CROSS]);
    let other = Noise::new(9)
        .normal([2, N_CONTEXT, D_CROSS], &device)
        .mul_scalar(5.0);
    let plain = forward(&tokens, Some(&mask), &class);
    let in_padding = tokens.clone() * kept.clone() + other.clone() * (1.0 - kept.clone());
    assert_eq!(forward(&in_padding, Some(&mask), &class), plain);
    let in_tokens = tokens.clone() * (1.0 - kept.clone()) + other * kept;
    assert_ne!(forward(&in_tokens, Some(&mask), &class), plain);
    // No mask is a mask of ones; all tokens masked leaves the picture's own.
    assert_close(
        &forward(&tokens, None, &class),
        &forward(&tokens, Some(&mask.ones_like()), &class),
        "no mask",
    );
    let alone = forward(&tokens, Some(&mask.zeros_like()), &class);
    assert!(alone.iter().all(|v| v.is_finite()));
    assert_eq!(forward(&in_tokens, Some(&mask.zeros_like()), &class), alone);
    assert_ne!(forward(&tokens, Some(&mask), &(class.clone() + 0.5)), plain);
}

/// Names of the parameters without gradient, or with none that is not zero.
struct WithoutGradient<'a> {
    gradients: &'a burn::tensor::Gradients,
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for WithoutGradient<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let size = param
            .val()
            .grad(self.gradients)
            .map(|g| g.abs().max().into_scalar::<f32>());
        if !size.is_some_and(|s| s.is_finite() && s > 0.0) {
            self.found.push(self.path.join("."));
        }
    }
}

/// Any number of blocks, in any mixture: every parameter takes part, and the gradient is the slope.
#[test]
fn every_mixture_of_blocks_learns() {
    let (plain, attention) = (BlockType::Resnet, BlockType::CrossAttention);
    let mixtures = [
        unet_config(),
        UNetConfig {
            channels: vec![8],
            down: vec![attention],
            mid: plain,
            up: vec![attention],
            n_layers: 2,
            time_shift: TimeShift::Additive,
            d_time: Some(6),
            ..karlo()
        },
        UNetConfig {
            channels: vec![4, 8, 8],
            down: vec![attention, plain, plain],
            mid: attention,
            up: vec![plain, attention, plain],
            cosines_first: false,
            frequency_shift: 1,
            ..karlo()
        },
        UNetConfig {
            n_layers: 3,
            time_shift: TimeShift::ScaleShift,
            ..super_res()
        },
    ];
    let device = device().autodiff();
    for config in mixtures {
        let unet = unet(&config, &device);
        let (x, t) = (picture(&config, [2, 8, 4], &device).require_grad(), [77.0, 940.0]);
        let given = condition(&config, 2, &device);
        let mut noise = Noise::new(6);
        let weight: Tensor<4> = noise.normal([2, config.out_channels, 8, 4], &device);
        let loss = |x: Tensor<4>| (unet.forward(x, &t, given.clone()) * weight.clone()).sum();
        let gradients = loss(x.clone()).backward();
        let mut visitor = WithoutGradient {
            gradients: &gradients,
            path: Vec::new(),
            found: Vec::new(),
        };
        unet.visit(&mut visitor);
        assert!(visitor.found.is_empty(), "{config:?}: {:?}", visitor.found);

        let direction: Tensor<4> = noise.normal(x.dims(), &device);
        let slope = (x.grad(&gradients).expect("a gradient") * direction.clone().inner()).sum();
        let at = |step: f64| {
            let moved = x.clone().detach() + direction.clone() * step;
            f64::from(loss(moved).into_scalar::<f32>())
        };
        let step = 1e-2;
        let (slope, secant) = (
            f64::from(slope.into_scalar::<f32>()),
            (at(step) - at(-step)) / (2.0 * step),
        );
        assert!(
            (slope - secant).abs() < 2e-2 * (1.0 + slope.abs()),
            "{config:?}: {slope} {secant}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = device();
    let refusal = |config: &UNetConfig, size: [usize; 3], given: Condition| {
        let unet = unet(config, &device);
        let run = || unet.forward(picture(config, size, &device), &[1.0], given);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("refused");
        panic.downcast_ref::<String>().expect("a message").clone()
    };
    let given = |config: &UNetConfig| condition(config, 1, &device);
    insta::assert_snapshot!(refusal(&unet_config(), [1, 4, 5], given(&unet_config())), @"height and width of a UNet of 2 blocks are multiples of 2, found 4 x 5");
    insta::assert_snapshot!(refusal(&unet_config(), [1, 4, 4], given(&karlo())), @"this UNet is conditioned on an image embedding, given text tokens");
    insta::assert_snapshot!(refusal(&karlo(), [1, 4, 4], given(&super_res())), @"this UNet is conditioned on text tokens, given nothing");
    insta::assert_snapshot!(refusal(&super_res(), [1, 4, 4], given(&unet_config())), @"this UNet is conditioned on nothing, given an image embedding");
    insta::assert_snapshot!(refusal(&super_res(), [2, 4, 4], Condition::None), @r"
    assertion `left == right` failed: one timestep for each of 2 pictures
      left: 1
     right: 2
    ");
}

#[test]
fn configs_that_this_code_does_not_know() {
    let published = |config: UNetConfig| serde_json::to_value(config).expect("JSON");
    let said = |base: &Value, change: &[(&str, Value)]| {
        let mut config = base.clone();
        for (key, value) in change {
            config[*key] = value.clone();
        }
        let result = UNetConfig::from_json(&config, "config.json");
        result.expect_err("refused").to_string()
    };
    let image = published(UNetConfig::kandinsky22());
    let cases: &[(&str, Value)] = &[
        ("_class_name", json!("UNet3DConditionModel")),
        ("_class_name", json!(null)),
        (
            "down_block_types",
            json!(["ResnetDownsampleBlock2D", "CrossAttnDownBlock2D"]),
        ),
        ("up_block_types", json!(["UpBlock2D"])),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("mid_block_type", json!(null)),
        ("act_fn", json!("gelu")),
        ("resnet_time_scale_shift", json!("ada_group")),
        ("time_embedding_type", json!("fourier")),
        ("time_embedding_act_fn", json!("silu")),
        ("timestep_post_act", json!("silu")),
        ("time_cond_proj_dim", json!(8)),
        ("center_input_sample", json!(true)),
        ("conv_in_kernel", json!(1)),
        ("conv_out_kernel", json!(1)),
        ("cross_attention_norm", json!("layer_norm")),
        ("only_cross_attention", json!(true)),
        ("mid_block_only_cross_attention", json!(true)),
        ("attention_type", json!("gated")),
        ("resnet_skip_time_act", json!(true)),
        ("resnet_out_scale_factor", json!(1.41)),
        ("mid_block_scale_factor", json!(2)),
        ("dropout", json!(0.1)),
        ("class_embeddings_concat", json!(true)),
        ("num_class_embeds", json!(10)),
        ("num_attention_heads", json!(8)),
        ("class_embed_type", json!("projection")),
        ("encoder_hid_dim_type", json!("text_image_proj")),
        ("addition_embed_type", json!("image_hint")),
        ("norm_num_groups", json!(null)),
        ("norm_num_groups", json!(7)),
        ("norm_eps", json!(0.0)),
        ("attention_head_dim", json!([5, 10, 20, 20])),
        ("attention_head_dim", json!(100)),
        ("layers_per_block", json!(0)),
        ("block_out_channels", json!([384, 768])),
        ("block_out_channels", json!([])),
        ("in_channels", json!(-4)),
        ("sample_size", json!(null)),
        ("freq_shift", json!(192)),
    ];
    let mut text = String::new();
    for case in cases {
        let said = said(&image, std::slice::from_ref(case));
        text += &format!("{} = {}\n  {said}\n", case.0, case.1);
    }
    let plain = published(UNetConfig::karlo_super_res());
    for change in [
        vec![("add_attention", json!(true))],
        vec![("class_embed_type", json!("identity"))],
        vec![("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn"))],
        vec![("_class_name", json!("UNet2DConditionModel"))],
    ] {
        let said = said(&plain, &change);
        text += &format!("super-resolution, {} = {}\n  {said}\n", change[0].0, change[0].1);
    }
    insta::assert_snapshot!("configs_of_unets", text);
    // Python's 1 and 1.0 are the same, and so are silu and swish.
    let mut same = image.clone();
    for (key, value) in [
        ("resnet_out_scale_factor", json!(1)),
        ("mid_block_scale_factor", json!(1.0)),
        ("dropout", json!(0.0)),
        ("act_fn", json!("swish")),
    ] {
        same[key] = value;
    }
    let same: UNetConfig = UNetConfig::from_json(&same, "config.json").expect("the same");
    assert_eq!(same, UNetConfig::kandinsky22());
}
