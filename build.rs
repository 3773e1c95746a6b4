//! Tells the program which commit it is built from, for `eclipse --version`.

use std::path::Path;
use std::process::Command;

/// Names the commit, where there is no git to ask: packagers set it.
const GIVEN: &str = "ECLIPSE_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={GIVEN}");
    // Grows with every commit and checkout.
    let log = Path::new(".git/logs/HEAD");
    if log.is_file() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    let commit = std::env::var(GIVEN)
        .ok()
        .or_else(asked)
        .unwrap_or_else(|| "no git".into());
    println!("cargo::rustc-env={GIVEN}={commit}");
}

fn asked() -> Option<String> {
    // Not the commit of a repository that this one happens to lie in.
    Path::new(".git").exists().then_some(())?;
    let output = Command::new("git")
        .args(["rev-parse", "--short=9", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
