//! Provenance of a run: code, machine, inputs, time.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::run::ResolvedRun;
use crate::files;

/// `Cargo.lock` of this build.
const CARGO_LOCK: &[u8] = include_bytes!("../../Cargo.lock");

/// `provenance.json`. It does not enter the run's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of this file's format.
    pub version: u32,
    /// The experiment of the run.
    pub experiment: String,
    /// Name of the run directory.
    pub run: String,
    /// `(axis, label)` in the order of the specification.
    pub axes: Vec<(String, String)>,
    /// SHA-256 of `config.toml`.
    pub config_sha256: String,
    /// The run's seed.
    pub seed: u64,
    /// Version of this program.
    pub package_version: String,
    /// SHA-256 of the `Cargo.lock` it was built with.
    pub cargo_lock_sha256: String,
    /// SHA-256 of the files the run reads, by name.
    pub inputs: BTreeMap<String, String>,
    /// Processes that worked on the run; more than one after a resume.
    pub sessions: Vec<SessionRecord>,
}

/// One process that worked on a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRecord {
    /// Command line.
    pub argv: Vec<String>,
    /// Device, as `--device` takes it.
    pub device: String,
    /// Commit of the working directory, if it is a git checkout.
    pub git_sha: Option<String>,
    /// Whether tracked files differed from that commit.
    pub git_dirty: Option<bool>,
    /// Start, RFC 3339 in UTC.
    pub start: String,
    /// End of the session that finished the run.
    pub end: Option<String>,
}

/// The caller's information about a run, besides its configuration.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the run directory.
    pub run: String,
    /// `(axis, label)`.
    pub axes: Vec<(String, String)>,
    /// Device name.
    pub device: String,
    /// SHA-256 of the files the run reads, by name.
    pub inputs: BTreeMap<String, String>,
    /// The specification as the user wrote it: text of `spec.toml`.
    pub written: String,
}

impl Provenance {
    /// The record of a new run, without sessions.
    pub fn new(run: &ResolvedRun, origin: &Origin) -> Self {
        Self {
            version: 1,
            experiment: origin.experiment.clone(),
            run: origin.run.clone(),
            axes: origin.axes.clone(),
            config_sha256: run.hash().to_owned(),
            seed: run.seed(),
            package_version: env!("CARGO_PKG_VERSION").to_owned(),
            cargo_lock_sha256: files::sha256(CARGO_LOCK),
            inputs: origin.inputs.clone(),
            sessions: Vec::new(),
        }
    }
}

impl SessionRecord {
    /// A session that starts now, in this process.
    pub fn begin(device: &str) -> Self {
        let git_sha = git(&["rev-parse", "HEAD"]);
        let changes = git(&[
            &["status", "--porcelain", "--untracked-files=no", "--"],
            &NO_INPUTS[..],
        ]
        .concat());
        Self {
            argv: std::env::args().collect(),
            device: device.to_owned(),
            git_dirty: changes.filter(|_| git_sha.is_some()).map(|c| !c.is_empty()),
            git_sha,
            start: now(),
            end: None,
        }
    }
}

/// The current time, RFC 3339 in UTC, to the second.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Paths that sweeps write in the working tree and no run reads: reports.
const NO_INPUTS: [&str; 1] = [":(top,exclude)experiments/*/results"];

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
