//! Training steps of the priors: ECLIPSE and Projection (Eq. 3 to 5), Diffusion-Baseline (Eq. 1), flow matching.
//!
//! Axes: batch, the examples of one part of a step; d_clip.

mod batches;
mod eclipse;
mod with_time;

pub use batches::{Cut, NoisePath, NoisingOptions, eclipse_batches, noised_batches};
pub use eclipse::{EclipseOptions, LossForms, PriorBatch, PriorTrainer};
pub use with_time::{DiffusionBatch, DiffusionTrainer};

use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::train::TrainOutput;

use super::average::{Follow, follow_at};
use super::gradients::clip_global_norm;
use super::parts::{Losses, Parts, mean_gradients};
use super::session::StepReport;

/// AdamW with PyTorch's meaning of every number (Burn's own defaults differ: eps 1e-5, weight decay 1e-4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the first and second moment: 0.9, 0.999.
    pub betas: (f64, f64),
    /// 1e-8.
    pub eps: f64,
    /// Decoupled; 0 in the authors' and diffusers' prior scripts.
    pub weight_decay: f64,
}

impl AdamWOptions {
    /// The optimiser of a trainer; a moving average only follows.
    pub fn init(&self) -> ModuleOptimizer {
        AdamWConfig::new()
            .with_beta_1(self.betas.0 as f32)
            .with_beta_2(self.betas.1 as f32)
            .with_epsilon(self.eps as f32)
            .with_weight_decay(self.weight_decay as f32)
            .init()
            .with_group(
                ParamGroup::from_regex(r"^average\.").expect("a valid regular expression"),
                Follow,
                None,
            )
    }
}

/// What happens to gradients after they are known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UpdateOptions {
    /// Largest global norm, if clipped.
    pub grad_clip: Option<f64>,
    /// Decay of the moving average of the parameters, if there is one; lower in the first steps.
    pub ema_decay: Option<f64>,
    /// When they are known.
    pub sum: GradientSum,
}

/// When the gradients of all parts of a step come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientSum {
    /// With the backward pass: one worker has all parts, or the backward passes of all workers exchange them.
    #[default]
    Backward,
    /// After it, by burn-train, as the sum over workers.
    Optimizer,
}

/// One step of a trainer whose network is `network`, with a moving average or none.
fn step<T: Losses, N: Module>(
    trainer: &T,
    batch: Parts<T::Part>,
    network: &N,
    average: Option<&N>,
    update: UpdateOptions,
) -> TrainOutput<StepReport> {
    let (step, share) = (batch.step, batch.share);
    let (mut grads, mut values) = mean_gradients(trainer, batch);
    let mut follows = true;
    match update.sum {
        GradientSum::Backward => values.push((
            "grad_norm",
            clip_global_norm(network, &mut grads, update.grad_clip),
        )),
        // Into a sum it goes once.
        GradientSum::Optimizer => follows = share.index == 0,
    }
    if let (Some(average), Some(decay), true) = (average, update.ema_decay, follows) {
        follow_at(step, average, network, decay, &mut grads);
    }
    TrainOutput {
        grads,
        item: StepReport::new(step, values),
    }
}

/// What is left to do with the gradients of `network` when an optimiser gets them.
fn clip_late<N: Module>(network: &N, grads: &mut GradientsParams, update: UpdateOptions) {
    if update.sum == GradientSum::Optimizer {
        clip_global_norm(network, grads, update.grad_clip);
    }
}

/// Mean cosine of matching rows, `[1]`.
fn mean_cosine(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    use crate::objective::eclipse::normalize;
    let n = a.dims()[0] as f64;
    (normalize(a) * normalize(b)).sum().div_scalar(n)
}
