//! `eclipse report`, and the end of `eclipse sweep`.

use std::path::{Path, PathBuf};

use clap::Args;
use eclipse_t2i::experiment::execute::run_path;
use eclipse_t2i::experiment::report::{About, Report, ReportSpec, write_index};
use eclipse_t2i::experiment::{SpecError, SweepSpec};
use serde_json::{Value, json};

use super::SpecArgs;

/// Arguments of `eclipse report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Name of a folder in experiments/, the path of a sweep file, or a folder of run directories.
    #[arg(required_unless_present = "index")]
    experiment: Option<String>,
    /// Write experiments/index.html, the page of all experiments, from what their folders hold.
    #[arg(long, conflicts_with = "experiment")]
    index: bool,
    #[command(flatten)]
    spec: SpecArgs,
    /// Report the tiny runs of --smoke.
    #[arg(long)]
    smoke: bool,
    #[command(flatten)]
    destination: Destination,
}

/// Where runs lie and where a report goes.
#[derive(Debug, Args)]
pub struct Destination {
    /// Folder of all run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder of the report [default: results/ beside the specification; beside the runs after --set or --smoke].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the table as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Reports an experiment, or a folder of runs.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let Some(experiment) = &args.experiment else {
        eprintln!("wrote {}", write_index(Path::new("experiments"))?.display());
        return Ok(());
    };
    let spec = match SweepSpec::read(experiment, &args.spec.settings(), args.smoke) {
        Err(SpecError::NoExperiment { .. }) if Path::new(experiment).is_dir() => {
            return of_folder(Path::new(experiment), &args.destination);
        }
        spec => spec?,
    };
    let runs = args.destination.runs.join(spec.name());
    let dirs: Vec<PathBuf> = spec.expand()?.iter().map(|p| run_path(&runs, p)).collect();
    show(&spec, &runs, &dirs, &args.destination)
}

/// Reports whatever runs are in `folder`.
fn of_folder(folder: &Path, destination: &Destination) -> anyhow::Result<()> {
    let dirs = Report::dirs_in(folder)?;
    let name = folder
        .file_name()
        .map_or_else(|| "runs".into(), |n| n.to_string_lossy().into_owned());
    let (spec, about) = (ReportSpec::default(), About::default());
    let report = Report::read(&name, folder, &dirs, &spec)?;
    let out = destination.out.clone().unwrap_or_else(|| folder.join("results"));
    write(&report, &spec, &about, &out, destination.json)
}

/// Reports the runs of a sweep.
pub fn show(
    spec: &SweepSpec,
    runs: &Path,
    dirs: &[PathBuf],
    destination: &Destination,
) -> anyhow::Result<()> {
    let report = Report::read(&spec.name(), runs, dirs, spec.report())?;
    let out = match &destination.out {
        Some(out) => out.clone(),
        None if spec.is_as_committed() => spec.folder().join("results"),
        None => runs.join("results"),
    };
    let about = About::read(spec.folder(), &out)?;
    write(&report, spec.report(), &about, &out, destination.json)
}

fn write(report: &Report, spec: &ReportSpec, about: &About, out: &Path, as_json: bool) -> anyhow::Result<()> {
    for path in report.write(out, spec, about)? {
        eprintln!("wrote {}", path.display());
    }
    if as_json {
        super::print_json(&as_values(report))
    } else {
        super::print(&report.table(spec))
    }
}

fn as_values(report: &Report) -> Value {
    let rows = report.systems.iter().flat_map(|system| {
        system.cells.iter().map(move |(key, cell)| {
            let (low, high) = (cell.interval.low, cell.interval.high);
            json!({
                "system": system.label, "metric": key.name, "split": key.split, "value": cell.interval.value,
                "low": cell.has_interval.then_some(low), "high": cell.has_interval.then_some(high),
                "runs": cell.n_runs, "prompts": cell.n_prompts, "converged": system.converged(),
            })
        })
    });
    rows.collect()
}
