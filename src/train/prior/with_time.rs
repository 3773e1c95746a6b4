//! Eq. 1, and flow matching, on a prior with time.

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::{UpdateOptions, clip_late, step};
use crate::models::prior::{DiffusionPrior, PriorConfig, TextCondition};
use crate::objective::diffusion::clean_prediction;
use crate::train::average::copy_of;
use crate::train::parts::{Losses, Parts, Values};
use crate::train::session::StepReport;

/// A prior with time in training.
#[derive(Module, Debug)]
pub struct DiffusionTrainer {
    /// What learns.
    pub prior: DiffusionPrior,
    average: Option<DiffusionPrior>,
    #[module(skip)]
    update: UpdateOptions,
}

/// A part of a step for [`DiffusionTrainer`].
#[derive(Debug, Clone)]
pub struct DiffusionBatch {
    /// Noisy embeddings, `[batch, d_clip]`.
    pub x_t: Tensor<2>,
    /// Their timesteps.
    pub t: Vec<f64>,
    /// What the network is to predict, `[batch, d_clip]`: the clean embeddings, whitened if the prior is to be, or a flow's velocity.
    pub target: Tensor<2>,
    /// Captions, some replaced by the empty one.
    pub text: TextCondition,
}

impl DiffusionTrainer {
    /// Wraps a prior, of this config, and its moving average if there is to be one.
    pub fn new(prior: DiffusionPrior, config: &PriorConfig, update: UpdateOptions) -> Self {
        let average = |_| copy_of(&prior, DiffusionPrior::init(config, &prior.devices()[0]));
        Self {
            average: update.ema_decay.map(average),
            prior,
            update,
        }
    }

    /// What the run is for: the moving average if there is one, else the prior.
    pub fn published(&self) -> &DiffusionPrior {
        self.average.as_ref().unwrap_or(&self.prior)
    }
}

fn values(prior: &DiffusionPrior, batch: DiffusionBatch) -> Values {
    let predicted = prior.forward(batch.x_t, &batch.t, batch.text);
    vec![("loss", clean_prediction(predicted, batch.target))]
}

impl Losses for DiffusionTrainer {
    type Part = DiffusionBatch;

    fn device_of(part: &DiffusionBatch) -> Device {
        part.x_t.device()
    }

    fn losses(&self, part: DiffusionBatch) -> Values {
        values(&self.prior, part)
    }
}

impl TrainStep for DiffusionTrainer {
    type Input = Parts<DiffusionBatch>;
    type Output = StepReport;

    fn step(&self, batch: Parts<DiffusionBatch>) -> TrainOutput<StepReport> {
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

impl InferenceStep for DiffusionTrainer {
    type Input = DiffusionBatch;
    type Output = StepReport;

    fn step(&self, batch: DiffusionBatch) -> StepReport {
        let n = batch.t.len();
        StepReport::of_validation(values(self.published(), batch), n)
    }
}
