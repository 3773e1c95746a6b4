//! DDIM (Song et al. 2021, Eq. 12 and 16). Reference: diffusers `DDIMScheduler`, without `use_clipped_model_output`.

use super::Schedule;

/// Coefficients of one step: `x_prev = x0_weight x0 + eps_weight eps + sigma noise`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weights {
    pub(super) x0: f64,
    pub(super) eps: f64,
    pub(super) sigma: f64,
}

/// The step from `t` with `eta`. The reference takes the previous timestep from the stride `n_train / n_steps`, not from the list, so `prev` is
/// what it computes; `None` is past the end: alpha-bar 1, or that of t = 0.
pub(super) fn weights(
    schedule: &Schedule,
    t: usize,
    prev: Option<usize>,
    set_alpha_to_one: bool,
    eta: f64,
) -> Weights {
    let bar = schedule.alpha_bar(t);
    let last = if set_alpha_to_one {
        1.0
    } else {
        schedule.alpha_bar(0)
    };
    let bar_prev = prev.map_or(last, |p| schedule.alpha_bar(p));
    // At t = 0 without `set_alpha_to_one` the step goes nowhere: rounding must not make the variance negative.
    let variance = ((1.0 - bar_prev) / (1.0 - bar) * (1.0 - bar / bar_prev)).max(0.0);
    let sigma = eta * variance.sqrt();
    Weights {
        x0: bar_prev.sqrt(),
        eps: (1.0 - bar_prev - sigma * sigma).max(0.0).sqrt(),
        sigma,
    }
}
