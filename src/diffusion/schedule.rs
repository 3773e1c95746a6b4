//! Tables of a noise schedule: beta and alpha-bar for each train timestep.
//!
//! Reference: diffusers' schedulers, which keep these tables in f32. Published models were trained and are sampled with the rounded values, and
//! samplers magnify the rounding: squared-cosine alpha-bar ends at 2.4e-9, and the last UnCLIP step divides by `1 - alpha_bar[0]`. So the tables
//! are rounded to f32 here as well (the product accumulates in f64, as torch's `cumprod` does on the CPU) and everything after them is `f64`.

use burn::prelude::*;
use burn::tensor::TensorData;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Offset of the squared-cosine schedule (Nichol and Dhariwal 2021, Eq. 17).
const COSINE_OFFSET: f64 = 0.008;
/// Cap on beta of the squared-cosine schedule (same source).
const COSINE_MAX_BETA: f64 = 0.999;

/// How beta grows with the timestep, by the names of published scheduler files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BetaShape {
    /// Beta grows linearly.
    Linear,
    /// The square root of beta grows linearly.
    ScaledLinear,
    /// The squared-cosine alpha-bar, which ignores the ends.
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCos,
}

impl BetaShape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Linear, Self::ScaledLinear, Self::SquaredCos];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::ScaledLinear => "scaled_linear",
            Self::SquaredCos => "squaredcos_cap_v2",
        }
    }

    /// The schedule from beta `start` at t = 0 to `end` at the last t.
    pub fn between(self, start: f64, end: f64) -> BetaSchedule {
        match self {
            Self::Linear => BetaSchedule::Linear { start, end },
            Self::ScaledLinear => BetaSchedule::ScaledLinear { start, end },
            Self::SquaredCos => BetaSchedule::SquaredCos,
        }
    }
}

/// How beta grows with the timestep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BetaSchedule {
    /// Beta grows linearly from `start` to `end`: Kandinsky's decoder, the paper's Diffusion-Baseline.
    Linear {
        /// Beta at t = 0.
        start: f64,
        /// Beta at the last t.
        end: f64,
    },
    /// The square root of beta grows linearly: latent diffusion models.
    ScaledLinear {
        /// Beta at t = 0.
        start: f64,
        /// Beta at the last t.
        end: f64,
    },
    /// alpha-bar(t) = cos^2((t + 0.008) / 1.008 * pi / 2), beta capped at 0.999: Karlo, Kandinsky's priors.
    SquaredCos,
}

impl BetaSchedule {
    /// The schedule without its ends.
    pub fn shape(self) -> BetaShape {
        match self {
            Self::Linear { .. } => BetaShape::Linear,
            Self::ScaledLinear { .. } => BetaShape::ScaledLinear,
            Self::SquaredCos => BetaShape::SquaredCos,
        }
    }
}

/// The tables of one schedule. Cheap to clone next to any model.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// Tables for `n_train` timesteps.
    ///
    /// # Panics
    /// If `n_train` is 0.
    pub fn new(kind: BetaSchedule, n_train: usize) -> Self {
        assert!(n_train > 0, "a schedule needs at least one timestep");
        let betas: Vec<f32> = match kind {
            BetaSchedule::Linear { start, end } => linspace_f32(start as f32, end as f32, n_train),
            BetaSchedule::ScaledLinear { start, end } => {
                linspace_f32(start.sqrt() as f32, end.sqrt() as f32, n_train)
                    .into_iter()
                    .map(|b| b * b)
                    .collect()
            }
            BetaSchedule::SquaredCos => (0..n_train)
                .map(|t| {
                    let at = |t: usize| cosine_alpha_bar(t as f64 / n_train as f64);
                    (1.0 - at(t + 1) / at(t)).min(COSINE_MAX_BETA) as f32
                })
                .collect(),
        };
        let mut product = 1.0f64;
        let alphas_cumprod = betas
            .iter()
            .map(|&beta| {
                product *= f64::from(1.0 - beta);
                f64::from(product as f32)
            })
            .collect();
        Self {
            betas: betas.into_iter().map(f64::from).collect(),
            alphas_cumprod,
        }
    }

    /// Number of train timesteps.
    pub fn n_train(&self) -> usize {
        self.betas.len()
    }

    /// Beta of every train timestep.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// alpha-bar of every train timestep.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// alpha-bar at `t`.
    ///
    /// # Panics
    /// If `t` is not below [`Schedule::n_train`].
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.alphas_cumprod[t]
    }

    /// Noises `x0` `[batch, ..]` to the timesteps `t` (one for each row): `sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps` (the forward process
    /// of Eq. 1 and 2).
    ///
    /// # Panics
    /// If `t` has another length than the batch, or holds a timestep beyond the schedule, or the shapes of `x0` and `eps` differ.
    pub fn add_noise<const D: usize>(&self, x0: Tensor<D>, eps: Tensor<D>, t: &[usize]) -> Tensor<D> {
        let dims = x0.dims();
        assert_eq!(dims, eps.dims(), "x0 and eps must have one shape");
        assert_eq!(dims[0], t.len(), "one timestep for each row of the batch");
        let (device, dtype) = (x0.device(), x0.dtype());
        let mut shape = [1; D];
        shape[0] = t.len();
        let column = |f: &dyn Fn(f64) -> f64| -> Tensor<D> {
            let values: Vec<f32> = t.iter().map(|&t| f(self.alphas_cumprod[t]) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), (&device, dtype))
        };
        x0 * column(&f64::sqrt) + eps * column(&|a| (1.0 - a).sqrt())
    }
}

/// The continuous squared-cosine alpha-bar; `u` runs from 0 to 1.
fn cosine_alpha_bar(u: f64) -> f64 {
    ((u + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * std::f64::consts::FRAC_PI_2)
        .cos()
        .powi(2)
}

/// torch's `linspace` in f32: counted from the nearer end, so that both ends are exact.
fn linspace_f32(start: f32, end: f32, n: usize) -> Vec<f32> {
    if n == 1 {
        return vec![start];
    }
    let step = (end - start) / (n - 1) as f32;
    (0..n)
        .map(|i| {
            if i < n / 2 {
                start + step * i as f32
            } else {
                end - step * (n - 1 - i) as f32
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn squared_cosine_is_not_flat() {
        // A known port divides integers here and gets alpha-bar 1.0 in the middle.
        let s = Schedule::new(BetaSchedule::SquaredCos, 1000);
        assert!((s.alpha_bar(500) - 0.4923).abs() < 1e-3, "{}", s.alpha_bar(500));
        assert!((s.alpha_bar(999) - 2.4e-9).abs() < 1e-10, "{}", s.alpha_bar(999));
        assert_eq!(s.betas()[999], f64::from(0.999f32));
    }

    #[test]
    fn linear_ends_are_exact() {
        let s = Schedule::new(
            BetaSchedule::Linear {
                start: 1e-4,
                end: 0.02,
            },
            1000,
        );
        assert_eq!(s.betas()[0], f64::from(1e-4f32));
        assert_eq!(s.betas()[999], f64::from(0.02f32));
    }

    proptest! {
        #[test]
        fn alpha_bar_falls_inside_zero_and_one(n in 1usize..1200, kind in 0..3usize, start in 1e-5f64..1e-3, end in 1e-3f64..0.05) {
            let kind = [BetaSchedule::Linear { start, end }, BetaSchedule::ScaledLinear { start, end }, BetaSchedule::SquaredCos][kind];
            let s = Schedule::new(kind, n);
            let bars = s.alphas_cumprod();
            prop_assert!(bars.iter().all(|&a| a > 0.0 && a < 1.0));
            prop_assert!(bars.windows(2).all(|w| w[1] < w[0]));
        }
    }
}
