//! The training of one prior, from an objective's trainer to the saved prior.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;

use super::super::checkpoint::Best;
use super::super::hardware::Hardware;
use super::super::micro_batches::{MicroBatches, WorkerShard};
use super::super::run_folder::{LogOptions, RunFolder, TrainingProgress};
use super::super::schedule::SteppedLr;
use super::super::session::{Failure, Session, Validation, Workers, checkpoints, fit};
use super::super::spec::{ModelSpec, TrainSpec};
use super::super::stop::Stop;
use super::super::trainer::{AdamWOptions, Criterion, GradientSum, Network, Trainer, UpdateOptions};
use super::step_layout::StepLayout;
use crate::data::examples::Examples;
use crate::models::prior::PriorConfig;
use crate::nn::torch_default;
use crate::noise::{Noise, Stream};

/// Most examples of a validation batch.
const VALIDATION_BATCH: usize = 256;

/// The temperature of the CLIP behind the training data, for objectives with a contrastive term.
#[derive(Debug, Clone, Copy)]
pub struct ClipTemperature<'a> {
    /// `1 / exp(logit_scale)`; `None` where CLIP has none.
    pub tau: Option<f64>,
    /// CLIP's folder, for messages.
    pub clip: &'a str,
}

/// Training and validation data of a prior.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// Training examples.
    pub train: Arc<dyn Examples>,
    /// Held-out examples.
    pub validation: Option<Arc<dyn Examples>>,
    /// Tokens of a caption.
    pub n_text: usize,
    /// The temperature of CLIP.
    pub tau: Option<f64>,
    /// CLIP's folder, for messages.
    pub clip: String,
}

impl TrainingData {
    /// The temperature and the folder of CLIP.
    pub fn temperature(&self) -> ClipTemperature<'_> {
        ClipTemperature {
            tau: self.tau,
            clip: &self.clip,
        }
    }
}

/// One training of a prior, as a run describes it; an [`Objective`](super::super::objectives::Objective) carries it out.
pub struct PriorTraining<'a> {
    /// Training and validation examples.
    pub data: &'a TrainingData,
    /// The network, without time conditioning.
    pub config: PriorConfig,
    /// Seed of initial weights, order, noise and dropped captions.
    pub seed: u64,
    /// Seed of the validation's noise: the same in all compared runs.
    pub validation_seed: u64,
    /// Layout of a step.
    pub layout: StepLayout,
    /// Clipping and EMA.
    pub update: UpdateOptions,
    /// The optimiser.
    pub optimizer: AdamWOptions,
    /// The learning rate.
    pub schedule: SteppedLr,
    /// The device of the network, without autodiff.
    pub device: Device,
    /// Run directory, workers and metric sink.
    pub session: Session<'a>,
    /// Folder of the trained prior.
    pub prior_dir: PathBuf,
    /// Folder of the prior with the lowest validation loss, if the run is validated.
    pub best_prior_dir: PathBuf,
}

impl<'a> PriorTraining<'a> {
    /// A training in the run directory `dir`, configured by `model` and `train`; `on_step` is called after every step and every validation.
    ///
    /// # Errors
    /// A learning-rate schedule out of range, or a log that cannot be written.
    pub fn in_folder(
        dir: &'a Path,
        data: &'a TrainingData,
        model: &ModelSpec,
        train: &TrainSpec,
        seed: u64,
        hardware: &Hardware,
        on_step: impl FnMut(TrainingProgress<'_>) + Send + 'static,
    ) -> Result<Self, Failure> {
        let (folder, options) = (RunFolder::new(dir), train.session_options());
        let layout = StepLayout {
            batch_size: train.batch_size,
            n_batches: train.accumulate,
            devices: hardware.micro_batch_devices(),
        };
        let workers = hardware.workers();
        let update = UpdateOptions {
            compute: train.compute_dtype.into(),
            grad_clip: Some(train.grad_clip).filter(|&norm| norm > 0.0),
            ema_decay: Some(train.ema_decay).filter(|&decay| decay > 0.0),
            sum: match workers {
                Workers::MultiDevice(_) => GradientSum::Optimizer,
                Workers::One | Workers::Ddp(_) => GradientSum::Backward,
            },
        };
        let log = LogOptions {
            every: train.log_every,
            steps_per_pass: Some(data.train.order().n_examples() / layout.n()),
            timed: false,
        };
        Ok(Self {
            data,
            config: model.config(data.train.d_clip(), data.n_text),
            seed,
            validation_seed: seed,
            layout,
            update,
            optimizer: train.adamw(),
            schedule: train.lr_schedule()?,
            device: hardware.device.clone(),
            session: Session {
                dir,
                options,
                workers,
                sink: folder.sink(&options, log, on_step)?,
                stop: Stop::default(),
            },
            prior_dir: folder.prior_dir(),
            best_prior_dir: folder.best_prior_dir(),
        })
    }

    /// The device of the network in training.
    pub fn autodiff_device(&self) -> Device {
        self.device.clone().autodiff()
    }

    /// `network` with initial weights from the run's seed, as PyTorch initialises its layers.
    pub fn initialised<N: Module>(&self, network: N) -> N {
        torch_default(network, &mut Noise::of(self.seed, Stream::InitialWeights))
    }

    /// The validation batches that `batches(data, layout, seed)` returns, if the run is validated: the first steps on the held-out examples, with the same
    /// noise in all runs.
    pub fn validation<P, F>(
        &self,
        batches: impl Fn(Arc<dyn Examples>, StepLayout, u64) -> F,
    ) -> Option<Validation<P>>
    where
        F: Fn(usize, WorkerShard, &Device) -> MicroBatches<P> + Send + Sync + 'static,
    {
        let data = self.data.validation.clone()?;
        let n = data.order().n_examples();
        let size = n.min(VALIDATION_BATCH);
        let of_step = batches(data, StepLayout::whole(size), self.validation_seed);
        Some(Validation {
            n_batches: n / size,
            batch: Arc::new(move |i, device| {
                of_step(i + 1, WorkerShard::WHOLE, device).batches.swap_remove(0)
            }),
        })
    }

    /// Trains to the last step and saves the prior with `save(network, dir)`. The best prior is saved first, because the presence of the last prior marks
    /// the run as trained.
    ///
    /// # Errors
    /// The error that stopped the training. Checkpoints remain.
    pub fn fit<N: Network + 'static, C: Criterion<N>>(
        self,
        trainer: Trainer<N, C>,
        batches: impl Fn(usize, WorkerShard, &Device) -> MicroBatches<C::Batch> + Send + Sync + 'static,
        validation: Option<Validation<C::Batch>>,
        save: impl Fn(&N, &Path) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let folder = checkpoints(self.session.dir);
        let is_validated = validation.is_some();
        let optimizer = self.optimizer.init();
        let trained = fit(
            trainer,
            optimizer,
            self.schedule,
            batches,
            validation,
            self.session,
        )?;
        if is_validated && let Some((best, trainer)) = Best::load(&folder, trained.clone())? {
            tracing::info!("lowest validation loss: {} at step {}", best.loss, best.step);
            save(trainer.result(), &self.best_prior_dir)?;
        }
        save(trained.result(), &self.prior_dir)
    }
}
