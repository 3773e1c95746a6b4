//! The time-independent prior g: (eps, y) -> z_x_hat in one pass (paper 3.3): the ECLIPSE and Projection priors.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;

use super::trunk::Trunk;
use super::{FastPaths, MAPPING, PriorConfig, TextCondition};
use crate::weights::{self, Checkpoint, WeightsError};

/// A prior without time.
#[derive(Module, Debug)]
pub struct Prior {
    trunk: Trunk,
}

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

    /// Loads a published folder.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file, the key or the tensors; also for a folder whose prior has time.
    pub fn load(dir: &Path, device: &Device) -> Result<(PriorConfig, Self), WeightsError> {
        let config = PriorConfig::read(dir)?;
        if config.has_time() {
            let reason =
                "`additional_embeddings`: expected 3, found 4: this is a diffusion prior".to_string();
            return Err(WeightsError::Config {
                path: dir.join("config.json"),
                reason,
            });
        }
        let prior = Self::from_checkpoint(&config, &Checkpoint::open(dir)?, device)?;
        Ok((config, prior))
    }

    /// Loads weights that fit `config`.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming the tensors.
    pub fn from_checkpoint(
        config: &PriorConfig,
        weights: &Checkpoint,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        weights::load(
            Self::init(config, device),
            "a prior without time",
            weights,
            &MAPPING,
            &[],
        )
    }

    /// Writes `dir/config.json` and `dir/diffusion_pytorch_model.safetensors`, which diffusers-style code loads.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn save(&self, config: &PriorConfig, dir: &Path) -> Result<(), WeightsError> {
        save(self, config, dir)
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

pub(super) fn save<M: Module>(module: &M, config: &PriorConfig, dir: &Path) -> Result<(), WeightsError> {
    crate::files::create_dir(dir)?;
    weights::save(
        module,
        &dir.join("diffusion_pytorch_model.safetensors"),
        &MAPPING,
        DType::F32,
    )?;
    weights::write_json(&dir.join("config.json"), config)
}
