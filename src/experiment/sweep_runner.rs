//! Execution of one trial or of a sweep.
//!
//! [`Runner`] abstracts the work of a run, so that tests use a substitute.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::error::RunDirError;
use super::mlflow::{Ending, RunStart, Tracker};
use super::provenance::Origin;
use super::run::ResolvedRun;
use super::run_dir::{RunDir, State};
use super::sweep::Trial;
use crate::data::store::Damage;
pub use crate::train::session::Failure;
use crate::train::session::TrainError;
use crate::train::stop::Stop;

/// The work of a run: training and evaluation.
pub trait Runner: Sync {
    /// SHA-256 of the files the run reads, by name. A finished run is only valid for the same inputs.
    ///
    /// # Errors
    /// A file is missing; the run then fails before its directory is created.
    fn inputs(&self, run: &ResolvedRun) -> Result<BTreeMap<String, String>, Failure>;

    /// Checks for problems that would make the run fail, without starting it.
    ///
    /// # Errors
    /// The problem; nothing has been written.
    fn check(&self, run: &ResolvedRun) -> Result<(), Failure> {
        self.inputs(run).map(drop)
    }

    /// Executes `run` in `dir`, which this process holds. The run may have been started before: resume it. When
    /// this returns, `dir` is finished.
    ///
    /// # Errors
    /// The error that stopped the run. The directory remains and can be resumed.
    fn execute(&self, run: &ResolvedRun, dir: &RunDir) -> Result<(), Failure>;
}

/// The outcome of a trial.
#[derive(Debug)]
pub enum Outcome {
    /// Executed in this session.
    Done {
        /// Whether an earlier session had started it.
        resumed: bool,
        /// Wall time of this session.
        took: Duration,
    },
    /// Finished by an earlier session.
    Skipped,
    /// Another process works on it.
    Busy {
        /// Id of that process.
        pid: String,
    },
    /// Stopped on request, or not started because of the request.
    Stopped,
    /// Failed; the other trials continue.
    Failed(Failure),
}

impl Outcome {
    /// Whether the run's directory is finished.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Skipped)
    }
}

/// Progress of a sweep, reported from its worker threads.
pub enum Event<'a> {
    /// A trial starts.
    Begin {
        /// The trial.
        trial: &'a Trial,
    },
    /// A trial ended.
    End {
        /// The trial.
        trial: &'a Trial,
        /// Its outcome.
        outcome: &'a Outcome,
        /// Trials that ended so far, of `total`.
        finished: usize,
        /// Trials of the sweep.
        total: usize,
    },
}

/// Settings of a sweep.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// Folder of the run directories.
    pub runs: PathBuf,
    /// Name of the experiment.
    pub experiment: String,
    /// Device name, for the provenance.
    pub device: String,
    /// Trials executed in parallel.
    pub jobs: usize,
    /// Requests to stop: no further trial starts.
    pub stop: Stop,
    /// The MLflow server that is told of the runs.
    pub tracker: Option<Tracker>,
}

/// Executes one trial in `dir`.
///
/// # Errors
/// [`RunDirError`] if the directory cannot be used, else the error of the run.
pub fn execute(
    trial: &Trial,
    dir: &RunDir,
    experiment: &str,
    device: &str,
    runner: &dyn Runner,
    tracker: Option<&Tracker>,
) -> Result<Outcome, Failure> {
    let origin = Origin {
        experiment: experiment.to_owned(),
        run: trial.name().to_owned(),
        axes: trial.axes().to_vec(),
        device: device.to_owned(),
        inputs: runner.inputs(trial.run())?,
        written: trial.written().to_owned(),
    };
    if dir.state(trial.run())? != State::Done {
        runner.check(trial.run())?;
    }
    let Some(claim) = dir.claim(trial.run(), &origin)? else {
        if let Some(tracker) = tracker {
            tracker.catch_up(dir.path(), || RunStart::new(trial.run(), &origin));
        }
        return Ok(Outcome::Skipped);
    };
    let span = tracing::info_span!("run", name = trial.name());
    let _entered = span.enter();
    let start = Instant::now();
    if let Some(tracker) = tracker {
        tracker.begin(dir.path(), RunStart::new(trial.run(), &origin));
    }
    // Burn panics at a tensor of the wrong shape: that ends this run, not the sweep.
    let executed = catch_unwind(AssertUnwindSafe(|| runner.execute(trial.run(), claim.dir())));
    let executed = executed.unwrap_or_else(|panic| match Damage::of(panic) {
        Ok(damaged) => Err(damaged.into()),
        Err(panic) => Err(panic_message(panic.as_ref()).into()),
    });
    if let Some(tracker) = tracker {
        let ending = match &executed {
            Ok(()) => Ending::Finished,
            Err(failure) if is_stopped(failure) => Ending::Stopped,
            Err(_) => Ending::Failed,
        };
        tracker.end(dir.path(), ending);
    }
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

/// Executes every unfinished trial, `jobs` at a time, and reports to `observe`. The outcomes are in the order of
/// `trials`. A failed trial does not stop the others.
pub fn sweep(
    trials: &[Trial],
    options: &SweepOptions,
    runner: &dyn Runner,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Outcome>>> = trials.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while !options.stop.is_requested() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(trial), Some(slot)) = (trials.get(index), outcomes.get(index)) else {
                break;
            };
            observe(Event::Begin { trial });
            let dir = RunDir::new(run_path(&options.runs, trial));
            let executed = execute(
                trial,
                &dir,
                &options.experiment,
                &options.device,
                runner,
                options.tracker.as_ref(),
            );
            let outcome = executed.unwrap_or_else(|failure| match failure.downcast::<RunDirError>() {
                Ok(e) => match *e {
                    RunDirError::Running { pid, .. } => Outcome::Busy { pid },
                    other => Outcome::Failed(other.into()),
                },
                Err(failure) if is_stopped(&failure) => Outcome::Stopped,
                Err(failure) => Outcome::Failed(failure),
            });
            let finished = finished.fetch_add(1, Ordering::Relaxed) + 1;
            observe(Event::End {
                trial,
                outcome: &outcome,
                finished,
                total: trials.len(),
            });
            *slot.lock().expect("a slot is written once") = Some(outcome);
        }
    };
    let jobs = options.jobs.min(trials.len());
    let in_pool = || on_its_threads(jobs, work);
    std::thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(in_pool);
        }
        in_pool();
    });
    let take = |slot: Mutex<Option<Outcome>>| {
        slot.into_inner()
            .expect("no worker panics")
            .unwrap_or(Outcome::Stopped)
    };
    outcomes.into_iter().map(take).collect()
}

/// Whether the run was stopped on request.
fn is_stopped(failure: &Failure) -> bool {
    matches!(failure.downcast_ref(), Some(TrainError::Interrupted { .. }))
}

/// `work` on an equal part of the CPU's threads: jobs that share one pool wait for each other's products.
fn on_its_threads(jobs: usize, work: impl FnOnce() + Send) {
    if jobs < 2 {
        return work();
    }
    let threads = (rayon::current_num_threads() / jobs).max(1);
    // The stack of a main thread.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(8 << 20);
    match pool.build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// Run directory of a trial in the folder `runs`.
pub fn run_path(runs: &Path, trial: &Trial) -> PathBuf {
    runs.join(trial.name())
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the run panicked: {}", text.unwrap_or("no message"))
}
