//! Diffusion-Baseline: Eq. 1, a denoiser that predicts z_x, sampled in several steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::prior::PriorTraining;
use super::super::session::Failure;
use super::objective::{CheckContext, PriorObjective};
use super::time_conditioned::{self, NoisePath, check_guidance};
use crate::config::InvalidValue;
use crate::config::check::{at_least, at_most, between_0_and_1, non_negative, require};
use crate::diffusion::{BetaShape, Sampler, Scheduler, SchedulerConfig, SchedulerKind, Spacing, Variance};
use crate::generate::prior::PriorSettings;
use crate::limits;

/// `kind = "diffusion"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Diffusion {
    /// Shape of the noise schedule: `linear` in the paper (appendix A), `scaled_linear`, or `squaredcos_cap_v2`, which ignores the two ends.
    pub beta_schedule: BetaShape,
    /// First beta of the linear schedule; the paper states no range, this is DDPM's.
    pub beta_start: f64,
    /// Last beta of the linear schedule.
    pub beta_end: f64,
    /// Noise levels of training: 1000 in the paper.
    pub train_steps: usize,
    /// Probability that a caption is replaced by the empty caption, as guidance requires.
    pub cond_drop: f64,
    /// Train on (z_x - mean) / std, as the 1B priors do.
    pub whiten: bool,
    /// The sampler.
    pub sampler: DiffusionSampler,
}

impl Default for Diffusion {
    fn default() -> Self {
        Self {
            beta_schedule: BetaShape::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            train_steps: 1000,
            cond_drop: 0.1,
            whiten: true,
            sampler: DiffusionSampler::default(),
        }
    }
}

/// `[objective.sampler]` of a diffusion prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionSampler {
    /// Update rule: `ddpm` in the paper (ancestral sampling, leading spacing of timesteps), `ddim` (deterministic at eta 0) or `unclip` (ancestral
    /// sampling over timesteps that include the first and the last).
    pub scheduler: Sampler,
    /// Steps of one sample: 25 in the paper.
    pub steps: usize,
    /// Classifier-free guidance on the z_x prediction: 4.0 in the paper; 1 is none.
    pub guidance: f64,
    /// Factor on the noise added in each step (Fig. 5a); 1 is the plain sampler, 0 adds none.
    pub eta: f64,
}

impl Default for DiffusionSampler {
    fn default() -> Self {
        Self {
            scheduler: Sampler::Ddpm,
            steps: 25,
            guidance: 4.0,
            eta: 1.0,
        }
    }
}

impl PriorObjective for Diffusion {
    fn label(&self) -> String {
        format!("diffusion (Eq. 1, {} timesteps)", self.train_steps)
    }

    fn check(&self, _: &CheckContext<'_>) -> Result<(), InvalidValue> {
        at_most("objective.train_steps", limits::MAX_TIMESTEPS, self.train_steps)?;
        at_most("objective.sampler.steps", limits::MAX_STEPS, self.sampler.steps)?;
        at_least("objective.train_steps", 2, self.train_steps)?;
        between_0_and_1("objective.beta_start", self.beta_start)?;
        require(
            "objective.beta_end",
            self.beta_end >= self.beta_start && self.beta_end < 1.0,
            format!("a number from beta_start ({}) to below 1", self.beta_start),
            self.beta_end,
        )?;
        require(
            "objective.beta_schedule",
            self.sampler.scheduler != Sampler::UnClip || self.beta_schedule == BetaShape::SquaredCos,
            "squaredcos_cap_v2, because sampler.scheduler is unclip and knows no other",
            self.beta_schedule.name(),
        )?;
        require(
            "objective.sampler.steps",
            (1..=self.train_steps).contains(&self.sampler.steps),
            format!("a whole number from 1 to train_steps ({})", self.train_steps),
            self.sampler.steps,
        )?;
        check_guidance(self.cond_drop, self.sampler.guidance)?;
        non_negative("objective.sampler.eta", self.sampler.eta)
    }

    fn sampler(&self) -> PriorSettings {
        PriorSettings {
            n_steps: self.sampler.steps,
            guidance: self.sampler.guidance,
            eta: self.sampler.eta,
        }
    }

    fn reset_sampler(&mut self) {
        self.sampler = DiffusionSampler {
            scheduler: self.sampler.scheduler, // Saved beside the prior.
            ..DiffusionSampler::default()
        };
    }

    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure> {
        let scheduler = Scheduler::new(self.scheduler());
        let path = NoisePath::Diffusion {
            alphas_cumprod: scheduler.schedule().alphas_cumprod().to_vec(),
        };
        let config = scheduler.config().to_json();
        time_conditioned::train(training, path, self.cond_drop, self.whiten, &config)
    }
}

impl Diffusion {
    fn scheduler(&self) -> SchedulerConfig {
        let (kind, spacing) = match self.sampler.scheduler {
            Sampler::Ddpm => (
                SchedulerKind::Ddpm {
                    variance: Variance::FixedSmall,
                },
                Spacing::Leading { offset: 0 },
            ),
            Sampler::Ddim => (
                SchedulerKind::Ddim {
                    set_alpha_to_one: true,
                },
                Spacing::Leading { offset: 0 },
            ),
            Sampler::UnClip => (
                SchedulerKind::UnClip {
                    variance: Variance::FixedSmallLog,
                },
                Spacing::UnClip,
            ),
        };
        SchedulerConfig {
            kind,
            n_train: self.train_steps,
            betas: self.beta_schedule.between(self.beta_start, self.beta_end),
            spacing,
            ..SchedulerConfig::diffusion_baseline()
        }
    }
}
