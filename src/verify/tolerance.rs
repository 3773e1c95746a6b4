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
//! The table holds for every other backend. On flex, ndarray and wgpu (Mesa's lavapipe 22.3), by `eclipse verify --json`, the miniature checkpoints use at
//! most .53 of it, in `pipeline_karlo_image_variation`, .52 in `timestep_embedding` (the reference rounds cosines of large arguments in f32), .41 in
//! `train`, and below .1 everywhere else.

use crate::device::Products;

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

impl Tolerance {
    /// The largest allowed absolute difference; `noise` is the reference's own rounding error.
    pub fn allowed(self, noise: Option<f64>, products: Products) -> f64 {
        let (noise, coarse) = (noise.unwrap_or(0.0), products == Products::Tf32);
        match self {
            Self::Exact => 0.0,
            Self::Table => TABLE,
            Self::Rate => RATE,
            Self::Pixel if coarse => PIXEL_TF32,
            Self::Pixel => PIXEL,
            Self::Float if coarse => FLOAT_TF32.max(products.rounding() * noise),
            Self::Float => FLOAT.max(NOISE * noise),
            Self::Reach(reach) => reach,
            Self::Scaled(size) => (FLOAT * size.max(1.0)).max(NOISE * noise),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(
                t.allowed(Some(1e-6), Products::Tf32),
                t.allowed(Some(1e-6), Products::F32)
            );
        }
        for t in [Tolerance::Pixel, Tolerance::Float] {
            let (coarse, fine) = (
                t.allowed(Some(1e-6), Products::Tf32),
                t.allowed(Some(1e-6), Products::F32),
            );
            let rounding = Products::Tf32.rounding();
            assert!(
                fine < coarse && coarse < fine * rounding,
                "{t:?}: {fine} {coarse}"
            );
        }
    }
}
