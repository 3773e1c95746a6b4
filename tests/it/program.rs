//! The program itself, as a user starts it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// A call of `eclipse` in `folder`, not started yet.
pub fn command<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eclipse"));
    command.args(args).current_dir(folder).env_remove("RUST_LOG");
    // Not the user's.
    command.env_remove("MLFLOW_TRACKING_URI");
    command.env("ECLIPSE_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command.env("HF_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/huggingface"));
    command
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE");
    command
}

/// Runs it: exit code, stdout, stderr.
pub fn eclipse<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> (i32, String, String) {
    let output = command(folder, args).output().expect("the program starts");
    (
        output.status.code().expect("not killed"),
        text(&output.stdout),
        said(&output),
    )
}

/// What git says in `folder`, if it can.
pub fn git<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Option<String> {
    let output = Command::new("git").args(args).current_dir(folder).output().ok()?;
    output
        .status
        .success()
        .then(|| text(&output.stdout).trim().to_owned())
}

/// What it wrote to stderr.
pub fn said(output: &Output) -> String {
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
