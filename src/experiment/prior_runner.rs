//! The runner of priors: opens the benchmark, trains the prior, predicts the test set, scores the predictions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::prelude::*;

use super::mlflow::Tracker;
use super::prior_cache::{PriorCache, TrainingKey, is_whole};
use super::run::ResolvedRun;
use super::run_dir::RunDir;
use super::sweep_runner::Runner;
use super::train_prior::{OnStep, train_prior};
use crate::benchmark::{Benchmarks, ImageFolder, predict};
use crate::files;
use crate::generate::prior::AnyPrior;
use crate::train::hardware::Hardware;
use crate::train::objectives::PriorObjective;
use crate::train::prior::TrainingData;
use crate::train::session::{Failure, Strategy};
use crate::train::stop::Stop;

/// Trains and evaluates on one or several devices.
pub struct PriorRunner {
    hardware: Hardware,
    on_step: OnStep,
    stop: Stop,
    cache: Option<PriorCache>,
    benchmarks: Benchmarks,
}

impl PriorRunner {
    /// A runner on `device` (without autodiff).
    pub fn new(device: Device, on_step: OnStep) -> Self {
        Self {
            benchmarks: Benchmarks::new(device.clone()),
            hardware: Hardware::one(device),
            on_step,
            stop: Stop::default(),
            cache: None,
        }
    }

    /// Lets `stop` end a training between two steps; the run then fails with [`TrainError::Interrupted`] and can be resumed.
    ///
    /// [`TrainError::Interrupted`]: crate::train::session::TrainError::Interrupted
    #[must_use]
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Sends the logged values of trainings to an MLflow server.
    #[must_use]
    pub fn tracked_by(mut self, tracker: Option<Tracker>) -> Self {
        if let Some(tracker) = tracker {
            let show = self.on_step;
            self.on_step = Arc::new(move |run, progress| {
                show(run, progress);
                tracker.log(run, progress);
            });
        }
        self
    }

    /// Adds the devices `others` (without autodiff) to the training, combined as given. Each device computes a micro-batch of every step.
    #[must_use]
    pub fn beside(mut self, others: Vec<Device>, strategy: Strategy) -> Self {
        (self.hardware.others, self.hardware.strategy) = (others, strategy);
        self
    }

    /// Caches trained priors in `folder`: runs that differ only in their evaluation or in the sampler of a diffusion prior
    /// are trained once.
    #[must_use]
    pub fn sharing_priors(self, folder: PathBuf) -> Self {
        Self {
            cache: Some(PriorCache::new(folder)),
            ..self
        }
    }

    /// The trained prior of a run; trains it if needed.
    fn prior(&self, run: &ResolvedRun, dir: &RunDir, data: &TrainingData) -> Result<AnyPrior, Failure> {
        let train = || train_prior(run, dir, data, &self.hardware, &self.on_step, &self.stop);
        match &self.cache {
            _ if is_whole(&dir.prior_dir()) => (),
            None => train()?,
            Some(cache) => cache.get(&training_key(run)?, dir, train)?,
        }
        let scored = dir.scored_prior_dir(run.eval().checkpoint);
        Ok(AnyPrior::load(&scored, &self.hardware.device)?.1)
    }
}

/// The cache key of a trained prior: the configuration and the embeddings.
fn training_key(run: &ResolvedRun) -> Result<TrainingKey, Failure> {
    let mut text = run.training_hash();
    for (name, hash) in Benchmarks::embedding_inputs(&run.benchmark())? {
        text.push_str(&format!("\n{name} {hash}"));
    }
    Ok(TrainingKey {
        prefix: files::sha256(text.as_bytes()),
        steps: run.train().steps,
        checkpoint_every: run.train().checkpoint_every,
    })
}

impl Runner for PriorRunner {
    fn inputs(&self, run: &ResolvedRun) -> Result<BTreeMap<String, String>, Failure> {
        Benchmarks::inputs(&run.benchmark())
    }

    fn check(&self, run: &ResolvedRun) -> Result<(), Failure> {
        self.benchmarks.check(&run.benchmark(), run.objective())
    }

    fn execute(&self, run: &ResolvedRun, dir: &RunDir) -> Result<(), Failure> {
        let (objective, eval) = (run.objective(), run.eval());
        let benchmark = self.benchmarks.open(&run.benchmark())?;
        let z_x_hat = match objective.baseline() {
            Some(baseline) => vec![benchmark.baseline(baseline)?],
            None => {
                let prior = self.prior(run, dir, benchmark.training_data())?;
                predict(
                    benchmark.as_ref(),
                    &prior,
                    objective.sampler(),
                    eval.n_noise,
                    eval.seed,
                )?
            }
        };
        if benchmark.n_tests() > 0 {
            benchmark.score(&z_x_hat)?.write(dir.eval_path("embedding"))?;
        }
        if eval.n_pictures > 0 {
            let scores = benchmark.score_images(&z_x_hat[0], ImageFolder(&dir.images_dir()))?;
            scores.write(dir.eval_path("pictures"))?;
        }
        Ok(())
    }
}
