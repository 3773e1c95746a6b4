//! Trains the prior of a checked run in the run's directory.

use std::path::Path;
use std::sync::Arc;

use super::run::ResolvedRun;
use super::run_dir::RunDir;
use crate::train::checkpoint::set_damaged_aside;
use crate::train::hardware::Hardware;
use crate::train::objectives::PriorObjective;
use crate::train::prior::{PriorTraining, TrainingData};
use crate::train::run_folder::TrainingProgress;
use crate::train::session::{Failure, checkpoints};
use crate::train::stop::Stop;

/// Called after each optimiser step and each validation, with the run directory.
pub type OnStep = Arc<dyn Fn(&Path, TrainingProgress<'_>) + Send + Sync>;

/// Trains to the last step and saves the prior, and the prior with the lowest validation loss if the run is validated.
pub(super) fn train_prior(
    run: &ResolvedRun,
    dir: &RunDir,
    data: &TrainingData,
    hardware: &Hardware,
    on_step: &OnStep,
    stop: &Stop,
) -> Result<(), Failure> {
    set_damaged_aside(&checkpoints(dir.path()))?;
    let (path, on_step) = (dir.path().to_path_buf(), on_step.clone());
    let (model, train) = (run.model(), run.train());
    let mut training = PriorTraining::in_folder(
        dir.path(),
        data,
        model,
        train,
        run.seed(),
        hardware,
        move |progress| {
            on_step(&path, progress);
        },
    )?;
    training.validation_seed = run.eval().seed;
    training.session.stop = stop.clone();
    run.objective().train(training)
}
