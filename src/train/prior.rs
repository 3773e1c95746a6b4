//! Training steps of the priors: ECLIPSE and Projection (Eq. 3 to 5), Diffusion-Baseline (Eq. 1), flow matching.

use std::sync::Arc;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use rand::RngExt;

use super::gradients::clip_global_norm;
use super::negatives::NegativeOptions;
use super::session::StepReport;
use crate::data::pairs::{Pairs, rows_of_step};
use crate::diffusion::flow;
use crate::models::prior::{DiffusionPrior, Prior, TextCondition};
use crate::noise::Noise;
use crate::objective::contrastive::{ContrastiveForm, Negatives, info_nce, siglip};
use crate::objective::diffusion::clean_prediction;
use crate::objective::eclipse::{Direction, EclipseLoss, Reduction, eclipse, projection};
use crate::objective::projection::{ProjectionForm, cosine, huber};

/// Streams of a run's seed: data order counts from 0 (one a pass), the noise of steps from here (one a step).
const NOISE_STREAM: u64 = 1 << 40;

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
    /// The optimiser.
    pub fn init(&self) -> ModuleOptimizer {
        AdamWConfig::new()
            .with_beta_1(self.betas.0 as f32)
            .with_beta_2(self.betas.1 as f32)
            .with_epsilon(self.eps as f32)
            .with_weight_decay(self.weight_decay as f32)
            .init()
    }
}

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

/// The numbers of Eq. 5, and the clipping.
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
    /// Global gradient norm, if clipped.
    pub grad_clip: Option<f64>,
}

/// A prior without time in training.
#[derive(Module, Debug)]
pub struct PriorTrainer {
    /// The prior.
    pub prior: Prior,
    #[module(skip)]
    options: EclipseOptions,
}

/// One batch for [`PriorTrainer`].
#[derive(Debug, Clone)]
pub struct PriorBatch {
    /// Step number, from 1.
    pub step: usize,
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
    /// Wraps a prior.
    pub fn new(prior: Prior, options: EclipseOptions) -> Self {
        Self { prior, options }
    }

    /// Predictions and the terms of Eq. 5.
    pub fn loss(&self, batch: PriorBatch) -> (Tensor<2>, EclipseLoss) {
        let z_y = batch.text.z_y.clone();
        let z_x_hat = self.prior.forward(batch.eps, batch.text);
        let EclipseOptions {
            lambda,
            tau,
            direction,
            reduction,
            forms,
            ..
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
}

impl TrainStep for PriorTrainer {
    type Input = PriorBatch;
    type Output = StepReport;

    fn step(&self, batch: PriorBatch) -> TrainOutput<StepReport> {
        let (step, z_x, z_y) = (batch.step, batch.z_x.clone(), batch.text.z_y.clone());
        let (z_x_hat, loss) = self.loss(batch);
        let mut grads = GradientsParams::from_grads(loss.total.backward(), self);
        let grad_norm = clip_global_norm(self, &mut grads, self.options.grad_clip);
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
        values.push(("grad_norm", grad_norm));
        TrainOutput {
            grads,
            item: StepReport::new(step, values),
        }
    }
}

/// A prior with time in training.
#[derive(Module, Debug)]
pub struct DiffusionTrainer {
    /// The prior.
    pub prior: DiffusionPrior,
    #[module(skip)]
    grad_clip: Option<f64>,
}

/// One batch for [`DiffusionTrainer`].
#[derive(Debug, Clone)]
pub struct DiffusionBatch {
    /// Step number, from 1.
    pub step: usize,
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
    /// Wraps a prior.
    pub fn new(prior: DiffusionPrior, grad_clip: Option<f64>) -> Self {
        Self { prior, grad_clip }
    }
}

impl TrainStep for DiffusionTrainer {
    type Input = DiffusionBatch;
    type Output = StepReport;

    fn step(&self, batch: DiffusionBatch) -> TrainOutput<StepReport> {
        let predicted = self.prior.forward(batch.x_t, &batch.t, batch.text);
        let loss = clean_prediction(predicted, batch.target);
        let mut grads = GradientsParams::from_grads(loss.backward(), self);
        let grad_norm = clip_global_norm(self, &mut grads, self.grad_clip);
        let values = vec![("loss", loss), ("grad_norm", grad_norm)];
        TrainOutput {
            grads,
            item: StepReport::new(batch.step, values),
        }
    }
}

/// burn-train asks for a validation step; sessions validate nothing, so it reports nothing.
macro_rules! no_validation {
    ($($trainer:ty),*) => {$(
        impl InferenceStep for $trainer {
            type Input = ();
            type Output = StepReport;

            fn step(&self, (): ()) -> StepReport {
                let zero = Tensor::zeros([1], &self.devices()[0]);
                StepReport::new(0, vec![("loss", zero)])
            }
        }
    )*};
}
no_validation!(PriorTrainer, DiffusionTrainer);

/// Batches of Eq. 5: a function of the step number, for [`super::session::fit`].
pub fn eclipse_batches(
    pairs: Arc<Pairs>,
    batch_size: usize,
    seed: u64,
    negatives: NegativeOptions,
) -> impl Fn(usize, &Device) -> PriorBatch + Send + Sync + 'static {
    move |step, device| {
        let rows = rows_of_step(pairs.len(), batch_size, seed, step);
        let mut noise = Noise::stream(seed, NOISE_STREAM + step as u64);
        PriorBatch {
            step,
            eps: noise.normal([batch_size, pairs.d_clip()], device),
            z_x: pairs.z_x(&rows, device),
            negatives: negatives.of_step(&pairs, &rows, seed, step, device),
            text: pairs.texts.select(
                &rows.into_iter().map(Some).collect::<Vec<_>>(),
                &pairs.empty,
                device,
            ),
        }
    }
}

/// How the Diffusion-Baseline's batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisingOptions {
    /// Cumulative products of 1 - beta, one a train timestep.
    pub alphas_cumprod: Vec<f64>,
    /// Chance that a caption is replaced by the empty one.
    pub cond_drop: f64,
    /// Mean and standard deviation by which targets are whitened, `[d_clip]` each.
    pub whitening: Option<(Vec<f32>, Vec<f32>)>,
}

/// How a flow-matching prior's batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowOptions {
    /// What the network predicts, and its range of timesteps.
    pub flow: flow::FlowConfig,
    /// Chance that a caption is replaced by the empty one.
    pub cond_drop: f64,
    /// Mean and standard deviation by which targets are whitened, `[d_clip]` each.
    pub whitening: Option<(Vec<f32>, Vec<f32>)>,
}

/// Batches of Eq. 1: uniform timesteps, x_t = sqrt(alpha-bar_t) z_x + sqrt(1 - alpha-bar_t) eps.
pub fn diffusion_batches(
    pairs: Arc<Pairs>,
    options: NoisingOptions,
    batch_size: usize,
    seed: u64,
) -> impl Fn(usize, &Device) -> DiffusionBatch + Send + Sync + 'static {
    move |step, device| {
        let rows = rows_of_step(pairs.len(), batch_size, seed, step);
        let mut noise = Noise::stream(seed, NOISE_STREAM + step as u64);
        let n_train = options.alphas_cumprod.len();
        let t: Vec<usize> = (0..batch_size)
            .map(|_| noise.rng().random_range(0..n_train))
            .collect();
        let text = texts_or_none(&pairs, &rows, options.cond_drop, &mut noise, device);
        let eps: Tensor<2> = noise.normal([batch_size, pairs.d_clip()], device);
        let at = |f: fn(f64) -> f64| column(t.iter().map(|&t| f(options.alphas_cumprod[t])), device);
        let z_x = whitened(&pairs, &rows, options.whitening.as_ref(), device);
        let x_t = z_x.clone() * at(f64::sqrt) + eps * at(|a| (1.0 - a).sqrt());
        DiffusionBatch {
            step,
            x_t,
            t: t.into_iter().map(|t| t as f64).collect(),
            target: z_x,
            text,
        }
    }
}

/// Batches of conditional flow matching on the straight path (Lipman et al. 2023): sigma uniform in (0, 1], x = (1 - sigma) z_x + sigma eps.
pub fn flow_batches(
    pairs: Arc<Pairs>,
    options: FlowOptions,
    batch_size: usize,
    seed: u64,
) -> impl Fn(usize, &Device) -> DiffusionBatch + Send + Sync + 'static {
    move |step, device| {
        let rows = rows_of_step(pairs.len(), batch_size, seed, step);
        let mut noise = Noise::stream(seed, NOISE_STREAM + step as u64);
        let sigmas: Vec<f64> = (0..batch_size)
            .map(|_| 1.0 - noise.rng().random::<f64>())
            .collect();
        let text = texts_or_none(&pairs, &rows, options.cond_drop, &mut noise, device);
        let eps: Tensor<2> = noise.normal([batch_size, pairs.d_clip()], device);
        let z_x = whitened(&pairs, &rows, options.whitening.as_ref(), device);
        let sigma = column(sigmas.iter().copied(), device);
        DiffusionBatch {
            step,
            x_t: flow::noised(z_x.clone(), eps.clone(), sigma),
            t: sigmas.iter().map(|&sigma| options.flow.timestep(sigma)).collect(),
            target: match options.flow.prediction {
                flow::FlowPrediction::Velocity => eps - z_x,
                flow::FlowPrediction::Sample => z_x,
            },
            text,
        }
    }
}

/// The captions of `rows`, each replaced by the empty one with the chance `cond_drop`.
fn texts_or_none(
    pairs: &Pairs,
    rows: &[usize],
    cond_drop: f64,
    noise: &mut Noise,
    device: &Device,
) -> TextCondition {
    let keep = |&row: &usize| (noise.rng().random::<f64>() >= cond_drop).then_some(row);
    let kept: Vec<Option<usize>> = rows.iter().map(keep).collect();
    pairs.texts.select(&kept, &pairs.empty, device)
}

/// z_x of `rows`, minus the mean and over the standard deviation where these are given.
fn whitened(
    pairs: &Pairs,
    rows: &[usize],
    statistics: Option<&(Vec<f32>, Vec<f32>)>,
    device: &Device,
) -> Tensor<2> {
    let z_x = pairs.z_x(rows, device);
    let row = |v: &Vec<f32>| Tensor::<1>::from_floats(v.as_slice(), device).unsqueeze::<2>();
    match statistics {
        Some((mean, std)) => (z_x - row(mean)) / row(std),
        None => z_x,
    }
}

/// `[n, 1]`
fn column(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n, 1]), device)
}

/// Mean cosine of matching rows, `[1]`.
fn mean_cosine(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    use crate::objective::eclipse::normalize;
    let n = a.dims()[0] as f64;
    (normalize(a) * normalize(b)).sum().div_scalar(n)
}
