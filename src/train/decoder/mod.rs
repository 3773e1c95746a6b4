//! Training of a small unCLIP decoder on a world: Kandinsky 2.2's UNet, reading z_x of the world's frozen CLIP, in squares of pixels.
//!
//! The network predicts the clean picture x0 and its loss is that of the noise, since `|eps - eps_hat|^2 = SNR |x0 - x0_hat|^2`, with the weight kept
//! within `snr_weight`: below, so that it also learns to draw from pure noise what z_x says (Salimans and Ho 2022, section 4); above, so that the last
//! specks of noise do not crowd out everything else (min-SNR, Hang et al. 2023). Squares of pixels have as many channels as the network is wide, and
//! it learns to pass on that many channels of noise far later than to draw (Li and He 2025).
//!
//! Axes: batch; channels, h, w of the squares; d_clip.

mod batch;
mod start;

pub use batch::{DecoderBatch, DecoderBatches};
pub use start::Readout;

use burn::module::{Module, ParamGroup};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::optim::{AdamW, AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use serde::{Deserialize, Serialize};

use super::average::{Follow, copy_of, follow_at};
use super::cells::{self, cross_entropy, offset_error};
use super::gradients::clip_global_norm;
use super::muon::HiddenMuon;
use super::schedule::LrSchedule;
use super::session::StepReport;
use crate::diffusion::{BetaSchedule, Limit, Prediction, SchedulerConfig, SchedulerKind, Spacing};
use crate::models::noise_augmentation::N_LEVELS;
use crate::models::pixel_space::PixelSpace;
use crate::models::unet::{BlockType, Condition, Conditioning, UNet, UNetConfig};
use crate::noise::Noise;
use crate::objective::diffusion::weighted;
use crate::world::World;

/// Everything that makes a training run of the small decoder what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderRecipe {
    /// Optimiser steps, of all cycles.
    pub n_steps: usize,
    /// Cycles of the learning rate, equally long (SGDR, Loshchilov and Hutter 2017): training can go on after the last by one more.
    pub n_cycles: usize,
    /// Pictures of a step.
    pub batch: usize,
    /// Side of a square of pooled pixels that becomes one place of the UNet.
    pub block: usize,
    /// Pixels along each side that become their mean.
    pub pool: usize,
    /// Channels from the largest size to the smallest.
    pub channels: Vec<usize>,
    /// Whether the blocks of each size attend; the middle block does.
    pub attention: Vec<bool>,
    /// Layers of a block on the way down.
    pub n_layers: usize,
    /// Groups of the norms.
    pub n_groups: usize,
    /// Width of the embedded time.
    pub d_time: usize,
    /// Width of the tokens made of z_x.
    pub d_cross: usize,
    /// Width of an attention head.
    pub d_head: usize,
    /// AdamW's learning rate at its highest.
    pub lr: f64,
    /// Muon's learning rate is this many times AdamW's.
    pub muon_factor: f64,
    /// Steps of linear warm-up of each cycle; a half cosine to 2 % follows.
    pub warmup: usize,
    /// Global gradient norm.
    pub grad_clip: f64,
    /// Decay of the moving average that is published; lower in the first steps.
    pub ema_decay: f64,
    /// Share of the pictures whose z_x is replaced by that of the zero picture.
    pub cond_drop: f64,
    /// Share of the timesteps that come from the noisier half, where little but z_x says what to draw.
    pub noisy_half: f64,
    /// Bounds of a timestep's weight.
    pub snr_weight: [f64; 2],
    /// Weight of the loss of reading off what the last block up sees which noun and colour covers each place, and where its middle is: which
    /// things stand where is learned from few pictures so, and the last block learns to draw them.
    pub cell_weight: f64,
    /// Noise augmentation: the highest level of noise on z_x in training ([`crate::models::noise_augmentation`]), which sampling then chooses; 0: z_x stays exact and the
    /// network knows of no levels.
    pub max_noise_level: usize,
    /// Share of the pictures whose z_x stays exact under noise augmentation.
    pub exact: f64,
    /// Seed of the first values and of all batches.
    pub seed: u64,
}

impl Default for DecoderRecipe {
    /// The recipe of the `emoji` world's committed model.
    fn default() -> Self {
        Self {
            n_steps: 24000,
            n_cycles: 3,
            batch: 16,
            block: 4,
            pool: 2,
            channels: vec![64, 96],
            attention: vec![true, true],
            n_layers: 1,
            n_groups: 8,
            d_time: 256,
            d_cross: 48,
            d_head: 16,
            lr: 2e-3,
            muon_factor: 4.0,
            warmup: 50,
            grad_clip: 1.0,
            ema_decay: 0.998,
            cond_drop: 0.1,
            noisy_half: 0.7,
            snr_weight: [1.0, 5.0],
            cell_weight: 0.03,
            max_noise_level: 0,
            exact: 0.25,
            seed: 0,
        }
    }
}

impl DecoderRecipe {
    /// The recipe for a world's model. What the UNet sees is a grid of the same size in all worlds.
    pub fn of(world: World) -> Self {
        match world {
            World::Emoji => Self::default(),
            World::Shapes => Self {
                n_steps: 6000,
                n_cycles: 1,
                pool: 1,
                ..Self::default()
            },
        }
    }

    /// A model and a run so small that they show only that everything fits together, in any world.
    pub fn smoke() -> Self {
        Self {
            n_steps: 4,
            n_cycles: 1,
            batch: 3,
            block: 8,
            pool: 1,
            channels: vec![8, 16],
            attention: vec![false, true],
            n_groups: 4,
            d_time: 16,
            d_cross: 8,
            d_head: 8,
            warmup: 1,
            ..Self::default()
        }
    }

    /// # Errors
    /// The key at fault, what was expected and what was found.
    pub fn check(&self, world: World) -> Result<(), String> {
        for (key, value) in [
            ("n_steps", self.n_steps),
            ("n_cycles", self.n_cycles),
            ("batch", self.batch),
            ("block", self.block),
            ("pool", self.pool),
        ] {
            if value == 0 {
                return Err(format!("`{key}`: expected at least 1, found 0"));
            }
        }
        let side = self.space().side();
        let whole = world.picture_size();
        if !whole.is_multiple_of(side) {
            return Err(format!(
                "`block` x `pool`: expected a divisor of {whole}, found {side}"
            ));
        }
        if self.channels.len() != self.attention.len() {
            return Err(format!(
                "`attention`: expected {} values, one a size as in `channels`, found {}",
                self.channels.len(),
                self.attention.len()
            ));
        }
        for (key, value) in [
            ("cond_drop", self.cond_drop),
            ("noisy_half", self.noisy_half),
            ("ema_decay", self.ema_decay),
            ("exact", self.exact),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("`{key}`: expected 0 or more, below 1, found {value}"));
            }
        }
        if self.max_noise_level >= N_LEVELS {
            return Err(format!(
                "`max_noise_level`: expected 0 or more, below {N_LEVELS}, found {}",
                self.max_noise_level
            ));
        }
        self.model(world, 1).check().map_err(|e| e.to_string())
    }

    /// Whether a run of `earlier`, with a checkpoint every so many steps, can go on as this: it differs in nothing but having fewer cycles.
    pub fn continues(&self, earlier: &Self, checkpoint_every: usize) -> bool {
        let with_more = Self {
            n_steps: self.n_steps,
            n_cycles: self.n_cycles,
            ..earlier.clone()
        };
        let same_cycles = self.n_steps * earlier.n_cycles == earlier.n_steps * self.n_cycles;
        let at_checkpoint = earlier
            .n_steps
            .is_multiple_of(earlier.n_cycles * checkpoint_every);
        with_more == *self && same_cycles && at_checkpoint && self.n_cycles > earlier.n_cycles
    }

    /// The map between pictures and what the UNet sees.
    pub fn space(&self) -> PixelSpace {
        PixelSpace::rgb(self.block, self.pool)
    }

    /// Places along a side of what the UNet sees.
    pub(super) fn grid(&self, world: World) -> usize {
        world.picture_size() / self.space().side()
    }

    /// The UNet's sizes.
    pub fn model(&self, world: World, d_clip: usize) -> UNetConfig {
        let kind = |&attends: &bool| match attends {
            true => BlockType::CrossAttention,
            false => BlockType::Resnet,
        };
        let channels = self.space().channels();
        UNetConfig {
            sample_size: self.grid(world),
            in_channels: channels,
            out_channels: channels,
            channels: self.channels.clone(),
            n_layers: self.n_layers,
            down: self.attention.iter().map(kind).collect(),
            up: self.attention.iter().rev().map(kind).collect(),
            n_groups: self.n_groups,
            d_time: Some(self.d_time),
            conditioning: Conditioning::Image {
                d_clip,
                d_cross: self.d_cross,
                d_head: self.d_head,
                noise_level: self.max_noise_level > 0,
            },
            ..UNetConfig::kandinsky22()
        }
    }

    /// The noise schedule, and the sampler that the finished model is published with. Linear betas: pictures of large flat shapes show through
    /// a cosine schedule's noise for most of its length.
    pub fn scheduler(&self) -> SchedulerConfig {
        SchedulerConfig {
            kind: SchedulerKind::Ddim {
                set_alpha_to_one: true,
            },
            n_train: 1000,
            betas: BetaSchedule::Linear {
                start: 1e-4,
                end: 0.02,
            },
            prediction: Prediction::Sample,
            limit: Limit::Clip { range: 1.0 },
            spacing: Spacing::Trailing,
        }
    }

    /// Learning rates of AdamW.
    pub fn schedule(&self) -> LrSchedule {
        LrSchedule::Sgdr {
            lr: self.lr,
            warmup: self.warmup,
            t_0: self.n_steps.div_ceil(self.n_cycles),
            t_mult: 1,
            eta_min: 0.02 * self.lr,
        }
    }

    /// AdamW, but Muon for the weights inside the UNet's blocks and those that z_x goes through first; the average only follows.
    pub fn optimizer(&self) -> ModuleOptimizer {
        let rest: AdamW = AdamWConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.98)
            .with_epsilon(1e-8)
            .with_weight_decay(0.0)
            .build();
        let group = |pattern: &str| ParamGroup::from_regex(pattern).expect("a valid regular expression");
        ModuleOptimizer::from(rest)
            .with_group(group(HIDDEN), HiddenMuon::new(self.muon_factor, 0.0), None)
            .with_group(group(AVERAGE), Follow, None)
    }

    /// The model to be trained, on `device` (with autodiff), with its first values drawn from the recipe's seed; or, with `trained`, those of a UNet of
    /// this recipe that may not know of noise levels yet.
    pub fn trainer(&self, z_x: &Readout, trained: Option<UNet>, device: &Device) -> DecoderTrainer {
        let world = z_x.world();
        let config = self.model(world, z_x.d_clip());
        let unet = match trained {
            Some(unet) if self.max_noise_level > 0 => unet.with_noise_level(device),
            Some(unet) => unet,
            None => {
                let mut noise = Noise::stream(self.seed, START_STREAM);
                start::start_values(UNet::init(&config, device), z_x, &mut noise)
            }
        };
        let head = |d_out: usize| {
            let head = LinearConfig::new(config.d_features(), d_out).with_initializer(Initializer::Zeros);
            head.init(device)
        };
        DecoderTrainer {
            average: copy_of(&unet, UNet::init(&config, device)),
            noun: head(cells::n_nouns(world)),
            colour: head(cells::N_COLOURS),
            texture: cells::n_textures(world).map(head),
            offset: head(2),
            unet,
            cell_weight: self.cell_weight,
            grad_clip: self.grad_clip,
            ema_decay: self.ema_decay,
        }
    }
}

/// Paths of Muon's weights (norms' parameters are `gamma` and `beta`).
const HIDDEN: &str = concat!(
    r"^unet\.(image|(down|mid|up)\..*)",
    r"\.(fc_tokens|fc_time|conv_1|conv_2|shortcut|proj_time|query|key|value|context_key|context_value|output)",
    r"\.weight$"
);
const AVERAGE: &str = r"^average\.";

/// Streams of a recipe's seed: a step's batch has the step's number, the first values this one.
const START_STREAM: u64 = 1 << 40;

/// A decoder in training.
#[derive(Module, Debug)]
pub struct DecoderTrainer {
    /// What learns.
    pub unet: UNet,
    /// Its moving average, which is published.
    pub average: UNet,
    /// Reads off a place what covers it; dropped in the end.
    pub noun: Linear,
    /// And in which colour.
    pub colour: Linear,
    /// And in which texture, in worlds with textures.
    pub texture: Option<Linear>,
    /// And where its middle is.
    pub offset: Linear,
    #[module(skip)]
    cell_weight: f64,
    #[module(skip)]
    grad_clip: f64,
    #[module(skip)]
    ema_decay: f64,
}

impl DecoderTrainer {
    /// The terms of the loss, by name, each `[1]`; first what is minimised. `loss/x0` is the mean squared error of the clean picture without weights.
    pub fn losses(&self, batch: DecoderBatch) -> Vec<(&'static str, Tensor<1>)> {
        let condition = Condition::NoisyImage {
            z_x: batch.z_x,
            levels: batch.levels,
        };
        let (x_0_hat, features) = self.unet.forward_with_features(batch.x_t, &batch.t, condition);
        let [n, channels, h, w] = features.dims();
        let places = features.permute([0, 2, 3, 1]).reshape([n * h * w, channels]);
        let cells = cross_entropy(&self.noun, places.clone(), &batch.cells.noun)
            + cross_entropy(&self.colour, places.clone(), &batch.cells.colour)
            + offset_error(&self.offset, places.clone(), &batch.cells);
        let cells = match (&self.texture, &batch.cells.texture) {
            (Some(head), Some(target)) => cells + cross_entropy(head, places, target),
            _ => cells,
        };
        let picture = weighted(x_0_hat.clone(), batch.x_0.clone(), batch.weight);
        let error = (x_0_hat.detach() - batch.x_0).square().mean();
        let loss = picture.clone() + cells.clone().mul_scalar(self.cell_weight);
        vec![
            ("loss", loss),
            ("loss/picture", picture),
            ("loss/x0", error),
            ("loss/cells", cells),
        ]
    }
}

impl TrainStep for DecoderTrainer {
    type Input = DecoderBatch;
    type Output = StepReport;

    fn step(&self, batch: DecoderBatch) -> TrainOutput<StepReport> {
        let step = batch.step;
        let mut values = self.losses(batch);
        let mut grads = GradientsParams::from_grads(values[0].1.backward(), self);
        let grad_norm = clip_global_norm(self, &mut grads, Some(self.grad_clip));
        follow_at(step, &self.average, &self.unet, self.ema_decay, &mut grads);
        values.push(("grad_norm", grad_norm));
        TrainOutput {
            grads,
            item: StepReport::new(step, values),
        }
    }
}

/// burn-train asks for a validation step; the finished model is measured instead.
impl InferenceStep for DecoderTrainer {
    type Input = ();
    type Output = StepReport;

    fn step(&self, (): ()) -> StepReport {
        StepReport::new(0, vec![("loss", Tensor::zeros([1], &self.devices()[0]))])
    }
}

#[cfg(test)]
mod tests;
