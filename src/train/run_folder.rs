//! The folder of a training run, of a prior or of a built-in world's model.
//!
//! ```text
//! metrics.jsonl    one value a line          tensorboard/     the same, as event files
//! checkpoint/      the session's             LOCK             while a process works
//! ```

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::metrics::MetricsLog;
use super::session::{MetricSink, Phase, SessionOptions, checkpoints, resumable_step};
use super::tensorboard::EventFile;
use crate::files::{self, FileError};

/// The file of the metric log in a run's folder.
pub const METRICS: &str = "metrics.jsonl";
/// The lock file of a run's folder.
pub const LOCK: &str = "LOCK";
/// The metric that [`LogOptions::timed`] adds.
pub const SECONDS: &str = "seconds";

/// The folder of a training run. Cheap to make; does not touch the disk by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Whether `values` are of a step or of what is held out, after it.
    pub phase: Phase,
    /// The step, from 1.
    pub step: usize,
    /// Steps of the run.
    pub n_steps: usize,
    /// Names and values: the loss first.
    pub values: &'a [(&'a str, f32)],
    /// Whether they are recorded in `metrics.jsonl` too.
    pub is_logged: bool,
}

/// What of a run is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Every so many steps are logged, besides the first and the last.
    pub every: usize,
    /// Steps of a pass over the examples, for `epoch` in the log; `None` where examples do not repeat.
    pub steps_per_pass: Option<usize>,
    /// Whether the seconds since the last logged step are logged too, as [`SECONDS`].
    pub timed: bool,
}

impl RunFolder {
    /// The folder at `path`, whether it exists or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `metrics.jsonl`, for [`MetricsLog`].
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `checkpoint/`, which a [session](super::session) writes.
    pub fn checkpoint_dir(&self) -> PathBuf {
        checkpoints(&self.path)
    }

    /// The trained prior, in the published layout.
    pub fn prior_dir(&self) -> PathBuf {
        self.path.join("prior")
    }

    /// The trained prior at its lowest validation loss, in the same layout; only of a run that was validated.
    pub fn best_prior_dir(&self) -> PathBuf {
        self.path.join("prior_best")
    }

    /// `LOCK`, which the process that works on the run holds.
    pub fn lock_path(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// The metric sink of a session in this folder, which is made if it does not exist. What is logged goes to `metrics.jsonl`, from which lines after the last checkpoint are cut
    /// off, and to an event file for TensorBoard. `on_step` gets every step and every validation.
    ///
    /// # Errors
    /// [`FileError`] when the files cannot be written.
    pub fn sink(
        &self,
        options: &SessionOptions,
        log: LogOptions,
        mut on_step: impl FnMut(Progress<'_>) + Send + 'static,
    ) -> Result<MetricSink, FileError> {
        let (n_steps, every) = (options.n_steps, log.every.max(1));
        files::create_dir(&self.path)?;
        let resumed_after = resumable_step(&self.path, options);
        let mut metrics = MetricsLog::open_after(self.metrics_path(), resumed_after)?;
        let mut events = EventFile::create(&self.path.join("tensorboard"), SystemTime::now())?;
        let mut last = Instant::now();
        Ok(Box::new(move |phase, step, values| {
            let is_logged = phase == Phase::Valid || step % every == 0 || step == 1 || step == n_steps;
            on_step(Progress {
                phase,
                step,
                n_steps,
                values,
                is_logged,
            });
            if !is_logged {
                return Ok(());
            }
            let split = match phase {
                Phase::Train => "train",
                Phase::Valid => "valid",
            };
            let tags: Vec<String> = values.iter().map(|(name, _)| format!("{split}/{name}")).collect();
            let tagged: Vec<(&str, f32)> = tags
                .iter()
                .map(String::as_str)
                .zip(values.iter().map(|v| v.1))
                .collect();
            events.scalars(step, &tagged)?;
            // So that it can be watched.
            events.flush()?;
            let mut values: Vec<(&str, f64)> = values
                .iter()
                .map(|&(name, value)| (name, f64::from(value)))
                .collect();
            if log.timed {
                let now = Instant::now();
                values.push((SECONDS, (now - last).as_secs_f64()));
                last = now;
            }
            let epoch = log.steps_per_pass.map_or(0, |n| (step - 1) / n.max(1));
            metrics.log(step, epoch, split, &values)
        }))
    }
}
