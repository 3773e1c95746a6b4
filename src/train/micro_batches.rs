//! Steps whose batch is divided into micro-batches, on one device or several: gradients and values are the means over the micro-batches.
//!
//! The micro-batches of a step are the same on one device and on four. A single worker adds their gradients in order, so the number of devices does
//! not change the result. With burn-train's workers on several devices ([`WorkerShard`]), the sum over the workers is the same mean, up to rounding.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;

/// Named scalars `[1]`; the first is the loss.
pub type Values = Vec<(&'static str, Tensor<1>)>;

/// The micro-batches of one worker: those whose number, modulo `n`, is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerShard {
    /// From 0.
    pub index: usize,
    /// Number of workers.
    pub n: usize,
}

impl WorkerShard {
    /// All micro-batches.
    pub const WHOLE: Self = Self { index: 0, n: 1 };

    /// The numbers of the worker's micro-batches, of `n_batches` in all.
    pub fn of(self, n_batches: usize) -> impl Iterator<Item = usize> {
        (self.index..n_batches).step_by(self.n)
    }
}

/// The micro-batches of one step, or one worker's shard of them.
#[derive(Debug, Clone)]
pub struct MicroBatches<P> {
    /// From 1.
    pub step: usize,
    /// Micro-batches of equal size. Those of one round are on different devices.
    pub batches: Vec<P>,
    /// Micro-batches of a round: those that are computed at the same time.
    pub at_once: usize,
    /// Micro-batches of the step, those of other workers included.
    pub n_batches: usize,
    /// The worker's shard.
    pub shard: WorkerShard,
}

impl<P> MicroBatches<P> {
    /// A step of one micro-batch.
    pub fn one(step: usize, part: P) -> Self {
        Self {
            step,
            batches: vec![part],
            at_once: 1,
            n_batches: 1,
            shard: WorkerShard::WHOLE,
        }
    }
}

/// A micro-batch: tensors on one device.
pub trait Batch: Clone + Send + Sync + 'static {
    /// Its device.
    fn device(&self) -> Device;

    /// Its examples.
    fn n_examples(&self) -> usize;
}

/// A network with its loss.
pub trait Losses: Module + Sync {
    /// A micro-batch.
    type Batch: Batch;

    /// The loss on a micro-batch, then other values to report.
    fn losses(&self, batch: Self::Batch) -> Values;

    /// The gradients of the loss divided by `n`, and the values.
    fn gradients(&self, batch: Self::Batch, n: usize) -> (GradientsParams, Values) {
        gradients(self, batch, n)
    }
}

/// The gradients of the loss divided by `n` of a network's own graph, and the values.
pub(super) fn gradients<T: Losses>(trainer: &T, batch: T::Batch, n: usize) -> (GradientsParams, Values) {
    let values = trainer.losses(batch);
    let loss = values[0].1.clone();
    let scaled = match n {
        1 => loss,
        _ => loss.div_scalar(n as f64),
    };
    (GradientsParams::from_grads(scaled.backward(), trainer), values)
}

/// The contribution of these micro-batches to the gradients of the step's mean loss, and the mean of their values; both on the device of `trainer`.
///
/// # Panics
/// If there are no micro-batches.
pub fn mean_gradients<T: Losses>(trainer: &T, batch: MicroBatches<T::Batch>) -> (GradientsParams, Values) {
    let (own, n) = (batch.batches.len(), batch.n_batches);
    assert!(own > 0, "step {} has no micro-batches", batch.step);
    let at_once = batch.at_once.clamp(1, own);
    let mut parts = batch.batches.into_iter();
    if own == 1 {
        return trainer.gradients(parts.next().expect("one micro-batch"), n);
    }
    let home = trainer.devices()[0].clone();
    let mut sum = GradientsAccumulator::new();
    let mut all: Vec<Values> = Vec::with_capacity(own);
    let mut helpers: Vec<T> = Vec::new();
    loop {
        let round: Vec<T::Batch> = parts.by_ref().take(at_once).collect();
        if round.is_empty() {
            break;
        }
        for part in &round[(1 + helpers.len()).min(round.len())..] {
            helpers.push(trainer.clone().fork(&part.device()));
        }
        for (grads, values) in at_the_same_time(trainer, &helpers, round, n) {
            sum.accumulate(trainer, grads.to_device(&home, trainer));
            all.push(
                values
                    .into_iter()
                    .map(|(name, v)| (name, v.detach().to_device(&home)))
                    .collect(),
            );
        }
    }
    (sum.grads(), mean(all))
}

/// The first micro-batch on this device, the others on the devices of `helpers`.
fn at_the_same_time<T: Losses>(
    trainer: &T,
    helpers: &[T],
    round: Vec<T::Batch>,
    n: usize,
) -> Vec<(GradientsParams, Values)> {
    let mut round = round.into_iter();
    let first = round.next().expect("a round has a part");
    std::thread::scope(|scope| {
        let others: Vec<_> = helpers
            .iter()
            .zip(round)
            .map(|(helper, part)| scope.spawn(move || helper.gradients(part, n)))
            .collect();
        let mut done = vec![trainer.gradients(first, n)];
        for other in others {
            done.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        done
    })
}

/// The mean of each value.
pub fn mean(all: Vec<Values>) -> Values {
    let n = all.len() as f64;
    let mut parts = all.into_iter();
    let mut sums = parts.next().unwrap_or_default();
    for part in parts {
        for ((_, sum), (_, value)) in sums.iter_mut().zip(part) {
            *sum = sum.clone() + value;
        }
    }
    sums.into_iter()
        .map(|(name, sum)| (name, sum.div_scalar(n)))
        .collect()
}
