//! Training of priors, common to all objectives of [`super::objectives`].
//!
//! Axes: batch, the examples of one micro-batch; d_clip.

pub(super) mod step_layout;
mod training;

pub use step_layout::StepLayout;
pub use training::{ClipTemperature, PriorTraining, TrainingData};

use burn::prelude::*;

use crate::objective::normalize;

/// Mean cosine of matching rows, `[1]`.
pub(super) fn mean_cosine(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let n = a.dims()[0] as f64;
    (normalize(a) * normalize(b)).sum().div_scalar(n)
}
