//! Atomic checkpoints.
//!
//! burn-train writes three records an epoch: model, optimiser, scheduler. Each goes to a temporary name and is renamed, and only an epoch
//! with all three counts, so a run that was killed while writing resumes from the previous epoch. The same holds for damaged records: each file
//! ends with a hash of its content.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use serde::{Deserialize, Serialize};

use super::stop::StoppedAt;
use crate::files::{self, FileError};

/// The records of one epoch.
pub const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Writes one kind of record under `dir/<part>-<epoch>.bpk`; for a run that was stopped within an epoch, under `dir/<part>-at-<step>.bpk`.
#[derive(Debug, Clone)]
pub struct AtomicCheckpointer {
    dir: PathBuf,
    part: &'static str,
    /// The step of the first record to load, if the run was stopped within an epoch.
    begin: Option<usize>,
    stopped_at: StoppedAt,
}

impl AtomicCheckpointer {
    /// A checkpointer for `part`, one of [`PARTS`].
    pub fn new(dir: &Path, part: &'static str) -> Self {
        Self {
            dir: dir.to_path_buf(),
            part,
            begin: None,
            stopped_at: StoppedAt::default(),
        }
    }

    /// A checkpointer that loads the record of step `begin` in place of an epoch's, and writes such a record if the run is `stopped_at` a step.
    pub(super) fn of_run(
        dir: &Path,
        part: &'static str,
        begin: Option<usize>,
        stopped_at: StoppedAt,
    ) -> Self {
        Self {
            begin,
            stopped_at,
            ..Self::new(dir, part)
        }
    }

    fn path_at(&self, step: usize) -> PathBuf {
        self.dir.join(format!("{}{AT}{step}.bpk", self.part))
    }

    fn path(&self, epoch: usize) -> PathBuf {
        self.dir.join(format!("{}-{epoch}.bpk", self.part))
    }
}

impl<R: Checkpoint> Checkpointer<R> for AtomicCheckpointer {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let bytes = record
            .checkpoint_into_bytes()
            .map_err(CheckpointerError::Record)?;
        let seal = [SEAL, files::sha256(&bytes).as_bytes()].concat();
        let path = match self.stopped_at.get() {
            Some(step) => self.path_at(step),
            None => self.path(epoch),
        };
        files::write_atomic_with(path, |file| {
            file.write_all(&bytes)?;
            file.write_all(&seal)
        })
        .map_err(|e| CheckpointerError::Unknown(chain(&e)))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        match std::fs::remove_file(self.path(epoch)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CheckpointerError::IOError(e)),
            _ => Ok(()),
        }
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        let path = match self.begin {
            Some(step) => self.path_at(step),
            None => self.path(epoch),
        };
        match unsealed(&path) {
            // Written by an earlier version.
            Ok(None) => R::load(path),
            Ok(Some(bytes)) => {
                R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes)).map_err(CheckpointerError::Record)
            }
            Err(error) => Err(CheckpointerError::Unknown(chain(&error))),
        }
    }
}

/// Marker before the hash at the end of a record's file.
const SEAL: &[u8] = b"\nsha256 ";
/// Bytes of the seal, which contains 64 hexadecimal digits.
const SEALED: usize = SEAL.len() + 64;

/// The record in the file at `path`; `None` for a file without a seal, as earlier versions wrote it.
fn unsealed(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let mut bytes = files::read_at_most(path, u64::MAX - 1, "a checkpoint")?;
    let Some(at) = bytes.len().checked_sub(SEALED) else {
        return Ok(None);
    };
    let (record, seal) = bytes.split_at(at);
    let Some(expected) = seal.strip_prefix(SEAL) else {
        return Ok(None);
    };
    let found = files::sha256(record);
    if found.as_bytes() != expected {
        return Err(FileError::Changed {
            path: path.to_path_buf(),
            expected: format!("sha256 {}", String::from_utf8_lossy(expected)),
            found,
        });
    }
    bytes.truncate(at);
    Ok(Some(bytes))
}

/// Why the records of a complete epoch cannot be used, if they cannot: a truncated record has no seal, while the other records have one.
fn damage(dir: &Path, epoch: usize) -> Option<String> {
    let paths = PARTS.map(|part| dir.join(format!("{part}-{epoch}.bpk")));
    let mut sealed = Vec::new();
    for path in &paths {
        match unsealed(path) {
            Ok(bytes) => sealed.push(bytes.is_some()),
            Err(error) => return Some(chain(&error)),
        }
    }
    let cut = sealed.iter().position(|is_sealed| !is_sealed)?;
    sealed
        .contains(&true)
        .then(|| format!("{} is cut off or damaged", paths[cut].display()))
}

/// Renames damaged records of the newest epochs and reports them, so that a run resumes from the previous epoch.
///
/// # Errors
/// The system's error, if a damaged record cannot be renamed; a damaged best record older than the newest complete epoch, which training would not
/// recreate.
pub fn set_damaged_aside(dir: &Path) -> Result<(), FileError> {
    while let Some(epoch) = last_complete(dir) {
        let Some(why) = damage(dir, epoch) else { break };
        tracing::warn!("{why}; the run continues from the checkpoint before");
        for part in PARTS {
            let path = dir.join(format!("{part}-{epoch}.bpk"));
            std::fs::rename(&path, path.with_extension("bpk.damaged")).map_err(|source| FileError::Io {
                action: "rename",
                path,
                source,
            })?;
        }
    }
    match Best::read(dir).filter(|best| last_complete(dir).is_some_and(|last| best.epoch < last)) {
        Some(best) => unsealed(&dir.join(format!("model-{}.bpk", best.epoch))).map(|_| ()),
        None => Ok(()),
    }
}

/// Whether `dir` has a checkpoint to resume from.
pub fn is_begun(dir: &Path) -> bool {
    last_complete(dir).is_some() || stopped_past(dir, 0).is_some()
}

/// The latest epoch with all three records in `dir`.
pub fn last_complete(dir: &Path) -> Option<usize> {
    complete(dir).into_iter().max()
}

/// Separates the part from the step in the record names of a run that was stopped within an epoch.
const AT: &str = "-at-";

/// The steps at which runs in `dir` were stopped within an epoch, with or without all three records.
fn stopped(dir: &Path) -> Vec<usize> {
    let step = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_suffix(".bpk")?.split_once(AT)?.1.parse().ok()
    };
    let files = files::list(dir).unwrap_or_default();
    files.into_iter().filter_map(step).collect()
}

fn records_at(dir: &Path, step: usize) -> [PathBuf; 3] {
    PARTS.map(|part| dir.join(format!("{part}{AT}{step}.bpk")))
}

/// The last step after `step` at which the run in `dir` was stopped with all three records intact.
pub(super) fn stopped_past(dir: &Path, step: usize) -> Option<usize> {
    let is_whole = |path: &PathBuf| matches!(unsealed(path), Ok(Some(_)));
    let all = stopped(dir).into_iter().filter(|at| *at > step);
    all.filter(|at| records_at(dir, *at).iter().all(is_whole)).max()
}

/// Removes the records of steps at which the run was stopped, except those of step `but`.
pub(super) fn forget_stopped(dir: &Path, but: Option<usize>) {
    for step in stopped(dir).into_iter().filter(|step| Some(*step) != but) {
        for path in records_at(dir, step) {
            // A record that remains is ignored: it is of an earlier step, or incomplete.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The files in `dir` that a run needs to resume from the latest epoch: its records, and those of the best epoch.
pub fn needed_to_continue(dir: &Path) -> Vec<PathBuf> {
    let best = Best::read(dir);
    let epochs = last_complete(dir).into_iter().chain(best.map(|best| best.epoch));
    let records = epochs.flat_map(|epoch| PARTS.map(|part| dir.join(format!("{part}-{epoch}.bpk"))));
    let mut files: Vec<PathBuf> = records
        .chain(best.map(|_| dir.join(BEST)))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The epochs with all three records in `dir`.
fn complete(dir: &Path) -> Vec<usize> {
    let names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let epoch = |name: &String| {
        name.strip_prefix("model-")?
            .strip_suffix(".bpk")?
            .parse::<usize>()
            .ok()
    };
    let complete = |epoch: &usize| {
        PARTS
            .iter()
            .all(|part| names.contains(&format!("{part}-{epoch}.bpk")))
    };
    names.iter().filter_map(epoch).filter(complete).collect()
}

/// The checkpoint with the lowest validation loss so far, recorded in `best.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    epoch: usize,
    /// Its step.
    pub step: usize,
    /// Its loss.
    pub loss: f32,
}

const BEST: &str = "best.json";

impl Best {
    /// The content of `best.json` in `dir`, if any.
    fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&files::read(dir.join(BEST)).ok()?).ok()
    }

    /// The best checkpoint in `dir`, loaded into a module of the same architecture; `None` if there is none.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn load<M: Module>(dir: &Path, module: M) -> Result<Option<(Self, M)>, CheckpointerError> {
        let Some(best) = Self::read(dir).filter(|best| complete(dir).contains(&best.epoch)) else {
            return Ok(None);
        };
        let record: ModuleRecord = AtomicCheckpointer::new(dir, "model").restore(best.epoch)?;
        let loaded = module.try_load_record(record);
        let loaded = loaded.map_err(|e| CheckpointerError::Unknown(e.to_string()))?;
        Ok(Some((best, loaded)))
    }
}

/// Validation losses, shared between the validation metric and the checkpointing strategy.
#[derive(Debug, Clone)]
pub struct Scores(Arc<Mutex<Option<Best>>>);

impl Scores {
    /// The losses of a run with checkpoints in `dir` that resumes after epoch `done`. Later losses are dropped; the run computes them again.
    pub fn open(dir: &Path, done: usize) -> Self {
        let best = Best::read(dir).filter(|best| best.epoch <= done);
        Self(Arc::new(Mutex::new(best)))
    }

    /// The loss after `epoch`.
    pub fn found(&self, epoch: usize, step: usize, loss: f32) {
        let mut best = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if loss.is_finite() && best.is_none_or(|best| loss < best.loss) {
            *best = Some(Best { epoch, step, loss });
        }
    }

    /// Whether the loss after `epoch` is the `patience`-th in a row without a new minimum; never for 0.
    pub fn stalled(&self, epoch: usize, patience: usize) -> bool {
        patience > 0 && self.best().is_some_and(|best| epoch >= best.epoch + patience)
    }

    fn best(&self) -> Option<Best> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The checkpointing strategy: keeps the last checkpoints and the best one.
#[derive(Debug)]
pub struct Keep {
    dir: PathBuf,
    n_last: usize,
    scores: Scores,
    kept: Vec<usize>,
    stopped_at: StoppedAt,
}

impl Keep {
    /// Keeps `n_last` checkpoints in `dir`, beside the best by `scores`.
    pub fn new(dir: &Path, n_last: usize, scores: Scores, stopped_at: StoppedAt) -> Self {
        Self {
            dir: dir.to_path_buf(),
            n_last: n_last.max(1),
            scores,
            kept: complete(dir),
            stopped_at,
        }
    }

    /// Adds `epoch` and returns the epochs to delete.
    fn without(&mut self, epoch: usize, best: Option<usize>) -> Vec<usize> {
        self.kept.retain(|known| *known < epoch);
        self.kept.push(epoch);
        let stays = |known: &usize| known + self.n_last > epoch || Some(*known) == best;
        let (stay, go) = self.kept.iter().partition(|known| stays(known));
        self.kept = stay;
        go
    }
}

impl CheckpointingStrategy for Keep {
    fn checkpointing(&mut self, epoch: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        if self.stopped_at.get().is_some() {
            return vec![CheckpointingAction::Save];
        }
        let best = self.scores.best();
        if let Some(best) = best.filter(|best| best.epoch == epoch) {
            // Written before the checkpoint itself: a reader ignores a missing checkpoint. A full disk is reported when the checkpoint is written.
            let text = serde_json::to_vec(&best).unwrap_or_default();
            if let Err(error) = files::write_atomic(self.dir.join(BEST), &text) {
                tracing::warn!("{}", chain(&error));
            }
        }
        let go = self.without(epoch, best.map(|best| best.epoch));
        std::iter::once(CheckpointingAction::Save)
            .chain(go.into_iter().map(CheckpointingAction::Delete))
            .collect()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text += &format!(": {e}");
        source = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_counts_when_its_three_records_are_there() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(last_complete(&dir.path().join("absent")), None);
        for name in [
            "model-1.bpk",
            "optim-1.bpk",
            "scheduler-1.bpk",
            "model-2.bpk",
            "optim-2.bpk",
            ".tmp-x",
        ] {
            std::fs::write(dir.path().join(name), "x").expect("writable");
        }
        assert_eq!(last_complete(dir.path()), Some(1));
        std::fs::write(dir.path().join("scheduler-2.bpk"), "x").expect("writable");
        assert_eq!(last_complete(dir.path()), Some(2));
    }

    #[test]
    fn damaged_records_are_set_aside() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |part: &str, epoch: usize| dir.path().join(format!("{part}-{epoch}.bpk"));
        let sealed = |text: &str| [text.as_bytes(), SEAL, files::sha256(text.as_bytes()).as_bytes()].concat();
        for epoch in 1..=4 {
            for part in PARTS {
                std::fs::write(at(part, epoch), sealed(part)).expect("writable");
            }
        }
        set_damaged_aside(dir.path()).expect("whole");
        assert_eq!(last_complete(dir.path()), Some(4));
        // Flip a bit of the newest record, truncate the previous one.
        let mut bytes = sealed("optim");
        bytes[2] ^= 1;
        std::fs::write(at("optim", 4), bytes).expect("writable");
        std::fs::write(at("scheduler", 3), &sealed("scheduler")[..20]).expect("writable");
        set_damaged_aside(dir.path()).expect("one is whole");
        assert_eq!(last_complete(dir.path()), Some(2));
        assert!(dir.path().join("optim-4.bpk.damaged").is_file());
        assert_eq!(unsealed(&at("model", 2)).expect("whole"), Some(b"model".to_vec()));
    }

    #[test]
    fn the_last_ones_and_the_best_are_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let losses = [5.0, 3.0, 4.0, f32::NAN, 3.0, 2.0, 6.0];
        let kept = |from: usize, mut keep: Keep, scores: &Scores| {
            let mut all = Vec::new();
            for (epoch, loss) in (1..).zip(losses).skip(from) {
                scores.found(epoch, 10 * epoch, loss);
                keep.without(epoch, scores.best().map(|best| best.epoch));
                all.push(keep.kept.clone());
            }
            all
        };
        let scores = Scores::open(dir.path(), 0);
        let all = kept(
            0,
            Keep::new(dir.path(), 2, scores.clone(), StoppedAt::default()),
            &scores,
        );
        let wanted = [
            vec![1],
            vec![1, 2],
            vec![2, 3],
            vec![2, 3, 4],
            vec![2, 4, 5],
            vec![5, 6],
            vec![6, 7],
        ];
        assert_eq!(all, wanted);

        // A run that was interrupted after epoch 4, with a score for epoch 6, resumes as if it had no such score.
        for epoch in [2, 3, 4] {
            for part in PARTS {
                std::fs::write(dir.path().join(format!("{part}-{epoch}.bpk")), "x").expect("writable");
            }
        }
        for (epoch, loss) in [(2, 3.0), (6, 2.0)] {
            let best = Best {
                epoch,
                step: 10 * epoch,
                loss,
            };
            std::fs::write(dir.path().join(BEST), serde_json::to_vec(&best).expect("JSON"))
                .expect("writable");
            let scores = Scores::open(dir.path(), 4);
            let all = kept(
                4,
                Keep::new(dir.path(), 2, scores.clone(), StoppedAt::default()),
                &scores,
            );
            assert_eq!(all[1..], wanted[5..]);
        }
    }
}
