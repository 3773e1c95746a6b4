//! DDPM's ancestral sampler over a subset of timesteps (Ho et al. 2020). Reference: diffusers `DDPMScheduler`.

use super::Schedule;
use super::posterior::Posterior;

/// The step from `t` to `prev`; `None` is past the end (alpha-bar 1). Beta is always that of the visited timesteps.
pub(super) fn posterior(schedule: &Schedule, t: usize, prev: Option<usize>) -> Posterior {
    let bar = schedule.alpha_bar(t);
    let bar_prev = prev.map_or(1.0, |p| schedule.alpha_bar(p));
    let alpha = bar / bar_prev;
    Posterior::new(bar, bar_prev, alpha, 1.0 - alpha)
}
