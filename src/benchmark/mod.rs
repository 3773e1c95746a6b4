//! Training and test data of priors: the pairs and test prompts of a built-in world, or a store of embeddings and its held-out pairs.
//!
//! Both are a [`Benchmark`]: training data, test captions, scores. [`Benchmarks`] opens the benchmark of a run and loads shared data once.

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
