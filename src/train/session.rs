//! One training run through burn-train's learner.
//!
//! A run is a stream of steps 1..=n_steps. The batch of a step is a pure function of its number (order of the data, noise and dropped
//! conditions included), so a run that resumes after step k continues exactly as if it had never stopped. burn-train thinks in epochs;
//! one epoch here is the `checkpoint_every` steps between two checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use burn::optim::ModuleOptimizer;
use burn::optim::lr_scheduler::LrScheduler;
use burn::prelude::*;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::tensor::{ExecutionError, TensorReadError};
use burn::train::logger::{EvaluationProgressLogger, InMemoryMetricLogger, TrainingProgressLogger};
use burn::train::metric::store::EventStoreClient;
use burn::train::metric::{Adaptor, Metric, MetricDefinition, MetricMetadata, MetricName, SerializedEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};
use burn::train::{
    EarlyStoppingStrategy, ExecutionStrategy, InferenceStep, Interrupter, ItemLazy, Learner, LearnerModel,
    MultiDeviceOptim, SupervisedTraining, TrainStep, TrainingStrategy,
};

use super::checkpoint::{AtomicCheckpointer, Keep, Scores, forget_stopped, last_complete, stopped_past};
pub use super::loaders::MakeBatch;
use super::loaders::{HeldOut, Steps};
use super::parts::{Share, Values};
use super::stop::{Stop, StoppedAt};
use crate::files::{self, FileError};

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

/// Why a run failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

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
    /// It was asked to stop. What is here is in a checkpoint.
    #[error("stopped after step {step} of {n_steps}, which is saved")]
    Interrupted {
        /// The step.
        step: usize,
        /// Steps of the run.
        n_steps: usize,
    },
    /// burn-train stopped.
    #[error("training stopped: {0}")]
    Stopped(String),
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
pub type Sink = Box<dyn FnMut(Phase, usize, &[(&str, f32)]) -> Result<(), FileError> + Send>;

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

/// Where the run in `dir` has its checkpoints.
pub fn checkpoints(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

/// The last step that `dir` holds a complete checkpoint of; 0 when there is none.
pub fn resumable_step(dir: &Path, options: &SessionOptions) -> usize {
    let dir = checkpoints(dir);
    let epochs = last_complete(&dir).unwrap_or(0);
    let step = (epochs * options.checkpoint_every).min(options.n_steps);
    stopped_past(&dir, step).unwrap_or(step)
}

/// Who computes a run's steps. Devices are with autodiff, and several.
#[derive(Debug, Clone, Default)]
pub enum Workers {
    /// One worker, where the model is, that gets all of a step.
    #[default]
    One,
    /// burn-train's `MultiDevice`: a worker on each device gets its share of a step; the first device has the model and the optimiser. The trainer's
    /// gradients come together in its `optimize`, as a sum.
    MultiDevice(Vec<Device>),
    /// burn-train's `DistributedDataParallel`: each device has the model and the optimiser; backward passes exchange gradients, as a sum.
    Ddp(Vec<Device>),
}

/// How several devices work on a step together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// One worker deals its parts out to them and adds in the parts' order: bit for bit what one device gets.
    #[default]
    Parts,
    /// [`Workers::MultiDevice`].
    MultiDevice,
    /// [`Workers::Ddp`].
    Ddp,
}

impl Workers {
    fn n(&self) -> usize {
        match self {
            Self::One => 1,
            Self::MultiDevice(devices) | Self::Ddp(devices) => devices.len(),
        }
    }

    /// burn-train's name for it, for a model on `home`.
    fn strategy(self, home: Device) -> ExecutionStrategy {
        match self {
            Self::One => ExecutionStrategy::SingleDevice(home),
            Self::MultiDevice(devices) => {
                ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice)
            }
            Self::Ddp(devices) => {
                let all_reduce_op = ReduceOperation::Sum;
                ExecutionStrategy::ddp(devices, DistributedConfig { all_reduce_op })
            }
        }
    }
}

/// Run directory, workers and metric sink.
pub struct Session<'a> {
    /// Its folder; checkpoints go to `checkpoint/` in it.
    pub dir: &'a Path,
    /// Its sizes.
    pub options: SessionOptions,
    /// Its workers.
    pub workers: Workers,
    /// What gets its values.
    pub sink: Sink,
    /// What stops it: one worker after the step that it is at, several at the next checkpoint.
    pub stop: Stop,
}

/// Trains `model` to step `n_steps` and returns it, off autodiff; continues from the session's checkpoints if there are any.
///
/// `batch(step, share, device)` makes what a worker gets of a step; it is called on a thread of its own, a step ahead. `model` must be on an
/// autodiff device.
///
/// # Errors
/// [`TrainError`]; everything up to the last checkpoint stays.
pub fn fit<M, B, V>(
    model: M,
    optimizer: ModuleOptimizer,
    schedule: impl LrScheduler + 'static,
    batch: impl Fn(usize, Share, &Device) -> B + Send + Sync + 'static,
    validation: Option<Validation<V>>,
    session: Session<'_>,
) -> Result<M, TrainError>
where
    B: Send + 'static,
    V: Send + 'static,
    M: LearnerModel
        + TrainStep<Input = B, Output = StepReport>
        + InferenceStep<Input = V, Output = StepReport>,
{
    let Session {
        dir,
        options,
        workers,
        sink,
        stop,
    } = session;
    let checkpoints = checkpoints(dir);
    files::create_dir(&checkpoints)?;
    let device = model.devices()[0].clone();
    let done = last_complete(&checkpoints).unwrap_or(0);
    let stopped = stopped_past(
        &checkpoints,
        (done * options.checkpoint_every).min(options.n_steps),
    );
    forget_stopped(&checkpoints, stopped);
    let stopped_at = StoppedAt::default();
    let n_epochs = options.n_steps.div_ceil(options.checkpoint_every);
    let steps = Steps {
        batch: Arc::new(batch),
        next_epoch: Arc::new(AtomicUsize::new(done)),
        done: stopped.unwrap_or(0),
        options,
        share: Share {
            index: 0,
            n: workers.n(),
        },
        device: device.clone(),
        stop: stop.clone(),
        stopped_at: stopped_at.clone(),
    };
    let interrupter = Interrupter::new();
    let failure = Arc::new(Mutex::new(None));
    let scores = Scores::open(&checkpoints, done);
    let journal = Journal {
        sink: Arc::new(Mutex::new(sink)),
        interrupter: interrupter.clone(),
        failure: failure.clone(),
        checkpoint_every: options.checkpoint_every,
        workers: workers.n(),
        unfinished: BTreeMap::new(),
    };
    let means = Means {
        journal: journal.clone(),
        scores: scores.clone(),
        n_batches: validation.as_ref().map_or(0, |v| v.n_batches),
        epoch: done + 1,
        n_steps: options.n_steps,
        so_far: vec![],
    };
    let held_out = HeldOut {
        validation,
        device: device.clone().inner(),
        stopped_at: stopped_at.clone(),
    };
    // A run that had stopped before it was killed has nothing left to do.
    let n_epochs = if scores.stalled(done, options.patience) {
        done
    } else {
        n_epochs
    };
    let patience = Patience {
        scores: scores.clone(),
        n: options.patience,
        stop: stop.clone(),
    };
    let keep = Keep::new(&checkpoints, options.keep, scores.clone(), stopped_at.clone());
    let part = |name| AtomicCheckpointer::of_run(&checkpoints, name, stopped, stopped_at.clone());
    let mut training = SupervisedTraining::new(dir, Arc::new(steps), Arc::new(held_out))
        .with_training_strategy(TrainingStrategy::Default(workers.strategy(device)))
        .with_metric_logger(InMemoryMetricLogger::default())
        .with_application_logger(None)
        .with_checkpointing_strategy(keep)
        .with_custom_checkpointers(part("model"), part("optim"), part("scheduler"))
        .with_interrupter(interrupter)
        .renderer(Box::new(Silent))
        .metric_train(journal)
        .metric_valid(means)
        .early_stopping(patience)
        .num_epochs(n_epochs);
    if done > 0 || stopped.is_some() {
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
        _ => {
            let step = resumable_step(dir, &options);
            let epochs = last_complete(&checkpoints).unwrap_or(0);
            let is_over = step >= options.n_steps || scores.stalled(epochs, options.patience);
            if stop.is_requested() && !is_over {
                let n_steps = options.n_steps;
                return Err(TrainError::Interrupted { step, n_steps });
            }
            forget_stopped(&checkpoints, None);
            Ok(result.model)
        }
    }
}

/// The metric that hands every step's values, the means over its workers, to the sink and stops the run when one is not finite.
#[derive(Clone)]
struct Journal {
    sink: Arc<Mutex<Sink>>,
    interrupter: Interrupter,
    failure: Arc<Mutex<Option<TrainError>>>,
    checkpoint_every: usize,
    workers: usize,
    /// Steps that not all workers have reported yet.
    unfinished: BTreeMap<usize, Vec<Named>>,
}

/// Named values.
type Named = Vec<(&'static str, f32)>;

impl Journal {
    /// The means over all workers, once the last of them has reported the step.
    fn complete(&mut self, step: usize, values: Named) -> Option<Named> {
        let reports = self.unfinished.entry(step).or_default();
        reports.push(values);
        if reports.len() < self.workers {
            return None;
        }
        let reports = self.unfinished.remove(&step)?;
        let n = reports.len() as f32;
        let mean = |i: usize| reports.iter().map(|report| report[i].1).sum::<f32>() / n;
        let names = reports[0].iter().map(|(name, _)| *name);
        Some(names.enumerate().map(|(i, name)| (name, mean(i))).collect())
    }

    fn fail(&self, error: TrainError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.interrupter.stop(None);
    }

    fn write(&self, phase: Phase, step: usize, values: &[(&str, f32)]) {
        let written = self.sink.lock().map(|mut sink| sink(phase, step, values));
        if let Ok(Err(error)) = written {
            self.fail(error.into());
        }
    }
}

/// The values of a report, on the host.
fn values_of(report: &StepReport) -> Result<Named, TensorReadError> {
    let values: Vec<f32> = report.values.clone().try_into_data()?.iter::<f32>().collect();
    Ok(report.names.iter().copied().zip(values).collect())
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
        let Some(named) = self.complete(report.step, values_of(report)?) else {
            return Ok(SerializedEntry::not_available(None));
        };
        if let Some(&(name, value)) = named.iter().find(|(_, value)| !value.is_finite()) {
            let checkpoint = (report.step - 1) / self.checkpoint_every * self.checkpoint_every;
            self.fail(TrainError::NonFinite {
                step: report.step,
                name: name.into(),
                value,
                checkpoint,
            });
        }
        self.write(Phase::Train, report.step, &named);
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

/// The metric that hands the means over all batches of a validation to the sink, and the first of them to the rule that keeps checkpoints.
#[derive(Clone)]
struct Means {
    journal: Journal,
    scores: Scores,
    n_batches: usize,
    /// burn-train's, from 1.
    epoch: usize,
    n_steps: usize,
    /// Sums of the batches so far, and the examples behind them.
    so_far: Vec<(&'static str, f64, usize)>,
}

impl Metric for Means {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        Arc::new("validation".into())
    }

    fn update(
        &mut self,
        report: &StepReport,
        progress: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        for (name, value) in values_of(report)? {
            let sum = f64::from(value) * report.n as f64;
            match self.so_far.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, total, n)) => (*total, *n) = (*total + sum, *n + report.n),
                None => self.so_far.push((name, sum, report.n)),
            }
        }
        if progress.iteration == Some(self.n_batches) {
            let means: Vec<(&str, f32)> = self
                .so_far
                .drain(..)
                .map(|(name, sum, n)| (name, (sum / n as f64) as f32))
                .collect();
            let step = (self.epoch * self.journal.checkpoint_every).min(self.n_steps);
            if let Some((_, loss)) = means.first() {
                self.scores.found(self.epoch, step, *loss);
            }
            self.journal.write(Phase::Valid, step, &means);
            self.epoch += 1;
        }
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

/// Ends a run whose validation loss has stopped falling, and one that was asked to stop. burn-train asks after it has saved the checkpoint of the epoch.
#[derive(Clone)]
struct Patience {
    scores: Scores,
    n: usize,
    stop: Stop,
}

impl EarlyStoppingStrategy for Patience {
    fn should_stop(&mut self, epoch: usize, _: &EventStoreClient) -> bool {
        self.stop.is_requested() || self.scores.stalled(epoch, self.n)
    }
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
