//! Why a report cannot be made.

use std::path::PathBuf;

use crate::eval::EvalError;
use crate::experiment::RunDirError;
use crate::files::FileError;

/// A report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to report.
    #[error("no finished run in {folder}: expected directories with a DONE file; run the sweep first")]
    Empty {
        /// Where runs were looked for.
        folder: PathBuf,
    },
    /// A run directory is damaged.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The scores of a run cannot be read.
    #[error("cannot use the scores of {dir}")]
    Scores {
        /// The run directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: EvalError,
    },
    /// Seeds of one system were not asked the same.
    #[error("cannot combine the runs of {system}")]
    Combine {
        /// Label of the system.
        system: String,
        /// Why.
        #[source]
        source: EvalError,
    },
    /// The images of a run cannot be shown.
    #[error("cannot show the images of {dir}")]
    Images {
        /// The run directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: EvalError,
    },
    /// The report cannot be written, or a page about it not read.
    #[error("cannot write the report")]
    Write(#[from] FileError),
    /// The table cannot be put into CSV.
    #[error("cannot write CSV: {0}")]
    Csv(String),
    /// A kept image is none, or the sheet of them cannot be made.
    #[error("cannot put the images on one sheet")]
    Sheet(#[source] image::ImageError),
    /// The plot cannot be drawn.
    #[error("cannot draw the plot: {0}")]
    Draw(String),
}
