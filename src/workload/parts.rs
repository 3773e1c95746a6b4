//! The calls that are measured, each with its network and inputs.

use burn::prelude::*;
use burn::train::TrainStep;
use rayon::prelude::*;

use super::captions::random_captions;
use super::random_weights::random_weights;
use super::sizes::Sizes;
use crate::device::Precision;
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::movq::{Movq, MovqConfig};
use crate::models::prior::{Prior, PriorConfig};
use crate::models::unet::{BlockType, Condition, Conditioning, UNet, UNetConfig};
use crate::nn::torch_default;
use crate::noise::Noise;
use crate::train::micro_batches::MicroBatches;
use crate::train::objectives::eclipse::{Eclipse, EclipseBatch};
use crate::train::trainer::{AdamWOptions, Trainer, UpdateOptions};

/// Does the work once; the caller waits for the device. The argument is whether a smaller input will do, where the work has one: to warm up a CPU.
pub type Call = Box<dyn FnMut(bool)>;

/// Training steps of `prior` on one batch: forward, Eq. 5 with the paper's lambda, backward, clipping of the gradients' norm to 1, AdamW.
pub fn training_step(
    prior: Prior,
    config: &PriorConfig,
    inputs: EclipseBatch,
    compute: Precision,
    device: &Device,
) -> Call {
    let update = UpdateOptions {
        compute,
        grad_clip: Some(1.0),
        ..UpdateOptions::default()
    };
    let criterion = Eclipse::default().criterion(0.01);
    let trainer = Trainer::new(prior, criterion, update, || Prior::init(config, device));
    let mut trainer = Some(trainer);
    let mut optimizer = AdamWOptions::default().init();
    Box::new(move |_| {
        let before = trainer.take().expect("every call puts it back");
        let grads = before.step(MicroBatches::one(1, inputs.clone())).grads;
        trainer = Some(before.optimize(&mut optimizer, 5e-5.into(), grads));
    })
}

pub(super) fn step(config: &PriorConfig, sizes: Sizes, compute: Precision, device: &Device) -> Call {
    let device = device.clone().autodiff();
    let prior = torch_default(Prior::init(config, &device), &mut Noise::new(0));
    let inputs = random_captions(sizes.batch, [sizes.tokens; 2], config, &device);
    training_step(prior, config, inputs, compute, &device)
}

pub(super) fn infer(config: &PriorConfig, sizes: Sizes, device: &Device) -> Call {
    let prior = torch_default(Prior::init(config, device), &mut Noise::new(0));
    let inputs = random_captions(sizes.batch, [sizes.tokens; 2], config, device);
    Box::new(move |_| drop(prior.forward(inputs.eps.clone(), inputs.text.clone())))
}

pub(super) fn text(config: &ClipTextConfig, sizes: Sizes, device: &Device) -> Call {
    let tower = random_weights(config.init(device));
    let (n, tokens) = (sizes.batch, sizes.tokens);
    // The last token of a caption is the end of the text, where the embedding is read.
    let end = i64::from(config.eos_token_id);
    let ids: Vec<i64> = (1..=n * tokens)
        .map(|i| if i % tokens == 0 { end } else { 0 })
        .collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [n, tokens]), device);
    Box::new(move |_| drop(tower.forward(ids.clone(), None)))
}

pub(super) fn vision(config: &ClipVisionConfig, sizes: Sizes, device: &Device) -> Call {
    let tower = random_weights(config.init(device));
    let side = config.image_size;
    let pixels = noise([sizes.batch, config.num_channels, side, side], device);
    Box::new(move |_| drop(tower.forward(pixels.clone())))
}

pub(super) fn unet(config: &UNetConfig, sizes: Sizes, device: &Device) -> Call {
    let unet = random_weights(UNet::init(config, device));
    let condition = match config.conditioning {
        Conditioning::Image { d_clip, .. } => Condition::Image(noise([sizes.batch, d_clip], device)),
        Conditioning::Tokens { .. } | Conditioning::None => Condition::None,
    };
    let x = full_and_small(sizes, config.in_channels, config.size_multiple(), device);
    let t = vec![500.0; sizes.batch];
    Box::new(move |small| {
        drop(unet.forward(x[usize::from(small)].clone(), &t, condition.clone()));
    })
}

pub(super) fn movq(sizes: Sizes, device: &Device) -> Call {
    let movq = random_weights(Movq::init(&MovqConfig::kandinsky22(), device));
    let latents = full_and_small(sizes, 4, 1, device);
    Box::new(move |small| drop(movq.decode(latents[usize::from(small)].clone())))
}

pub(super) fn product([m, k, n]: [usize; 3], device: &Device) -> Call {
    let (a, b) = (noise([m, k], device), noise([k, n], device));
    Box::new(move |_| drop(a.clone().matmul(b.clone())))
}

/// A copy of `n` values in the host's memory, by all threads.
pub(super) fn copy(n: usize) -> Call {
    let (from, mut to) = (vec![1f32; n], vec![0f32; n]);
    Box::new(move |_| {
        let chunk = n.div_ceil(rayon::current_num_threads());
        let chunks = to.par_chunks_mut(chunk).zip(from.par_chunks(chunk));
        chunks.for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(&mut to);
    })
}

/// A UNet of two levels of one layer, with the ends and the conditioning of a published one.
pub(super) fn tiny_unet(published: UNetConfig) -> UNetConfig {
    let deeper = match published.conditioning {
        Conditioning::None => BlockType::Resnet,
        Conditioning::Tokens { .. } | Conditioning::Image { .. } => BlockType::CrossAttention,
    };
    UNetConfig {
        channels: vec![64, 64],
        n_layers: 1,
        down: vec![BlockType::Resnet, deeper],
        up: vec![deeper, BlockType::Resnet],
        ..published
    }
}

/// The full input, and one of a quarter of its side.
fn full_and_small(sizes: Sizes, channels: usize, multiple: usize, device: &Device) -> [Tensor<4>; 2] {
    let small = (sizes.side / 4).next_multiple_of(multiple).max(multiple);
    [sizes.side, small].map(|side| noise([sizes.batch, channels, side, side], device))
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Noise::new(1).normal(shape, device)
}
