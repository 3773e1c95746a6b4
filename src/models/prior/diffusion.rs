//! The prior with time: (x_t, t, y) -> an estimate of the clean image embedding (paper Eq. 1).

use std::path::Path;

use burn::prelude::*;

use super::published::{self, published};
use super::trunk::{PrefixCache, Trunk};
use super::{MAPPING, PriorConfig, TextCondition};
use crate::nn::{TimeEmbedding, timestep_embedding};
use crate::weights::{self, Checkpoint, WeightsError};

/// Tokens after the caption's: time, noise, query.
const N_OWN: usize = 3;

/// A prior with time: the Diffusion-Baseline, or the 1B priors of Karlo and Kandinsky 2.2.
#[derive(Module, Debug)]
pub struct DiffusionPrior {
    time: TimeEmbedding,
    trunk: Trunk,
    d_model: usize,
}

published!(DiffusionPrior, "a prior with time", has_time: true);

impl DiffusionPrior {
    /// A prior with Burn's own (lazy) initial values; [`crate::nn::torch_default`] makes them the reference's.
    ///
    /// # Panics
    /// If the config has no time token.
    pub fn init(config: &PriorConfig, device: &Device) -> Self {
        assert!(
            config.has_time(),
            "a prior with time has {} extra tokens",
            PriorConfig::N_EXTRA + 1
        );
        let d = config.d_model();
        let d_time = config.d_time.unwrap_or(d);
        let time = TimeEmbedding::init(d, d_time, d, config.time_activation, device);
        Self {
            time,
            trunk: Trunk::init(config, device),
            d_model: d,
        }
    }

    /// `x_t`: `[batch, d_clip]`; `t`: one timestep a row, in 0..1000 -> the predicted clean embedding `[batch, d_clip]`, whitened if the
    /// prior was trained so.
    pub fn forward(&self, x_t: Tensor<2>, t: &[f64], text: TextCondition) -> Tensor<2> {
        let time = timestep_embedding(t, self.d_model, &x_t.device());
        self.trunk.forward(x_t, text, Some(self.time.forward(time)))
    }

    /// Encodes captions once, for [`DiffusionPrior::forward_cached`] at many timesteps.
    pub fn encode_prefix(&self, text: TextCondition) -> PrefixCache {
        self.trunk.encode_prefix(text, N_OWN)
    }

    /// [`DiffusionPrior::forward`] with captions that were encoded before: the same numbers to rounding, at the cost of three tokens.
    pub fn forward_cached(&self, x_t: Tensor<2>, t: &[f64], text: &PrefixCache) -> Tensor<2> {
        let time = timestep_embedding(t, self.d_model, &x_t.device());
        self.trunk
            .forward_cached(text, x_t, Some(self.time.forward(time)))
    }

    /// `z_x * clip_std + clip_mean` (reference: `post_process_latents`): from the space the prior was trained in to CLIP's.
    pub fn unwhiten(&self, z_x: Tensor<2>) -> Tensor<2> {
        self.trunk.unwhiten(z_x)
    }

    /// The same prior with these whitening statistics, `[d_clip]` each.
    pub fn with_statistics(mut self, mean: Tensor<1>, std: Tensor<1>) -> Self {
        self.trunk = self.trunk.with_statistics(mean, std);
        self
    }
}
