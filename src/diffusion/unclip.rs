//! Karlo's ancestral sampler. Reference: diffusers `UnCLIPScheduler`.
//!
//! It differs from DDPM in three things: which timesteps it visits, that a jump to the directly preceding timestep takes beta from the table, and
//! that its `fixed_small_log` yields a standard deviation.

use super::Schedule;
use super::posterior::Posterior;

/// The step from `t` to `prev`; `None` is past the end (alpha-bar 1).
pub(super) fn posterior(schedule: &Schedule, t: usize, prev: Option<usize>) -> Posterior {
    let bar = schedule.alpha_bar(t);
    let bar_prev = prev.map_or(1.0, |p| schedule.alpha_bar(p));
    let adjacent = match prev {
        Some(p) => p + 1 == t,
        None => t == 0,
    };
    // The table's beta and the ratio differ by rounding, which at t = 0 is 0.1 %.
    let beta = if adjacent {
        schedule.betas()[t]
    } else {
        1.0 - bar / bar_prev
    };
    Posterior::new(bar, bar_prev, beta)
}
