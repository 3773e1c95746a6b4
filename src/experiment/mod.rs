//! Experiments: from a specification to runs, from runs to a report.
//!
//! [`spec`] is what a researcher writes, [`resolve`] its layers, [`run`] the checked result; [`sweep`] expands axes,
//! [`execute`] carries runs out in the directories of [`run_dir`], [`report`] reads those and nothing else.

pub mod bars;
pub mod convergence;
mod error;
pub mod execute;
pub mod executor;
pub mod export;
mod held_out;
mod metrics;
pub mod own_words;
mod pictures;
pub mod pretrain;
pub mod provenance;
pub mod questions;
pub mod report;
pub mod resolve;
pub mod run;
pub mod run_dir;
mod shared;
pub mod spec;
pub mod sweep;
mod trained;
mod training;

pub use crate::config::Setting;
pub use error::{RunDirError, SpecError};
pub use execute::{Execute, Failure, Outcome};
pub use executor::PriorExecutor;
pub use metrics::{MetricRow, MetricsLog};
pub use run::Run;
pub use run_dir::{RunDir, State};
pub use spec::RunSpec;
pub use sweep::{Planned, SweepSpec};
