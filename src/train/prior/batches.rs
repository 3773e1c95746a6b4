//! Batches as functions of the step number, for [`crate::train::session::fit`].
//!
//! Noise and dropped conditions are drawn for the whole step and then cut, so that a step is the same however many parts it has.

use burn::prelude::*;

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

    pub(in crate::train) fn parts<P>(
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
    pub(in crate::train) fn of<'a, T>(&self, values: &'a [T], j: usize, width: usize) -> &'a [T] {
        let n = self.part * width;
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
