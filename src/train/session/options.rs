//! Types that a session receives and reports: sizes, validation, step reports, the metric sink.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ExecutionError;
use burn::train::ItemLazy;
use burn::train::metric::Adaptor;

use super::super::micro_batches::Values;
use crate::files::FileError;

/// Creates a batch, by its number, on a device.
pub type MakeBatch<B> = Arc<dyn Fn(usize, &Device) -> B + Send + Sync>;

/// Report of a step: its number and named values.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Names of the values, such as `loss` and `loss/projection`.
    pub names: Vec<&'static str>,
    /// The values, `[names]`, on the device.
    pub values: Tensor<1>,
    /// Number of examples behind the values, for means over several reports.
    pub n: usize,
}

impl StepReport {
    /// A report of scalars `[1]`.
    pub fn new(step: usize, values: Values) -> Self {
        let (names, values): (Vec<_>, Vec<_>) =
            values.into_iter().map(|(n, v)| (n, v.detach().inner())).unzip();
        Self {
            step,
            names,
            values: Tensor::cat(values, 0),
            n: 1,
        }
    }

    /// A report of scalars `[1]` on `n` validation examples.
    pub fn of_validation(values: Values, n: usize) -> Self {
        let (names, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        Self {
            step: 0,
            names,
            values: Tensor::cat(values, 0),
            n,
        }
    }
}

impl ItemLazy for StepReport {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<StepReport> for StepReport {
    fn adapt(&self) -> StepReport {
        self.clone()
    }
}

/// Steps, checkpoints and early stopping of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Number of optimiser steps.
    pub n_steps: usize,
    /// Steps between checkpoints, and between validations.
    pub checkpoint_every: usize,
    /// Number of kept checkpoints, beside the best one if the run is validated. At least 2, because the last may be truncated.
    pub keep: usize,
    /// Early stopping: number of consecutive validations without a new minimum of the loss after which the run ends; 0 disables it.
    pub patience: usize,
}

impl SessionOptions {
    /// A run that keeps its last two checkpoints.
    pub fn new(n_steps: usize, checkpoint_every: usize) -> Self {
        Self {
            n_steps,
            checkpoint_every,
            keep: 2,
            patience: 0,
        }
    }
}

/// The phase of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A training step.
    Train,
    /// A validation after a step.
    Valid,
}

impl Phase {
    /// The split of its values in logs.
    pub fn split(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
        }
    }
}

/// Receives the values of every step, in order, and of every validation: `(phase, step, [(name, value)])`. Runs on burn-train's metric thread.
pub type MetricSink = Box<dyn FnMut(Phase, usize, &[(&str, f32)]) -> Result<(), FileError> + Send>;

/// Validation of a run: the same batches at every checkpoint. The first value of their reports is the loss.
pub struct Validation<V> {
    /// Number of batches.
    pub n_batches: usize,
    /// Creates a batch, counted from 0.
    pub batch: MakeBatch<V>,
}

impl<V> Clone for Validation<V> {
    fn clone(&self) -> Self {
        Self {
            n_batches: self.n_batches,
            batch: self.batch.clone(),
        }
    }
}
