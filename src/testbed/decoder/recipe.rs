//! Sizes and settings of a small decoder's training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::check::{Bound, at_least, bounded, bounds_of, fraction};
use crate::config::{InvalidValue, schema};
use crate::diffusion::{BetaSchedule, Limit, Prediction, SchedulerConfig, SchedulerKind, Spacing};
use crate::models::noise_augmentation::N_LEVELS;
use crate::models::pixel_space::PixelSpace;
use crate::models::unet::{BlockType, Conditioning, UNetConfig};
use crate::train::schedule::LrSchedule;
use crate::world::World;

/// Everything that defines a training run of the small decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderRecipe {
    /// Optimiser steps, of all cycles.
    pub n_steps: usize,
    /// Cycles of the learning rate, equally long (SGDR, Loshchilov and Hutter 2017): training can be extended by further cycles.
    pub n_cycles: usize,
    /// Images of a step.
    pub batch: usize,
    /// Side of a square of pooled pixels that becomes one position of the UNet.
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
    /// Decay of the exponential moving average (EMA) that is published; lower in the first steps.
    pub ema_decay: f64,
    /// Share of the images whose z_x is replaced by that of the zero image.
    pub cond_drop: f64,
    /// Share of the timesteps that come from the noisier half, where little but z_x says what to draw.
    pub noisy_half: f64,
    /// Bounds of a timestep's weight.
    pub snr_weight: [f64; 2],
    /// Weight of the loss of reading off what the last block up sees which noun and colour covers each position, and where its middle is: the
    /// UNet so learns from few images what is where, and the last block learns to draw it.
    pub cell_weight: f64,
    /// Noise augmentation: the highest level of noise on z_x in training ([`crate::models::noise_augmentation`]), which sampling then chooses; 0: z_x stays exact and the
    /// network knows of no levels.
    pub max_noise_level: usize,
    /// Share of the images whose z_x stays exact under noise augmentation.
    pub exact: f64,
    /// Seed of the initial weights and of all batches.
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
        let sizes = world.small_models();
        Self {
            n_steps: sizes.decoder_steps,
            n_cycles: sizes.decoder_cycles,
            pool: sizes.decoder_pool,
            ..Self::default()
        }
    }

    /// A tiny model and run that only test that all parts fit together, in any world.
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

    /// Checks each number on its own.
    fn check_numbers(&self) -> Result<(), InvalidValue> {
        let counts = [
            ("n_steps", self.n_steps),
            ("n_cycles", self.n_cycles),
            ("batch", self.batch),
            ("block", self.block),
            ("pool", self.pool),
        ];
        (counts.into_iter()).try_for_each(|(key, found)| at_least(key, 1, found))?;
        let shares = [
            ("cond_drop", self.cond_drop),
            ("noisy_half", self.noisy_half),
            ("ema_decay", self.ema_decay),
            ("exact", self.exact),
        ];
        (shares.into_iter()).try_for_each(|(key, found)| fraction(key, found))?;
        bounded(
            "max_noise_level",
            &[Bound::Below(N_LEVELS as f64)],
            format!("a whole number from 0 to {}", N_LEVELS - 1),
            self.max_noise_level as f64,
        )
    }

    /// The JSON Schema of a recipe's file.
    ///
    /// # Errors
    /// [`InvalidValue`], if the checks refuse the defaults: a mistake of the program.
    pub fn schema() -> Result<serde_json::Value, InvalidValue> {
        let mut recipe = schema::of::<Self>();
        schema::restrict(&mut recipe, &bounds_of(|| Self::default().check_numbers())?);
        Ok(schema::document("Recipe of a small decoder", recipe))
    }

    /// # Errors
    /// The key at fault, what was expected and what was found.
    pub fn check(&self, world: World) -> Result<(), String> {
        self.check_numbers().map_err(|invalid| invalid.to_string())?;
        let side = self.space().side();
        let whole = world.image_size();
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
        self.model(world, 1).check().map_err(|e| e.to_string())
    }

    /// Whether a run of `earlier`, with a checkpoint every so many steps, can be resumed with this recipe: it differs only in having fewer cycles.
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

    /// The map between images and what the UNet sees.
    pub fn space(&self) -> PixelSpace {
        PixelSpace::rgb(self.block, self.pool)
    }

    /// Positions along a side of what the UNet sees.
    pub(super) fn grid(&self, world: World) -> usize {
        world.image_size() / self.space().side()
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

    /// The noise schedule, and the sampler that the finished model is published with. Linear betas: images of large flat shapes show through
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
}
