//! Errors of an export.

use std::path::PathBuf;

use crate::data::store::StoreError;
use crate::experiment::error::{RunDirError, SpecError};
use crate::files::FileError;
use crate::generate::error::RenderError;
use crate::generate::parts::LayoutError;
use crate::generate::prior::PriorError;
use crate::weights::WeightsError;

/// A prior that cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Neither a run nor a prior.
    #[error(
        "{0} holds no prior: expected a run directory (with config.toml) or a prior's folder (with config.json)"
    )]
    NoPrior(PathBuf),
    /// The run is not finished.
    #[error(
        "{dir} is not finished: only finished runs are exported; finish it first, with `eclipse train --config {dir}/config.toml --out {dir} --resume` or its sweep"
    )]
    Unfinished {
        /// The run directory.
        dir: PathBuf,
    },
    /// The run has no network.
    #[error("{dir} is a run of the baseline {name}, which trains no network: there is nothing to export")]
    Baseline {
        /// The run directory.
        dir: PathBuf,
        /// The baseline.
        name: String,
    },
    /// The target is not empty.
    #[error("{to} is not empty: {found} lies there; expected a folder that does not exist, or an empty one{}", if *.is_export { ". It is an earlier export: remove it to export again" } else { "" })]
    Occupied {
        /// The target.
        to: PathBuf,
        /// One thing in it.
        found: String,
        /// Whether it looks like an earlier export.
        is_export: bool,
    },
    /// The CLIP that the prior reads is not known.
    #[error(
        "which CLIP does the prior in {dir} read? Name its folder with --clip DIR: text tower, tokenizer and vision tower become part of the export. Or write the network alone with --prior-only"
    )]
    NoClip {
        /// The prior's folder.
        dir: PathBuf,
    },
    /// A folder is no CLIP that can be exported.
    #[error("{dir}: {reason}")]
    Clip {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// A decoder that cannot be used.
    #[error("--decoder {name}: {reason}")]
    Decoder {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The run's store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A decoder's folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A decoder's part.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The run's configuration is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The run directory cannot be read.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The prior does not load.
    #[error(transparent)]
    Prior(#[from] PriorError),
    /// The prior cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ExportError {
    /// Whether the caller asked for something impossible, rather than that something failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoPrior(_)
                | Self::Unfinished { .. }
                | Self::Baseline { .. }
                | Self::Occupied { .. }
                | Self::NoClip { .. }
                | Self::Clip { .. }
                | Self::Decoder { .. }
        )
    }
}
