//! Checkpoints that appear whole or not at all.
//!
//! burn-train writes three records an epoch: model, optimiser, scheduler. Each goes to a temporary name and is renamed, and only an epoch
//! with all three counts, so a run that was killed while writing resumes from the one before.

use std::path::{Path, PathBuf};

use burn::train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError};

use crate::files;

/// The records of one epoch.
pub const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Writes one kind of record under `dir/<part>-<epoch>.bpk`.
#[derive(Debug, Clone)]
pub struct AtomicCheckpointer {
    dir: PathBuf,
    part: &'static str,
}

impl AtomicCheckpointer {
    /// A checkpointer for `part`, one of [`PARTS`].
    pub fn new(dir: &Path, part: &'static str) -> Self {
        Self {
            dir: dir.to_path_buf(),
            part,
        }
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
        files::write_atomic(self.path(epoch), &bytes).map_err(|e| CheckpointerError::Unknown(chain(&e)))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        match std::fs::remove_file(self.path(epoch)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CheckpointerError::IOError(e)),
            _ => Ok(()),
        }
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        R::load(self.path(epoch))
    }
}

/// The latest epoch whose three records are all in `dir`.
pub fn last_complete(dir: &Path) -> Option<usize> {
    let names: Vec<String> = std::fs::read_dir(dir)
        .ok()?
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
    names.iter().filter_map(epoch).filter(complete).max()
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
}
