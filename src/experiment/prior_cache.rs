//! A cache of trained priors, shared between runs.
//!
//! Runs that differ only in their evaluation (steps of the decoder) or in the sampler of a diffusion prior (steps, guidance, eta) train the same
//! prior. The first run trains and caches it; the others copy it and compare hashes. A run that differs from a
//! shorter run only in `train.steps` resumes from the last checkpoint of the shorter run, so a learning curve over `train.steps` costs its longest run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::run_dir::RunDir;
use crate::files::{self, FileError, Sums};
use crate::train::checkpoint::{self, is_begun};
use crate::train::session::Failure;

/// The key of a trained prior.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrainingKey {
    /// Hash of everything but the number of steps.
    pub(super) prefix: String,
    /// Optimiser steps.
    pub(super) steps: usize,
    /// Steps between checkpoints.
    pub(super) checkpoint_every: usize,
}

impl TrainingKey {
    fn name(&self, steps: usize) -> String {
        format!("{}-{steps}", self.prefix)
    }
}

/// A folder of trained priors, by key.
#[derive(Debug)]
pub(super) struct PriorCache {
    folder: PathBuf,
    at_work: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// Whether `dir` contains a prior: its `config.json` is written last.
pub(super) fn is_whole(dir: &Path) -> bool {
    dir.join("config.json").is_file()
}

/// Whether a cached prior matches its recorded hashes; priors of earlier versions have none and pass.
fn is_intact(kept: &RunDir) -> bool {
    match Sums::read(kept.path()).and_then(|sums| sums.map_or(Ok(()), |sums| sums.check(""))) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("{error}; the kept prior is trained again");
            false
        }
    }
}

impl PriorCache {
    pub(super) fn new(folder: PathBuf) -> Self {
        // Remove temporary folders of killed processes: no later process may use this folder.
        files::clean_temporaries(&folder);
        Self {
            folder,
            at_work: Mutex::default(),
        }
    }

    /// Puts the prior of `key`, and its training record, into `dir`: from the cache, or trained there by `train`. Other threads of
    /// this process that need the same prior, or a longer or shorter one, wait; other processes train it twice.
    pub(super) fn get(
        &self,
        key: &TrainingKey,
        dir: &RunDir,
        train: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let name = key.name(key.steps);
        let turn = {
            let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
            at_work.entry(key.prefix.clone()).or_default().clone()
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = RunDir::new(self.folder.join(&name));
        if is_whole(&kept.prior_dir()) && is_intact(&kept) {
            tracing::info!(
                "takes the prior that another run trained: {}",
                kept.path().display()
            );
            return Ok(copy(&kept, dir)?);
        }
        if !is_begun(&dir.checkpoint_dir())
            && let Some(shorter) = self.longest_shorter(key)
        {
            tracing::info!("continues from the run that {} keeps", shorter.path().display());
            copy_metrics(&shorter, dir)?;
            copy_checkpoints(&shorter, dir)?;
        }
        train()?;
        let kept_now = || is_whole(&kept.prior_dir()) && is_intact(&kept);
        let made = files::write_dir_atomic(kept.path(), |folder| -> Result<(), FileError> {
            let new = RunDir::new(folder);
            copy_checkpoints(dir, &new)?;
            copy(dir, &new)?;
            let sums = Sums::of(folder, &["metrics.jsonl", "checkpoint", "prior", "prior_best"]);
            sums.and_then(|sums| sums.write())?;
            if !kept_now() {
                let _ = std::fs::remove_dir_all(kept.path());
            }
            Ok(())
        });
        match made {
            // Another process has cached it first.
            Err(_) if kept_now() => Ok(()),
            made => Ok(made?),
        }
    }
}

impl PriorCache {
    /// The longest cached run that is a prefix of `key`'s run: it ends at one of that run's checkpoints.
    fn longest_shorter(&self, key: &TrainingKey) -> Option<RunDir> {
        let folders = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let steps = folders.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let steps: usize = name.strip_prefix(&key.prefix)?.strip_prefix('-')?.parse().ok()?;
            let ends_at_checkpoint = key.checkpoint_every > 0 && steps.is_multiple_of(key.checkpoint_every);
            (steps < key.steps && ends_at_checkpoint).then_some(steps)
        });
        let dir = |steps| RunDir::new(self.folder.join(key.name(steps)));
        let whole = steps.filter(|&steps| is_whole(&dir(steps).prior_dir()) && is_intact(&dir(steps)));
        whole.max().map(dir)
    }
}

/// Copies the checkpoints of one directory for a run that resumes in another.
fn copy_checkpoints(from: &RunDir, to: &RunDir) -> Result<(), FileError> {
    let (from, to) = (from.checkpoint_dir(), to.checkpoint_dir());
    for file in checkpoint::needed_to_continue(&from) {
        files::create_dir(&to)?;
        copy_file(&file, &to)?;
    }
    Ok(())
}

fn copy_metrics(from: &RunDir, to: &RunDir) -> Result<(), FileError> {
    files::create_dir(to.path())?;
    if from.metrics_path().is_file() {
        files::write_atomic(to.metrics_path(), &files::read(from.metrics_path())?)?;
    }
    Ok(())
}

/// Copies the trained prior of one directory into another.
fn copy(from: &RunDir, to: &RunDir) -> Result<(), FileError> {
    copy_metrics(from, to)?;
    // The prior is copied last, and its `config.json` last of all: it marks a complete copy.
    if from.best_prior_dir().is_dir() {
        copy_folder(&from.best_prior_dir(), &to.best_prior_dir())?;
    }
    copy_folder(&from.prior_dir(), &to.prior_dir())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    files::create_dir(to)?;
    let mut parts = files::list(from)?;
    parts.sort_by_key(|file| file.ends_with("config.json"));
    parts.iter().try_for_each(|file| copy_file(file, to))
}

/// Copies `file` to the folder `to`. The copy is a separate file, so that damage to one does not affect the other.
fn copy_file(file: &Path, to: &Path) -> Result<(), FileError> {
    files::copy(file, to.join(file.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::checkpoint::last_complete;

    fn key(prefix: &str, steps: usize) -> TrainingKey {
        TrainingKey {
            prefix: prefix.into(),
            steps,
            checkpoint_every: 10,
        }
    }

    #[test]
    fn a_longer_run_continues_from_the_longest_shorter_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shared = PriorCache::new(dir.path().join("shared"));
        let run = |name: &str| RunDir::new(dir.path().join(name));
        // Simulates a training: writes a checkpoint per epoch and returns the step it resumed from.
        let train = |name: &str, prefix: &str, steps: usize| {
            let dir = run(name);
            let mut from = None;
            let trained = shared.get(&key(prefix, steps), &dir, || {
                let done = last_complete(&dir.checkpoint_dir());
                from = Some(done.map(|epoch| files::read_text(dir.metrics_path()).map(|text| (epoch, text))));
                files::create_dir(dir.checkpoint_dir())?;
                for part in checkpoint::PARTS {
                    let file = dir
                        .checkpoint_dir()
                        .join(format!("{part}-{}.bpk", steps.div_ceil(10)));
                    files::write_atomic(file, name.as_bytes())?;
                }
                files::write_atomic(dir.metrics_path(), name.as_bytes())?;
                files::create_dir(dir.prior_dir())?;
                Ok(files::write_atomic(dir.prior_dir().join("config.json"), b"{}")?)
            });
            trained.expect("trained");
            from.map(|from| from.map(|from| from.expect("metrics are there")))
        };
        assert_eq!(train("short", "a", 20), Some(None));
        assert_eq!(train("shorter", "a", 10), Some(None), "nothing shorter is kept");
        assert_eq!(train("long", "a", 40), Some(Some((2, "short".into()))));
        // Another configuration; a run that ends between two checkpoints.
        assert_eq!(train("other", "ab", 40), Some(None));
        assert_eq!(train("uneven", "b", 15), Some(None));
        assert_eq!(train("longer", "b", 40), Some(None));
        assert_eq!(train("again", "a", 40), None, "it is kept");
    }

    #[test]
    fn a_prior_is_trained_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let run = |name: &str| RunDir::new(dir.path().join(name));
        let train = |name: &str, says: &str| {
            let prior = run(name).prior_dir();
            files::create_dir(&prior)?;
            files::create_dir(run(name).best_prior_dir())?;
            files::write_atomic(run(name).best_prior_dir().join("best"), says.as_bytes())?;
            files::write_atomic(run(name).metrics_path(), b"a loss")?;
            files::write_atomic(prior.join("model.safetensors"), says.as_bytes())?;
            Ok::<_, Failure>(files::write_atomic(prior.join("config.json"), b"{}")?)
        };
        let shared = PriorCache::new(dir.path().join("shared"));
        shared
            .get(&key("a", 10), &run("one"), || train("one", "first"))
            .expect("trained");
        shared
            .get(&key("a", 10), &run("two"), || Err("trained twice".into()))
            .expect("taken");
        shared
            .get(&key("b", 10), &run("three"), || train("three", "other"))
            .expect("trained");
        let says =
            |name: &str| files::read_text(run(name).prior_dir().join("model.safetensors")).expect("there");
        assert_eq!(
            (says("one"), says("two"), says("three")),
            ("first".into(), "first".into(), "other".into())
        );
        assert!(is_whole(&run("two").prior_dir()));
        assert_eq!(
            files::read_text(run("two").best_prior_dir().join("best")).expect("taken too"),
            "first"
        );
        assert_eq!(
            files::read_text(run("two").metrics_path()).expect("there"),
            "a loss"
        );

        // A failed training leaves nothing; an incomplete prior is not used.
        shared
            .get(&key("c", 10), &run("four"), || Err("diverged".into()))
            .expect_err("it failed");
        shared
            .get(&key("c", 10), &run("four"), || train("four", "late"))
            .expect("trained");
        std::fs::remove_file(dir.path().join("shared/c-10/prior/config.json")).expect("there");
        shared
            .get(&key("c", 10), &run("five"), || train("five", "again"))
            .expect("trained");
        assert_eq!(says("five"), "again");
        // A damaged prior is replaced; the run that it was copied from is independent of it.
        let weights = dir.path().join("shared/c-10/prior/model.safetensors");
        std::fs::write(&weights, "agaim").expect("written");
        assert_eq!(says("five"), "again");
        shared
            .get(&key("c", 10), &run("six"), || train("six", "anew"))
            .expect("trained");
        assert_eq!(
            (says("six"), files::read_text(&weights).expect("kept")),
            ("anew".into(), "anew".into())
        );
    }
}
