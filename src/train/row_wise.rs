//! Steps whose rows are spread over the threads of a CPU.
//!
//! A backward pass runs on one thread, and so do most operations of Burn's flex. The rows of a prior do not depend on each other until the loss: each
//! thread predicts a group of them in a graph of its own, the loss is that of all predictions together, and its gradient with respect to the predictions
//! goes back through every graph at the same time (as in GradCache, Gao et al. 2021, without its second forward pass). The sum over the groups is the gradient
//! of the whole batch, to rounding.

use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

use super::micro_batches::{Batch, Values};
use crate::device::Precision;
use crate::nn::{RowGroups, narrow, with_linear_layers_in};

/// A criterion on predictions `[batch, d]` whose row i depends on example i only.
pub trait RowWise<N, B>: Sync {
    /// Tokens that the network computes for an example.
    fn n_tokens(&self, batch: &B) -> usize;

    /// The examples of a range of rows.
    fn rows(&self, batch: &B, rows: Range<usize>) -> B;

    /// The predictions, `[batch, d]`.
    fn predict(&self, network: &N, batch: B) -> Tensor<2>;

    /// Named scalars `[1]` of the predictions of a whole batch. The first is the loss.
    fn values(&self, predictions: Tensor<2>, batch: B) -> Values;
}

/// The gradients of the parameters of `network` of the loss divided by `n`, and the values; `None` where the rows of `batch` are better computed together.
/// `compute`: what the linear layers compute in.
pub(super) fn gradients<N: Module + Sync, B: Batch + Sync>(
    criterion: &dyn RowWise<N, B>,
    network: &N,
    compute: Precision,
    batch: &B,
    n: usize,
) -> Option<(GradientsParams, Values)> {
    let device = batch.device();
    let flop = 6.0 * network.num_params() as f64 * criterion.n_tokens(batch) as f64;
    let groups = RowGroups::of_step(batch.n_examples(), flop, &device);
    if groups.is_one() {
        return None;
    }
    // Parameters are the leaves of a graph, which one thread can walk at a time: each group has its own. The values are shared.
    let networks: Vec<N> = (0..groups.n()).map(|_| network.clone().fork(&device)).collect();
    let predictions = groups.map(|group, rows| {
        let network = with_linear_layers_in(&networks[group], compute);
        criterion.predict(&network, criterion.rows(batch, rows))
    });
    let values = predictions.iter().map(|rows| rows.clone().inner()).collect();
    let all = Tensor::from_inner(Tensor::cat(values, 0)).require_grad();
    let values = criterion.values(all.clone(), batch.clone());
    let upstream = all
        .grad(&values[0].1.clone().div_scalar(n as f64).backward())
        .expect("the loss depends on the predictions");
    let parts = groups.map(|group, rows| {
        let upstream = Tensor::from_inner(narrow(&upstream, &rows));
        let product = (predictions[group].clone() * upstream).sum();
        GradientsParams::from_grads(product.backward(), &networks[group])
    });
    Some((sum(network, parts), values))
}

/// The sum over `parts`, one parameter after another.
fn sum<N: Module>(network: &N, parts: Vec<GradientsParams>) -> GradientsParams {
    struct Sum {
        parts: Vec<GradientsParams>,
        total: GradientsParams,
    }

    impl ModuleVisitor for Sum {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grads = self
                .parts
                .iter_mut()
                .filter_map(|part| part.remove::<D>(param.id));
            if let Some(total) = grads.reduce(|total, grad| total + grad) {
                self.total.register::<D>(param.id, total);
            }
        }
    }

    let total = GradientsParams::new();
    let mut sum = Sum { parts, total };
    network.visit(&mut sum);
    sum.total
}

#[cfg(test)]
mod tests {
    use burn::train::TrainStep;

    use super::*;
    use crate::device::DeviceSpec;
    use crate::models::prior::{DiffusionPrior, Prior, PriorConfig, TextCondition};
    use crate::nn::{TokenMask, torch_default};
    use crate::noise::Noise;
    use crate::objective::contrastive::Negatives;
    use crate::train::micro_batches::MicroBatches;
    use crate::train::objectives::eclipse::{Eclipse, EclipseBatch};
    use crate::train::objectives::{TargetPrediction, TimeConditionedBatch};
    use crate::train::trainer::{Criterion, Network, Trainer, UpdateOptions};

    /// Captions of several lengths, and three vectors each.
    fn inputs(d: usize, device: &Device) -> ([Tensor<2>; 2], TextCondition) {
        let (n, lengths, mut noise) = (5, [3, 7, 14, 2, 9], Noise::new(3));
        let text = TextCondition {
            z_y: noise.normal([n, d], device),
            tokens: noise.normal([n, 14, d], device),
            mask: Some(TokenMask::of_lengths(&lengths, 14, device)),
        };
        ([noise.normal([n, d], device), noise.normal([n, d], device)], text)
    }

    /// All gradients and values of a step, computed by so many threads.
    fn step<N: Network, C: Criterion<N>>(
        trainer: &Trainer<N, C>,
        batch: &C::Batch,
        threads: usize,
    ) -> [Vec<f32>; 2] {
        struct Read<'a>(&'a GradientsParams, Vec<f32>);

        impl ModuleVisitor for Read<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(grad) = self.0.get::<D>(param.id) {
                    self.1.extend(grad.into_data().iter::<f32>());
                }
            }
        }

        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        let output = pool.install(|| trainer.step(MicroBatches::one(1, batch.clone())));
        let mut read = Read(&output.grads, Vec::new());
        trainer.network().visit(&mut read);
        let values = output.item.values.into_data().iter::<f32>().collect();
        [read.1, values]
    }

    /// `rounding`: of gradients, relative to the largest, and of values.
    fn compare<N: Network, C: Criterion<N>>(trainer: &Trainer<N, C>, batch: &C::Batch, rounding: f32) {
        let [expected, expected_values] = step(trainer, batch, 1);
        let largest = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        assert!(expected.len() > 30_000_000 && largest > 0.0);
        for threads in [2, 3] {
            let [grads, values] = step(trainer, batch, threads);
            assert_eq!(grads.len(), expected.len());
            let difference = grads
                .iter()
                .zip(&expected)
                .fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
            assert!(
                difference < rounding * largest,
                "{threads} threads: {difference} of {largest}"
            );
            for (a, b) in values.iter().zip(&expected_values) {
                assert!(
                    (a - b).abs() < rounding * b.abs().max(1e-3),
                    "{threads} threads: {values:?} {expected_values:?}"
                );
            }
        }
    }

    /// At the paper's size: smaller networks are not divided.
    #[test]
    fn threads_change_a_step_by_rounding_only() {
        let device = DeviceSpec::default()
            .device()
            .expect("the default device")
            .autodiff();
        let update = UpdateOptions::default();
        let config = PriorConfig::eclipse_karlo();
        let ([eps, z_x], text) = inputs(config.d_clip, &device);
        let prior = torch_default(Prior::init(&config, &device), &mut Noise::new(0));
        let trainer = Trainer::new(prior, Eclipse::default().criterion(0.01), update, || {
            Prior::init(&config, &device)
        });
        let negatives = Negatives::default();
        let (x_t, target) = (eps.clone(), z_x.clone());
        let batch = EclipseBatch {
            eps,
            z_x,
            text: text.clone(),
            negatives,
        };
        compare(&trainer, &batch, 1e-5);
        let mixed = UpdateOptions {
            compute: Precision::Bf16,
            ..update
        };
        let (prior, criterion) = (trainer.network().clone(), trainer.criterion().clone());
        let mixed = Trainer::new(prior, criterion, mixed, || Prior::init(&config, &device));
        // Each thread rounds its part of a gradient to 8 significant bits.
        compare(&mixed, &batch, 0.5f32.powi(6));

        let config = config.time_conditioned();
        let prior = torch_default(DiffusionPrior::init(&config, &device), &mut Noise::new(0));
        let trainer = Trainer::new(prior, TargetPrediction, update, || {
            DiffusionPrior::init(&config, &device)
        });
        let t = vec![0.0, 10.0, 500.0, 900.0, 999.0];
        compare(&trainer, &TimeConditionedBatch { x_t, t, target, text }, 1e-5);
    }
}
