//! `eclipse dev measure`: how long a piece of work takes on a device, with random weights and inputs. `benches/gpu.sh` calls it.

use std::time::{Duration, Instant};

use burn::prelude::*;
use burn::train::TrainStep;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::device::{DeviceSpec, kernels};
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::{Prior, PriorConfig, TextCondition};
use crate::models::unet::{Condition, UNet, UNetConfig};
use crate::nn::{TokenMask, torch_default};
use crate::noise::Noise;
use crate::objective::contrastive::Negatives;
use crate::train::micro_batches::MicroBatches;
use crate::train::objectives::eclipse::{Eclipse, EclipseBatch};
use crate::train::trainer::{AdamWOptions, Trainer, UpdateOptions};

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Work {
    /// A training step of ECLIPSE's prior (appendix, Table 3): forward, Eq. 5, backward, clipping, AdamW.
    Step,
    /// The vision tower of CLIP ViT-L/14.
    VisionL14,
    /// The text tower of CLIP ViT-L/14.
    TextL14,
    /// The vision tower of CLIP ViT-bigG/14.
    VisionBigg14,
    /// The text tower of CLIP ViT-bigG/14.
    TextBigg14,
    /// A guided step of Kandinsky 2.2's UNet for 512 x 512 pixels: two passes for each image.
    Unet,
}

/// Arguments of `eclipse dev measure`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    #[arg(value_enum)]
    work: Work,
    /// Pairs, images or captions at once.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Tokens of each caption.
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u8).range(2..=77))]
    tokens: u8,
    /// Repetitions; the median counts.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Stop repeating after this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Networks of a few layers, to try the measurement out.
    #[arg(long)]
    tiny: bool,
    #[command(flatten)]
    precision: super::PrecisionArgs,
}

/// Measures and prints one line of JSON.
pub fn run(args: &MeasureArgs, spec: DeviceSpec) -> anyhow::Result<()> {
    let device = args.precision.device(spec)?;
    let n = usize::from(args.batch);
    let mut work = match args.work {
        Work::Step => training_step(args, n, &device.clone().autodiff()),
        Work::VisionL14 => vision(args, ClipVisionConfig::vit_l14(), n, &device),
        Work::VisionBigg14 => vision(args, ClipVisionConfig::vit_bigg14(), n, &device),
        Work::TextL14 => text(args, ClipTextConfig::vit_l14(), n, &device),
        Work::TextBigg14 => text(args, ClipTextConfig::vit_bigg14(), n, &device),
        Work::Unet => unet(args, n, &device),
    };
    let mut timed = || {
        let start = Instant::now();
        work();
        device.sync().map_err(|e| anyhow::anyhow!("{spec}: {e:?}"))?;
        anyhow::Ok(start.elapsed())
    };
    let first = timed()?;
    let watch = kernels::Launches::watch();
    // Some kernels are tuned in the second call, with the buffers that the first one left.
    timed()?;
    let launches = watch.total();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < usize::from(args.repeat)
        && (times.is_empty() || start.elapsed() < Duration::from_secs(args.seconds))
    {
        times.push(timed()?.as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    super::print_json(&json!({
        "work": args.work.to_possible_value().map(|value| value.get_name().to_owned()),
        "device": spec.to_string(),
        "dtype": args.precision.dtype.to_string(),
        "batch": n,
        "tokens": args.tokens,
        "tiny": args.tiny,
        "first_s": first.as_secs_f64(),
        "ms": median * 1e3,
        "fastest_ms": times[0] * 1e3,
        "repeated": times.len(),
        "per_second": n as f64 / median,
        "launches": launches,
    }))
}

fn training_step(args: &MeasureArgs, n: usize, device: &Device) -> Box<dyn FnMut()> {
    let mut config = PriorConfig::eclipse_karlo();
    if args.tiny {
        (config.n_layers, config.n_heads) = (2, 4);
    }
    let (tokens, d) = (usize::from(args.tokens), config.d_clip);
    let mut noise = Noise::new(1);
    let inputs = EclipseBatch {
        eps: noise.normal([n, d], device),
        z_x: noise.normal([n, d], device),
        text: TextCondition {
            z_y: noise.normal([n, d], device),
            tokens: noise.normal([n, tokens, d], device),
            mask: Some(TokenMask::of_lengths(&vec![tokens; n], tokens, device)),
        },
        negatives: Negatives::default(),
    };
    let update = UpdateOptions {
        grad_clip: Some(1.0),
        ..UpdateOptions::default()
    };
    let prior = torch_default(Prior::init(&config, device), &mut Noise::new(0));
    let criterion = Eclipse::default().criterion(0.01);
    let mut trainer = Trainer::new(prior, criterion, update, || Prior::init(&config, device));
    let mut optimizer = AdamWOptions::default().init();
    Box::new(move || {
        let grads = trainer.step(MicroBatches::one(1, inputs.clone())).grads;
        trainer = trainer.clone().optimize(&mut optimizer, 5e-5.into(), grads);
    })
}

fn vision(args: &MeasureArgs, mut config: ClipVisionConfig, n: usize, device: &Device) -> Box<dyn FnMut()> {
    if args.tiny {
        config.num_hidden_layers = 2;
    }
    let tower = config.init(device);
    let pixels = Noise::new(1).normal([n, 3, config.image_size, config.image_size], device);
    Box::new(move || drop(tower.forward(pixels.clone())))
}

fn text(args: &MeasureArgs, mut config: ClipTextConfig, n: usize, device: &Device) -> Box<dyn FnMut()> {
    if args.tiny {
        config.num_hidden_layers = 2;
    }
    let tower = config.init(device);
    let tokens = usize::from(args.tokens);
    // The last token of a caption has the largest id.
    let ids: Vec<i64> = (0..n * tokens)
        .map(|i| i64::from((i + 1) % tokens == 0) * 49_407)
        .collect();
    let ids = TensorData::new(ids, [n, tokens]);
    let ids: Tensor<2, Int> = Tensor::from_data(ids, device);
    Box::new(move || drop(tower.forward(ids.clone(), None)))
}

fn unet(args: &MeasureArgs, n: usize, device: &Device) -> Box<dyn FnMut()> {
    let mut config = UNetConfig::kandinsky22();
    let (side, n) = if args.tiny { (16, 2 * n) } else { (64, 2 * n) };
    if args.tiny {
        config.channels = vec![64, 128, 192, 256];
    }
    let unet = UNet::init(&config, device);
    let mut noise = Noise::new(1);
    let x: Tensor<4> = noise.normal([n, config.in_channels, side, side], device);
    let z_x: Tensor<2> = noise.normal([n, 1280], device);
    Box::new(move || drop(unet.forward(x.clone(), &vec![500.0; n], Condition::Image(z_x.clone()))))
}
