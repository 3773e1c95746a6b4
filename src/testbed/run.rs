//! What the trainings of both models share: claim of the run's folder, metric sink, curve.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::PretrainError;
use crate::device::DeviceSpec;
use crate::files::{self, FileError, LockFile};
use crate::train::metrics::{MetricRow, MetricsLog};
use crate::train::run_folder::{LogOptions, RunFolder, SECONDS};
use crate::train::session::{Session, SessionOptions, Workers};
use crate::train::stop::Stop;
use crate::weights::{read_json, write_json};
use crate::world::World;

/// Steps of a point of `curve.csv`.
const CURVE_EVERY: usize = 50;
/// Steps between checkpoints.
pub(super) const CHECKPOINT_EVERY: usize = 250;

/// What the records of both models say of their training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// The world's name.
    pub world: String,
    /// Nouns of the world.
    pub n_nouns: usize,
    /// Version of this program.
    pub version: String,
    /// The device.
    pub device: String,
    /// Seconds of training, of all processes that had a part in it.
    pub seconds: f64,
}

/// The folder of a run that this process works on. Dropping it lets go of the lock.
#[derive(Debug)]
pub(super) struct ClaimedRun {
    folder: RunFolder,
    lock: LockFile,
}

impl ClaimedRun {
    /// Takes the folder `run_dir` for `wanted`: makes it, or resumes a run of the same or of one that `continues` accepts. `recipe.json`
    /// says what the folder is taken for.
    ///
    /// # Errors
    /// [`PretrainError::Running`], [`PretrainError::OtherRecipe`]: no other recipe can resume from its checkpoints.
    pub(super) fn claim<T: PartialEq + Serialize + DeserializeOwned>(
        run_dir: &Path,
        wanted: &T,
        continues: impl Fn(&T) -> bool,
    ) -> Result<Self, PretrainError> {
        files::create_dir(run_dir)?;
        let folder = RunFolder::new(run_dir);
        let path = folder.lock_path();
        let lock = files::lock(&path)
            .map_err(|source| PretrainError::Lock { path, source })?
            .map_err(|pid| PretrainError::Running {
                dir: run_dir.to_path_buf(),
                pid,
            })?;
        let path = run_dir.join("recipe.json");
        let is_written = match path.exists() {
            false => false,
            true => match read_json::<T>(&path) {
                Ok(found) if found == *wanted => true,
                Ok(found) if continues(&found) => false,
                _ => return Err(PretrainError::OtherRecipe { path }),
            },
        };
        if !is_written {
            write_json(&path, wanted)?;
        }
        Ok(Self { folder, lock })
    }

    /// The session that trains to step `n_steps`. `progress` gets the number of every step and its loss.
    ///
    /// # Errors
    /// [`FileError`] when metrics cannot be written.
    pub(super) fn session(
        &self,
        n_steps: usize,
        stop: &Stop,
        mut progress: impl FnMut(usize, f32) + Send + 'static,
    ) -> Result<Session<'_>, FileError> {
        let options = SessionOptions::new(n_steps, CHECKPOINT_EVERY);
        let log = LogOptions {
            every: 1,
            steps_per_pass: None,
            timed: true,
        };
        Ok(Session {
            dir: self.folder.path(),
            options,
            workers: Workers::One,
            sink: self
                .folder
                .sink(&options, log, move |at| progress(at.step, at.values[0].1))?,
            stop: stop.clone(),
        })
    }

    /// Writes `curve.csv` and `pretrain.json`, the record that `record` completes, into the model's folder `out`; then lets go of the run.
    ///
    /// # Errors
    /// [`PretrainError::File`], [`PretrainError::Weights`].
    pub(super) fn finish<T: Serialize>(
        self,
        out: &Path,
        world: World,
        device: &DeviceSpec,
        record: impl FnOnce(TrainingRecord) -> T,
    ) -> Result<T, PretrainError> {
        let rows = MetricsLog::read(self.folder.metrics_path())?;
        let record = record(TrainingRecord {
            world: world.name().into(),
            n_nouns: world.n_nouns(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: device.to_string(),
            seconds: seconds(&rows),
        });
        files::write_atomic(out.join("curve.csv"), curve(&rows).as_bytes())?;
        write_json(&out.join("pretrain.json"), &record)?;
        self.lock.remove();
        Ok(record)
    }
}

/// Seconds that the logged steps took, in however many processes.
fn seconds(rows: &[MetricRow]) -> f64 {
    rows.iter()
        .filter(|row| row.name == SECONDS)
        .filter_map(|row| row.value)
        .sum()
}

/// The metrics' means over every [`CURVE_EVERY`] steps, one column a metric.
fn curve(rows: &[MetricRow]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let mut text = format!("step,{}\n", names.join(","));
    let pieces = rows.chunk_by(|a, b| (a.step - 1) / CURVE_EVERY == (b.step - 1) / CURVE_EVERY);
    for piece in pieces {
        let mean = |name: &&str| {
            let values: Vec<f64> = piece
                .iter()
                .filter(|row| row.name == **name)
                .filter_map(|row| row.value)
                .collect();
            format!("{:.4}", values.iter().sum::<f64>() / values.len() as f64)
        };
        let means: Vec<String> = names.iter().map(mean).collect();
        text += &format!("{},{}\n", piece[piece.len() - 1].step, means.join(","));
    }
    text
}
