//! Training with burn-train's learner: steps as batches of a stream, checkpoints, resume, metrics.

pub mod checkpoint;
pub mod clip;
pub mod gradients;
pub mod prior;
pub mod schedule;
pub mod session;
