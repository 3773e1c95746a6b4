//! What a researcher writes: the tables of an experiment file.
//!
//! [`RunSpec`] mirrors the TOML one to one and is not yet checked; [`RunSpec::resolve`](super::run) turns it into a
//! [`ResolvedRun`](super::ResolvedRun). Each table is the type of the module that uses it, which also checks its keys. The defaults are the paper's recipe (section 4.1
//! and appendix A) where the paper states one; a small world overrides them in its `base.toml`. Unknown keys are refused everywhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::benchmark::{DataSpec, EvalSpec, ScoredCheckpoint};
pub use crate::train::objectives::Objective;
use crate::train::objectives::eclipse::Eclipse;
pub use crate::train::spec::{ModelSpec, ScheduleSpec, TrainSpec};

/// One run, as written. Every table may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// The world that images, captions and test prompts come from: the name of a [`World`](crate::world::World).
    pub world: String,
    /// Directory of the frozen CLIP. Left out: `datasets/<world>/clip`. Relative to the working directory.
    pub clip: Option<PathBuf>,
    /// Directory of the frozen decoder that draws what the prior predicts; not read while `eval.n_pictures` is 0. Left out:
    /// `datasets/<world>/decoder`. Relative to the working directory.
    pub decoder: Option<PathBuf>,
    /// Seed of everything the run draws itself: initial weights, order of the pairs, noise, dropped conditions.
    pub seed: u64,
    /// Training pairs.
    pub data: DataSpec,
    /// Size of the prior.
    pub model: ModelSpec,
    /// What is minimised, and how the result is sampled. Its `kind` decides which keys it has.
    pub objective: Objective,
    /// Optimisation.
    pub train: TrainSpec,
    /// Evaluation.
    pub eval: EvalSpec,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            world: "emoji".into(),
            clip: None,
            decoder: None,
            seed: 0,
            data: DataSpec::default(),
            model: ModelSpec::default(),
            objective: Objective::Eclipse(Eclipse::default()),
            train: TrainSpec::default(),
            eval: EvalSpec::default(),
        }
    }
}
