//! One face for the three samplers: which timesteps, and one step.

use std::path::Path;

use burn::prelude::*;

use super::{
    DiffusionError, Prediction, Schedule, SchedulerConfig, SchedulerKind, Variance, ddim, ddpm, threshold,
    unclip,
};

/// A visited timestep and the one that follows it; `None` is past the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// The train timestep of the sample that goes in.
    pub t: usize,
    /// The train timestep of the sample that comes out.
    pub prev: Option<usize>,
}

/// What one step gives.
#[derive(Debug, Clone)]
pub struct Stepped<const D: usize> {
    /// The sample at the next visited timestep.
    pub x_prev: Tensor<D>,
    /// The clean sample the network predicted, after clipping or thresholding.
    pub x0: Tensor<D>,
}

/// A sampler: a configuration and its tables.
#[derive(Debug, Clone)]
pub struct Scheduler {
    config: SchedulerConfig,
    schedule: Schedule,
}

impl Scheduler {
    /// Computes the tables of `config`.
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            schedule: Schedule::new(config.betas, config.n_train),
        }
    }

    /// Reads `scheduler_config.json` (or the folder that holds it).
    ///
    /// # Errors
    /// See [`SchedulerConfig::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DiffusionError> {
        Ok(Self::new(SchedulerConfig::read(path)?))
    }

    /// The configuration.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// The tables.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The `n_steps` train timesteps the configuration's spacing gives, latest first.
    ///
    /// # Errors
    /// [`DiffusionError::Steps`] for 0 steps or more steps than train timesteps.
    pub fn timesteps(&self, n_steps: usize) -> Result<Vec<usize>, DiffusionError> {
        let n_train = self.config.n_train;
        if n_steps == 0 || n_steps > n_train {
            let reason = format!("the schedule has {n_train} train timesteps; give 1 to {n_train}");
            return Err(DiffusionError::Steps { n_steps, reason });
        }
        Ok(self.config.spacing.timesteps(n_steps, n_train))
    }

    /// [`Scheduler::timesteps`] with the timestep that follows each, ready to sample.
    ///
    /// # Errors
    /// [`DiffusionError::Steps`], also when an offset pushes the first timestep past the schedule's end.
    pub fn visits(&self, n_steps: usize) -> Result<Vec<Visit>, DiffusionError> {
        let timesteps = self.timesteps(n_steps)?;
        let n_train = self.config.n_train;
        if timesteps[0] >= n_train {
            let reason = format!(
                "steps_offset makes the first timestep {}, the last is {}",
                timesteps[0],
                n_train - 1
            );
            return Err(DiffusionError::Steps { n_steps, reason });
        }
        let stride = n_train / n_steps;
        Ok((0..n_steps)
            .map(|i| {
                let t = timesteps[i];
                let prev = match self.config.kind {
                    SchedulerKind::Ddim { .. } => t.checked_sub(stride),
                    _ => timesteps.get(i + 1).copied(),
                };
                Visit { t, prev }
            })
            .collect())
    }

    /// Whether the step at `visit` takes noise. The ancestral samplers do at every `t > 0`, whatever `eta` (so that runs that differ in `eta`
    /// only draw the same noise); DDIM does when `eta > 0`.
    pub fn draws_noise(&self, visit: Visit, eta: f64) -> bool {
        match self.config.kind {
            SchedulerKind::Ddim { .. } => eta > 0.0,
            _ => visit.t > 0,
        }
    }

    /// One step: from `x_t` `[batch, channels, ..]` and the network's `output` (the same shape, or twice the channels where it also predicts a
    /// variance) to the next sample.
    ///
    /// `eta` multiplies the added noise of UnCLIP and DDPM (Fig. 5 of the paper; 1 is the plain sampler) and is DDIM's own eta. A variance half
    /// that the configuration does not use is dropped. `noise` is ignored where [`Scheduler::draws_noise`] is false.
    ///
    /// # Errors
    /// [`DiffusionError::Output`] for an output of another shape, [`DiffusionError::NoiseMissing`], [`DiffusionError::Eta`].
    ///
    /// # Panics
    /// If `visit.t` is beyond the schedule.
    pub fn step<const D: usize>(
        &self,
        visit: Visit,
        output: Tensor<D>,
        x_t: Tensor<D>,
        eta: f64,
        noise: Option<Tensor<D>>,
    ) -> Result<Stepped<D>, DiffusionError> {
        check_eta(eta)?;
        let learned = matches!(
            self.config.kind,
            SchedulerKind::UnClip {
                variance: Variance::LearnedRange
            } | SchedulerKind::Ddpm {
                variance: Variance::LearnedRange
            }
        );
        let (output, fraction) = split_variance(output, &x_t, learned)?;
        let noise = if self.draws_noise(visit, eta) {
            Some(noise.ok_or(DiffusionError::NoiseMissing { t: visit.t })?)
        } else {
            None
        };

        let bar = self.schedule.alpha_bar(visit.t);
        let (signal, sigma) = (bar.sqrt(), (1.0 - bar).sqrt());
        let x0 = match self.config.prediction {
            Prediction::Epsilon => (x_t.clone() - output.clone() * sigma) / signal,
            Prediction::Sample => output.clone(),
        };

        let (x_prev, x0) = match self.config.kind {
            SchedulerKind::UnClip { variance } | SchedulerKind::Ddpm { variance } => {
                let posterior = match self.config.kind {
                    SchedulerKind::UnClip { .. } => unclip::posterior(&self.schedule, visit.t, visit.prev),
                    _ => ddpm::posterior(&self.schedule, visit.t, visit.prev),
                };
                let x0 = threshold::apply(self.config.limit, x0);
                let mean = posterior.mean(x0.clone(), x_t);
                let x_prev = match noise {
                    Some(noise) => mean + posterior.noise(variance, fraction, eta, noise),
                    None => mean,
                };
                (x_prev, x0)
            }
            SchedulerKind::Ddim { set_alpha_to_one } => {
                let w = ddim::weights(&self.schedule, visit.t, visit.prev, set_alpha_to_one, eta);
                // The direction to x_t keeps the network's own noise: clipping changes x0 alone, as in the reference.
                let eps = match self.config.prediction {
                    Prediction::Epsilon => output,
                    Prediction::Sample => (x_t - x0.clone() * signal) / sigma,
                };
                let x0 = threshold::apply(self.config.limit, x0);
                let x_prev = x0.clone() * w.x0 + eps * w.eps;
                let x_prev = match noise {
                    Some(noise) => x_prev + noise * w.sigma,
                    None => x_prev,
                };
                (x_prev, x0)
            }
        };
        Ok(Stepped { x_prev, x0 })
    }
}

/// Refuses an eta that is negative or not finite.
pub(super) fn check_eta(eta: f64) -> Result<(), DiffusionError> {
    if eta.is_finite() && eta >= 0.0 {
        Ok(())
    } else {
        Err(DiffusionError::Eta(eta))
    }
}

/// Parts an output into the prediction and, where it is learned, the variance.
fn split_variance<const D: usize>(
    output: Tensor<D>,
    x_t: &Tensor<D>,
    learned: bool,
) -> Result<(Tensor<D>, Option<Tensor<D>>), DiffusionError> {
    let (found, sample) = (output.dims(), x_t.dims());
    let wrong = |reason| {
        Err(DiffusionError::Output {
            output: found.to_vec(),
            sample: sample.to_vec(),
            reason,
        })
    };
    let channels = sample[1];
    let mut doubled = sample;
    doubled[1] = 2 * channels;
    if found == doubled {
        let fraction = learned.then(|| output.clone().narrow(1, channels, channels));
        return Ok((output.narrow(1, 0, channels), fraction));
    }
    match (found == sample, learned) {
        (true, false) => Ok((output, None)),
        (true, true) => wrong("a learned variance needs twice the sample's channels"),
        (false, _) => wrong("expected the sample's shape, or twice its channels"),
    }
}
