//! Tells the program which commit it is built from, for `eclipse --version`.

use std::path::Path;
use std::process::Command;

/// Names the commit, where there is no git to ask: packagers set it.
const GIVEN: &str = "ECLIPSE_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={GIVEN}");
    // Not the commit of a repository that this one happens to lie in.
    let is_ours = Path::new(".git").exists();
    // Grows with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|_| is_ours) {
        println!("cargo::rerun-if-changed={log}");
    }
    let asked = || git(&["rev-parse", "--short=9", "HEAD"]).filter(|_| is_ours);
    let commit = std::env::var(GIVEN).ok().or_else(asked);
    println!(
        "cargo::rustc-env={GIVEN}={}",
        commit.as_deref().unwrap_or("no git")
    );
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
