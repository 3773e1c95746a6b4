//! Diffusion-Baseline: Eq. 1, a denoiser that predicts z_x, sampled in several steps.

use serde::{Deserialize, Serialize};

use super::super::prior::PriorTraining;
use super::super::session::Failure;
use super::objective::{CheckContext, PriorObjective};
use super::time_conditioned::{self, NoisePath, check_guidance};
use crate::config::InvalidValue;
use crate::config::check::{at_least, at_most, non_negative, require};
use crate::diffusion::{self, Scheduler, SchedulerConfig, Variance};
use crate::generate::prior::PriorSettings;
use crate::limits;

/// `kind = "diffusion"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diffusion {
    /// Shape of the noise schedule; linear in the paper (appendix A).
    pub beta_schedule: BetaSchedule,
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
            beta_schedule: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            train_steps: 1000,
            cond_drop: 0.1,
            whiten: true,
            sampler: DiffusionSampler::default(),
        }
    }
}

/// Shapes of the noise schedule, in the spelling of published scheduler files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Betas that rise linearly from `beta_start` to `beta_end`.
    Linear,
    /// The squared-cosine alpha-bar of the 1B priors; ignores `beta_start` and `beta_end`.
    SquaredcosCapV2,
}

/// `[objective.sampler]` of a diffusion prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionSampler {
    /// Update rule; DDPM in the paper.
    pub scheduler: SchedulerKind,
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
            scheduler: SchedulerKind::Ddpm,
            steps: 25,
            guidance: 4.0,
            eta: 1.0,
        }
    }
}

/// Update rules of a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerKind {
    /// Ancestral sampling with the leading spacing of timesteps.
    Ddpm,
    /// Deterministic at eta 0.
    Ddim,
    /// Ancestral sampling over timesteps that include the first and the last.
    Unclip,
}

impl PriorObjective for Diffusion {
    fn label(&self) -> String {
        format!("diffusion (Eq. 1, {} timesteps)", self.train_steps)
    }

    fn check(&self, _: &CheckContext<'_>) -> Result<(), InvalidValue> {
        at_most("objective.train_steps", limits::MAX_TIMESTEPS, self.train_steps)?;
        at_most("objective.sampler.steps", limits::MAX_STEPS, self.sampler.steps)?;
        at_least("objective.train_steps", 2, self.train_steps)?;
        require(
            "objective.beta_start",
            self.beta_start > 0.0 && self.beta_start < 1.0,
            "a number between 0 and 1",
            self.beta_start,
        )?;
        require(
            "objective.beta_end",
            self.beta_end >= self.beta_start && self.beta_end < 1.0,
            format!("a number from beta_start ({}) to below 1", self.beta_start),
            self.beta_end,
        )?;
        require(
            "objective.beta_schedule",
            self.sampler.scheduler != SchedulerKind::Unclip
                || self.beta_schedule == BetaSchedule::SquaredcosCapV2,
            "squaredcos_cap_v2, because sampler.scheduler is unclip and knows no other",
            "linear",
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
        let kind = match self.sampler.scheduler {
            SchedulerKind::Ddpm => diffusion::SchedulerKind::Ddpm {
                variance: Variance::FixedSmall,
            },
            SchedulerKind::Ddim => diffusion::SchedulerKind::Ddim {
                set_alpha_to_one: true,
            },
            SchedulerKind::Unclip => diffusion::SchedulerKind::UnClip {
                variance: Variance::FixedSmallLog,
            },
        };
        let betas = match self.beta_schedule {
            BetaSchedule::Linear => diffusion::BetaSchedule::Linear {
                start: self.beta_start,
                end: self.beta_end,
            },
            BetaSchedule::SquaredcosCapV2 => diffusion::BetaSchedule::SquaredCos,
        };
        let spacing = match self.sampler.scheduler {
            SchedulerKind::Unclip => diffusion::Spacing::UnClip,
            SchedulerKind::Ddpm | SchedulerKind::Ddim => diffusion::Spacing::Leading { offset: 0 },
        };
        SchedulerConfig {
            kind,
            n_train: self.train_steps,
            betas,
            spacing,
            ..SchedulerConfig::diffusion_baseline()
        }
    }
}
