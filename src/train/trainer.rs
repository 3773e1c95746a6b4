//! A network in training: one trainer for every criterion, with the step, gradient clipping and the exponential moving average (EMA).

use burn::module::{Module, ModuleDisplay, ParamGroup};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::adamw::FusedAdamW;
use super::adamw_group;
use super::ema::{EmaUpdate, copy_of, register_ema_update_at};
use super::gradients::clip_global_norm;
use super::micro_batches::{Batch, Losses, MicroBatches, Values, gradients, mean_gradients};
use super::row_wise::{self, RowWise};
use super::session::StepReport;
use crate::device::{Precision, groups_updates};
use crate::nn::with_linear_layers_in;

/// Any network that a [`Trainer`] can train.
pub trait Network: Module + ModuleDisplay + Sync {}

impl<N: Module + ModuleDisplay + Sync> Network for N {}

/// A loss on a batch: a criterion in PyTorch's sense, forward pass included.
pub trait Criterion<N>: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// A batch.
    type Batch: Batch;

    /// Named scalars `[1]`. The first is the loss; the others are only reported.
    fn values(&self, network: &N, batch: Self::Batch) -> Values;

    /// The criterion on predictions, if each row of them depends on one example only: a CPU computes the rows on all threads.
    fn row_wise(&self) -> Option<&dyn RowWise<N, Self::Batch>> {
        None
    }
}

/// How a step computes its gradients, and what it does with them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UpdateOptions {
    /// What the linear layers of the network compute in while training. Parameters, gradients, norms, softmax, loss and optimiser stay in f32, and so does
    /// validation.
    pub compute: Precision,
    /// Largest global norm; `None` does not clip.
    pub grad_clip: Option<f64>,
    /// Decay of the EMA of the parameters, lower in the first steps; `None` keeps no EMA.
    pub ema_decay: Option<f64>,
    /// Where the gradients of all micro-batches of a step are summed.
    pub sum: GradientSum,
}

/// Where the gradients of all micro-batches of a step are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientSum {
    /// In the backward pass: one worker computes all micro-batches, or the backward passes of all workers exchange gradients.
    #[default]
    Backward,
    /// After the backward pass, by burn-train, as the sum over workers.
    Optimizer,
}

/// Paths of a [`Trainer`]'s EMA among its parameters: a regular expression. Those of its network begin with `prior.`.
pub const EMA: &str = r"^average\.";

/// A network, its criterion, and the EMA of its parameters if there is one.
#[derive(Module, Debug)]
pub struct Trainer<N: Network, C: Criterion<N>> {
    // The names of these two fields are in checkpoints: a run that was begun by an earlier version continues.
    prior: N,
    average: Option<N>,
    #[module(skip)]
    criterion: C,
    #[module(skip)]
    update: UpdateOptions,
}

impl<N: Network, C: Criterion<N>> Trainer<N, C> {
    /// A trainer of `network`. `same_shape` creates a network of the same configuration, for the EMA's values.
    pub fn new(network: N, criterion: C, update: UpdateOptions, same_shape: impl FnOnce() -> N) -> Self {
        Self {
            average: update.ema_decay.map(|_| copy_of(&network, same_shape())),
            prior: network,
            criterion,
            update,
        }
    }

    /// The network that is trained.
    pub fn network(&self) -> &N {
        &self.prior
    }

    /// The network that is trained, without its trainer.
    pub fn into_network(self) -> N {
        self.prior
    }

    /// The result of the training: the EMA if there is one, else the network.
    pub fn result(&self) -> &N {
        self.average.as_ref().unwrap_or(&self.prior)
    }

    /// The criterion.
    pub fn criterion(&self) -> &C {
        &self.criterion
    }
}

impl<N: Network, C: Criterion<N>> Losses for Trainer<N, C> {
    type Batch = C::Batch;

    fn losses(&self, part: C::Batch) -> Values {
        let network = with_linear_layers_in(&self.prior, self.update.compute);
        self.criterion.values(&network, part)
    }

    fn gradients(&self, batch: C::Batch, n: usize) -> (GradientsParams, Values) {
        let (row_wise, compute) = (self.criterion.row_wise(), self.update.compute);
        row_wise
            .and_then(|criterion| row_wise::gradients(criterion, &self.prior, compute, &batch, n))
            .unwrap_or_else(|| gradients(self, batch, n))
    }
}

impl<N: Network, C: Criterion<N>> TrainStep for Trainer<N, C> {
    type Input = MicroBatches<C::Batch>;
    type Output = StepReport;

    fn step(&self, batch: MicroBatches<C::Batch>) -> TrainOutput<StepReport> {
        let (step, shard) = (batch.step, batch.shard);
        let (mut grads, mut values) = mean_gradients(self, batch);
        let mut moves_ema = true;
        match self.update.sum {
            GradientSum::Backward => values.push((
                "grad_norm",
                clip_global_norm(&self.prior, &mut grads, self.update.grad_clip),
            )),
            // One worker's gradients carry the EMA's update, so that the sum over workers contains it once.
            GradientSum::Optimizer => moves_ema = shard.index == 0,
        }
        if let (Some(ema), Some(decay), true) = (&self.average, self.update.ema_decay, moves_ema) {
            register_ema_update_at(step, ema, &self.prior, decay, &mut grads);
        }
        TrainOutput {
            grads,
            item: StepReport::new(step, values),
        }
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        mut grads: GradientsParams,
    ) -> Self {
        if self.update.sum == GradientSum::Optimizer {
            clip_global_norm(&self.prior, &mut grads, self.update.grad_clip);
        }
        if groups_updates(&self.devices()[0]) {
            return adamw_group::step(optimizer, lr, self, grads);
        }
        optimizer.step(lr, self, grads)
    }
}

impl<N: Network, C: Criterion<N>> InferenceStep for Trainer<N, C> {
    type Input = C::Batch;
    type Output = StepReport;

    fn step(&self, batch: C::Batch) -> StepReport {
        let n = batch.n_examples();
        StepReport::of_validation(self.criterion.values(self.result(), batch), n)
    }
}

/// AdamW with PyTorch's semantics (Burn's defaults differ: eps 1e-5, weight decay 1e-4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the first and second moment: 0.9, 0.999.
    pub betas: (f64, f64),
    /// 1e-8.
    pub eps: f64,
    /// Decoupled; 0 in the authors' and diffusers' prior scripts.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    /// The values of the authors' and diffusers' prior scripts.
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl AdamWOptions {
    /// The optimiser of a [`Trainer`]; the EMA has its own update rule.
    pub fn init(&self) -> ModuleOptimizer {
        ModuleOptimizer::from(FusedAdamW::new(self.betas, self.eps, self.weight_decay)).with_group(
            ParamGroup::from_regex(EMA).expect("a valid regular expression"),
            EmaUpdate,
            None,
        )
    }
}
