//! What decoders share: settings, and a guided UNet as a denoiser.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::prior::{PriorError, PriorSettings};
use crate::diffusion::guide_halves;
use crate::models::noise_augmentation::N_LEVELS;
use crate::models::unet::{Condition, UNet};

/// Settings of a decoder's sampling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecoderSettings {
    /// Visited timesteps.
    pub n_steps: usize,
    /// Guidance scale; up to 1 is none.
    pub guidance: f64,
    /// Weight of the added noise: 1 is the plain ancestral sampler; for DDIM its own eta.
    pub eta: f64,
    /// Level of the noise that is added to z_x first, for a decoder that was trained with noise augmentation; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub noise_level: usize,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl DecoderSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`PriorError::Setting`] naming the setting and its range.
    pub fn check(&self) -> Result<(), PriorError> {
        let Self {
            n_steps,
            guidance,
            eta,
            noise_level,
        } = *self;
        if noise_level >= N_LEVELS {
            return Err(PriorError::Setting {
                name: "noise_level",
                expected: "below 1000",
                found: noise_level.to_string(),
            });
        }
        PriorSettings {
            n_steps,
            guidance,
            eta,
        }
        .check()
    }

    /// Whether guidance is on: the batch then has an unconditional half.
    pub fn guided(&self) -> bool {
        self.guidance > 1.0
    }
}

/// `unet` under `condition` as the denoiser of `x_t` `[batch, channels, h, w]`. With guidance the condition has the unconditional half first.
pub fn denoiser<'a>(
    unet: &'a UNet,
    condition: Condition,
    settings: DecoderSettings,
) -> impl FnMut(Tensor<4>, usize) -> Tensor<4> + 'a {
    move |x_t, t| {
        let [batch, channels, _, _] = x_t.dims();
        let t = t as f64;
        if !settings.guided() {
            return unet.forward(x_t, &vec![t; batch], condition.clone());
        }
        let twice = Tensor::cat(vec![x_t.clone(), x_t], 0);
        let output = unet.forward(twice, &vec![t; 2 * batch], condition.clone());
        guide_halves(output, channels, settings.guidance)
    }
}
