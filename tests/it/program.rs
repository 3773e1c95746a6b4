//! The program itself, as a user starts it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// A call of `eclipse` in `folder`, not started yet.
pub fn command<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eclipse"));
    command.args(args).current_dir(folder).env_remove("RUST_LOG");
    // Never the cache of whoever runs the tests.
    command.env(
        "ECLIPSE_CACHE",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
    );
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

/// What it wrote to stderr.
pub fn said(output: &Output) -> String {
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
