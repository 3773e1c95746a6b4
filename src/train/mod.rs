//! Training with burn-train's learner: steps as batches of a stream, checkpoints, resume, metrics.

pub mod average;
pub mod cells;
pub mod checkpoint;
pub mod clip;
pub mod decoder;
pub mod gradients;
mod loaders;
mod muon;
pub mod negatives;
pub mod objectives;
pub mod parts;
pub mod prior;
pub mod schedule;
pub mod session;
pub mod spec;
pub mod stop;
pub mod tensorboard;
pub mod trainer;
