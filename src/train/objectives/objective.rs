//! What every objective of a prior implements.

use std::fmt::Debug;

use super::super::prior::{ClipTemperature, PriorTraining};
use super::super::session::Failure;
use super::super::spec::TrainSpec;
use crate::config::InvalidValue;
use crate::generate::prior::PriorSettings;

/// The parts of a run that an objective's keys are checked against.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    /// `[train]`.
    pub train: &'a TrainSpec,
    /// Training pairs; `usize::MAX` while a store is not open.
    pub n_pairs: usize,
    /// Whether the run trains on a store, where nothing is known of what captions mean.
    pub has_store: bool,
}

/// An objective: its keys in a run's configuration, their checks, and the training.
pub trait PriorObjective: Debug {
    /// What it is, for model cards: with the keys that set it apart.
    fn label(&self) -> String;

    /// Checks its keys.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is out of range.
    fn check(&self, context: &CheckContext<'_>) -> Result<(), InvalidValue> {
        let _ = context;
        Ok(())
    }

    /// Checks what it needs of CLIP, before anything is trained.
    ///
    /// # Errors
    /// What is missing, with the key that would mend it.
    fn check_clip(&self, clip: ClipTemperature<'_>) -> Result<(), Failure> {
        let _ = clip;
        Ok(())
    }

    /// How its priors are sampled.
    fn sampler(&self) -> PriorSettings {
        PriorSettings::default()
    }

    /// Sets the keys that do not change the trained prior (how it is sampled) to their defaults: runs that differ in these only share their prior.
    fn reset_sampler(&mut self) {}

    /// Trains and saves a prior: makes the network, the batches and the criterion, and ends in [`PriorTraining::fit`].
    ///
    /// # Errors
    /// Whatever stopped the training. Everything up to the last checkpoint stays.
    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure>;
}
