//! Why a session did not reach its last step.

use crate::files::FileError;

/// Why a run failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A run that did not reach its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A value became infinite or not a number. The parameters of the last checkpoint are untouched.
    #[error("step {step}: `{name}` is {value}; the run stops here, its last checkpoint is step {checkpoint}")]
    NonFinite {
        /// The step.
        step: usize,
        /// Which value.
        name: String,
        /// What it was.
        value: f32,
        /// The step to which the run can go back.
        checkpoint: usize,
    },
    /// Metrics or checkpoints could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was asked to stop. What is here is in a checkpoint.
    #[error("stopped after step {step} of {n_steps}, which is saved")]
    Interrupted {
        /// The step.
        step: usize,
        /// Steps of the run.
        n_steps: usize,
    },
    /// burn-train stopped.
    #[error("training stopped: {0}")]
    Stopped(String),
}
