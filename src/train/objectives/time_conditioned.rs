//! Common parts of diffusion and flow matching: a time-conditioned prior that predicts a target from a noisy embedding.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use rand::RngExt;

use super::super::micro_batches::{Batch, MicroBatches, Values, WorkerShard};
use super::super::prior::PriorTraining;
use super::super::prior::step_layout::{StepLayout, column, rows};
use super::super::row_wise::RowWise;
use super::super::session::Failure;
use super::super::trainer::{Criterion, Trainer};
use crate::config::InvalidValue;
use crate::config::check::{fraction, non_negative, require};
use crate::data::examples::{Example, Examples};
use crate::diffusion::flow;
use crate::files;
use crate::models::prior::{DiffusionPrior, TextCondition};
use crate::nn::narrow;
use crate::noise::{Noise, Stream};
use crate::objective::diffusion::clean_prediction;
use crate::weights::write_json;

/// The path between z_x and noise on which a time-conditioned prior is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum NoisePath {
    /// Eq. 1: uniform timesteps, x_t = sqrt(alpha-bar_t) z_x + sqrt(1 - alpha-bar_t) eps; the network predicts z_x.
    Diffusion {
        /// Cumulative products of 1 - beta, one per training timestep.
        alphas_cumprod: Vec<f64>,
    },
    /// Conditional flow matching on the straight path (Lipman et al. 2023): sigma uniform in (0, 1], x = (1 - sigma) z_x + sigma eps.
    Flow(flow::FlowConfig),
}

impl NoisePath {
    /// A random timestep, or sigma.
    fn draw(&self, noise: &mut Noise) -> f64 {
        match self {
            Self::Diffusion { alphas_cumprod } => noise.rng().random_range(0..alphas_cumprod.len()) as f64,
            Self::Flow(_) => 1.0 - noise.rng().random::<f64>(),
        }
    }

    /// Noisy embeddings, their timesteps and the targets, at these timesteps or sigmas.
    fn noised(&self, at: &[f64], z_x: Tensor<2>, eps: Tensor<2>) -> (Tensor<2>, Vec<f64>, Tensor<2>) {
        let device = z_x.device();
        match self {
            Self::Diffusion { alphas_cumprod } => {
                let scale =
                    |f: fn(f64) -> f64| column(at.iter().map(|&t| f(alphas_cumprod[t as usize])), &device);
                let x_t = z_x.clone() * scale(f64::sqrt) + eps * scale(|a| (1.0 - a).sqrt());
                (x_t, at.to_vec(), z_x)
            }
            Self::Flow(flow) => {
                let sigma = column(at.iter().copied(), &device);
                let x_t = flow::noised(z_x.clone(), eps.clone(), sigma);
                let target = match flow.prediction {
                    flow::FlowPrediction::Velocity => eps - z_x,
                    flow::FlowPrediction::Sample => z_x,
                };
                (
                    x_t,
                    at.iter().map(|&sigma| flow.timestep(sigma)).collect(),
                    target,
                )
            }
        }
    }
}

/// Settings of the batches of a time-conditioned prior.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisingOptions {
    /// The path from z_x to noise.
    pub path: NoisePath,
    /// Probability that a caption is replaced by the empty caption.
    pub cond_drop: f64,
    /// Mean and standard deviation by which targets are whitened, `[d_clip]` each.
    pub whitening: Option<(Vec<f32>, Vec<f32>)>,
}

/// A micro-batch of a step.
#[derive(Debug, Clone)]
pub struct TimeConditionedBatch {
    /// Noisy embeddings, `[batch, d_clip]`.
    pub x_t: Tensor<2>,
    /// Their timesteps, `[batch]`.
    pub t: Vec<f64>,
    /// Targets, `[batch, d_clip]`: the clean embeddings, whitened if the prior is, or a flow's velocity.
    pub target: Tensor<2>,
    /// Captions, some replaced by the empty caption.
    pub text: TextCondition,
}

/// Batches of Eq. 1 or of flow matching.
pub fn noised_batches(
    data: Arc<dyn Examples>,
    options: NoisingOptions,
    layout: StepLayout,
    seed: u64,
) -> impl Fn(usize, WorkerShard, &Device) -> MicroBatches<TimeConditionedBatch> + Send + Sync + 'static {
    move |step, shard, home| {
        let (n, d) = (layout.n(), data.d_clip());
        let examples = data.of_step(n, seed, step);
        let mut noise = Noise::of(seed, Stream::StepNoise(step as u64));
        let at: Vec<f64> = (0..n).map(|_| options.path.draw(&mut noise)).collect();
        let kept = with_dropped_captions(&examples, options.cond_drop, &mut noise);
        let eps = noise.normal_vec(n * d);
        layout.micro_batches(step, shard, home, |j, device| {
            let z_x = data.z_x(layout.of(&examples, j, 1), device);
            let z_x = whitened(z_x, options.whitening.as_ref());
            let eps = rows(layout.of(&eps, j, d), d, device);
            let (x_t, t, target) = options.path.noised(layout.of(&at, j, 1), z_x, eps);
            TimeConditionedBatch {
                x_t,
                t,
                target,
                text: data.text(layout.of(&kept, j, 1), device),
            }
        })
    }
}

/// The examples, each without its caption with probability `cond_drop`.
fn with_dropped_captions(examples: &[Example], cond_drop: f64, noise: &mut Noise) -> Vec<Option<Example>> {
    let keep = |&example: &Example| (noise.rng().random::<f64>() >= cond_drop).then_some(example);
    examples.iter().map(keep).collect()
}

/// z_x, standardised where mean and standard deviation are given.
fn whitened(z_x: Tensor<2>, statistics: Option<&(Vec<f32>, Vec<f32>)>) -> Tensor<2> {
    let device = z_x.device();
    let row = |v: &Vec<f32>| Tensor::<1>::from_floats(v.as_slice(), &device).unsqueeze::<2>();
    match statistics {
        Some((mean, std)) => (z_x - row(mean)) / row(std),
        None => z_x,
    }
}

/// Mean squared error between prediction and target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetPrediction;

/// A time-conditioned prior in training.
pub type TimeConditionedTrainer = Trainer<DiffusionPrior, TargetPrediction>;

impl Batch for TimeConditionedBatch {
    fn device(&self) -> Device {
        self.x_t.device()
    }

    fn n_examples(&self) -> usize {
        self.t.len()
    }
}

impl Criterion<DiffusionPrior> for TargetPrediction {
    type Batch = TimeConditionedBatch;

    fn values(&self, prior: &DiffusionPrior, batch: TimeConditionedBatch) -> Values {
        RowWise::values(self, self.predict(prior, batch.clone()), batch)
    }

    fn row_wise(&self) -> Option<&dyn RowWise<DiffusionPrior, TimeConditionedBatch>> {
        Some(self)
    }
}

impl RowWise<DiffusionPrior, TimeConditionedBatch> for TargetPrediction {
    fn n_tokens(&self, batch: &TimeConditionedBatch) -> usize {
        batch.text.tokens.dims()[1]
    }

    fn rows(&self, batch: &TimeConditionedBatch, rows: Range<usize>) -> TimeConditionedBatch {
        TimeConditionedBatch {
            x_t: narrow(&batch.x_t, &rows),
            t: batch.t[rows.clone()].to_vec(),
            target: narrow(&batch.target, &rows),
            text: batch.text.narrow(rows),
        }
    }

    fn predict(&self, prior: &DiffusionPrior, batch: TimeConditionedBatch) -> Tensor<2> {
        prior.forward(batch.x_t, &batch.t, batch.text)
    }

    fn values(&self, predicted: Tensor<2>, batch: TimeConditionedBatch) -> Values {
        vec![("loss", clean_prediction(predicted, batch.target))]
    }
}

/// Checks the keys of objectives with classifier-free guidance.
pub(super) fn check_guidance(cond_drop: f64, guidance: f64) -> Result<(), InvalidValue> {
    fraction("objective.cond_drop", cond_drop)?;
    non_negative("objective.sampler.guidance", guidance)?;
    require(
        "objective.sampler.guidance",
        guidance == 1.0 || cond_drop > 0.0,
        "1, because cond_drop is 0 and the prior never learns the empty caption",
        guidance,
    )
}

/// Trains a time-conditioned prior on this path and saves it with this `scheduler_config.json`.
pub(super) fn train(
    training: PriorTraining<'_>,
    path: NoisePath,
    cond_drop: f64,
    whiten: bool,
    scheduler: &serde_json::Value,
) -> Result<(), Failure> {
    let data = training.data.train.clone();
    let (mean, std) = match whiten {
        true => data.statistics(),
        false => (vec![0.0; data.d_clip()], vec![1.0; data.d_clip()]),
    };
    let options = |cond_drop| NoisingOptions {
        path: path.clone(),
        cond_drop,
        whitening: whiten.then(|| (mean.clone(), std.clone())),
    };
    let batches = noised_batches(data, options(cond_drop), training.layout.clone(), training.seed);
    let validation =
        training.validation(|data, layout, seed| noised_batches(data, options(0.0), layout, seed));
    let config = training.config.clone().time_conditioned();
    let device = training.autodiff_device();
    let prior = training
        .initialised(DiffusionPrior::init(&config, &device))
        .with_statistics(
            Tensor::from_floats(mean.as_slice(), &device),
            Tensor::from_floats(std.as_slice(), &device),
        );
    let trainer = Trainer::new(prior, TargetPrediction, training.update, || {
        DiffusionPrior::init(&config, &device)
    });
    training.fit(trainer, batches, validation, |prior, dir| {
        files::create_dir(dir)?;
        write_json(&dir.join("scheduler_config.json"), scheduler)?;
        Ok(prior.save(&config, dir)?)
    })
}
