//! Training with burn-train's learner: steps as batches of a stream, checkpoints, resume, metrics.

mod adamw;
mod adamw_group;
pub mod checkpoint;
pub mod ema;
mod flat;
pub mod gradients;
pub mod hardware;
pub mod metrics;
pub mod micro_batches;
pub mod muon;
pub mod negatives;
pub mod objectives;
pub mod prior;
pub mod row_wise;
pub mod run_folder;
pub mod schedule;
pub mod session;
pub mod spec;
pub mod stop;
pub mod tensorboard;
pub mod trainer;
