//! Trained priors that runs have in common.
//!
//! Runs that differ in their evaluation only (steps of the decoder), or in how a diffusion prior is sampled (its steps, guidance, eta), train the same
//! prior. The first of them trains and leaves it here, the others take it: as hard links where the file system has them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::execute::Failure;
use super::run_dir::RunDir;
use crate::files::{self, FileError};

/// A folder of trained priors, each under the key of what decides it.
#[derive(Debug)]
pub(super) struct TrainedPriors {
    folder: PathBuf,
    at_work: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// Whether a prior stands in `dir`: its `config.json` is written last.
pub(super) fn is_whole(dir: &Path) -> bool {
    dir.join("config.json").is_file()
}

impl TrainedPriors {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            at_work: Mutex::default(),
        }
    }

    /// Puts the prior of `key`, and the record of its training, into `dir`: the one that is kept, else the one that `train` makes there. Others of
    /// this process that want the same one wait; other processes train it twice.
    pub(super) fn get(
        &self,
        key: &str,
        dir: &RunDir,
        train: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let turn = {
            let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
            at_work.entry(key.to_owned()).or_default().clone()
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = RunDir::new(self.folder.join(key));
        if is_whole(&kept.prior_dir()) {
            tracing::info!(
                "takes the prior that another run trained: {}",
                kept.path().display()
            );
            return Ok(copy(&kept, dir)?);
        }
        train()?;
        let new = RunDir::new(self.folder.join(format!("{key}.tmp-{}", std::process::id())));
        copy(dir, &new)?;
        // Where another process was first there is nothing to do.
        let _ = std::fs::rename(new.path(), kept.path());
        let _ = std::fs::remove_dir_all(new.path());
        Ok(())
    }
}

/// The trained prior of one directory into another.
fn copy(from: &RunDir, to: &RunDir) -> Result<(), FileError> {
    files::create_dir(to.path())?;
    if from.metrics_path().is_file() {
        files::write_atomic(to.metrics_path(), &files::read(from.metrics_path())?)?;
    }
    // The prior itself last, and its `config.json` last of all: with it the copy is whole.
    if from.best_prior_dir().is_dir() {
        copy_folder(&from.best_prior_dir(), &to.best_prior_dir())?;
    }
    copy_folder(&from.prior_dir(), &to.prior_dir())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    files::create_dir(to)?;
    let mut parts = files::list(from)?;
    parts.sort_by_key(|file| file.ends_with("config.json"));
    for file in parts {
        let there = to.join(file.file_name().unwrap_or_default());
        let _ = std::fs::remove_file(&there);
        if std::fs::hard_link(&file, &there).is_err() {
            files::write_atomic(there, &files::read(&file)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let shared = TrainedPriors::new(dir.path().join("shared"));
        shared
            .get("a", &run("one"), || train("one", "first"))
            .expect("trained");
        shared
            .get("a", &run("two"), || Err("trained twice".into()))
            .expect("taken");
        shared
            .get("b", &run("three"), || train("three", "other"))
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

        // One that failed leaves nothing; half a prior is not taken.
        shared
            .get("c", &run("four"), || Err("diverged".into()))
            .expect_err("it failed");
        shared
            .get("c", &run("four"), || train("four", "late"))
            .expect("trained");
        std::fs::remove_file(dir.path().join("shared/c/prior/config.json")).expect("there");
        shared
            .get("c", &run("five"), || train("five", "again"))
            .expect("trained");
        assert_eq!(says("five"), "again");
    }
}
