//! Why own prompts cannot be drawn.

use std::path::PathBuf;

use crate::experiment::error::{RunDirError, SpecError};
use crate::files::FileError;
use crate::generate::error::RenderError;
use crate::generate::prior_pipeline::PipelineError;
use crate::world::World;

/// Why the prompts could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// There is no trained prior.
    #[error(
        "no finished run of a built-in world in {0}: train some priors first, with `eclipse sweep objectives` (or, to look at the program in a minute, `eclipse sweep objectives --smoke`), or name a run with --run DIR"
    )]
    NoRun(PathBuf),
    /// The run has no prior for this world.
    #[error("{dir}: {reason}")]
    Run {
        /// The run directory.
        dir: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Words that the world does not know.
    #[error("the world {world} does not know {}.\n{vocabulary}", quoted(.words))]
    Unknown {
        /// Its name.
        world: World,
        /// The words.
        words: Vec<String>,
        /// The words that it knows, over several lines.
        vocabulary: String,
    },
    /// A prompt exceeds the length of the text tower.
    #[error("{prompt:?} is too long: the last {n} words do not fit the text tower")]
    TooLong {
        /// The prompt.
        prompt: String,
        /// Words that were cut.
        n: usize,
    },
    /// A run's configuration is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A run directory cannot be read.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text tower or the prior failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The decoder failed.
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl DrawError {
    /// Whether the user can correct the request, as opposed to a failure of the program.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoRun(_) | Self::Run { .. } | Self::Unknown { .. } | Self::TooLong { .. }
        )
    }
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}
