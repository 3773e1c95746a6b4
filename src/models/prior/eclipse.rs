//! The time-independent prior g: (eps, y) -> z_x_hat in one pass (paper 3.3): the ECLIPSE and Projection priors.

use std::path::Path;

use burn::prelude::*;

use super::published::{self, published};
use super::trunk::Trunk;
use super::{FastPaths, MAPPING, PriorConfig, TextCondition};
use crate::weights::{self, Checkpoint, WeightsError};

/// A prior without time.
#[derive(Module, Debug)]
pub struct Prior {
    trunk: Trunk,
}

published!(Prior, "a prior without time", has_time: false);

impl Prior {
    /// A prior with Burn's own (lazy) initial values; [`crate::nn::torch_default`] makes them the reference's.
    ///
    /// # Panics
    /// If the config has a time token.
    pub fn init(config: &PriorConfig, device: &Device) -> Self {
        assert!(
            !config.has_time(),
            "a prior without time has {} extra tokens",
            PriorConfig::N_EXTRA
        );
        Self {
            trunk: Trunk::init(config, device),
        }
    }

    /// `eps`: `[batch, d_clip]`, standard normal -> z_x_hat `[batch, d_clip]`, raw (not normalised, not whitened).
    pub fn forward(&self, eps: Tensor<2>, text: TextCondition) -> Tensor<2> {
        self.trunk.forward(eps, text, None)
    }

    /// The same prior with other fast paths than its device suggests: equal to rounding, for tests and benches.
    #[must_use]
    pub fn with_fast_paths(self, fast_paths: FastPaths) -> Self {
        Self {
            trunk: self.trunk.with_fast_paths(fast_paths),
        }
    }

    /// The reference's `post_process_latents`, which ECLIPSE's pipelines never call.
    pub fn unwhiten(&self, z_x: Tensor<2>) -> Tensor<2> {
        self.trunk.unwhiten(z_x)
    }
}
