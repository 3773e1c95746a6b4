//! The training of one prior: what every objective gets, and the way from its trainer to a saved prior.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;

use super::super::checkpoint::Best;
use super::super::micro_batches::{MicroBatches, WorkerShard};
use super::super::schedule::SteppedLr;
use super::super::session::{Failure, Session, Validation, checkpoints, fit};
use super::super::trainer::{AdamWOptions, Criterion, Network, Trainer, UpdateOptions};
use super::step_layout::StepLayout;
use crate::data::examples::Examples;
use crate::models::prior::PriorConfig;
use crate::nn::torch_default;
use crate::noise::{Noise, Stream};

/// Examples of a batch of a validation, at most.
const VALIDATION_BATCH: usize = 256;

/// The temperature of the CLIP behind the training data, for objectives with a contrastive term.
#[derive(Debug, Clone, Copy)]
pub struct ClipTemperature<'a> {
    /// `1 / exp(logit_scale)`; `None` where CLIP has none.
    pub tau: Option<f64>,
    /// Where CLIP is, for messages.
    pub clip: &'a str,
}

/// What a prior is trained and validated on.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// Training examples.
    pub train: Arc<dyn Examples>,
    /// Examples that are held out.
    pub validation: Option<Arc<dyn Examples>>,
    /// Tokens of a caption.
    pub n_text: usize,
    /// The temperature that CLIP was trained to.
    pub tau: Option<f64>,
    /// Where CLIP is, for messages.
    pub clip: String,
}

impl TrainingData {
    /// The temperature of CLIP, and where CLIP is.
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
    /// The network, without time.
    pub config: PriorConfig,
    /// Seed of initial weights, order, noise and dropped captions.
    pub seed: u64,
    /// Seed of the validation's noise: the same in all runs that are compared.
    pub validation_seed: u64,
    /// How a step is divided.
    pub layout: StepLayout,
    /// Clipping and EMA.
    pub update: UpdateOptions,
    /// The optimiser.
    pub optimizer: AdamWOptions,
    /// The learning rate.
    pub schedule: SteppedLr,
    /// Where the network is, without autodiff.
    pub device: Device,
    /// Run directory, workers and metric sink.
    pub session: Session<'a>,
    /// Where the trained prior is saved.
    pub prior_dir: PathBuf,
    /// Where the prior with the lowest validation loss is saved, if the run is validated.
    pub best_prior_dir: PathBuf,
}

impl PriorTraining<'_> {
    /// The device of the network in training.
    pub fn autodiff_device(&self) -> Device {
        self.device.clone().autodiff()
    }

    /// `network` with initial weights from the run's seed, as PyTorch initialises its layers.
    pub fn initialised<N: Module>(&self, network: N) -> N {
        torch_default(network, &mut Noise::of(self.seed, Stream::InitialWeights))
    }

    /// The validation batches that `batches(data, layout, seed)` makes, if the run is validated: those of the first steps of a run on the held-out
    /// examples, whose noise is the same in all runs.
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

    /// Trains to the last step and saves the prior with `save(network, dir)`: the best one first, since a run that has its last prior counts as
    /// trained.
    ///
    /// # Errors
    /// Whatever stopped the training. Everything up to the last checkpoint stays.
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
