//! From a checked run and its training data to a trained prior in the run's directory.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;

use super::run::Run;
use super::run_dir::RunDir;
use crate::train::checkpoint::set_damaged_aside;
use crate::train::prior::{PriorTraining, StepLayout, TrainingData};
use crate::train::run_folder::{LogOptions, RunFolder};
use crate::train::session::{Failure, Phase, Session, Strategy, Workers, checkpoints};
use crate::train::stop::Stop;
use crate::train::trainer::{GradientSum, UpdateOptions};

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Whether `values` are of a step or of what is held out, after it.
    pub phase: Phase,
    /// The step, from 1.
    pub step: usize,
    /// Steps of the run.
    pub n_steps: usize,
    /// Names and values: the loss first.
    pub values: &'a [(&'a str, f32)],
    /// Whether they are recorded in `metrics.jsonl` too.
    pub is_logged: bool,
}

/// Called after each optimiser step and each validation with the run's name-giving directory.
pub type OnStep = Arc<dyn Fn(&Path, Progress<'_>) + Send + Sync>;

/// The devices that train a prior, without autodiff.
#[derive(Debug, Clone)]
pub(super) struct Hardware {
    /// Where the prior is.
    pub(super) device: Device,
    /// Devices that work on its steps too.
    pub(super) others: Vec<Device>,
    /// How they do.
    pub(super) strategy: Strategy,
}

impl Hardware {
    pub(super) fn one(device: Device) -> Self {
        Self {
            device,
            others: vec![],
            strategy: Strategy::default(),
        }
    }

    /// All devices with autodiff, if there are several.
    fn autodiff_devices(&self) -> Option<Vec<Device>> {
        let all = std::iter::once(&self.device).chain(&self.others);
        (!self.others.is_empty()).then(|| all.map(|d| d.clone().autodiff()).collect())
    }

    fn workers(&self) -> Workers {
        match (self.strategy, self.autodiff_devices()) {
            (Strategy::Parts, _) | (_, None) => Workers::One,
            (Strategy::MultiDevice, Some(devices)) => Workers::MultiDevice(devices),
            (Strategy::Ddp, Some(devices)) => Workers::Ddp(devices),
        }
    }
}

/// Trains to the last step and saves the prior; also the one with the lowest validation loss, if the run is validated.
pub(super) fn train_prior(
    run: &Run,
    dir: &RunDir,
    data: &TrainingData,
    hardware: &Hardware,
    on_step: &OnStep,
    stop: &Stop,
) -> Result<(), Failure> {
    let train = run.train();
    let options = train.session_options();
    let dealt_out = hardware
        .autodiff_devices()
        .filter(|_| hardware.strategy == Strategy::Parts);
    let layout = StepLayout {
        batch_size: train.batch_size,
        n_batches: train.accumulate,
        devices: dealt_out.unwrap_or_default(),
    };
    let workers = hardware.workers();
    let update = UpdateOptions {
        grad_clip: Some(train.grad_clip).filter(|&norm| norm > 0.0),
        ema_decay: Some(train.ema_decay).filter(|&decay| decay > 0.0),
        sum: match workers {
            Workers::MultiDevice(_) => GradientSum::Optimizer,
            Workers::One | Workers::Ddp(_) => GradientSum::Backward,
        },
    };
    set_damaged_aside(&checkpoints(dir.path()))?;
    let log = LogOptions {
        every: train.log_every,
        steps_per_pass: Some(data.train.order().n_examples() / layout.n()),
        timed: false,
    };
    let (path, n_steps, on_step) = (dir.path().to_path_buf(), options.n_steps, on_step.clone());
    let sink = RunFolder::new(dir.path()).sink(&options, log, move |phase, step, values, is_logged| {
        let progress = Progress {
            phase,
            step,
            n_steps,
            values,
            is_logged,
        };
        on_step(&path, progress);
    })?;
    let session = Session {
        dir: dir.path(),
        options,
        workers,
        sink,
        stop: stop.clone(),
    };
    run.objective().train(PriorTraining {
        data,
        config: run.model().config(data.train.d_clip(), data.n_text),
        seed: run.seed(),
        validation_seed: run.eval().seed,
        layout,
        update,
        optimizer: train.adamw(),
        schedule: train.lr_schedule()?,
        device: hardware.device.clone(),
        session,
        prior_dir: dir.prior_dir(),
        best_prior_dir: dir.best_prior_dir(),
    })
}
