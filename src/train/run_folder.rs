//! The run directory of a training, of a prior or of a model of a built-in world.
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

/// The run directory of a training. Creating this value does not access the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// Progress of a run.
#[derive(Debug, Clone, Copy)]
pub struct TrainingProgress<'a> {
    /// Whether `values` are of a training step or of a validation after it.
    pub phase: Phase,
    /// The step, from 1.
    pub step: usize,
    /// Steps of the run.
    pub n_steps: usize,
    /// Names and values; the first is the loss.
    pub values: &'a [(&'a str, f32)],
    /// Whether the values are also logged.
    pub is_logged: bool,
}

/// Logging options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Steps between logged steps; the first and the last step are always logged.
    pub every: usize,
    /// Steps of a pass over the examples, for `epoch` in the log; `None` if examples do not repeat.
    pub steps_per_pass: Option<usize>,
    /// Whether to log the seconds since the last logged step, as [`SECONDS`].
    pub timed: bool,
}

impl RunFolder {
    /// The run directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Path of the run directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `metrics.jsonl`, written by [`MetricsLog`].
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `checkpoint/`, written by a [session](super::session).
    pub fn checkpoint_dir(&self) -> PathBuf {
        checkpoints(&self.path)
    }

    /// The trained prior, in the published layout.
    pub fn prior_dir(&self) -> PathBuf {
        self.path.join("prior")
    }

    /// The prior with the lowest validation loss, in the same layout; only in runs with validation.
    pub fn best_prior_dir(&self) -> PathBuf {
        self.path.join("prior_best")
    }

    /// `LOCK`, held by the process that computes the run.
    pub fn lock_path(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// The metric sink of a session in this directory, which is made if it does not exist. Logged values go to `metrics.jsonl`, from which lines after
    /// the last checkpoint are removed, and to an event file for TensorBoard. `on_step` is called after every step and every validation,
    /// when the log has their values.
    ///
    /// # Errors
    /// [`FileError`] when the files cannot be written.
    pub fn sink(
        &self,
        options: &SessionOptions,
        log: LogOptions,
        mut on_step: impl FnMut(TrainingProgress<'_>) + Send + 'static,
    ) -> Result<MetricSink, FileError> {
        let (n_steps, every) = (options.n_steps, log.every.max(1));
        files::create_dir(&self.path)?;
        let resumed_after = resumable_step(&self.path, options);
        let mut metrics = MetricsLog::open_after(self.metrics_path(), resumed_after)?;
        let mut events = EventFile::create(&self.path.join("tensorboard"), SystemTime::now())?;
        let mut last = Instant::now();
        Ok(Box::new(move |phase, step, values| {
            let is_logged = phase == Phase::Valid || step % every == 0 || step == 1 || step == n_steps;
            let progress = TrainingProgress {
                phase,
                step,
                n_steps,
                values,
                is_logged,
            };
            if !is_logged {
                on_step(progress);
                return Ok(());
            }
            let split = phase.split();
            let tags: Vec<String> = values.iter().map(|(name, _)| format!("{split}/{name}")).collect();
            let tagged: Vec<(&str, f32)> = tags
                .iter()
                .map(String::as_str)
                .zip(values.iter().map(|v| v.1))
                .collect();
            events.scalars(step, &tagged)?;
            // Flush, so that readers see the values during training.
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
            metrics.log(step, epoch, split, &values)?;
            on_step(progress);
            Ok(())
        }))
    }
}
