//! Requests to stop a run between two steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A request to stop, shared between its source (a signal handler) and the runs.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Requests the stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag that a signal handler sets.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// The step after which a run was stopped within an epoch, if any.
#[derive(Debug, Clone, Default)]
pub struct StoppedAt(Arc<OnceLock<usize>>);

impl StoppedAt {
    /// Records the step; later calls have no effect.
    pub(super) fn set(&self, step: usize) {
        let _ = self.0.set(step);
    }

    /// The step; `Some(0)` if no step was completed.
    pub fn get(&self) -> Option<usize> {
        self.0.get().copied()
    }
}
