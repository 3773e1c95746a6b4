//! Eq. 5 on a prior without time.

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::{UpdateOptions, clip_late, mean_cosine, step};
use crate::models::prior::{Prior, PriorConfig, TextCondition};
use crate::objective::contrastive::{ContrastiveForm, Negatives, info_nce, siglip};
use crate::objective::eclipse::{Direction, EclipseLoss, Reduction, eclipse, projection};
use crate::objective::projection::{ProjectionForm, cosine, huber};
use crate::train::average::copy_of;
use crate::train::parts::{Losses, Parts, Values};
use crate::train::session::StepReport;

/// Which forms the two terms of Eq. 5 have. The defaults are the paper's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossForms {
    /// The first term.
    pub projection: ProjectionForm,
    /// Where [`ProjectionForm::Huber`] turns from square to line.
    pub huber_delta: f64,
    /// The second term.
    pub contrastive: ContrastiveForm,
    /// Bias of [`ContrastiveForm::Siglip`].
    pub siglip_bias: f64,
}

impl Default for LossForms {
    fn default() -> Self {
        Self {
            projection: ProjectionForm::SquaredError,
            huber_delta: 1.0,
            contrastive: ContrastiveForm::InfoNce,
            siglip_bias: -10.0,
        }
    }
}

/// The numbers of Eq. 5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EclipseOptions {
    /// Weight of Eq. 4; 0 is the Projection prior.
    pub lambda: f64,
    /// Temperature of Eq. 4.
    pub tau: f64,
    /// Direction of Eq. 4.
    pub direction: Direction,
    /// Reduction of Eq. 3 over d_clip (of the cosine form: none).
    pub reduction: Reduction,
    /// Forms of the terms.
    pub forms: LossForms,
}

/// A prior without time in training.
#[derive(Module, Debug)]
pub struct PriorTrainer {
    /// What learns.
    pub prior: Prior,
    average: Option<Prior>,
    #[module(skip)]
    options: EclipseOptions,
    #[module(skip)]
    update: UpdateOptions,
}

/// A part of a step for [`PriorTrainer`].
#[derive(Debug, Clone)]
pub struct PriorBatch {
    /// `[batch, d_clip]`, fresh for every step.
    pub eps: Tensor<2>,
    /// Targets, `[batch, d_clip]`.
    pub z_x: Tensor<2>,
    /// Captions.
    pub text: TextCondition,
    /// What stands against them beside the batch.
    pub negatives: Negatives,
}

impl PriorTrainer {
    /// Wraps a prior, of this config, and its moving average if there is to be one.
    pub fn new(prior: Prior, config: &PriorConfig, options: EclipseOptions, update: UpdateOptions) -> Self {
        let average = |_| copy_of(&prior, Prior::init(config, &prior.devices()[0]));
        Self {
            average: update.ema_decay.map(average),
            prior,
            options,
            update,
        }
    }

    /// What the run is for: the moving average if there is one, else the prior.
    pub fn published(&self) -> &Prior {
        self.average.as_ref().unwrap_or(&self.prior)
    }

    /// Predictions and the terms of Eq. 5.
    pub fn loss(&self, batch: PriorBatch) -> (Tensor<2>, EclipseLoss) {
        self.loss_of(&self.prior, batch)
    }

    fn loss_of(&self, prior: &Prior, batch: PriorBatch) -> (Tensor<2>, EclipseLoss) {
        let z_y = batch.text.z_y.clone();
        let z_x_hat = prior.forward(batch.eps, batch.text);
        let EclipseOptions {
            lambda,
            tau,
            direction,
            reduction,
            forms,
        } = self.options;
        let (x, target) = (z_x_hat.clone(), batch.z_x);
        let d_clip = match reduction {
            Reduction::Mean => 1.0,
            Reduction::Sum => target.dims()[1] as f64,
        };
        let first = match forms.projection {
            ProjectionForm::SquaredError => projection(x, target, reduction),
            ProjectionForm::Huber => huber(x, target, forms.huber_delta).mul_scalar(d_clip),
            ProjectionForm::Cosine => cosine(x, target),
        };
        let x = z_x_hat.clone();
        let loss = eclipse(first, lambda, || match forms.contrastive {
            ContrastiveForm::InfoNce => info_nce(x, z_y, tau, direction, &batch.negatives),
            ContrastiveForm::Siglip => siglip(x, z_y, tau, forms.siglip_bias, &batch.negatives),
        });
        (z_x_hat, loss)
    }

    fn values(&self, prior: &Prior, batch: PriorBatch) -> Values {
        let (z_x, z_y) = (batch.z_x.clone(), batch.text.z_y.clone());
        let (z_x_hat, loss) = self.loss_of(prior, batch);
        let mut values = vec![("loss", loss.total), ("loss/projection", loss.projection.clone())];
        if let Some(contrastive) = loss.contrastive {
            let share = contrastive.clone().mul_scalar(self.options.lambda) / loss.projection;
            values.extend([
                ("loss/contrastive", contrastive),
                ("lambda_contrastive/projection", share),
            ]);
        }
        let z_x_hat = z_x_hat.detach();
        values.push(("cos/z_x", mean_cosine(z_x_hat.clone(), z_x)));
        values.push(("cos/z_y", mean_cosine(z_x_hat, z_y)));
        values
    }
}

impl Losses for PriorTrainer {
    type Part = PriorBatch;

    fn device_of(part: &PriorBatch) -> Device {
        part.z_x.device()
    }

    fn losses(&self, part: PriorBatch) -> Values {
        self.values(&self.prior, part)
    }
}

impl TrainStep for PriorTrainer {
    type Input = Parts<PriorBatch>;
    type Output = StepReport;

    fn step(&self, batch: Parts<PriorBatch>) -> TrainOutput<StepReport> {
        step(self, batch, &self.prior, self.average.as_ref(), self.update)
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        mut grads: GradientsParams,
    ) -> Self {
        clip_late(&self.prior, &mut grads, self.update);
        optimizer.step(lr, self, grads)
    }
}

impl InferenceStep for PriorTrainer {
    type Input = PriorBatch;
    type Output = StepReport;

    fn step(&self, batch: PriorBatch) -> StepReport {
        let n = batch.z_x.dims()[0];
        StepReport::of_validation(self.values(self.published(), batch), n)
    }
}
