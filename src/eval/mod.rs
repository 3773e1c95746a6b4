//! Evaluation: metrics on a prior's predicted embeddings, on images decoded from them, and on folders of images.
//!
//! Names: `z_x` is the image embedding, `z_y` the pooled text embedding, `z_x_hat` a prior's prediction of `z_x` from `z_y`.
//! The measures are pure functions of [`Embeddings`]: they run on the host in f64 and give the same bits on any number of threads. Callers encode;
//! only metrics on folders of images load networks themselves ([`metrics::ImageSet`]).
//!
//! - [`Embeddings`]: rows on the host. [`EvalFile`]: the result file `eval/embedding.json` of a run; [`ScoreFile`]: any file of `eval/`.
//! - [`metrics`]: the table of all metrics, and what computes them: [`evaluate`](fn@evaluate) from one [`Inputs`], [`evaluate_images`] from one
//!   [`DecodedInputs`], `eclipse eval` from a folder of images.
//! - [`forced_choice`](mod@forced_choice): does the prediction choose the true image among re-rendered ones that are wrong in one way?
//! - [`embedding`]: cosines, retrieval, norms, errors, diversity over noise, place in the modality gap.
//! - [`frechet`](mod@frechet): distance between the distributions of predictions and of true embeddings.
//! - [`baselines`]: what anyone would try first. [`probe`]: what a linear map reads from embeddings. [`ridge`]: the map itself.
//! - [`checker`]: how far what the checker of a world reads from pixels can be trusted.
//! - [`compbench`]: categories, official prompts and scores of T2I-CompBench.
//! - [`rescale`]: predictions as long, or as far apart, as true embeddings are.
//! - [`bootstrap`]: intervals over seeds and prompts.

pub mod baselines;
pub mod blip_vqa;
pub mod bootstrap;
pub mod checker;
pub mod compbench;
mod decoded;
pub mod embedding;
pub mod features;
pub mod fid;
pub mod forced_choice;
pub mod frechet;
pub mod image_folder;
pub mod image_score;
mod inputs;
pub mod kept_images;
pub mod kid;
pub mod metrics;
pub mod per_image;
pub mod pick_score;
pub mod probe;
pub mod rescale;
pub mod results;
pub mod ridge;
mod rows;
mod score_file;

use std::fmt::Display;
use std::path::PathBuf;

pub use bootstrap::{Bootstrap, Interval, Seeds, WinRate};
pub use decoded::{CheckedImage, DecodedInputs};
pub use inputs::{Inputs, Split};
pub use metrics::{evaluate, evaluate_images};
pub use results::{EvalFile, Metric};
pub use rows::Embeddings;
pub use score_file::ScoreFile;

use crate::files::FileError;

/// Something cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Sizes, counts or labels do not fit each other.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The offending argument.
        what: String,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
    },
    /// An embedding holds a NaN or an infinity.
    #[error("embeddings: row {row}, column {column} is {value}, expected a finite number")]
    NonFinite {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// There is not enough of something for a statistic.
    #[error("{what}: expected at least {needed}, found {found}")]
    TooFew {
        /// Of what, and for which statistic.
        what: &'static str,
        /// How many it needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// An option is out of range.
    #[error("{what} = {value}: expected {expected}")]
    Parameter {
        /// The option.
        what: &'static str,
        /// Its value.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// A matrix that has to be positive definite is not.
    #[error("{what} with alpha = {alpha}: the {d} x {d} system is singular; use an alpha above zero")]
    Singular {
        /// What was being solved.
        what: &'static str,
        /// The regularisation.
        alpha: f64,
        /// Size of the system.
        d: usize,
    },
    /// An iterative decomposition gave up.
    #[error("{what} ({d} x {d}) did not converge")]
    NoConvergence {
        /// The decomposition.
        what: &'static str,
        /// Size of the matrix.
        d: usize,
    },
    /// A result file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A result file is not what it should be.
    #[error("{path} is no evaluation file")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        #[source]
        source: serde_json::Error,
    },
    /// A result file reads well but says something impossible.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the metric.
        problem: String,
    },
}

impl EvalError {
    fn shape(what: impl Into<String>, expected: impl Into<String>, found: impl Display) -> Self {
        Self::Shape {
            what: what.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    fn parameter(what: &'static str, value: impl Display, expected: &'static str) -> Self {
        Self::Parameter {
            what,
            value: value.to_string(),
            expected,
        }
    }
}
