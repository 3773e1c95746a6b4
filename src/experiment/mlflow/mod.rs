//! Runs on an MLflow server: parameters, tags, logged values and final scores, sent while the run works.
//!
//! A run never waits for the server. [`Tracker::log`] puts values into a bounded queue, and one thread of the process sends them in batches. While the server
//! does not answer, values are kept; what does not fit is sent from the run's `metrics.jsonl` later. The server says which step of a metric it has, so that a
//! resumed run continues its MLflow run and sends no step twice.

mod client;
mod queue;
mod server;
mod start;
mod tracker;
mod worker;

pub use queue::Ending;
pub use server::{Server, ServerError};
pub use start::RunStart;
pub use tracker::Tracker;
