//! Reading and writing diffusers' folders, the same for both kinds of prior.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;

use super::{MAPPING, PriorConfig};
use crate::config::ConfigError;
use crate::weights::{self, WeightsError};

/// The config in `dir`, of a prior with or without time.
pub(super) fn read_config(dir: &Path, has_time: bool) -> Result<PriorConfig, WeightsError> {
    let config = PriorConfig::read(dir)?;
    if config.has_time() == has_time {
        return Ok(config);
    }
    let (expected, what) = match has_time {
        true => (PriorConfig::N_EXTRA + 1, "this prior has no time"),
        false => (PriorConfig::N_EXTRA, "this is a diffusion prior"),
    };
    let path = dir.join("config.json");
    let found = format!("{}: {what}", config.n_extra);
    let key = "additional_embeddings";
    Err(ConfigError::value(path.display(), key, expected.to_string(), found).into())
}

/// Writes config and weights into `dir`.
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

/// Loading and saving of the prior `$name`, which errors call `$what`.
macro_rules! published {
    ($name:ident, $what:literal, has_time: $has_time:literal) => {
        impl $name {
            /// Loads a published folder.
            ///
            /// # Errors
            /// [`WeightsError`], naming the file, the key or the tensors; also for a folder with the other kind of prior.
            pub fn load(dir: &Path, device: &Device) -> Result<(PriorConfig, Self), WeightsError> {
                let config = published::read_config(dir, $has_time)?;
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
                weights::load(Self::init(config, device), $what, weights, &MAPPING, &[])
            }

            /// Writes `dir/config.json` and `dir/diffusion_pytorch_model.safetensors`, which diffusers-style code loads.
            ///
            /// # Errors
            /// [`WeightsError::File`].
            pub fn save(&self, config: &PriorConfig, dir: &Path) -> Result<(), WeightsError> {
                published::save(self, config, dir)
            }
        }
    };
}
pub(super) use published;
