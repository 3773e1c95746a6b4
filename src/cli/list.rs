//! `eclipse list`.

use std::path::Path;

use crate::experiment::sweep_runner::run_path;
use crate::experiment::{RunDir, SweepSpec};
use crate::files;
use crate::report::About;

use super::comparison;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

/// Arguments of `eclipse list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// What to list: experiments, or run directories in runs/, the newest last.
    #[arg(value_enum, default_value_t = What::Experiments)]
    what: What,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Experiments,
    Runs,
}

/// Lists.
pub fn run(args: &ListArgs) -> anyhow::Result<()> {
    let (rows, keys) = match args.what {
        What::Experiments => (experiments()?, ["name", "finished", "question"]),
        What::Runs => (runs()?, ["begun", "state", "folder"]),
    };
    if args.json {
        return super::print_json(&Value::Array(rows));
    }
    if rows.is_empty() {
        super::note(match args.what {
            What::Experiments => "no experiments/*/sweep.toml here; --root names the project's folder",
            What::Runs => "no run in runs/ yet; `eclipse sweep NAME` makes some",
        });
    }
    super::print(&table(&rows, keys))
}

/// Every experiment with its question, and how many of its runs are finished.
fn experiments() -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for folder in files::list_folders("experiments").unwrap_or_default() {
        if !folder.join("sweep.toml").is_file() {
            continue;
        }
        let name = folder
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let finished = match comparison::find(&name)? {
            Some(path) => comparison::finished(&path)?,
            None => finished(&name)?,
        };
        let title = About::read(&folder, &folder)?.title;
        let question = title
            .split_once(": ")
            .map_or(title.as_str(), |(_, question)| question);
        rows.push(json!({
            "name": name,
            "finished": finished,
            "question": question,
        }));
    }
    Ok(rows)
}

/// How many runs of a sweep are finished.
fn finished(name: &str) -> anyhow::Result<String> {
    let spec = SweepSpec::read(name, &[], false)?;
    let runs = Path::new("runs").join(spec.name());
    let trials = spec.expand()?;
    let done = trials
        .iter()
        .filter(|trial| RunDir::new(run_path(&runs, trial)).is_done());
    Ok(format!("{} of {}", done.count(), trials.len()))
}

/// Every run directory in the folders of `runs/`.
fn runs() -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for experiment in files::list_folders("runs").unwrap_or_default() {
        for folder in files::list_folders(&experiment)? {
            let run = RunDir::new(&folder);
            if !run.config_path().is_file() {
                continue;
            }
            let begun = run.provenance().ok();
            let begun = begun.and_then(|it| it.sessions.first().map(|session| session.start.clone()));
            rows.push(json!({
                "begun": begun.unwrap_or_default(),
                "state": if run.is_done() { "done" } else { "not finished" },
                "folder": folder,
            }));
        }
    }
    rows.sort_by_key(|row| row["begun"].to_string());
    Ok(rows)
}

/// Rows as aligned columns of these keys.
fn table(rows: &[Value], keys: [&str; 3]) -> String {
    let cell = |row: &Value, key: &str| match &row[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let width = |key: &str| rows.iter().map(|row| cell(row, key).chars().count()).max();
    let [first, second, last] = keys;
    let (one, two) = (width(first).unwrap_or(0), width(second).unwrap_or(0));
    let line = |row: &Value| {
        let (a, b) = (cell(row, first), cell(row, second));
        format!("{a:one$}  {b:two$}  {}\n", cell(row, last))
    };
    rows.iter().map(line).collect()
}
