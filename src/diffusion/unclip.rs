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
    // Alpha is what f32 leaves of 1 - beta, as in the reference: from t = 999 (alpha-bar 2.4e-9) a long jump has exactly 0, so the start noise
    // drops out of the mean; in f64 it would stay in with a weight of 1e-4.
    let beta = if adjacent {
        schedule.betas()[t] as f32
    } else {
        1.0 - bar as f32 / bar_prev as f32
    };
    Posterior::new(bar, bar_prev, f64::from(1.0 - beta), f64::from(beta))
}
