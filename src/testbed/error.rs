//! Why a built-in world's model cannot be made.

use std::path::PathBuf;

use super::acceptance::MeasureError;
use crate::data::encode::EncodeError;
use crate::device::DeviceError;
use crate::diffusion::DiffusionError;
use crate::files::FileError;
use crate::generate::error::RenderError;
use crate::generate::images::ImageError;
use crate::models::clip::ClipError;
use crate::models::clip::preprocess::PreprocessError;
use crate::models::clip::tokenizer::TokenizerError;
use crate::train::session::TrainError;
use crate::weights::WeightsError;

/// A model could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run's folder belongs to another recipe.
    #[error("{path} holds a run of another recipe: give another --run-dir, or remove it")]
    OtherRecipe {
        /// The recipe that the folder holds.
        path: PathBuf,
    },
    /// Another process works in the run's folder.
    #[error("{dir} is in use by process {pid}")]
    Running {
        /// The run's folder.
        dir: PathBuf,
        /// Process id out of the lock file, `?` when it was not readable.
        pid: String,
    },
    /// The run's folder could not be locked for another reason than another process.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Preprocessing of images.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The CLIP that a decoder reads.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The finished model.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Measuring it.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The finished decoder's scheduler.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// The finished decoder's folder.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// What the decoder draws.
    #[error(transparent)]
    Image(#[from] ImageError),
}
