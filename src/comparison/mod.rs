//! Comparisons of text-to-image systems: who draws, which prompts, which metrics, and the published numbers beside.
//!
//! ```text
//! sweep.toml --read--> Comparison --run--> RUNS/SYSTEM/PROMPT SET/{samples,eval}/ --read--> Results
//! ```
//! A system is a pipeline with a prior and sampling settings, a folder of images that were made elsewhere, or published numbers only. What is not on this
//! machine (weights, references, images) is no error: its cells are missing, with the reason. Images and scores are on disk as soon as they are finished, and a
//! second call resumes after them.

mod error;
mod folders;
mod meetings;
mod options;
mod preferences;
mod prompts;
mod published;
mod results;
mod run;
mod score;
mod spec;
mod survey;
mod system;

pub use error::{ComparisonError, Failure};
pub use folders::Folders;
pub use meetings::Meeting;
pub use options::RunOptions;
pub use preferences::Preference;
pub use prompts::{PromptSet, Source};
pub use published::{Published, PublishedScore, PublishedSystem};
pub use results::{Cell, Point, Results, Row};
pub use run::{Outcome, Progress, check, run};
pub use spec::{Column, Comparison, Compute, MetricSettings, PreferenceSpec, Scatter, is_comparison, schema};
pub use survey::Work;
pub use system::System;
