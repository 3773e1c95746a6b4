//! What priors are trained and tested on: the pairs and test prompts of a built-in world, or a store of embeddings and what it holds out.
//!
//! Both are a [`Benchmark`]: training data, test captions, scores. [`Benchmarks`] opens the one that a run names and loads what runs share once.

#[expect(clippy::module_inception, reason = "the trait, below its implementations")]
mod benchmark;
pub mod images;
mod memo;
mod open;
mod spec;
mod store;
pub mod test_set;
mod world;

pub use benchmark::{Benchmark, BenchmarkSpec, ImageFolder, predict};
pub use open::Benchmarks;
pub use spec::{CaptionSpec, DataSpec, EvalSpec, ScoredCheckpoint};
