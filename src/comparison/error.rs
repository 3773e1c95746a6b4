//! Errors of comparisons.

use crate::config::ConfigError;
use crate::data::prompts::PromptError;
use crate::eval::EvalError;
use crate::eval::image_folder::ImageFolderError;
use crate::eval::metrics::ImageMetricError;
use crate::files::FileError;
use crate::generate::error::RenderError;
use crate::generate::parts::LayoutError;
use crate::weights::WeightsError;

/// A comparison cannot be read, run or summed up.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// The specification, or the file of published numbers.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of prompts.
    #[error(transparent)]
    Prompts(#[from] PromptError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Weights, or a result in JSON.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The folders of a pipeline.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Drawing.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A folder of images.
    #[error(transparent)]
    Folder(#[from] ImageFolderError),
    /// A metric.
    #[error(transparent)]
    Metric(#[from] ImageMetricError),
    /// Statistics over scores.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Images and prompts of a set do not fit.
    #[error(
        "{folder}: {n_images} images for the {n_prompts} prompts of {prompts}: expected the same number for each prompt"
    )]
    Images {
        /// The folder of images.
        folder: std::path::PathBuf,
        /// Name of the prompt set.
        prompts: String,
        /// Images found.
        n_images: usize,
        /// Prompts of the set.
        n_prompts: usize,
    },
}

impl ComparisonError {
    /// Whether the specification is at fault, which the user can correct.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Prompts(_))
    }
}

/// Work on one system and prompt set that failed; the rest went on.
#[derive(Debug)]
pub struct Failure {
    /// The system.
    pub system: String,
    /// The prompt set.
    pub prompts: String,
    /// `drawing`, or the name of a metric.
    pub what: String,
    /// Why.
    pub error: ComparisonError,
}
