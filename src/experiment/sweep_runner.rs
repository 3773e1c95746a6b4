//! Carrying runs out: one, or a whole sweep.
//!
//! What a run does is behind [`Runner`], so that everything here is tested with a stand-in.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::error::RunDirError;
use super::provenance::Origin;
use super::run::ResolvedRun;
use super::run_dir::{RunDir, State};
use super::sweep::Trial;
use crate::data::store::Damage;
pub use crate::train::session::Failure;
use crate::train::session::TrainError;
use crate::train::stop::Stop;

/// What is done with a run: train, evaluate.
pub trait Runner: Sync {
    /// SHA-256 of the files the run reads, by name. A finished run is only good for the same inputs.
    ///
    /// # Errors
    /// When one is missing; the run then fails before its directory is made.
    fn inputs(&self, run: &ResolvedRun) -> Result<BTreeMap<String, String>, Failure>;

    /// Looks for what would make the run fail, without beginning it.
    ///
    /// # Errors
    /// What is wrong; nothing has been written then.
    fn check(&self, run: &ResolvedRun) -> Result<(), Failure> {
        self.inputs(run).map(drop)
    }

    /// Carries `run` out in `dir`, which this process holds. It may have been begun: continue from what is there. When
    /// this returns, `dir` is finished.
    ///
    /// # Errors
    /// Whatever stopped the run. The directory stays and can be resumed.
    fn execute(&self, run: &ResolvedRun, dir: &RunDir) -> Result<(), Failure>;
}

/// How a run of a sweep ended.
#[derive(Debug)]
pub enum Outcome {
    /// Carried out now.
    Done {
        /// Whether an earlier session had begun it.
        resumed: bool,
        /// Wall time of this session.
        took: Duration,
    },
    /// It was finished before.
    Skipped,
    /// Another process works on it.
    Busy {
        /// That process.
        pid: String,
    },
    /// It was asked to stop, or not begun for that reason.
    Stopped,
    /// It failed; the others went on.
    Failed(Failure),
}

impl Outcome {
    /// Whether the run's directory is finished.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Skipped)
    }
}

/// What a sweep tells while it works. Called from its worker threads.
pub enum Event<'a> {
    /// A run begins.
    Begin {
        /// The run.
        planned: &'a Trial,
    },
    /// A run ended.
    End {
        /// The run.
        planned: &'a Trial,
        /// How.
        outcome: &'a Outcome,
        /// Runs that ended so far, of `total`.
        finished: usize,
        /// Runs of the sweep.
        total: usize,
    },
}

/// Where and how a sweep works.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// Folder of the run directories.
    pub runs: PathBuf,
    /// Name of the experiment.
    pub experiment: String,
    /// Device name, for the record.
    pub device: String,
    /// Runs at a time.
    pub jobs: usize,
    /// What stops it: no run begins any more.
    pub stop: Stop,
}

/// Carries out one run in `dir`.
///
/// # Errors
/// [`RunDirError`] when the directory cannot be used, else whatever the run failed with.
pub fn execute(
    planned: &Trial,
    dir: &RunDir,
    experiment: &str,
    device: &str,
    runner: &dyn Runner,
) -> Result<Outcome, Failure> {
    let origin = Origin {
        experiment: experiment.to_owned(),
        run: planned.name().to_owned(),
        axes: planned.axes().to_vec(),
        device: device.to_owned(),
        inputs: runner.inputs(planned.run())?,
        written: planned.written().to_owned(),
    };
    if dir.state(planned.run())? != State::Done {
        runner.check(planned.run())?;
    }
    let Some(claim) = dir.claim(planned.run(), &origin)? else {
        return Ok(Outcome::Skipped);
    };
    let span = tracing::info_span!("run", name = planned.name());
    let _entered = span.enter();
    let start = Instant::now();
    // A tensor of the wrong shape panics in Burn: that ends this run, not the sweep.
    let executed = catch_unwind(AssertUnwindSafe(|| runner.execute(planned.run(), claim.dir())));
    let executed = executed.unwrap_or_else(|panic| match Damage::of(panic) {
        Ok(damaged) => Err(damaged.into()),
        Err(panic) => Err(panic_message(panic.as_ref()).into()),
    });
    if let Err(failure) = executed {
        claim.abandon_if_empty();
        return Err(failure);
    }
    let resumed = claim.resumed();
    claim.finish()?;
    Ok(Outcome::Done {
        resumed,
        took: start.elapsed(),
    })
}

/// Carries out every run that is not finished, `jobs` at a time, and tells `observe`. The outcomes are in the order of
/// `planned`. A run that fails does not stop the others.
pub fn sweep(
    planned: &[Trial],
    options: &SweepOptions,
    runner: &dyn Runner,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Outcome>>> = planned.iter().map(|_| Mutex::new(None)).collect();
    let work =
        || {
            while !options.stop.is_requested() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (Some(run), Some(slot)) = (planned.get(index), outcomes.get(index)) else {
                    break;
                };
                observe(Event::Begin { planned: run });
                let dir = RunDir::new(run_path(&options.runs, run));
                let outcome = execute(run, &dir, &options.experiment, &options.device, runner)
                    .unwrap_or_else(|failure| match failure.downcast::<RunDirError>() {
                        Ok(e) => match *e {
                            RunDirError::Running { pid, .. } => Outcome::Busy { pid },
                            other => Outcome::Failed(other.into()),
                        },
                        Err(failure) => match failure.downcast_ref() {
                            Some(TrainError::Interrupted { .. }) => Outcome::Stopped,
                            _ => Outcome::Failed(failure),
                        },
                    });
                let finished = finished.fetch_add(1, Ordering::Relaxed) + 1;
                observe(Event::End {
                    planned: run,
                    outcome: &outcome,
                    finished,
                    total: planned.len(),
                });
                *slot.lock().expect("a slot is written once") = Some(outcome);
            }
        };
    std::thread::scope(|scope| {
        for _ in 1..options.jobs.min(planned.len()) {
            scope.spawn(work);
        }
        work();
    });
    let take = |slot: Mutex<Option<Outcome>>| {
        slot.into_inner()
            .expect("no worker panics")
            .unwrap_or(Outcome::Stopped)
    };
    outcomes.into_iter().map(take).collect()
}

/// Directory of a planned run in the folder `runs`.
pub fn run_path(runs: &Path, planned: &Trial) -> PathBuf {
    runs.join(planned.name())
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the run panicked: {}", text.unwrap_or("no message"))
}
