//! Tests of whole commands with the examples of CONTRIBUTING.md, which only unit tests can see.

use std::path::Path;

use clap::FromArgMatches;

use super::{Cli, command};

/// Runs `eclipse ARGS`.
fn eclipse(args: &[&str]) -> anyhow::Result<()> {
    let matches = command().try_get_matches_from(std::iter::once(&"eclipse").chain(args))?;
    Cli::from_arg_matches(&matches)?.run()
}

/// `eclipse COMMAND --help`.
fn help(name: &str) -> String {
    let mut command = command();
    let found = command.find_subcommand_mut(name).expect("a command");
    found.render_long_help().to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// With a line in the list and a file, the objective is in the help, in specifications with its checks, in runs, in reports, and in model cards.
#[test]
fn a_listed_objective_is_everywhere() {
    assert!(help("train").contains("baseline, toy"));
    let desk = tempfile::tempdir().expect("a folder");
    let path = |name: &str| desk.path().join(name).display().to_string();
    let spec = "
data = { n_pairs = 32, n_validation = 8 }
model = { n_heads = 2, d_head = 8, n_layers = 1 }
train = { steps = 6, batch_size = 8, checkpoint_every = 3, log_every = 1 }
eval = { n_prompts = 2, n_noise = 1 }
[axes.objective]
paper = { kind = \"eclipse\" }
ours = { kind = \"toy\", scale = 2.0 }
";
    std::fs::write(path("toy.toml"), spec).expect("written");
    let error = eclipse(&[
        "sweep",
        &path("toy.toml"),
        "--set",
        "objective.scale=-1",
        "--dry-run",
    ]);
    let error = format!("{:#}", error.expect_err("out of range"));
    assert!(
        error.contains("objective.scale: expected a number above 0, found -1"),
        "{error}"
    );

    eclipse(&["sweep", &path("toy.toml"), "--runs", &path("runs")]).expect("trains and reports");
    let runs = desk.path().join("runs/toy");
    let run = std::fs::read_dir(&runs)
        .expect("there are runs")
        .flatten()
        .map(|entry| entry.path())
        .find(|run| run.to_string_lossy().contains("objective-ours"))
        .expect("the toy's run");
    assert!(read(&run.join("config.toml")).contains("kind = \"toy\"\nscale = 2.0"));
    assert!(read(&run.join("metrics.jsonl")).contains("\"loss\""));
    assert!(read(&runs.join("results/scores.csv")).contains("ours"));

    eclipse(&["export", &run.display().to_string(), "--to", &path("export")]).expect("exports");
    assert!(read(&desk.path().join("export/README.md")).contains("toy (mean absolute error times 2)"));
}
