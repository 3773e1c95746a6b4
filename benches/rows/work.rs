//! The rows: networks at their published sizes, or tiny ones, with random weights.

use std::fmt;

use anyhow::ensure;
use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::train::TrainStep;
use clap::ValueEnum;
use eclipse_t2i::models::clip::{ClipTextConfig, ClipVisionConfig};
use eclipse_t2i::models::movq::{Movq, MovqConfig};
use eclipse_t2i::models::prior::{Prior, PriorConfig};
use eclipse_t2i::models::unet::{BlockType, Condition, Conditioning, UNet, UNetConfig};
use eclipse_t2i::nn::torch_default;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::train::micro_batches::MicroBatches;
use eclipse_t2i::train::objectives::eclipse::Eclipse;
use eclipse_t2i::train::trainer::{AdamWOptions, Trainer, UpdateOptions};
use rayon::prelude::*;

use super::batch::batch;
use super::measure::Call;

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// A training step of the 33M prior: forward, Eq. 5, backward, clipping, AdamW
    Step,
    /// A pass of the 33M prior
    Infer,
    /// CLIP L/14's text tower
    Text,
    /// CLIP L/14's vision tower
    Vision,
    /// A guided step of Kandinsky 2.2's UNet
    Unet,
    /// MoVQ's decoder, to eight times the side
    Movq,
    /// A step of Karlo's super-resolution
    SuperRes,
    /// A product of two square matrices
    Gemm,
    /// The largest product of a training step: its rows, 512 and 2,048
    GemmStep,
    /// A copy of 256 MiB
    Copy,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no row is skipped").get_name())
    }
}

/// Sizes of a row; those that it has no use for are ignored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    pub batch: usize,
    pub tokens: usize,
    pub width: usize,
    pub side: usize,
}

impl Sizes {
    /// Refuses sizes that a network does not have.
    pub fn check(self, row: Work) -> anyhow::Result<()> {
        let Self {
            batch,
            tokens,
            width,
            side,
        } = self;
        ensure!(
            batch > 0 && tokens > 0 && width > 0 && side > 0,
            "sizes are at least 1"
        );
        ensure!(tokens <= 77, "--tokens: at most 77, found {tokens}");
        let of_blocks = matches!(row, Work::Step | Work::Infer | Work::GemmStep);
        ensure!(
            !of_blocks || width.is_multiple_of(32),
            "--width: a multiple of 32, found {width}"
        );
        let of_unet = matches!(row, Work::Unet | Work::SuperRes);
        ensure!(
            !of_unet || side.is_multiple_of(8),
            "--side: a multiple of 8, found {side}"
        );
        Ok(())
    }
}

impl Work {
    /// Every row.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// The sizes of benches/RESULTS.md.
    pub fn published(self) -> Sizes {
        let (batch, tokens, side) = match self {
            Self::Step | Self::GemmStep => (32, 14, 1),
            Self::Infer => (64, 14, 1),
            Self::Text => (32, 77, 1),
            Self::Vision => (8, 1, 224),
            Self::Unet => (2, 1, 64),
            Self::Movq => (1, 1, 64),
            Self::SuperRes => (1, 1, 256),
            Self::Gemm | Self::Copy => (1, 1, 1),
        };
        let width = if self == Self::Gemm { 1024 } else { 512 };
        Sizes {
            batch,
            tokens,
            width,
            side,
        }
    }

    /// Sizes for a test.
    pub fn tiny(self) -> Sizes {
        Sizes {
            batch: 2,
            tokens: 3,
            width: 64,
            side: if self == Self::Vision { 28 } else { 16 },
        }
    }

    /// The networks and inputs of this row. `tiny`: of a few layers.
    pub fn prepare(self, sizes: Sizes, tiny: bool, device: &Device) -> Call {
        match self {
            Self::Step => step(sizes, tiny, &device.clone().autodiff()),
            Self::Infer => {
                let config = prior(sizes, tiny);
                let prior = torch_default(Prior::init(&config, device), &mut Noise::new(0));
                let inputs = batch(sizes.batch, [sizes.tokens; 2], &config, device);
                Box::new(move |_| drop(prior.forward(inputs.eps.clone(), inputs.text.clone())))
            }
            Self::Text => text(sizes, tiny, device),
            Self::Vision => {
                let published = ClipVisionConfig::vit_l14();
                let config = ClipVisionConfig {
                    num_hidden_layers: if tiny { 1 } else { published.num_hidden_layers },
                    image_size: sizes.side,
                    ..published
                };
                let tower = filled(config.init(device));
                let pixels = noise([sizes.batch, 3, sizes.side, sizes.side], device);
                Box::new(move |_| drop(tower.forward(pixels.clone())))
            }
            Self::Unet => unet(&small(UNetConfig::kandinsky22(), tiny), sizes, device),
            Self::SuperRes => unet(&small(UNetConfig::karlo_super_res(), tiny), sizes, device),
            Self::Movq => {
                let movq = filled(Movq::init(&MovqConfig::kandinsky22(), device));
                let latents = warm_and_full(sizes, 4, 1, device);
                Box::new(move |first| drop(movq.decode(latents[usize::from(!first)].clone())))
            }
            Self::Gemm => gemm([sizes.width; 3], device),
            // The rows of a packed step: each caption's tokens, its pooled embedding, noise and query.
            Self::GemmStep => {
                let rows = sizes.batch * (sizes.tokens + PriorConfig::N_EXTRA);
                gemm([rows, sizes.width, 4 * sizes.width], device)
            }
            Self::Copy => copy(if tiny { 1 << 16 } else { 1 << 26 }),
        }
    }
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Noise::new(1).normal(shape, device)
}

/// The 33M prior at this width: 512 is the paper's.
fn prior(sizes: Sizes, tiny: bool) -> PriorConfig {
    let published = PriorConfig::eclipse_karlo();
    PriorConfig {
        n_heads: sizes.width / published.d_head,
        n_layers: if tiny { 1 } else { published.n_layers },
        ..published
    }
}

fn step(sizes: Sizes, tiny: bool, device: &Device) -> Call {
    let update = UpdateOptions {
        grad_clip: Some(1.0),
        ..UpdateOptions::default()
    };
    let config = prior(sizes, tiny);
    let init = || Prior::init(&config, device);
    let prior = torch_default(init(), &mut Noise::new(0));
    let mut trainer = Some(Trainer::new(
        prior,
        Eclipse::default().criterion(0.01),
        update,
        init,
    ));
    let mut optimizer = AdamWOptions::default().init();
    let inputs = batch(sizes.batch, [sizes.tokens; 2], &config, device);
    Box::new(move |_| {
        let before = trainer.take().expect("every call puts it back");
        let grads = before.step(MicroBatches::one(1, inputs.clone())).grads;
        trainer = Some(optimizer.step(5e-5, before, grads));
    })
}

fn text(sizes: Sizes, tiny: bool, device: &Device) -> Call {
    let published = ClipTextConfig::vit_l14();
    let config = ClipTextConfig {
        num_hidden_layers: if tiny { 1 } else { published.num_hidden_layers },
        ..published
    };
    let tower = filled(config.init(device));
    let end = config.eos_token_id as i64;
    let ids = Tensor::<2, Int>::full([sizes.batch, sizes.tokens], end, device);
    Box::new(move |_| drop(tower.forward(ids.clone(), None)))
}

/// Two levels of one layer, if `tiny`.
fn small(published: UNetConfig, tiny: bool) -> UNetConfig {
    if !tiny {
        return published;
    }
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

/// A small input for the first call, and the full one.
fn warm_and_full(sizes: Sizes, channels: usize, multiple: usize, device: &Device) -> [Tensor<4>; 2] {
    let small = (sizes.side / 4).next_multiple_of(multiple).max(multiple);
    [small, sizes.side].map(|side| noise([sizes.batch, channels, side, side], device))
}

fn unet(config: &UNetConfig, sizes: Sizes, device: &Device) -> Call {
    let unet = filled(UNet::init(config, device));
    let condition = match config.conditioning {
        Conditioning::Image { d_clip, .. } => Condition::Image(noise([sizes.batch, d_clip], device)),
        Conditioning::Tokens { .. } | Conditioning::None => Condition::None,
    };
    let x = warm_and_full(sizes, config.in_channels, config.size_multiple(), device);
    let t = vec![500.0; sizes.batch];
    Box::new(move |first| {
        drop(unet.forward(x[usize::from(!first)].clone(), &t, condition.clone()));
    })
}

fn gemm([m, k, n]: [usize; 3], device: &Device) -> Call {
    let (a, b) = (noise([m, k], device), noise([k, n], device));
    Box::new(move |_| drop(a.clone().matmul(b.clone())))
}

/// A copy of `n` values by all threads; nothing of Burn.
fn copy(n: usize) -> Call {
    let (from, mut to) = (vec![1f32; n], vec![0f32; n]);
    Box::new(move |_| {
        let chunk = n.div_ceil(rayon::current_num_threads());
        let chunks = to.par_chunks_mut(chunk).zip(from.par_chunks(chunk));
        chunks.for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(&mut to);
    })
}

/// Random matrices and kernels, from a short list of values that repeats: a billion draws would take longer than the measurement. Vectors (biases, norms)
/// keep their initial values.
fn filled<M: Module>(module: M) -> M {
    // A prime number, so that no row or column of a matrix repeats another.
    module.map(&mut Fill(Noise::new(0).normal_vec(65_537)))
}

struct Fill(Vec<f32>);

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        let shape = param.lazy_shape();
        // 1/sqrt(inputs): rows of a Linear's weight, all but the first axis of a kernel.
        let inputs: usize = if D == 2 {
            shape[0]
        } else {
            shape.iter().skip(1).product()
        };
        let scale = 1.0 / (inputs as f32).sqrt();
        let pattern: Vec<f32> = self.0.iter().map(|value| value * scale).collect();
        let mut values = Vec::with_capacity(shape.num_elements());
        while values.len() < shape.num_elements() {
            let rest = shape.num_elements() - values.len();
            values.extend_from_slice(&pattern[..rest.min(pattern.len())]);
        }
        let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
