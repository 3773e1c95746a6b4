//! Experiments: specifications, sweeps, run directories and their execution.
//!
//! [`spec`] is the specification file, [`resolve`] merges its layers, [`run`] is the checked result; [`sweep`] expands axes,
//! [`sweep_runner`] executes runs in the directories of [`run_dir`]; [`crate::report`] reads only those directories.

pub mod convergence;
mod error;
pub mod export;
pub mod mlflow;
pub mod own_words;
mod prior_cache;
mod prior_runner;
pub mod provenance;
pub mod report_spec;
pub mod resolve;
pub mod run;
pub mod run_dir;
mod schema;
pub mod spec;
pub mod sweep;
pub mod sweep_runner;
mod train_prior;

pub use crate::config::Setting;
pub(crate) use crate::train::metrics;
pub use crate::train::metrics::{MetricRow, MetricsLog};
pub use crate::train::run_folder::TrainingProgress;
pub use error::{RunDirError, SpecError};
pub use prior_runner::PriorRunner;
pub use run::ResolvedRun;
pub use run_dir::{RunDir, State};
pub use schema::{run_schema, sweep_schema};
pub use spec::RunSpec;
pub use sweep::{SweepSpec, Trial};
pub use sweep_runner::{Failure, Outcome, Runner};
pub use train_prior::OnStep;
