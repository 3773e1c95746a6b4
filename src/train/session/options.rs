//! What a session is given, and what it tells: sizes, validation, reports of steps, the metric sink.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::ExecutionError;
use burn::train::ItemLazy;
use burn::train::metric::Adaptor;

use super::super::micro_batches::Values;
use crate::files::FileError;

/// Makes a batch, by its number, on a device.
pub type MakeBatch<B> = Arc<dyn Fn(usize, &Device) -> B + Send + Sync>;

/// What a step reports: its number and named values.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Names of the values, such as `loss` and `loss/projection`.
    pub names: Vec<&'static str>,
    /// One value a name, `[names]`; still on the device.
    pub values: Tensor<1>,
    /// Examples behind the values, where means are taken over several reports.
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

    /// A report of scalars `[1]` on `n` examples that are not trained on.
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

/// Sizes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Optimiser steps in all.
    pub n_steps: usize,
    /// Steps between checkpoints, and between validations.
    pub checkpoint_every: usize,
    /// Checkpoints that are kept: so many of the last, beside the best one where there is a validation. Two or more: the last may be cut short.
    pub keep: usize,
    /// Early stopping: validations in a row without a new minimum of the loss after which the run ends; 0 is never.
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

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A step.
    Train,
    /// The examples that are held out, after a step.
    Valid,
}

/// Gets the values of every step, in order, and of every validation: `(phase, step, [(name, value)])`. Runs on burn-train's metric thread.
pub type MetricSink = Box<dyn FnMut(Phase, usize, &[(&str, f32)]) -> Result<(), FileError> + Send>;

/// What a run may be validated on: the same batches at every checkpoint. The first value of their reports is the lower the better.
pub struct Validation<V> {
    /// Batches.
    pub n_batches: usize,
    /// Makes one of them, counted from 0.
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
