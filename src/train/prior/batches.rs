//! Batches as functions of the step number, for [`crate::train::session::fit`].
//!
//! Noise and dropped conditions are drawn for the whole step and then cut, so that a step is the same however many parts it has.

use std::sync::Arc;

use burn::prelude::*;
use rand::RngExt;

use super::{DiffusionBatch, PriorBatch};
use crate::data::examples::{Example, Examples};
use crate::diffusion::flow;
use crate::noise::{Noise, Stream};
use crate::train::negatives::{NegativeOptions, Place};
use crate::train::parts::{Parts, Share};

/// How a step is cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Examples of a part.
    pub part: usize,
    /// Parts of a step.
    pub n_parts: usize,
    /// Where the parts of a worker go, in turn; empty: all to where it is.
    pub devices: Vec<Device>,
}

impl Cut {
    /// Steps of one part.
    pub fn whole(n: usize) -> Self {
        Self {
            part: n,
            n_parts: 1,
            devices: vec![],
        }
    }

    /// Examples of a step.
    pub fn n(&self) -> usize {
        self.part * self.n_parts
    }

    fn parts<P>(
        &self,
        step: usize,
        share: Share,
        home: &Device,
        make: impl Fn(usize, &Device) -> P,
    ) -> Parts<P> {
        let device = |i: usize| match self.devices.len() {
            0 => home,
            n => &self.devices[i % n],
        };
        let parts = share.of(self.n_parts).enumerate();
        Parts {
            step,
            parts: parts.map(|(i, j)| make(j, device(i))).collect(),
            at_once: self.devices.len().max(1),
            n_parts: self.n_parts,
            share,
        }
    }

    /// What part `j` has of `width` values an example.
    fn of<'a, T>(&self, values: &'a [T], j: usize, width: usize) -> &'a [T] {
        let n = self.part * width;
        &values[j * n..][..n]
    }
}

/// Batches of Eq. 5.
pub fn eclipse_batches(
    data: Arc<dyn Examples>,
    cut: Cut,
    seed: u64,
    negatives: NegativeOptions,
) -> impl Fn(usize, Share, &Device) -> Parts<PriorBatch> + Send + Sync + 'static {
    move |step, share, home| {
        let (n, d) = (cut.n(), data.d_clip());
        let examples = data.of_step(n, seed, step);
        let eps = Noise::of(seed, Stream::StepNoise(step as u64)).normal_vec(n * d);
        cut.parts(step, share, home, |j, device| {
            let own = cut.of(&examples, j, 1);
            let place = Place {
                data: data.as_ref(),
                all: &examples,
                part: j * cut.part..(j + 1) * cut.part,
                seed,
                step,
            };
            PriorBatch {
                eps: rows(cut.of(&eps, j, d), d, device),
                z_x: data.z_x(own, device),
                negatives: negatives.of_part(&place, device),
                text: data.text(&own.iter().copied().map(Some).collect::<Vec<_>>(), device),
            }
        })
    }
}

/// Between z_x and noise, what a prior with time is trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum NoisePath {
    /// Eq. 1: uniform timesteps, x_t = sqrt(alpha-bar_t) z_x + sqrt(1 - alpha-bar_t) eps; the network predicts z_x.
    Diffusion {
        /// Cumulative products of 1 - beta, one a train timestep.
        alphas_cumprod: Vec<f64>,
    },
    /// Conditional flow matching on the straight path (Lipman et al. 2023): sigma uniform in (0, 1], x = (1 - sigma) z_x + sigma eps.
    Flow(flow::FlowConfig),
}

impl NoisePath {
    /// A place on the path: a timestep, or sigma.
    fn draw(&self, noise: &mut Noise) -> f64 {
        match self {
            Self::Diffusion { alphas_cumprod } => noise.rng().random_range(0..alphas_cumprod.len()) as f64,
            Self::Flow(_) => 1.0 - noise.rng().random::<f64>(),
        }
    }

    /// Noisy embeddings, their timesteps, and what the network is to predict, at `places`.
    fn noised(&self, places: &[f64], z_x: Tensor<2>, eps: Tensor<2>) -> (Tensor<2>, Vec<f64>, Tensor<2>) {
        let device = z_x.device();
        match self {
            Self::Diffusion { alphas_cumprod } => {
                let at = |f: fn(f64) -> f64| {
                    column(places.iter().map(|&t| f(alphas_cumprod[t as usize])), &device)
                };
                let x_t = z_x.clone() * at(f64::sqrt) + eps * at(|a| (1.0 - a).sqrt());
                (x_t, places.to_vec(), z_x)
            }
            Self::Flow(flow) => {
                let sigma = column(places.iter().copied(), &device);
                let x_t = flow::noised(z_x.clone(), eps.clone(), sigma);
                let target = match flow.prediction {
                    flow::FlowPrediction::Velocity => eps - z_x,
                    flow::FlowPrediction::Sample => z_x,
                };
                (
                    x_t,
                    places.iter().map(|&sigma| flow.timestep(sigma)).collect(),
                    target,
                )
            }
        }
    }
}

/// How the batches of a prior with time are made.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisingOptions {
    /// From z_x to noise.
    pub path: NoisePath,
    /// Chance that a caption is replaced by the empty one.
    pub cond_drop: f64,
    /// Mean and standard deviation by which targets are whitened, `[d_clip]` each.
    pub whitening: Option<(Vec<f32>, Vec<f32>)>,
}

/// Batches of Eq. 1, or of flow matching.
pub fn noised_batches(
    data: Arc<dyn Examples>,
    options: NoisingOptions,
    cut: Cut,
    seed: u64,
) -> impl Fn(usize, Share, &Device) -> Parts<DiffusionBatch> + Send + Sync + 'static {
    move |step, share, home| {
        let (n, d) = (cut.n(), data.d_clip());
        let examples = data.of_step(n, seed, step);
        let mut noise = Noise::of(seed, Stream::StepNoise(step as u64));
        let places: Vec<f64> = (0..n).map(|_| options.path.draw(&mut noise)).collect();
        let kept = kept_or_none(&examples, options.cond_drop, &mut noise);
        let eps = noise.normal_vec(n * d);
        cut.parts(step, share, home, |j, device| {
            let z_x = data.z_x(cut.of(&examples, j, 1), device);
            let z_x = whitened(z_x, options.whitening.as_ref());
            let eps = rows(cut.of(&eps, j, d), d, device);
            let (x_t, t, target) = options.path.noised(cut.of(&places, j, 1), z_x, eps);
            DiffusionBatch {
                x_t,
                t,
                target,
                text: data.text(cut.of(&kept, j, 1), device),
            }
        })
    }
}

/// The examples, each with the chance `cond_drop` without its caption.
fn kept_or_none(examples: &[Example], cond_drop: f64, noise: &mut Noise) -> Vec<Option<Example>> {
    let keep = |&example: &Example| (noise.rng().random::<f64>() >= cond_drop).then_some(example);
    examples.iter().map(keep).collect()
}

/// z_x, minus the mean and over the standard deviation where these are given.
fn whitened(z_x: Tensor<2>, statistics: Option<&(Vec<f32>, Vec<f32>)>) -> Tensor<2> {
    let device = z_x.device();
    let row = |v: &Vec<f32>| Tensor::<1>::from_floats(v.as_slice(), &device).unsqueeze::<2>();
    match statistics {
        Some((mean, std)) => (z_x - row(mean)) / row(std),
        None => z_x,
    }
}

/// `[n, d]`
fn rows(values: &[f32], d: usize, device: &Device) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / d, d]);
    Tensor::from_data(data, (device, burn::tensor::DType::F32))
}

/// `[n, 1]`
fn column(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n, 1]), device)
}
