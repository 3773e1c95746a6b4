//! Errors of reports.

use std::path::PathBuf;

use crate::eval::EvalError;
use crate::eval::image_score::OtherProtocol;
use crate::experiment::RunDirError;
use crate::files::FileError;

/// A report cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no finished run.
    #[error("no finished run in {folder}: expected directories with a DONE file; run the sweep first")]
    Empty {
        /// The folder of the runs.
        folder: PathBuf,
    },
    /// The specification of an experiment cannot be expanded.
    #[error("cannot use the specification in {folder}")]
    Spec {
        /// The experiment's folder.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Committed results cannot be read.
    #[error("{path}: expected the CSV that `eclipse report NAME --publish` writes")]
    Committed {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        #[source]
        source: csv::Error,
    },
    /// A run directory is damaged.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The scores of a run cannot be read.
    #[error("cannot use the scores of {dir}")]
    Scores {
        /// The run directory.
        dir: PathBuf,
        /// The cause.
        #[source]
        source: EvalError,
    },
    /// Runs of one system have different prompts.
    #[error("cannot combine the runs of {system}")]
    Combine {
        /// Label of the system.
        system: String,
        /// The cause.
        #[source]
        source: EvalError,
    },
    /// A metric of images has other protocols in other runs.
    #[error(
        "cannot put {} and {here} into one column: score the images of all runs in the same way, or remove one of the files",
        .source.path.display()
    )]
    Protocol {
        /// The result of the other run.
        here: PathBuf,
        /// What differs.
        #[source]
        source: OtherProtocol,
    },
    /// The images of a run cannot be shown.
    #[error("cannot show the images of {dir}")]
    Images {
        /// The run directory.
        dir: PathBuf,
        /// The cause.
        #[source]
        source: EvalError,
    },
    /// The report cannot be written, or a README cannot be read.
    #[error("cannot write the report")]
    Write(#[from] FileError),
    /// The table cannot be written as CSV.
    #[error("cannot write CSV: {0}")]
    Csv(String),
    /// A kept image cannot be decoded, or the sheet cannot be encoded.
    #[error("cannot put the images on one sheet")]
    Sheet(#[source] image::ImageError),
    /// The plot cannot be drawn.
    #[error("cannot draw the plot: {0}")]
    Draw(String),
}
