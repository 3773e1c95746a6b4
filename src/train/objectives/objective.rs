//! The trait of training objectives.

use std::fmt::Debug;

use super::super::prior::{ClipTemperature, PriorTraining};
use super::super::session::Failure;
use super::super::spec::TrainSpec;
use crate::config::InvalidValue;
use crate::generate::prior::PriorSettings;

/// The parts of a run's configuration that an objective's keys are checked against.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    /// `[train]`.
    pub train: &'a TrainSpec,
    /// Training pairs; `usize::MAX` until the store is open.
    pub n_pairs: usize,
    /// Whether the run trains on a store, where the meaning of captions is unknown.
    pub has_store: bool,
}

/// An objective: its keys in a run's configuration, their checks, and the training.
pub trait PriorObjective: Debug {
    /// Description for model cards, with the keys that distinguish it.
    fn label(&self) -> String;

    /// Checks its keys.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is out of range.
    fn check(&self, context: &CheckContext<'_>) -> Result<(), InvalidValue> {
        let _ = context;
        Ok(())
    }

    /// Checks the requirements on CLIP before training.
    ///
    /// # Errors
    /// The missing property of CLIP, with the key that avoids it.
    fn check_clip(&self, clip: ClipTemperature<'_>) -> Result<(), Failure> {
        let _ = clip;
        Ok(())
    }

    /// The sampler of its priors.
    fn sampler(&self) -> PriorSettings {
        PriorSettings::default()
    }

    /// Resets the keys that do not change the trained prior (those of the sampler) to their defaults: runs that differ only in them share their prior.
    fn reset_sampler(&mut self) {}

    /// Trains and saves a prior: creates the network, the batches and the criterion, and calls [`PriorTraining::fit`].
    ///
    /// # Errors
    /// The error that stopped the training. Checkpoints remain.
    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure>;
}
