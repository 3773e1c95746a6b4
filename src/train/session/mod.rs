//! One training run through burn-train's learner.
//!
//! A run is a stream of steps 1..=n_steps. The batch of a step is a pure function of its number (order of the data, noise and dropped
//! conditions included), so a resumed run continues exactly as if it had never stopped. burn-train counts in epochs;
//! one epoch here is the `checkpoint_every` steps between two checkpoints.

mod error;
mod loaders;
mod metrics;
mod options;

pub use error::{Failure, TrainError};
pub use options::{MakeBatch, MetricSink, Phase, SessionOptions, StepReport, Validation};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use burn::optim::ModuleOptimizer;
use burn::optim::lr_scheduler::LrScheduler;
use burn::prelude::*;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::store::EventStoreClient;
use burn::train::{
    EarlyStoppingStrategy, ExecutionStrategy, InferenceStep, Interrupter, Learner, LearnerModel,
    MultiDeviceOptim, SupervisedTraining, TrainStep, TrainingStrategy,
};

use self::loaders::{HeldOut, Steps};
use self::metrics::{NullRenderer, StepMetric, ValidationMean};
use super::checkpoint::{AtomicCheckpointer, Keep, Scores, forget_stopped, last_complete, stopped_past};
use super::micro_batches::WorkerShard;
use super::stop::{Stop, StoppedAt};
use crate::files;

/// The checkpoint directory of the run in `dir`.
pub fn checkpoints(dir: &Path) -> PathBuf {
    dir.join("checkpoint")
}

/// The last step with a complete checkpoint in `dir`; 0 if there is none.
pub fn resumable_step(dir: &Path, options: &SessionOptions) -> usize {
    let dir = checkpoints(dir);
    let epochs = last_complete(&dir).unwrap_or(0);
    let step = (epochs * options.checkpoint_every).min(options.n_steps);
    stopped_past(&dir, step).unwrap_or(step)
}

/// The workers that compute a run's steps. Devices have autodiff; lists have several devices.
#[derive(Debug, Clone, Default)]
pub enum Workers {
    /// One worker, on the model's device, that computes whole steps.
    #[default]
    One,
    /// burn-train's `MultiDevice`: a worker on each device computes its shard of a step; the first device has the model and the optimiser. The trainer's
    /// `optimize` sums the gradients.
    MultiDevice(Vec<Device>),
    /// burn-train's `DistributedDataParallel`: each device has the model and the optimiser; backward passes sum gradients across devices.
    Ddp(Vec<Device>),
}

/// How several devices share a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// One worker distributes its micro-batches and adds gradients in the order of micro-batches: bit for bit the result of one device.
    #[default]
    Parts,
    /// [`Workers::MultiDevice`].
    MultiDevice,
    /// [`Workers::Ddp`].
    Ddp,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parts, Self::MultiDevice, Self::Ddp];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::MultiDevice => "multi-device",
            Self::Ddp => "ddp",
        }
    }
}

impl Workers {
    fn n(&self) -> usize {
        match self {
            Self::One => 1,
            Self::MultiDevice(devices) | Self::Ddp(devices) => devices.len(),
        }
    }

    /// burn-train's training strategy for a model on `home`.
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
    /// The run directory; checkpoints go to its `checkpoint/`.
    pub dir: &'a Path,
    /// Steps, checkpoints and early stopping.
    pub options: SessionOptions,
    /// The workers.
    pub workers: Workers,
    /// The metric sink.
    pub sink: MetricSink,
    /// Requests to stop: one worker stops after the current step, several workers at the next checkpoint.
    pub stop: Stop,
}

/// Trains `model` to step `n_steps` and returns it without autodiff; resumes from the session's checkpoints if there are any.
///
/// `batch(step, shard, device)` creates a worker's batch of a step on a separate thread, a step ahead. `model` must be on an
/// autodiff device.
///
/// # Errors
/// [`TrainError`]; checkpoints remain.
pub fn fit<M, B, V>(
    model: M,
    optimizer: ModuleOptimizer,
    schedule: impl LrScheduler + 'static,
    batch: impl Fn(usize, WorkerShard, &Device) -> B + Send + Sync + 'static,
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
        shard: WorkerShard {
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
    let step_metric = StepMetric {
        sink: Arc::new(Mutex::new(sink)),
        interrupter: interrupter.clone(),
        failure: failure.clone(),
        checkpoint_every: options.checkpoint_every,
        workers: workers.n(),
        unfinished: BTreeMap::new(),
    };
    let validation_mean = ValidationMean {
        steps: step_metric.clone(),
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
    // A run that was stopped and then killed may have completed its last step.
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
        .renderer(Box::new(NullRenderer))
        .metric_train(step_metric)
        .metric_valid(validation_mean)
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

/// Ends a run on early stopping or on request. burn-train calls this strategy after it has saved the checkpoint of the epoch.
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
