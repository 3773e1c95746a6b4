//! Run directories. A directory contains its own configuration and state.
//!
//! ```text
//! config.toml      fully resolved            provenance.json  code, device, inputs, times
//! spec.toml        as the user gave it       metrics.jsonl    one value a line
//! checkpoint/      the trainer's             eval/<name>.json scores
//! prior/           what was trained          pictures/        some of what it draws
//! LOCK             while a process works     DONE             written last
//! ```
//!
//! Every file except `metrics.jsonl` is written under another name and renamed, so a process may die at any moment. The operating system
//! releases `LOCK` when its process dies: there are no stale locks.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::RunDirError;
use super::provenance::{Origin, Provenance, SessionRecord, now};
use super::run::ResolvedRun;
use super::spec::ScoredCheckpoint;
use crate::config::layers::short;
use crate::data::encode::is_new_input;
use crate::files::{self, FileError, LockFile, Sums};
use crate::train::run_folder::{LOCK, METRICS, RunFolder};

const CONFIG: &str = "config.toml";
const SPEC: &str = "spec.toml";
const PROVENANCE: &str = "provenance.json";
const DONE: &str = "DONE";
/// Files whose hashes a finished run records.
const RESULTS: [&str; 8] = [
    CONFIG,
    SPEC,
    PROVENANCE,
    METRICS,
    "eval",
    "prior",
    "prior_best",
    "pictures",
];
/// Name pattern of temporary files of [`files::write_atomic`].
const TEMPORARY: &str = ".tmp-";

/// State of a run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Absent,
    /// A process works on it.
    Running {
        /// The process id, `?` if it was not readable.
        pid: String,
    },
    /// Started and not finished; no process works on it.
    Resumable,
    /// Finished.
    Done,
}

/// A run directory. Creating this value does not access the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The run directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `metrics.jsonl`, for [`MetricsLog`](super::MetricsLog).
    pub fn metrics_path(&self) -> PathBuf {
        self.folder().metrics_path()
    }

    /// The part of this directory that all trainings have.
    fn folder(&self) -> RunFolder {
        RunFolder::new(&self.path)
    }

    /// `checkpoint/`, written by the trainer. This function does not create it.
    pub fn checkpoint_dir(&self) -> PathBuf {
        self.folder().checkpoint_dir()
    }

    /// `prior/`: the trained prior in its published layout. This function does not create it.
    pub fn prior_dir(&self) -> PathBuf {
        self.folder().prior_dir()
    }

    /// The prior with the lowest validation loss, in the same layout; only in runs with validation.
    pub fn best_prior_dir(&self) -> PathBuf {
        self.folder().best_prior_dir()
    }

    /// The prior that the run's scores belong to.
    pub fn scored_prior_dir(&self, checkpoint: ScoredCheckpoint) -> PathBuf {
        match checkpoint {
            ScoredCheckpoint::Last => self.prior_dir(),
            ScoredCheckpoint::Best => self.best_prior_dir(),
        }
    }

    /// `eval/<name>.json`; the folder exists once the run is claimed.
    pub fn eval_path(&self, name: &str) -> PathBuf {
        self.path.join("eval").join(format!("{name}.json"))
    }

    /// `pictures/`: images for the report and their index. This function does not create it.
    pub fn images_dir(&self) -> PathBuf {
        self.path.join("pictures")
    }

    /// Every `eval/*.json`, by name.
    ///
    /// # Errors
    /// [`RunDirError::File`] when the folder cannot be read.
    pub fn eval_files(&self) -> Result<Vec<PathBuf>, RunDirError> {
        let mut paths = self.file(files::list(self.path.join("eval")))?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
        Ok(paths)
    }

    /// Whether the run is finished: it is marked as finished, every recorded file exists, and its scores match their record.
    pub fn is_done(&self) -> bool {
        self.path.join(DONE).is_file() && self.lost(|_| true).is_none() && self.check("eval/").is_ok()
    }

    /// Whether the run is finished for a report, which reads no weights: the user may have removed them to save space.
    pub fn is_reportable(&self) -> bool {
        let is_read = |name: &str| !name.starts_with("prior/") && !name.starts_with("prior_best/");
        self.path.join(DONE).is_file() && self.lost(is_read).is_none()
    }

    /// A missing file of a run that is marked as finished, among the `needed` files. Runs of earlier versions have no record: they lack scores
    /// if their configuration asks for scores.
    fn lost(&self, needed: impl Fn(&str) -> bool) -> Option<PathBuf> {
        match Sums::read(&self.path) {
            Ok(Some(sums)) => {
                let names = sums.names("").filter(|name| needed(name));
                names
                    .map(|name| self.path.join(name))
                    .find(|file| !file.is_file())
            }
            Ok(None) => {
                let scores = self.path.join("eval");
                let has_scores = files::list(&scores).is_ok_and(|files| !files.is_empty());
                (!has_scores && self.is_scored()).then_some(scores)
            }
            Err(_) => Some(self.path.join(files::SUMS)),
        }
    }

    /// Whether the run's configuration asks for scores: all do, except runs on a store without held-out pairs.
    fn is_scored(&self) -> bool {
        let config = files::read_text(self.config_path()).unwrap_or_default();
        let config: Table = config.parse().unwrap_or_default();
        let data = config.get("data").and_then(Value::as_table);
        let has = |key: &str| data.is_some_and(|data| data.contains_key(key));
        let n = data
            .and_then(|data| data.get("n_validation"))
            .and_then(Value::as_integer);
        !has("store") || has("validation") || n.unwrap_or_default() > 0
    }

    /// Compares files with the hashes recorded at the end of the run: the files whose names begin with `prefix`, such as `eval/`. Runs of earlier
    /// versions have no record, and pass.
    ///
    /// # Errors
    /// [`RunDirError::File`], naming the first file that differs.
    pub fn check(&self, prefix: &str) -> Result<(), RunDirError> {
        let sums = self.file(Sums::read(&self.path))?;
        self.file(sums.map_or(Ok(()), |sums| sums.check(prefix)))
    }

    /// `provenance.json`.
    ///
    /// # Errors
    /// [`RunDirError::File`] if it cannot be read, [`RunDirError::Malformed`] if it cannot be parsed.
    pub fn provenance(&self) -> Result<Provenance, RunDirError> {
        self.read_json(&self.path.join(PROVENANCE))
    }

    /// A JSON file of this directory.
    ///
    /// # Errors
    /// Like [`RunDir::provenance`].
    pub fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Result<T, RunDirError> {
        let text = self.file(files::read_text(path))?;
        serde_json::from_str(&text).map_err(|e| RunDirError::Malformed {
            path: path.to_path_buf(),
            expected: "JSON of this program's layout".into(),
            found: e.to_string(),
        })
    }

    /// The state of the directory for `run`.
    ///
    /// # Errors
    /// [`RunDirError::OtherConfig`] if it holds another run, [`RunDirError::NotARun`] if it holds other files.
    pub fn state(&self, run: &ResolvedRun) -> Result<State, RunDirError> {
        if !self.path.exists() {
            return Ok(State::Absent);
        }
        if !self.config_path().exists() {
            if let Some(found) = self.stranger()? {
                return Err(RunDirError::NotARun {
                    dir: self.path.clone(),
                    found,
                });
            }
            return Ok(self.holder()?.map_or(State::Absent, |pid| State::Running { pid }));
        }
        self.same_config(run)?;
        if self.is_done() {
            return Ok(State::Done);
        }
        Ok(self
            .holder()?
            .map_or(State::Resumable, |pid| State::Running { pid }))
    }

    /// Claims the directory for `run`: creates or resumes it, and holds its lock. `Ok(None)` if the run is finished.
    ///
    /// # Errors
    /// Those of [`RunDir::state`]; [`RunDirError::Running`] if another process holds it; [`RunDirError::OtherInput`] if
    /// it was made from other files; [`RunDirError::File`] if the system reports an error.
    pub fn claim(&self, run: &ResolvedRun, origin: &Origin) -> Result<Option<Claim>, RunDirError> {
        if self.state(run)? == State::Done {
            self.same_inputs(&self.provenance()?, origin)?;
            return Ok(None);
        }
        self.file(files::create_dir(&self.path))?;
        let lock = self.lock()?;
        // Another process may have finished between the check and the lock.
        let state = match self.state_under_lock(run)? {
            State::Done => {
                lock.remove();
                self.same_inputs(&self.provenance()?, origin)?;
                return Ok(None);
            }
            state => state,
        };
        self.sweep_temporaries();
        self.reopen()?;
        let path = self.path.join(PROVENANCE);
        let mut provenance = match state {
            State::Resumable if path.exists() => self.provenance()?,
            _ => Provenance::new(run, origin),
        };
        self.same_inputs(&provenance, origin)?;
        provenance.sessions.push(SessionRecord::begin(&origin.device));
        self.file(files::write_atomic(
            self.path.join(SPEC),
            origin.written.as_bytes(),
        ))?;
        self.write_json(&path, &provenance)?;
        self.file(files::write_atomic(self.config_path(), run.config().as_bytes()))?;
        self.file(files::create_dir(self.path.join("eval")))?;
        Ok(Some(Claim {
            dir: self.clone(),
            provenance,
            lock,
        }))
    }

    fn state_under_lock(&self, run: &ResolvedRun) -> Result<State, RunDirError> {
        if !self.config_path().exists() {
            return Ok(State::Absent);
        }
        self.same_config(run)?;
        Ok(if self.is_done() {
            State::Done
        } else {
            State::Resumable
        })
    }

    fn same_config(&self, run: &ResolvedRun) -> Result<(), RunDirError> {
        let path = self.config_path();
        let text = self.file(files::read_text(&path))?;
        if text == run.config() {
            return Ok(());
        }
        let malformed = |found: String| RunDirError::Malformed {
            path: path.clone(),
            expected: "the TOML of a resolved run".into(),
            found,
        };
        let found: Table = text
            .parse()
            .map_err(|e: toml::de::Error| malformed(e.message().to_owned()))?;
        let expected: Table = run
            .config()
            .parse()
            .map_err(|e: toml::de::Error| malformed(e.to_string()))?;
        match first_difference("", &expected, &found) {
            None => Ok(()),
            Some((key, expected, found)) => Err(RunDirError::OtherConfig {
                dir: self.path.clone(),
                key,
                expected,
                found,
            }),
        }
    }

    fn same_inputs(&self, provenance: &Provenance, origin: &Origin) -> Result<(), RunDirError> {
        for (input, expected) in &origin.inputs {
            match provenance.inputs.get(input) {
                Some(found) if found == expected => {}
                None if is_new_input(input) => {}
                found => {
                    return Err(RunDirError::OtherInput {
                        dir: self.path.clone(),
                        input: input.clone(),
                        expected: expected.clone(),
                        found: found.cloned().unwrap_or_else(|| "none".into()),
                    });
                }
            }
        }
        Ok(())
    }

    /// Marks a run as unfinished if it is marked as finished but incomplete: missing files are recreated, and trained priors that differ from their
    /// record are trained again.
    fn reopen(&self) -> Result<(), RunDirError> {
        if !self.path.join(DONE).is_file() {
            return Ok(());
        }
        if let Some(lost) = self.lost(|_| true) {
            tracing::warn!(
                "{}: not finished, {} is gone or unreadable",
                self.path.display(),
                lost.display()
            );
        } else if let Err(error) = self.check("eval/") {
            tracing::warn!("{error}: {}; it is made again", source_of(&error));
        }
        let _ = std::fs::remove_file(self.path.join(DONE));
        for (prefix, folder) in [
            ("prior/", self.prior_dir()),
            ("prior_best/", self.best_prior_dir()),
        ] {
            if let Err(error) = self.check(prefix) {
                tracing::warn!("{error}: {}; it is trained again", source_of(&error));
                // A prior without this file counts as not trained.
                let _ = std::fs::remove_file(self.prior_dir().join("config.json"));
                let _ = std::fs::remove_dir_all(folder);
            }
        }
        let _ = std::fs::remove_file(self.path.join(files::SUMS));
        Ok(())
    }

    /// A file in the directory that an unfinished start of this program would not leave.
    fn stranger(&self) -> Result<Option<String>, RunDirError> {
        let unreadable = |source| RunDirError::File {
            dir: self.path.clone(),
            source: FileError::Io {
                action: "read",
                path: self.path.clone(),
                source,
            },
        };
        for entry in std::fs::read_dir(&self.path).map_err(unreadable)? {
            let name = entry
                .map_err(unreadable)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            let ours = [LOCK, SPEC, PROVENANCE].contains(&name.as_str()) || name.starts_with(TEMPORARY);
            if !ours {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Process id of the holder of the lock.
    fn holder(&self) -> Result<Option<String>, RunDirError> {
        let path = self.folder().lock_path();
        files::lock_holder(&path).map_err(|source| RunDirError::Lock { path, source })
    }

    fn lock(&self) -> Result<LockFile, RunDirError> {
        let path = self.folder().lock_path();
        let held = files::lock(&path).map_err(|source| RunDirError::Lock { path, source })?;
        held.map_err(|pid| RunDirError::Running {
            dir: self.path.clone(),
            pid,
        })
    }

    /// Removes temporary files of killed processes.
    fn sweep_temporaries(&self) {
        let folders = ["", "eval", "checkpoint", "prior"].map(|name| self.path.join(name));
        for folder in folders {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    // A file that remains is harmless: the run does not depend on it.
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<(), RunDirError> {
        let mut text = serde_json::to_string_pretty(value).map_err(|e| RunDirError::Malformed {
            path: path.to_path_buf(),
            expected: "values that JSON can hold".into(),
            found: e.to_string(),
        })?;
        text.push('\n');
        self.file(files::write_atomic(path, text.as_bytes()))
    }

    fn file<T>(&self, result: Result<T, FileError>) -> Result<T, RunDirError> {
        result.map_err(|source| RunDirError::File {
            dir: self.path.clone(),
            source,
        })
    }
}

/// The cause of an error, as text.
fn source_of(error: &RunDirError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

/// A run directory that this process works on. Dropping it releases the lock; the run can then be resumed.
#[derive(Debug)]
pub struct Claim {
    dir: RunDir,
    provenance: Provenance,
    lock: LockFile,
}

impl Claim {
    /// The directory.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Whether an earlier session started the run.
    pub fn resumed(&self) -> bool {
        self.provenance.sessions.len() > 1
    }

    /// Removes the directory of a run that failed before it trained or scored anything, such as one with an impossible configuration.
    /// A directory that holds more remains and can be resumed.
    pub fn abandon_if_empty(self) {
        let dir = &self.dir;
        let has = |path: PathBuf| match path.is_dir() {
            true => std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
            false => std::fs::metadata(path).is_ok_and(|file| file.len() > 0),
        };
        let results = [
            dir.metrics_path(),
            dir.checkpoint_dir(),
            dir.prior_dir(),
            dir.path.join("eval"),
            dir.images_dir(),
        ];
        if self.resumed() || results.into_iter().any(has) {
            return;
        }
        // The remaining files are not needed; a failure to remove them is harmless.
        self.lock.remove();
        let _ = std::fs::remove_dir_all(&dir.path);
        // The folder of the experiment, if this was its only run.
        if let Some(parent) = dir.path.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }

    /// Writes the end time and finally `DONE`.
    ///
    /// # Errors
    /// [`RunDirError::File`].
    pub fn finish(mut self) -> Result<(), RunDirError> {
        if let Some(session) = self.provenance.sessions.last_mut() {
            session.end = Some(now());
        }
        let dir = &self.dir;
        dir.write_json(&dir.path.join(PROVENANCE), &self.provenance)?;
        let sums = Sums::of(&dir.path, &RESULTS);
        dir.file(sums.and_then(|sums| sums.write()))?;
        dir.file(files::write_atomic(
            dir.path.join(DONE),
            format!("{}\n", now()).as_bytes(),
        ))?;
        // A process that already waits with this file open creates a new one, and checks DONE first.
        self.lock.remove();
        Ok(())
    }
}

/// `(key, expected, found)` of the first key that differs, in key order of `expected`.
fn first_difference(prefix: &str, expected: &Table, found: &Table) -> Option<(String, String, String)> {
    let path = |key: &str| {
        if prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{prefix}.{key}")
        }
    };
    let show = |v: Option<&Value>| v.map_or_else(|| "absent".to_owned(), short);
    for (key, value) in expected {
        match (value, found.get(key)) {
            (Value::Table(a), Some(Value::Table(b))) => {
                if let Some(difference) = first_difference(&path(key), a, b) {
                    return Some(difference);
                }
            }
            (a, b) if Some(a) != b => return Some((path(key), short(a), show(b))),
            _ => {}
        }
    }
    let extra = found.iter().find(|(key, _)| !expected.contains_key(*key));
    extra.map(|(key, value)| (path(key), "absent".into(), short(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::spec::RunSpec;

    fn run(seed: u64) -> ResolvedRun {
        RunSpec {
            seed,
            ..RunSpec::default()
        }
        .resolve()
        .expect("valid")
    }

    fn origin(clip: &str) -> Origin {
        Origin {
            inputs: [("clip".to_owned(), clip.to_owned())].into(),
            ..Origin::default()
        }
    }

    #[test]
    fn a_directory_goes_from_absent_to_done() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let dir = RunDir::new(temp.path().join("r"));
        assert_eq!(dir.state(&run(0)).expect("readable"), State::Absent);
        let claim = dir.claim(&run(0), &origin("a")).expect("free").expect("not done");
        assert!(!claim.resumed());
        assert_eq!(
            dir.state(&run(0)).expect("readable"),
            State::Running {
                pid: std::process::id().to_string()
            }
        );
        assert!(matches!(
            dir.claim(&run(0), &origin("a")),
            Err(RunDirError::Running { .. })
        ));
        drop(claim);
        assert_eq!(dir.state(&run(0)).expect("readable"), State::Resumable);
        let claim = dir.claim(&run(0), &origin("a")).expect("free").expect("not done");
        assert!(claim.resumed());
        claim.finish().expect("written");
        assert_eq!(dir.state(&run(0)).expect("readable"), State::Done);
        assert!(dir.claim(&run(0), &origin("a")).expect("readable").is_none());
        let sessions = dir.provenance().expect("written").sessions;
        assert_eq!(
            sessions.iter().map(|s| s.end.is_some()).collect::<Vec<_>>(),
            [false, true]
        );
        assert!(!dir.path().join(LOCK).exists());
    }

    #[test]
    fn another_config_input_or_folder_is_refused() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let dir = RunDir::new(temp.path().join("r"));
        dir.claim(&run(0), &origin("a"))
            .expect("free")
            .expect("not done")
            .finish()
            .expect("written");
        let other = dir.state(&run(1)).expect_err("another seed").to_string();
        assert!(other.ends_with(
            "holds another run: seed is 0 there, expected 1; give another directory or remove it"
        ));
        let other = dir
            .claim(&run(0), &origin("b"))
            .expect_err("another clip")
            .to_string();
        assert!(
            other.contains("was made from another clip: expected sha256 b, found a"),
            "{other}"
        );
        let stranger = temp.path().join("s");
        std::fs::create_dir(&stranger).expect("made");
        std::fs::write(stranger.join("thesis.tex"), "x").expect("written");
        let refused = RunDir::new(&stranger)
            .claim(&run(0), &origin("a"))
            .expect_err("not ours");
        assert!(matches!(refused, RunDirError::NotARun { found, .. } if found == "thesis.tex"));
        assert_eq!(
            std::fs::read_dir(&stranger).expect("readable").count(),
            1,
            "nothing was written"
        );
    }

    #[test]
    fn a_start_that_was_cut_short_is_absent_and_cleaned() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let dir = RunDir::new(temp.path());
        for litter in [LOCK, SPEC, PROVENANCE, ".tmp-abc"] {
            std::fs::write(temp.path().join(litter), "half").expect("written");
        }
        assert_eq!(dir.state(&run(0)).expect("readable"), State::Absent);
        let claim = dir.claim(&run(0), &origin("a")).expect("free").expect("not done");
        assert!(!claim.resumed());
        assert!(!temp.path().join(".tmp-abc").exists());
    }
}
