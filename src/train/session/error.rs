//! Errors of a session.

use crate::files::FileError;

/// The result of a run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why a run did not reach its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A value became infinite or not a number. The parameters of the last checkpoint are untouched.
    #[error("step {step}: `{name}` is {value}; the run stops here, its last checkpoint is step {checkpoint}")]
    NonFinite {
        /// The step.
        step: usize,
        /// Name of the value.
        name: String,
        /// The value.
        value: f32,
        /// The step of the last checkpoint.
        checkpoint: usize,
    },
    /// Metrics or checkpoints could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A stop was requested. The state is in a checkpoint.
    #[error("stopped after step {step} of {n_steps}, which is saved")]
    Interrupted {
        /// The step.
        step: usize,
        /// Number of steps of the run.
        n_steps: usize,
    },
    /// burn-train reported an error.
    #[error("training stopped: {0}")]
    Stopped(String),
}
