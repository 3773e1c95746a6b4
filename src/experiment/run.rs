//! A resolved run: all values checked and filled in, immutable.

use std::path::{Path, PathBuf};

use super::spec::{
    DataSpec, EvalSpec, LrScheduleConfig, ModelSpec, Objective, RunSpec, ScoredCheckpoint, TrainSpec,
};
use crate::benchmark::BenchmarkSpec;
use crate::config::check::{known_name, require};
use crate::config::{ConfigError, InvalidValue};
use crate::files;
use crate::train::objectives::{CheckContext, PriorObjective};
use crate::world::World;

/// A validated [`RunSpec`]. Created only by [`RunSpec::resolve`]; equal configurations have equal [`ResolvedRun::hash`]es.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedRun {
    spec: RunSpec,
    clip: PathBuf,
    decoder: PathBuf,
    config: String,
    hash: String,
}

impl ResolvedRun {
    /// The world.
    pub fn world(&self) -> World {
        World::named(&self.spec.world).expect("a resolved run has a world that this build knows")
    }

    /// Directory of the frozen CLIP; empty for a run on a store without one. The loader checks that it exists.
    pub fn clip(&self) -> &Path {
        &self.clip
    }

    /// Directory of the frozen decoder, used if [`EvalSpec::n_pictures`] is above 0. The loader checks that it exists.
    pub fn decoder(&self) -> &Path {
        &self.decoder
    }

    /// Seed of initial weights, order, noise and dropped conditions.
    pub fn seed(&self) -> u64 {
        self.spec.seed
    }

    /// The training pairs.
    pub fn data(&self) -> &DataSpec {
        &self.spec.data
    }

    /// The prior's size.
    pub fn model(&self) -> &ModelSpec {
        &self.spec.model
    }

    /// The objective or the baseline.
    pub fn objective(&self) -> &Objective {
        &self.spec.objective
    }

    /// Optimisation. `schedule.t_0` is never 0 here.
    pub fn train(&self) -> &TrainSpec {
        &self.spec.train
    }

    /// Evaluation.
    pub fn eval(&self) -> &EvalSpec {
        &self.spec.eval
    }

    /// The parts that determine the benchmark: the data and the evaluation.
    pub fn benchmark(&self) -> BenchmarkSpec<'_> {
        BenchmarkSpec {
            world: self.world(),
            clip: &self.clip,
            decoder: &self.decoder,
            data: &self.spec.data,
            eval: &self.spec.eval,
            step_size: self.spec.train.batch_size * self.spec.train.accumulate,
        }
    }

    /// The whole configuration as TOML, which parses to the same run.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// SHA-256 of [`ResolvedRun::config`], 64 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// SHA-256 of the configuration that determines the trained prior, except the number of steps. Runs that differ only in their evaluation or in the
    /// sampler of a diffusion prior share it. Runs of different length share it if the steps of the shorter are the first steps of the longer, that is
    /// if the learning rate of a step does not depend on the number of steps.
    pub fn training_hash(&self) -> String {
        let mut spec = self.spec.clone();
        (spec.eval, spec.decoder) = (EvalSpec::default(), None);
        match spec.train.schedule {
            // An open first cycle has the length of the run; it is filled in here.
            LrScheduleConfig::Constant(_) | LrScheduleConfig::Sgdr(_) => spec.train.steps = 0,
            LrScheduleConfig::OneCycle(_) => (),
        }
        spec.objective.reset_sampler();
        files::sha256(
            toml::to_string(&spec)
                .expect("a checked specification is TOML")
                .as_bytes(),
        )
    }

    /// The first 8 digits of [`ResolvedRun::hash`], which names run directories.
    pub fn short_hash(&self) -> &str {
        &self.hash[..8]
    }
}

impl RunSpec {
    /// Checks every value and fills in open ones (`clip`, `train.schedule.t_0`).
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the first key that is out of range.
    pub fn resolve(self) -> Result<ResolvedRun, ConfigError> {
        self.resolve_or_bad()
            .map_err(|invalid| invalid.at("specification"))
    }

    pub(super) fn resolve_or_bad(mut self) -> Result<ResolvedRun, InvalidValue> {
        check(&self)?;
        let built_in = Path::new("datasets").join(&self.world);
        // A store needs its CLIP only if it has no hidden states, and then not a world's CLIP.
        let clip = match self.data.store {
            Some(_) => self.clip.clone().unwrap_or_default(),
            None => self.clip.get_or_insert_with(|| built_in.join("clip")).clone(),
        };
        let decoder = self
            .decoder
            .get_or_insert_with(|| built_in.join("decoder"))
            .clone();
        if let LrScheduleConfig::Sgdr(sgdr) = &mut self.train.schedule
            && sgdr.t_0 == 0
        {
            sgdr.t_0 = self.train.steps;
        }
        let config = toml::to_string(&self).expect("a checked specification is TOML");
        let hash = files::sha256(config.as_bytes());
        Ok(ResolvedRun {
            spec: self,
            clip,
            decoder,
            config,
            hash,
        })
    }
}

pub(super) fn check(spec: &RunSpec) -> Result<(), InvalidValue> {
    let worlds = World::ALL.map(|world| world.name().to_owned());
    known_name("world", worlds.to_vec(), &spec.world)?;
    // TOML integers are signed: a larger seed could not be written.
    for (key, seed) in [
        ("seed", spec.seed),
        ("data.seed", spec.data.seed),
        ("eval.seed", spec.eval.seed),
    ] {
        require(key, i64::try_from(seed).is_ok(), "at most 2^63 - 1", seed)?;
    }
    let n_pairs = spec.data.n_training_pairs();
    spec.data.check()?;
    spec.model.check()?;
    spec.train.check_sizes()?;
    spec.eval.check(&spec.data)?;
    spec.objective.check(&CheckContext {
        train: &spec.train,
        n_pairs,
        has_store: spec.data.store.is_some(),
    })?;
    if spec.objective.baseline().is_some() {
        return Ok(());
    }
    let is_validated = spec.data.is_validated();
    spec.train.check(n_pairs, is_validated)?;
    require(
        "eval.checkpoint",
        spec.eval.checkpoint == ScoredCheckpoint::Last || is_validated,
        "last, because nothing is validated: set data.n_validation",
        "best",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Sampler;
    use crate::models::prior::Conditioning;
    use crate::train::objectives::diffusion::Diffusion;
    use crate::train::objectives::eclipse::Eclipse;
    use crate::world::Slice;

    #[test]
    fn defaults_are_the_papers_recipe_and_resolve() {
        let run = RunSpec::default().resolve().expect("defaults are valid");
        assert_eq!(run.model().n_heads * run.model().d_head, 512);
        assert_eq!(
            (run.train().steps, run.train().batch_size, run.train().lr),
            (60_000, 256, 5e-5)
        );
        assert_eq!(run.clip(), Path::new("datasets/emoji/clip"));
        let LrScheduleConfig::Sgdr(s) = &run.train().schedule else {
            panic!("the paper restarts its cosine")
        };
        assert_eq!(s.t_0, 60_000, "t_0 = 0 stands for the whole run");
    }

    #[test]
    fn config_read_back_is_the_same_run() {
        for kind in Objective::KINDS {
            let objective = Objective::of_kind(kind).expect("every kind has defaults");
            assert_eq!(objective.kind(), *kind);
            let run = RunSpec {
                objective,
                seed: 7,
                ..RunSpec::default()
            }
            .resolve()
            .expect("valid");
            let again: RunSpec = toml::from_str(run.config()).expect("config is TOML");
            assert_eq!(again.resolve().expect("valid"), run, "{kind}");
        }
    }

    #[test]
    fn every_change_of_a_value_changes_the_hash() {
        let base = RunSpec::default().resolve().expect("valid");
        let seed = RunSpec {
            seed: 1,
            ..RunSpec::default()
        }
        .resolve()
        .expect("valid");
        let objective = Objective::Eclipse(Eclipse {
            lambda: 0.3,
            ..Eclipse::default()
        });
        let lambda = RunSpec {
            objective,
            ..RunSpec::default()
        }
        .resolve()
        .expect("valid");
        assert_ne!(base.hash(), seed.hash());
        assert_ne!(base.hash(), lambda.hash());
        assert_ne!(seed.hash(), lambda.hash());
    }

    fn diffusion(change: impl FnOnce(&mut Diffusion)) -> Result<ResolvedRun, ConfigError> {
        let mut spec = Diffusion::default();
        change(&mut spec);
        RunSpec {
            objective: Objective::Diffusion(spec),
            ..RunSpec::default()
        }
        .resolve()
    }

    #[test]
    fn cross_checks() {
        let bad = |run: Result<ResolvedRun, ConfigError>| run.expect_err("out of range").to_string();
        assert_eq!(
            bad(diffusion(|d| d.sampler.steps = 1001)),
            "specification: objective.sampler.steps: expected a whole number from 1 to train_steps (1000), found 1001"
        );
        assert_eq!(
            bad(diffusion(|d| d.cond_drop = 0.0)),
            "specification: objective.sampler.guidance: expected 1, because cond_drop is 0 and the prior never learns \
             the empty caption, found 4"
        );
        assert!(diffusion(|d| d.cond_drop = f64::NAN).is_err());
        assert!(diffusion(|d| (d.cond_drop, d.sampler.guidance) = (0.0, 1.0)).is_ok());
        let mut one = RunSpec::default();
        one.train.batch_size = 1;
        assert!(bad(one.clone().resolve()).contains("Eq. 4 takes its negatives from the batch"));
        one.objective = Objective::Projection(Default::default());
        assert!(one.resolve().is_ok(), "Eq. 3 needs no negatives");
        assert!(
            diffusion(|d| d.sampler.scheduler = Sampler::UnClip).is_err(),
            "its file knows one schedule"
        );
    }

    #[test]
    fn what_does_not_touch_training_has_the_same_training_hash() {
        let hash = |kind: &str, change: &dyn Fn(&mut RunSpec)| {
            let mut spec = RunSpec {
                objective: Objective::of_kind(kind).expect("a kind"),
                ..RunSpec::default()
            };
            change(&mut spec);
            spec.resolve().expect("valid").training_hash()
        };
        let same = |_: &mut RunSpec| ();
        for kind in ["diffusion", "flow"] {
            let sampled = hash(kind, &|spec| match &mut spec.objective {
                Objective::Diffusion(d) => d.sampler.steps = 2,
                Objective::Flow(f) => (f.sampler.steps, f.sampler.guidance) = (2, 1.5),
                _ => (),
            });
            let drawn = hash(kind, &|spec| spec.eval.decoder_steps = 3);
            let trained = hash(kind, &|spec| match &mut spec.objective {
                Objective::Diffusion(d) => d.cond_drop = 0.5,
                Objective::Flow(f) => f.cond_drop = 0.5,
                _ => (),
            });
            let plain = hash(kind, &same);
            assert_eq!((&sampled, &drawn), (&plain, &plain), "{kind}");
            assert_ne!(trained, plain, "{kind}");
        }
        let eclipse = hash("eclipse", &same);
        let narrower = hash("eclipse", &|spec| spec.model.conditioning = Conditioning::Pooled);
        let sliced = hash("eclipse", &|spec| spec.data.slice = Slice::Singles);
        assert!(eclipse != narrower && eclipse != sliced && narrower != sliced);
    }
}
