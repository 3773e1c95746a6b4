//! How far a computed tensor may be from the reference: one table.
//!
//! | kind | allowed difference | reason |
//! |---|---|---|
//! | [`Tolerance::Exact`] | 0 | token ids, masks, timesteps, 8-bit pixels: no rounding is involved |
//! | [`Tolerance::Table`] | 1e-6 | betas and alpha-bars: computed in f64, rounded to f32 |
//! | [`Tolerance::Rate`] | 1e-15 | learning rates: f64 on both sides, and as small as 1e-6 |
//! | [`Tolerance::Pixel`] | 1e-5 | normalised pixels: one grey level is 1.4e-2, f32 rounding 5e-7 |
//! | [`Tolerance::Float`] | 1e-4, or 100 x the reference's rounding error | f32 sums in another order, on values of order 1 |
//! | [`Tolerance::Reach`] | as given | what a family bounds itself, with its reason: distances and scores of images, computed in f64 on both sides, whose singular covariances lose digits; key biases after AdamW steps: their gradients are rounding noise (the softmax does not see them), and Adam moves by whole learning rates either way |
//! | [`Tolerance::Score`] | as given | scores of what a network gives, rounded to four digits |
//! | [`Tolerance::Scaled`] | the same, times the largest value when that is above 1 | element by element: samples that grow (clipping at 10, `eps / 5e-5`) |
//!
//! Trajectories of samplers are compared step by step (`*_steps`). An epsilon network at t = 999 has its error divided by the square root of an
//! alpha-bar of 2.4e-9, 20,000 times, before `x0` is clipped: the few values that the clipping does not catch carry that error along, in the
//! reference as well. Its own rounding error on the same tensor therefore sets the tolerance of what comes after such a step.
//!
//! A device that multiplies f32 matrices in TF32 rounds 2^13 times as coarsely ([`Products`]). There, what a network computes may be off by the
//! reference's rounding error times 2^13, or by 5e-3, and pixels by half a grey level. By `eclipse verify --device cuda --json` on an H200 the miniature
//! checkpoints use at most .62 of that, bicubic upscaling .74. Samplers and sinusoids multiply no matrices, and their bounds stay.
//!
//! In half precision, weights and activations of networks are rounded to p = 11 (f16) or 8 (bf16) significant bits, an error of at most u = 2^-p each; sums,
//! norms and attention are f32. To first order the error of a result is proportional to u. The reference's own rounding error, at u = 2^-24, therefore tells
//! the expected one: 2^13 or 2^16 times as much. Where a golden does not tell it, n independent roundings in a row add up to sqrt(n) u of the largest value, for
//! the n of the deepest network, 94. Four times the expected error is allowed. On flex, `eclipse verify --dtype` uses at most .34 of it. A first-order
//! estimate holds for no golden whose samples are clipped after a division by 5e-5 (`karlo_decode`, guided: one of 384 values changes from one bound to the
//! other in its first step), nor for training, which keeps its parameters in f32: half precision leaves both out.
//!
//! The table holds for every other backend. On flex, ndarray and wgpu (Mesa's lavapipe 22.3), by `eclipse verify --json`, the miniature checkpoints use at
//! most .53 of it, in `pipeline_karlo_image_variation`, .52 in `timestep_embedding` (the reference rounds cosines of large arguments in f32), .41 in
//! `train`, and below .1 everywhere else.

use crate::device::{Precision, Products};

/// What a device computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arithmetic {
    /// Precision of its f32 matrix products.
    pub products: Products,
    /// Precision of networks: their weights and activations.
    pub precision: Precision,
}

/// The kind of comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// No difference at all.
    Exact,
    /// A table of constants.
    Table,
    /// Learning rates.
    Rate,
    /// Normalised pixels.
    Pixel,
    /// What a network computes in f32, on values of order 1.
    Float,
    /// What is computed element by element, without a matrix product, on values of the given size.
    Scaled(f64),
    /// An absolute bound that the family gives a reason for, as for parameters that no output sees: as far apart as optimiser steps in opposite
    /// directions can take them.
    Reach(f64),
    /// [`Tolerance::Reach`] for a score that the host computes of what a network gives: coarser where the network is.
    Score(f64),
}

/// Allowed on constants.
const TABLE: f64 = 1e-6;
/// Allowed on learning rates.
const RATE: f64 = 1e-15;
/// Allowed on normalised pixels.
const PIXEL: f64 = 1e-5;
/// Allowed on f32 results of order 1.
const FLOAT: f64 = 1e-4;
/// Allowed multiple of the reference's own rounding error.
const NOISE: f64 = 100.0;
/// Allowed on normalised pixels where products are TF32's: half a grey level, 1 / 255.
const PIXEL_TF32: f64 = 1.0 / 255.0;
/// Allowed on results of order 1 where products are TF32's, at least: twice the largest difference seen on a tensor whose rounding error no golden
/// tells (gradients in `train`, 2.4e-3).
const FLOAT_TF32: f64 = 5e-3;

/// Standard deviations of a rounding error that the largest of a tensor's thousands of errors may reach.
const DEVIATIONS: f64 = 4.0;
/// Roundings in a row from a network's input to its output, at most: Inception has 47 convolutions, each of which rounds its kernel and its result.
const ROUNDINGS: f64 = 94.0;

/// Allowed on results up to `size` of a network in half precision.
fn half(precision: Precision, noise: Option<f64>, size: f64) -> f64 {
    let once = precision.unit_roundoff() * size;
    let expected = match noise {
        Some(noise) => once.max(noise * precision.unit_roundoff() / Precision::F32.unit_roundoff()),
        None => once * ROUNDINGS.sqrt(),
    };
    DEVIATIONS * expected
}

impl Tolerance {
    /// The largest allowed absolute difference. `noise`: the reference's own rounding error; `size`: its largest absolute value.
    pub fn allowed(self, noise: Option<f64>, size: f64, arithmetic: Arithmetic) -> f64 {
        let Arithmetic { products, precision } = arithmetic;
        if precision != Precision::F32 {
            match self {
                Self::Float => return half(precision, noise, size.max(1.0)),
                Self::Score(bound) => return bound.max(half(precision, noise, size.max(1.0))),
                _ => {}
            }
        }
        let (noise, coarse) = (noise.unwrap_or(0.0), products == Products::Tf32);
        match self {
            Self::Exact => 0.0,
            Self::Table => TABLE,
            Self::Rate => RATE,
            Self::Pixel if coarse => PIXEL_TF32,
            Self::Pixel => PIXEL,
            Self::Float if coarse => FLOAT_TF32.max(products.rounding() * noise),
            Self::Float => FLOAT.max(NOISE * noise),
            Self::Reach(bound) | Self::Score(bound) => bound,
            Self::Scaled(size) => (FLOAT * size.max(1.0)).max(NOISE * noise),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: Arithmetic = Arithmetic {
        products: Products::F32,
        precision: Precision::F32,
    };
    const TF32: Arithmetic = Arithmetic {
        products: Products::Tf32,
        precision: Precision::F32,
    };

    #[test]
    fn coarser_products_widen_what_networks_compute_and_nothing_else() {
        let exact = [
            Tolerance::Exact,
            Tolerance::Table,
            Tolerance::Rate,
            Tolerance::Reach(0.5),
            Tolerance::Scaled(3.0),
        ];
        for t in exact {
            assert_eq!(t.allowed(Some(1e-6), 3.0, TF32), t.allowed(Some(1e-6), 3.0, F32));
        }
        for t in [Tolerance::Pixel, Tolerance::Float] {
            let (coarse, fine) = (t.allowed(Some(1e-6), 3.0, TF32), t.allowed(Some(1e-6), 3.0, F32));
            let rounding = Products::Tf32.rounding();
            assert!(
                fine < coarse && coarse < fine * rounding,
                "{t:?}: {fine} {coarse}"
            );
        }
    }

    #[test]
    fn half_precision_is_as_coarse_as_its_rounding() {
        let half = |precision| Arithmetic {
            precision,
            ..Arithmetic::default()
        };
        let (f16, bf16) = (half(Precision::F16), half(Precision::Bf16));
        for noise in [None, Some(1e-6)] {
            let allowed = |arithmetic| Tolerance::Float.allowed(noise, 2.0, arithmetic);
            assert_eq!(allowed(bf16), 8.0 * allowed(f16));
            assert!(allowed(f16) > allowed(F32));
        }
        // Of the reference's error, 2^24 to 2^11.
        let of_reference = Tolerance::Float.allowed(Some(1e-5), 2.0, f16);
        assert!((of_reference / (4.0 * 8192.0 * 1e-5) - 1.0).abs() < 1e-9);
        for t in [
            Tolerance::Exact,
            Tolerance::Pixel,
            Tolerance::Reach(0.5),
            Tolerance::Scaled(3.0),
        ] {
            assert_eq!(t.allowed(Some(1e-6), 3.0, bf16), t.allowed(Some(1e-6), 3.0, F32));
        }
    }
}
