//! Errors of specifications and run directories.

use std::path::PathBuf;

use crate::config::{ConfigError, nearest};
use crate::files::FileError;

/// A specification cannot be used. The user can correct all of these errors: the command line exits with 2.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file, key or value is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An experiment that does not exist.
    #[error("no experiment {name}: expected {expected}{}{}", known(.available), hint(nearest(.name, .available)))]
    NoExperiment {
        /// The requested name.
        name: String,
        /// The expected file.
        expected: PathBuf,
        /// The existing experiments.
        available: Vec<String>,
    },
}

fn hint(suggestion: Option<String>) -> String {
    suggestion.map_or_else(String::new, |s| format!("; did you mean {s}?"))
}

fn known(available: &[String]) -> String {
    match available {
        [] => "; there are none here: call the program in the project's folder or below it, or name that folder with --root DIR or ECLIPSE_HOME".into(),
        names => format!("; there are {}", names.join(", ")),
    }
}

/// A run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Reading or writing failed.
    #[error("cannot use run directory {dir}")]
    File {
        /// The run directory.
        dir: PathBuf,
        /// The error.
        #[source]
        source: FileError,
    },
    /// The system refused the lock; no other process holds it.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The directory holds a run of another configuration.
    #[error(
        "{dir} holds another run: {key} is {found} there, expected {expected}; give another directory or remove it"
    )]
    OtherConfig {
        /// The run directory.
        dir: PathBuf,
        /// First key that differs.
        key: String,
        /// The expected value.
        expected: String,
        /// The value in the directory.
        found: String,
    },
    /// The directory was made from other input files (another CLIP, other data).
    #[error(
        "{dir} was made from another {input}: expected sha256 {expected}, found {found}; remove the run to repeat it"
    )]
    OtherInput {
        /// The run directory.
        dir: PathBuf,
        /// Name of the input.
        input: String,
        /// Hash of the input now.
        expected: String,
        /// Hash recorded in the directory.
        found: String,
    },
    /// The directory holds other files.
    #[error("{dir} is no run directory: expected it absent or empty, or with a config.toml, found {found}")]
    NotARun {
        /// The directory.
        dir: PathBuf,
        /// One of these files.
        found: String,
    },
    /// Another process works on the run.
    #[error("{dir} is in use by process {pid}")]
    Running {
        /// The run directory.
        dir: PathBuf,
        /// Process id from the lock file, `?` if it was not readable.
        pid: String,
    },
    /// A file of the directory has unexpected content.
    #[error("{path}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: String,
        /// The found content.
        found: String,
    },
}
