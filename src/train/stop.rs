//! Stopping a run on request, between two steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A request to stop, shared between who makes it (the handler of a signal) and the runs that carry it out.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// What a signal handler sets.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// The step after which a run was stopped within an epoch, if it was.
#[derive(Debug, Clone, Default)]
pub struct StoppedAt(Arc<OnceLock<usize>>);

impl StoppedAt {
    /// Says so; the first one counts.
    pub(super) fn set(&self, step: usize) {
        let _ = self.0.set(step);
    }

    /// The step; `Some(0)` where not one was made.
    pub fn get(&self) -> Option<usize> {
        self.0.get().copied()
    }
}
