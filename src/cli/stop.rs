//! The first Ctrl-C (or SIGTERM) finishes the step and saves it; the second ends the program at once.

use std::thread;
use std::time::Duration;

use super::output::program;
use crate::experiment::sweep_runner::Failure;
use crate::testbed::PretrainError;
use crate::train::session::TrainError;
use crate::train::stop::Stop;
use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Interval between checks whether a stop was requested.
const LOOK: Duration = Duration::from_millis(100);

/// Work that was stopped on request, and the command to resume it; the exit code is 130, a shell's for SIGINT.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(String);

impl Stopped {
    /// `what` was stopped; the same command, with `resume` if it has such an option, resumes it.
    pub fn new(what: impl std::fmt::Display, resume: Option<&str>) -> Self {
        let mut words: Vec<String> = std::env::args().collect();
        if let Some(first) = words.first_mut() {
            *first = program();
        }
        if let Some(option) = resume.filter(|option| !words.iter().any(|word| word == option)) {
            words.push(option.to_owned());
        }
        let words = words.iter().map(String::as_str);
        let command = shlex::try_join(words).unwrap_or_else(|_| "the same command".into());
        Self(format!("{what}; continue with: {command}"))
    }
}

/// A stop request that signals set.
///
/// # Errors
/// The system does not support handlers of these signals.
pub fn on_signals() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.flag())
            .and_then(|_| flag::register(signal, stop.flag()))
            .context("cannot handle signals")?;
    }
    let watched = stop.clone();
    thread::spawn(move || {
        while !watched.is_requested() {
            thread::sleep(LOOK);
        }
        super::output::note("stopping after this step, which is saved; again to stop at once");
    });
    Ok(stop)
}

/// The error of a training; for a stopped training, with the command to resume it.
pub fn training_error(failure: Failure, resume: Option<&str>) -> anyhow::Error {
    match failure.downcast_ref() {
        Some(stopped @ TrainError::Interrupted { .. }) => Stopped::new(stopped, resume).into(),
        _ => anyhow::Error::from_boxed(failure),
    }
}

/// Like [`training_error`], for a model of a built-in world.
pub fn pretraining_error(failure: PretrainError) -> anyhow::Error {
    match failure {
        PretrainError::Train(stopped @ TrainError::Interrupted { .. }) => Stopped::new(stopped, None).into(),
        other => other.into(),
    }
}
