//! A run that may start: every value checked, nothing left open, never changed.

use std::path::{Path, PathBuf};

use super::spec::{
    BetaSchedule, DataSpec, EclipseSpec, EvalSpec, FlowSamplerSpec, ModelSpec, ObjectiveSpec, RunSpec,
    SamplerSpec, ScheduleSpec, SchedulerKind, ScoredCheckpoint, Tau, TrainSpec,
};
use crate::config::check::{at_least, at_most, fraction, non_negative, positive, require};
use crate::config::{ConfigError, InvalidValue};
use crate::files;
use crate::limits;
use crate::models::noise_augmentation::N_LEVELS;
use crate::objective::contrastive::ContrastiveForm;
use crate::objective::eclipse::{Direction, Reduction};
use crate::objective::projection::ProjectionForm;
use crate::train::negatives::FalseNegatives;
use crate::world::World;

/// A validated [`RunSpec`]. Comes only from [`RunSpec::resolve`]; the same configuration has the same [`Run::hash`].
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    spec: RunSpec,
    clip: PathBuf,
    decoder: PathBuf,
    config: String,
    hash: String,
}

impl Run {
    /// The world.
    pub fn world(&self) -> World {
        World::named(&self.spec.world).expect("a resolved run has a world that this build knows")
    }

    /// Directory of the frozen CLIP. Whether it exists is the loader's to say.
    pub fn clip(&self) -> &Path {
        &self.clip
    }

    /// [`Run::clip`] of a run on a store, if it was given.
    pub fn clip_of_store(&self) -> Option<&Path> {
        self.spec.clip.as_deref()
    }

    /// Directory of the frozen decoder, used if [`EvalSpec::n_pictures`] is above 0. Whether it exists is the loader's to say.
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

    /// The objective, or the baseline.
    pub fn objective(&self) -> &ObjectiveSpec {
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

    /// The whole configuration as TOML; reading it back gives the same run.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// SHA-256 of [`Run::config`], 64 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// SHA-256 of what decides the trained prior, beside the number of steps: runs that differ in their evaluation only, or in how often and how a
    /// diffusion prior is sampled, have it in common. So do runs of different length where the first steps of the longer are all steps of the shorter:
    /// where the learning rate of a step does not depend on how many follow.
    pub fn training_hash(&self) -> String {
        let mut spec = self.spec.clone();
        (spec.eval, spec.decoder) = (EvalSpec::default(), None);
        match spec.train.schedule {
            // The length of an open first cycle, which is that of the run, is filled in here.
            ScheduleSpec::Constant(_) | ScheduleSpec::Sgdr(_) => spec.train.steps = 0,
            ScheduleSpec::OneCycle(_) => (),
        }
        if let ObjectiveSpec::Diffusion(diffusion) = &mut spec.objective {
            diffusion.sampler = SamplerSpec {
                scheduler: diffusion.sampler.scheduler, // saved beside the prior
                ..SamplerSpec::default()
            };
        }
        if let ObjectiveSpec::Flow(flow) = &mut spec.objective {
            flow.sampler = FlowSamplerSpec::default();
        }
        files::sha256(
            toml::to_string(&spec)
                .expect("a checked specification is TOML")
                .as_bytes(),
        )
    }

    /// The first 8 digits of [`Run::hash`], which names run directories.
    pub fn short_hash(&self) -> &str {
        &self.hash[..8]
    }
}

impl RunSpec {
    /// Checks every value and fills what was left open (`clip`, `train.schedule.t_0`).
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the first key that is out of range.
    pub fn resolve(self) -> Result<Run, ConfigError> {
        self.resolve_or_bad()
            .map_err(|invalid| invalid.at("specification"))
    }

    pub(super) fn resolve_or_bad(mut self) -> Result<Run, InvalidValue> {
        check(&self)?;
        let built_in = Path::new("datasets").join(&self.world);
        // A store needs its CLIP only where it has no hidden states, and then that is not a world's.
        let clip = match self.data.store {
            Some(_) => self.clip.clone().unwrap_or_default(),
            None => self.clip.get_or_insert_with(|| built_in.join("clip")).clone(),
        };
        let decoder = self
            .decoder
            .get_or_insert_with(|| built_in.join("decoder"))
            .clone();
        if let ScheduleSpec::Sgdr(sgdr) = &mut self.train.schedule
            && sgdr.t_0 == 0
        {
            sgdr.t_0 = self.train.steps;
        }
        let config = toml::to_string(&self).expect("a checked specification is TOML");
        let hash = files::sha256(config.as_bytes());
        Ok(Run {
            spec: self,
            clip,
            decoder,
            config,
            hash,
        })
    }
}

/// Sizes that memory is asked for, against [`limits`].
fn check_sizes(spec: &RunSpec) -> Result<(), InvalidValue> {
    let (data, model, train, eval) = (&spec.data, &spec.model, &spec.train, &spec.eval);
    at_most("data.n_pairs", limits::MAX_WORLD_PAIRS, data.n_pairs)?;
    at_most("data.n_validation", limits::MAX_WORLD_PAIRS, data.n_validation)?;
    at_most("model.n_layers", limits::MAX_LAYERS, model.n_layers)?;
    at_most("model.n_heads", limits::MAX_HEADS, model.n_heads)?;
    at_most(
        "model.d_head",
        limits::MAX_WIDTH / model.n_heads.max(1),
        model.d_head,
    )?;
    at_most("eval.n_noise", limits::MAX_REPEATS, eval.n_noise)?;
    at_most("eval.n_prompts", limits::MAX_PICTURES, eval.n_prompts)?;
    at_most("eval.n_pictures", limits::MAX_PICTURES, eval.n_pictures)?;
    at_most("eval.decoder_steps", limits::MAX_STEPS, eval.decoder_steps)?;
    match &spec.objective {
        ObjectiveSpec::Diffusion(o) => {
            at_most("objective.train_steps", limits::MAX_TIMESTEPS, o.train_steps)?;
            at_most("objective.sampler.steps", limits::MAX_STEPS, o.sampler.steps)?;
        }
        ObjectiveSpec::Flow(o) => at_most("objective.sampler.steps", limits::MAX_STEPS, o.sampler.steps)?,
        ObjectiveSpec::Eclipse(o) => {
            at_most("objective.queue", limits::MAX_BATCH, o.queue)?;
            at_most("objective.devices", limits::MAX_REPEATS, o.devices)?;
        }
        ObjectiveSpec::Projection(_) | ObjectiveSpec::Baseline(_) => {}
    }
    if let ScheduleSpec::Sgdr(s) = &train.schedule {
        at_most("train.schedule.t_0", limits::MAX_TRAIN_STEPS, s.t_0)?;
        at_most("train.schedule.t_mult", limits::MAX_REPEATS, s.t_mult)?;
    }
    at_most("train.batch_size", limits::MAX_BATCH, train.batch_size)?;
    at_most("train.accumulate", limits::MAX_REPEATS, train.accumulate)?;
    let counts = [
        ("train.steps", train.steps),
        ("train.keep_checkpoints", train.keep_checkpoints),
        ("train.checkpoint_every", train.checkpoint_every),
        ("train.log_every", train.log_every),
        ("train.patience", train.patience),
    ];
    (counts.into_iter()).try_for_each(|(key, found)| at_most(key, limits::MAX_TRAIN_STEPS, found))
}

fn check(spec: &RunSpec) -> Result<(), InvalidValue> {
    check_sizes(spec)?;
    require(
        "world",
        World::named(&spec.world).is_some(),
        format!("one of {}", World::ALL.map(World::name).join(", ")),
        &spec.world,
    )?;
    // TOML's integers are signed: a larger seed could not be written back.
    for (key, seed) in [
        ("seed", spec.seed),
        ("data.seed", spec.data.seed),
        ("eval.seed", spec.eval.seed),
    ] {
        require(key, i64::try_from(seed).is_ok(), "at most 2^63 - 1", seed)?;
    }
    at_least("data.n_pairs", 2, spec.data.n_pairs)?;
    check_store(spec)?;
    at_least("model.n_heads", 1, spec.model.n_heads)?;
    at_least("model.d_head", 1, spec.model.d_head)?;
    at_least("model.n_layers", 1, spec.model.n_layers)?;
    require(
        "model.d_head",
        (spec.model.n_heads * spec.model.d_head).is_multiple_of(2),
        format!(
            "an even width n_heads * d_head, n_heads being {}",
            spec.model.n_heads
        ),
        spec.model.d_head,
    )?;
    at_least("eval.n_noise", 1, spec.eval.n_noise)?;
    require(
        "eval.n_pictures",
        spec.eval.n_pictures != 1,
        "0, or 2 and above (a Frechet distance needs two)",
        spec.eval.n_pictures,
    )?;
    at_least("eval.decoder_steps", 1, spec.eval.decoder_steps)?;
    non_negative("eval.decoder_guidance", spec.eval.decoder_guidance)?;
    require(
        "eval.decoder_noise_level",
        spec.eval.decoder_noise_level < N_LEVELS,
        format!("a whole number from 0 to {}", N_LEVELS - 1),
        spec.eval.decoder_noise_level,
    )?;
    check_objective(spec)?;
    if !matches!(spec.objective, ObjectiveSpec::Baseline(_)) {
        check_train(spec)?;
    }
    Ok(())
}

/// What makes sense with a store only, and what makes none with it. How many pairs it has shows when it is opened.
fn check_store(spec: &RunSpec) -> Result<(), InvalidValue> {
    let data = &spec.data;
    if data.store.is_none() {
        let none = "nothing, because data.store is not set: data.n_validation holds pairs of a world out";
        require("data.validation", data.validation.is_none(), none, "a path")?;
        let one = "false, because data.store is not set: a world's pictures have one caption each";
        return require("data.one_caption", !data.one_caption, one, data.one_caption);
    }
    require(
        "data.n_validation",
        data.validation.is_none() || data.n_validation == 0,
        "0, because data.validation is what the run is validated on",
        data.n_validation,
    )?;
    require(
        "eval.n_pictures",
        spec.eval.n_pictures == 0,
        "0, because data.store is set and nobody knows what the pictures show",
        spec.eval.n_pictures,
    )?;
    let masks = matches!(&spec.objective, ObjectiveSpec::Eclipse(o) if o.false_negatives == FalseNegatives::MaskMeaning);
    require(
        "objective.false_negatives",
        !masks,
        "keep or mask_wording, because data.store is set: what captions mean is known of worlds only",
        "mask_meaning",
    )?;
    require(
        "objective.kind",
        !matches!(spec.objective, ObjectiveSpec::Baseline(_)),
        "an objective to train with, because data.store is set: baselines are for worlds",
        "baseline",
    )
}

fn check_objective(spec: &RunSpec) -> Result<(), InvalidValue> {
    match &spec.objective {
        ObjectiveSpec::Eclipse(o) => check_eclipse(spec, o),
        ObjectiveSpec::Diffusion(o) => {
            at_least("objective.train_steps", 2, o.train_steps)?;
            require(
                "objective.beta_start",
                o.beta_start > 0.0 && o.beta_start < 1.0,
                "a number between 0 and 1",
                o.beta_start,
            )?;
            require(
                "objective.beta_end",
                o.beta_end >= o.beta_start && o.beta_end < 1.0,
                format!("a number from beta_start ({}) to below 1", o.beta_start),
                o.beta_end,
            )?;
            require(
                "objective.beta_schedule",
                o.sampler.scheduler != SchedulerKind::Unclip
                    || o.beta_schedule == BetaSchedule::SquaredcosCapV2,
                "squaredcos_cap_v2, because sampler.scheduler is unclip and knows no other",
                "linear",
            )?;
            require(
                "objective.sampler.steps",
                (1..=o.train_steps).contains(&o.sampler.steps),
                format!("a whole number from 1 to train_steps ({})", o.train_steps),
                o.sampler.steps,
            )?;
            check_guidance(o.cond_drop, o.sampler.guidance)?;
            non_negative("objective.sampler.eta", o.sampler.eta)
        }
        ObjectiveSpec::Flow(o) => {
            at_least("objective.sampler.steps", 1, o.sampler.steps)?;
            check_guidance(o.cond_drop, o.sampler.guidance)
        }
        ObjectiveSpec::Baseline(o) => non_negative("objective.noise", o.noise),
        ObjectiveSpec::Projection(_) => Ok(()),
    }
}

fn check_guidance(cond_drop: f64, guidance: f64) -> Result<(), InvalidValue> {
    fraction("objective.cond_drop", cond_drop)?;
    non_negative("objective.sampler.guidance", guidance)?;
    require(
        "objective.sampler.guidance",
        guidance == 1.0 || cond_drop > 0.0,
        "1, because cond_drop is 0 and the prior never learns the empty caption",
        guidance,
    )
}

fn check_eclipse(spec: &RunSpec, o: &EclipseSpec) -> Result<(), InvalidValue> {
    let (batch, n_pairs) = (spec.train.batch_size, n_pairs(spec));
    non_negative("objective.lambda", o.lambda)?;
    if let Tau::Value(tau) = o.tau {
        require(
            "objective.tau",
            tau.is_finite() && tau > 0.0,
            "a number above 0 or \"clip\"",
            tau,
        )?;
    }
    positive("objective.huber_delta", o.huber_delta)?;
    require(
        "objective.siglip_bias",
        o.siglip_bias.is_finite(),
        "a finite number",
        o.siglip_bias,
    )?;
    require(
        "objective.reduction",
        o.projection != ProjectionForm::Cosine || o.reduction == Reduction::Mean,
        "mean, because projection is cosine, which has no sum over d_clip",
        "sum",
    )?;
    require(
        "objective.direction",
        o.contrastive != ContrastiveForm::Siglip || o.direction == Direction::ImageToText,
        "the default, because contrastive is siglip, which has no direction",
        direction_name(o.direction),
    )?;
    at_least("objective.devices", 1, o.devices)?;
    let parts = spec.train.accumulate + o.devices - 1;
    require(
        "objective.devices",
        o.devices == 1 || batch.saturating_mul(parts) <= n_pairs,
        format!(
            "at most data.n_pairs / train.batch_size ({n_pairs} / {batch}) beside the parts of a step: each has pairs of its own"
        ),
        o.devices,
    )?;
    require(
        "objective.queue",
        o.queue <= n_pairs,
        format!("a whole number from 0 to data.n_pairs ({n_pairs})"),
        o.queue,
    )?;
    require(
        "objective.gather",
        !o.gather || spec.train.accumulate > 1,
        "false, because train.accumulate is 1: a step has no other parts",
        o.gather,
    )?;
    require(
        "objective.direction",
        o.direction != Direction::TextToImage || (o.queue == 0 && o.devices == 1 && !o.gather),
        "image_to_text or symmetric, because queue, gather and devices add texts",
        direction_name(o.direction),
    )?;
    require(
        "train.batch_size",
        o.lambda == 0.0 || batch >= 2,
        "2 or above (Eq. 4 takes its negatives from the batch)",
        batch,
    )
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::ImageToText => "image_to_text",
        Direction::TextToImage => "text_to_image",
        Direction::Symmetric => "symmetric",
    }
}

/// Pairs to train on, as far as the specification tells.
fn n_pairs(spec: &RunSpec) -> usize {
    match spec.data.store {
        Some(_) => usize::MAX,
        None => spec.data.n_pairs,
    }
}

fn check_train(spec: &RunSpec) -> Result<(), InvalidValue> {
    let train = &spec.train;
    at_least("train.steps", 1, train.steps)?;
    require(
        "train.batch_size",
        (1..=n_pairs(spec)).contains(&train.batch_size),
        format!("a whole number from 1 to data.n_pairs ({})", spec.data.n_pairs),
        train.batch_size,
    )?;
    positive("train.lr", train.lr)?;
    non_negative("train.weight_decay", train.weight_decay)?;
    for beta in train.betas {
        fraction("train.betas", beta)?;
    }
    positive("train.eps", train.eps)?;
    non_negative("train.grad_clip", train.grad_clip)?;
    at_least("train.log_every", 1, train.log_every)?;
    at_least("train.accumulate", 1, train.accumulate)?;
    fraction("train.ema_decay", train.ema_decay)?;
    at_least("train.keep_checkpoints", 2, train.keep_checkpoints)?;
    let validated = spec.data.n_validation > 0 || spec.data.validation.is_some();
    require(
        "train.patience",
        train.patience == 0 || (validated && train.checkpoint_every > 0),
        "0, because nothing is validated: set data.n_validation and train.checkpoint_every",
        train.patience,
    )?;
    require(
        "eval.checkpoint",
        spec.eval.checkpoint == ScoredCheckpoint::Last || validated,
        "last, because nothing is validated: set data.n_validation",
        "best",
    )?;
    match &train.schedule {
        ScheduleSpec::Sgdr(s) => {
            at_least("train.schedule.t_mult", 1, s.t_mult)?;
            require(
                "train.schedule.eta_min",
                (0.0..=train.lr).contains(&s.eta_min),
                format!("a number from 0 to train.lr ({})", train.lr),
                s.eta_min,
            )
        }
        ScheduleSpec::OneCycle(s) => {
            require(
                "train.schedule.pct_start",
                s.pct_start > 0.0 && s.pct_start < 1.0,
                "a number between 0 and 1",
                s.pct_start,
            )?;
            require(
                "train.schedule.div_factor",
                s.div_factor >= 1.0,
                "a number, 1 or above",
                s.div_factor,
            )?;
            let last = s.final_div_factor;
            require(
                "train.schedule.final_div_factor",
                last >= 1.0,
                "a number, 1 or above",
                last,
            )
        }
        ScheduleSpec::Constant(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::spec::DiffusionSpec;
    use crate::models::prior::Conditioning;
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
        let ScheduleSpec::Sgdr(s) = &run.train().schedule else {
            panic!("the paper restarts its cosine")
        };
        assert_eq!(s.t_0, 60_000, "t_0 = 0 stands for the whole run");
    }

    #[test]
    fn config_read_back_is_the_same_run() {
        for kind in ObjectiveSpec::KINDS {
            let objective = ObjectiveSpec::of_kind(kind).expect("every kind has defaults");
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
        let objective = ObjectiveSpec::Eclipse(EclipseSpec {
            lambda: 0.3,
            ..EclipseSpec::default()
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

    fn diffusion(change: impl FnOnce(&mut DiffusionSpec)) -> Result<Run, ConfigError> {
        let mut spec = DiffusionSpec::default();
        change(&mut spec);
        RunSpec {
            objective: ObjectiveSpec::Diffusion(spec),
            ..RunSpec::default()
        }
        .resolve()
    }

    #[test]
    fn cross_checks() {
        let bad = |run: Result<Run, ConfigError>| run.expect_err("out of range").to_string();
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
        one.objective = ObjectiveSpec::Projection(Default::default());
        assert!(one.resolve().is_ok(), "Eq. 3 needs no negatives");
        assert!(
            diffusion(|d| d.sampler.scheduler = SchedulerKind::Unclip).is_err(),
            "its file knows one schedule"
        );
    }

    #[test]
    fn what_does_not_touch_training_has_the_same_training_hash() {
        let hash = |kind: &str, change: &dyn Fn(&mut RunSpec)| {
            let mut spec = RunSpec {
                objective: ObjectiveSpec::of_kind(kind).expect("a kind"),
                ..RunSpec::default()
            };
            change(&mut spec);
            spec.resolve().expect("valid").training_hash()
        };
        let same = |_: &mut RunSpec| ();
        for kind in ["diffusion", "flow"] {
            let sampled = hash(kind, &|spec| match &mut spec.objective {
                ObjectiveSpec::Diffusion(d) => d.sampler.steps = 2,
                ObjectiveSpec::Flow(f) => {
                    f.sampler = FlowSamplerSpec {
                        steps: 2,
                        guidance: 1.5,
                    }
                }
                _ => (),
            });
            let drawn = hash(kind, &|spec| spec.eval.decoder_steps = 3);
            let trained = hash(kind, &|spec| match &mut spec.objective {
                ObjectiveSpec::Diffusion(d) => d.cond_drop = 0.5,
                ObjectiveSpec::Flow(f) => f.cond_drop = 0.5,
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
