//! The Gaussian q(x_prev | x_t, x0) that the ancestral samplers draw from (Ho et al. 2020, Eq. 6 and 7).

use burn::prelude::*;

use super::config::Variance;

/// Floor of the variance before its logarithm is taken; the references' number.
const MIN_VARIANCE: f64 = 1e-20;

/// Coefficients of one ancestral step: `x_prev = x0_weight x0 + x_t_weight x_t + sigma noise`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Posterior {
    pub(super) x0_weight: f64,
    pub(super) x_t_weight: f64,
    /// Beta of this jump: `1 - alpha_bar(t) / alpha_bar(prev)`.
    pub(super) beta: f64,
    /// The posterior variance, not clamped.
    pub(super) variance: f64,
}

impl Posterior {
    /// The jump from alpha-bar `bar` to `bar_prev` (1 after the last step); `alpha` and `beta` are its own, and add up to 1.
    pub(super) fn new(bar: f64, bar_prev: f64, alpha: f64, beta: f64) -> Self {
        Self {
            x0_weight: bar_prev.sqrt() * beta / (1.0 - bar),
            x_t_weight: alpha.sqrt() * (1.0 - bar_prev) / (1.0 - bar),
            beta,
            variance: (1.0 - bar_prev) / (1.0 - bar) * beta,
        }
    }

    /// The mean, for a given `x0`.
    pub(super) fn mean<const D: usize>(&self, x0: Tensor<D>, x_t: Tensor<D>) -> Tensor<D> {
        x0 * self.x0_weight + x_t * self.x_t_weight
    }

    /// `eta sigma noise`. `fraction` is the network's second half of channels, in -1 (posterior variance) .. 1 (beta); only
    /// [`Variance::LearnedRange`] has one.
    pub(super) fn noise<const D: usize>(
        &self,
        variance: Variance,
        fraction: Option<Tensor<D>>,
        eta: f64,
        noise: Tensor<D>,
    ) -> Tensor<D> {
        let smallest = self.variance.max(MIN_VARIANCE);
        match (variance, fraction) {
            (Variance::LearnedRange, Some(v)) => {
                // 0.5 (f log(beta) + (1 - f) log(smallest)), f = (v + 1) / 2
                let (low, high) = (0.5 * smallest.ln(), 0.5 * self.beta.ln());
                let log_sigma = (v + 1.0) * (0.5 * (high - low)) + low;
                log_sigma.exp() * noise * eta
            }
            _ => noise * (eta * smallest.sqrt()),
        }
    }
}
