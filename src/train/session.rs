//! One training run through burn-train's learner.
//!
//! A run is a stream of steps 1..=n_steps. The batch of a step is a pure function of its number (order of the data, noise and dropped
//! conditions included), so a run that resumes after step k continues exactly as if it had never stopped. burn-train thinks in epochs;
//! one epoch here is the `checkpoint_every` steps between two checkpoints.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::optim::ModuleOptimizer;
use burn::optim::lr_scheduler::LrScheduler;
use burn::prelude::*;
use burn::tensor::{ExecutionError, TensorReadError};
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::logger::{EvaluationProgressLogger, InMemoryMetricLogger, TrainingProgressLogger};
use burn::train::metric::{Adaptor, Metric, MetricDefinition, MetricMetadata, MetricName, SerializedEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};
use burn::train::{
    ExecutionStrategy, InferenceStep, Interrupter, ItemLazy, Learner, LearnerModel, SupervisedTraining,
    TrainStep, TrainingStrategy,
};

use super::checkpoint::{AtomicCheckpointer, last_complete};
use crate::files::{self, FileError};

/// Checkpoints kept: the last one, and the one before in case the last was cut short.
const KEPT: usize = 2;

/// What a step reports: its number and named values.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Names of the values, such as `loss` and `loss/projection`.
    pub names: Vec<&'static str>,
    /// One value a name, `[names]`; still on the device.
    pub values: Tensor<1>,
}

impl StepReport {
    /// A report of scalars `[1]`.
    pub fn new(step: usize, values: Vec<(&'static str, Tensor<1>)>) -> Self {
        let (names, values): (Vec<_>, Vec<_>) =
            values.into_iter().map(|(n, v)| (n, v.detach().inner())).unzip();
        Self {
            step,
            names,
            values: Tensor::cat(values, 0),
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

/// A run that did not reach its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A value became infinite or not a number. The parameters of the last checkpoint are untouched.
    #[error("step {step}: `{name}` is {value}; the run stops here, its last checkpoint is step {checkpoint}")]
    NonFinite {
        /// The step.
        step: usize,
        /// Which value.
        name: String,
        /// What it was.
        value: f32,
        /// The step to which the run can go back.
        checkpoint: usize,
    },
    /// Metrics or checkpoints could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// burn-train stopped.
    #[error("training stopped: {0}")]
    Stopped(String),
}

/// Sizes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Optimiser steps in all.
    pub n_steps: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

/// Gets the values of every step, in order: `(step, [(name, value)])`. Runs on burn-train's metric thread.
pub type Sink = Box<dyn FnMut(usize, &[(&str, f32)]) -> Result<(), FileError> + Send>;

/// The last step that `dir` holds a complete checkpoint of; 0 when there is none.
pub fn resumable_step(dir: &Path, options: &SessionOptions) -> usize {
    let epochs = last_complete(&dir.join("checkpoint")).unwrap_or(0);
    (epochs * options.checkpoint_every).min(options.n_steps)
}

/// Trains `model` to step `n_steps` and returns it, off autodiff; continues from the checkpoints in `dir` if there are any.
///
/// `batch(step, device)` makes the batch of a step. `model` must be on an autodiff device.
///
/// # Errors
/// [`TrainError`]; everything up to the last checkpoint stays in `dir`.
pub fn fit<M, B>(
    model: M,
    optimizer: ModuleOptimizer,
    schedule: impl LrScheduler + 'static,
    batch: impl Fn(usize, &Device) -> B + Send + Sync + 'static,
    dir: &Path,
    options: SessionOptions,
    sink: Sink,
) -> Result<M, TrainError>
where
    B: Send + 'static,
    M: LearnerModel
        + TrainStep<Input = B, Output = StepReport>
        + InferenceStep<Input = (), Output = StepReport>,
{
    let checkpoints = dir.join("checkpoint");
    files::create_dir(&checkpoints)?;
    let device = model.devices()[0].clone();
    let done = last_complete(&checkpoints).unwrap_or(0);
    let n_epochs = options.n_steps.div_ceil(options.checkpoint_every);
    let steps = Steps {
        batch: Arc::new(batch),
        next_epoch: Arc::new(AtomicUsize::new(done)),
        options,
        device: device.clone(),
    };
    let interrupter = Interrupter::new();
    let failure = Arc::new(Mutex::new(None));
    let journal = Journal {
        sink: Arc::new(Mutex::new(sink)),
        interrupter: interrupter.clone(),
        failure: failure.clone(),
        checkpoint_every: options.checkpoint_every,
    };
    let part = |name| AtomicCheckpointer::new(&checkpoints, name);
    let mut training = SupervisedTraining::new(dir, Arc::new(steps), Arc::new(NoValidation))
        .with_training_strategy(TrainingStrategy::Default(ExecutionStrategy::SingleDevice(device)))
        .with_metric_logger(InMemoryMetricLogger::default())
        .with_application_logger(None)
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(KEPT))
        .with_custom_checkpointers(part("model"), part("optim"), part("scheduler"))
        .with_interrupter(interrupter)
        .renderer(Box::new(Silent))
        .metric_train(journal)
        .num_epochs(n_epochs);
    if done > 0 {
        training = training.checkpoint(done);
    }
    let result = training.launch(Learner::new(model, optimizer, schedule));
    if let Some(failure) = failure.lock().ok().and_then(|mut f| f.take()) {
        return Err(failure);
    }
    match (result.error, result.interrupted) {
        (Some(error), _) => Err(TrainError::Stopped(error.to_string())),
        (_, Some(stop)) => Err(TrainError::Stopped(
            stop.reason.unwrap_or_else(|| "interrupted".into()),
        )),
        _ => Ok(result.model),
    }
}

/// Makes the batch of a step on a device.
type MakeBatch<B> = Arc<dyn Fn(usize, &Device) -> B + Send + Sync>;

/// The stream of steps as burn-train's data loader: each pass is the next `checkpoint_every` steps.
struct Steps<B> {
    batch: MakeBatch<B>,
    next_epoch: Arc<AtomicUsize>,
    options: SessionOptions,
    device: Device,
}

struct StepsOfEpoch<'a, B> {
    steps: &'a Steps<B>,
    first: usize,
    next: usize,
    end: usize,
}

impl<B> Iterator for StepsOfEpoch<'_, B> {
    type Item = Result<B, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        Some(Ok((self.steps.batch)(self.next, &self.steps.device)))
    }
}

impl<B> DataLoaderIterator<B> for StepsOfEpoch<'_, B> {
    fn progress(&self) -> Progress {
        Progress::new(
            self.next - self.first,
            self.end - self.first,
            Some("steps".into()),
        )
    }
}

impl<B: Send + 'static> DataLoader<B> for Steps<B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<B> + 'a> {
        let first = self.next_epoch.fetch_add(1, Ordering::Relaxed) * self.options.checkpoint_every;
        let end = (first + self.options.checkpoint_every).min(self.options.n_steps);
        Box::new(StepsOfEpoch {
            steps: self,
            first,
            next: first,
            end,
        })
    }

    fn num_items(&self) -> usize {
        self.options.checkpoint_every
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<B>> {
        let (batch, next_epoch) = (self.batch.clone(), self.next_epoch.clone());
        Arc::new(Self {
            batch,
            next_epoch,
            options: self.options,
            device: device.clone(),
        })
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<B>> {
        // Only multi-device strategies slice, and this session runs on one device.
        self.to_device(&self.device)
    }
}

/// No validation inside the learner: experiments evaluate the finished prior.
#[derive(Clone)]
struct NoValidation;

struct Nothing;

impl Iterator for Nothing {
    type Item = Result<(), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl DataLoaderIterator<()> for Nothing {
    fn progress(&self) -> Progress {
        Progress::new(0, 0, None)
    }
}

impl DataLoader<()> for NoValidation {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<()> + 'a> {
        Box::new(Nothing)
    }

    fn num_items(&self) -> usize {
        0
    }

    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<()>> {
        Arc::new(self.clone())
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<()>> {
        Arc::new(self.clone())
    }
}

/// The metric that hands every step's values to the sink and stops the run when one is not finite.
#[derive(Clone)]
struct Journal {
    sink: Arc<Mutex<Sink>>,
    interrupter: Interrupter,
    failure: Arc<Mutex<Option<TrainError>>>,
    checkpoint_every: usize,
}

impl Journal {
    fn fail(&self, error: TrainError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.interrupter.stop(None);
    }
}

impl Metric for Journal {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        Arc::new("journal".into())
    }

    fn update(
        &mut self,
        report: &StepReport,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let values: Vec<f32> = report.values.clone().try_into_data()?.iter::<f32>().collect();
        let named: Vec<(&str, f32)> = report.names.iter().copied().zip(values).collect();
        if let Some(&(name, value)) = named.iter().find(|(_, value)| !value.is_finite()) {
            let checkpoint = (report.step - 1) / self.checkpoint_every * self.checkpoint_every;
            self.fail(TrainError::NonFinite {
                step: report.step,
                name: name.into(),
                value,
                checkpoint,
            });
        }
        let written = self.sink.lock().map(|mut sink| sink(report.step, &named));
        if let Ok(Err(error)) = written {
            self.fail(error.into());
        }
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

/// burn-train's own display, off: progress is the caller's, through the sink.
struct Silent;

impl MetricsRendererTraining for Silent {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for Silent {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Silent {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Silent {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Silent {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}
