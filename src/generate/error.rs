//! Errors of planning and rendering.

use std::path::{Path, PathBuf};

use super::images::ImageError;
use super::noise_source::LatentsError;
use super::parts::LayoutError;
use super::prior::PriorError;
use crate::diffusion::DiffusionError;
use crate::files::FileError;
use crate::limits::NotFinite;
use crate::models::clip::ClipError;
use crate::models::unet::UNetConfig;
use crate::weights::WeightsError;

/// A call that cannot be planned or rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The folders of the pipeline.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Config or weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tower, a prompt or an image.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The prior, or a number out of range.
    #[error(transparent)]
    Prior(#[from] PriorError),
    /// A scheduler.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// Recorded noise.
    #[error(transparent)]
    Latents(#[from] LatentsError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image with values that are not finite, or that cannot be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Parts of different models.
    #[error("{a} and {b} do not belong together: {what} is {in_a} in the first, {in_b} in the second")]
    Width {
        /// A folder.
        a: PathBuf,
        /// The other folder.
        b: PathBuf,
        /// What should be equal.
        what: &'static str,
        /// The value in the first.
        in_a: String,
        /// The value in the second.
        in_b: String,
    },
    /// An option that the stack does not have.
    #[error("{name}: {reason}")]
    Stack {
        /// The option.
        name: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// An image of another call has the name.
    #[error(
        "{path} is of another call: `{key}` is {there} there, {here} now; give another folder, or --overwrite"
    )]
    OtherCall {
        /// The image.
        path: PathBuf,
        /// What differs.
        key: String,
        /// In the side file.
        there: String,
        /// In this call.
        here: String,
    },
    /// Another call writes to the folder.
    #[error("{out} is being written by process {holder}; wait for it, or give another folder")]
    Busy {
        /// The folder.
        out: PathBuf,
        /// The process.
        holder: String,
    },
    /// An image without a side file has the name.
    #[error("{0} exists, without a side file that says how it was made; give another folder, or --overwrite")]
    Occupied(PathBuf),
    /// What a side file records has changed.
    #[error("cannot repeat the call exactly: `{key}` was {then}, is {now}")]
    Changed {
        /// What differs.
        key: String,
        /// In the side file.
        then: String,
        /// The value now.
        now: String,
    },
    /// An image embedding that is not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A file of embeddings that does not fit.
    #[error("{path}: {reason}")]
    Embeddings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RenderError {
    /// Whether an argument is wrong, rather than a file.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Prior(PriorError::Setting { .. })
                | Self::Stack { .. }
                | Self::Diffusion(DiffusionError::Steps { .. } | DiffusionError::Eta(_))
        )
    }
}

/// [`RenderError::Width`] unless both folders have the same value.
pub(super) fn width<T: PartialEq + ToString>(
    what: &'static str,
    (a, in_a): (&Path, T),
    (b, in_b): (&Path, T),
) -> Result<(), RenderError> {
    if in_a == in_b {
        return Ok(());
    }
    Err(RenderError::Width {
        a: a.into(),
        b: b.into(),
        what,
        in_a: in_a.to_string(),
        in_b: in_b.to_string(),
    })
}

/// An option that a stack does not have.
pub(super) fn no_such(name: &'static str, reason: impl Into<String>) -> RenderError {
    RenderError::Stack {
        name,
        reason: reason.into(),
    }
}

/// Renames the setting in `error` to its option on the command line. `names`: pairs of setting and option.
pub(super) fn option(error: impl Into<RenderError>, names: &[(&'static str, &'static str)]) -> RenderError {
    match error.into() {
        RenderError::Prior(PriorError::Setting {
            name,
            expected,
            found,
        }) => {
            let option = names.iter().find(|(setting, _)| *setting == name);
            RenderError::Prior(PriorError::Setting {
                name: option.map_or(name, |(_, option)| option),
                expected,
                found,
            })
        }
        other => other,
    }
}

/// The UNet in `dir` is conditioned on something else than `expected`.
pub(super) fn conditioned(dir: &Path, config: &UNetConfig, expected: &str) -> RenderError {
    WeightsError::Config {
        path: dir.join("config.json"),
        reason: format!(
            "this UNet is conditioned on {}, this part on {expected}",
            config.conditioning
        ),
    }
    .into()
}
