//! The specification file of an experiment.
//!
//! [`RunSpec`] mirrors the TOML and is not yet checked; [`RunSpec::resolve`](super::run) turns it into a
//! [`ResolvedRun`](super::ResolvedRun). Each table is a type of the module that uses it, which also checks its keys. The defaults are the paper's
//! recipe (section 4.1
//! and appendix A) where the paper states one; a small world overrides them in its `base.toml`. Unknown keys are refused everywhere.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::benchmark::{DataSpec, EvalSpec, ScoredCheckpoint};
pub use crate::train::objectives::Objective;
use crate::train::objectives::eclipse::Eclipse;
pub use crate::train::spec::{LrScheduleConfig, ModelSpec, TrainSpec};

/// A run as written in the file. Every table may be omitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// The world of images, captions and test prompts: the name of a [`World`](crate::world::World).
    pub world: String,
    /// Directory of the frozen CLIP. Default: `datasets/<world>/clip`. Relative to the working directory.
    pub clip: Option<PathBuf>,
    /// Directory of the frozen decoder; not read while `eval.n_pictures` is 0. Default:
    /// `datasets/<world>/decoder`. Relative to the working directory.
    pub decoder: Option<PathBuf>,
    /// Seed of the run's own random numbers: initial weights, order of the pairs, noise, dropped conditions.
    pub seed: u64,
    /// Training pairs.
    pub data: DataSpec,
    /// Size of the prior.
    pub model: ModelSpec,
    /// Loss and sampler. Its `kind` decides which keys it has.
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
