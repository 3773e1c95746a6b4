//! How a step is divided into micro-batches.
//!
//! The batch of a step is a function of the step's number. Noise and dropped captions are drawn for the whole step and then divided, so that the step
//! does not depend on the number of micro-batches.

use burn::prelude::*;

use crate::train::micro_batches::{MicroBatches, WorkerShard};

/// How a step is divided into micro-batches.
#[derive(Debug, Clone)]
pub struct StepLayout {
    /// Examples of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of a step.
    pub n_batches: usize,
    /// Devices that compute a worker's micro-batches in turn; empty: the worker's own device.
    pub devices: Vec<Device>,
}

impl StepLayout {
    /// A layout with one micro-batch.
    pub fn whole(n: usize) -> Self {
        Self {
            batch_size: n,
            n_batches: 1,
            devices: vec![],
        }
    }

    /// Examples of a step.
    pub fn n(&self) -> usize {
        self.batch_size * self.n_batches
    }

    pub(in crate::train) fn micro_batches<P>(
        &self,
        step: usize,
        shard: WorkerShard,
        home: &Device,
        make: impl Fn(usize, &Device) -> P,
    ) -> MicroBatches<P> {
        let device = |i: usize| match self.devices.len() {
            0 => home,
            n => &self.devices[i % n],
        };
        let parts = shard.of(self.n_batches).enumerate();
        MicroBatches {
            step,
            batches: parts.map(|(i, j)| make(j, device(i))).collect(),
            at_once: self.devices.len().max(1),
            n_batches: self.n_batches,
            shard,
        }
    }

    /// The `width` values of each example of micro-batch `j`.
    pub(in crate::train) fn of<'a, T>(&self, values: &'a [T], j: usize, width: usize) -> &'a [T] {
        let n = self.batch_size * width;
        &values[j * n..][..n]
    }
}

/// `[n, d]`
pub(in crate::train) fn rows(values: &[f32], d: usize, device: &Device) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / d, d]);
    Tensor::from_data(data, (device, burn::tensor::DType::F32))
}

/// `[n, 1]`
pub(in crate::train) fn column(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n, 1]), device)
}
