//! `eclipse report`, and the end of `eclipse sweep`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::experiment::report_spec::ReportSpec;
use crate::experiment::sweep_runner::run_path;
use crate::experiment::{SpecError, SweepSpec};
use crate::report::{About, Report, ReportFiles, write_site};
use clap::Args;
use serde_json::{Value, json};

use super::args::Destination;
use super::{SpecArgs, Usage, comparison};

/// Arguments of `eclipse report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Name of a folder in experiments/, the path of a sweep file, or a folder of run directories.
    #[arg(required_unless_present = "site")]
    experiment: Option<String>,
    /// Write the pages of all experiments and the list of them (index.html) into this folder, from their specifications and committed results.
    #[arg(long, value_name = "DIR", conflicts_with = "experiment")]
    site: Option<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Report the tiny runs of --smoke.
    #[arg(long)]
    smoke: bool,
    /// Compare every system with this one, instead of the specification's `[report] reference`: the label of a system or one part of it, such as
    /// projection. Prints the differences, and writes the report beside the runs.
    #[arg(long, value_name = "SYSTEM", conflicts_with = "site")]
    reference: Option<String>,
    #[command(flatten)]
    destination: Destination,
}

/// Reports an experiment, or a folder of runs.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    if let Some(site) = &args.site {
        let list = write_site(Path::new("experiments"), site)?;
        super::note(format!("wrote {}", list.display()));
        return Ok(());
    }
    let experiment = &super::experiment(args.experiment.as_deref().unwrap_or_default());
    if let Some(path) = comparison::find(experiment)? {
        if args.reference.is_some() {
            return Err(Usage(
                "--reference: a comparison of systems has its references in [preferences]".into(),
            )
            .into());
        }
        let comparison = comparison::read(&path, &args.spec.settings(), args.smoke)?;
        return comparison::report(&comparison, &args.destination).map(drop);
    }
    let spec = match SweepSpec::read(experiment, &args.spec.settings(), args.smoke) {
        Err(SpecError::NoExperiment { .. }) if Path::new(experiment).is_dir() => {
            return of_folder(Path::new(experiment), &args.reference, &args.destination);
        }
        spec => spec?,
    };
    let runs = args.destination.runs.join(spec.name());
    let dirs: Vec<PathBuf> = spec.expand()?.iter().map(|p| run_path(&runs, p)).collect();
    show(&spec, &runs, &dirs, &args.reference, &args.destination).map(drop)
}

/// Reports the runs in `folder`.
fn of_folder(folder: &Path, reference: &Option<String>, destination: &Destination) -> anyhow::Result<()> {
    if destination.publish {
        return Err(Usage(
            "--publish: a folder of runs has no specification to put a report beside; give --out DIR".into(),
        )
        .into());
    }
    let dirs = Report::dirs_in(folder)?;
    let name = folder
        .file_name()
        .map_or_else(|| "runs".into(), |n| n.to_string_lossy().into_owned());
    let (spec, about) = (compared_with(&ReportSpec::default(), reference), About::default());
    let report = Report::read(&name, folder, &dirs, &spec)?;
    check(&report, reference)?;
    let out = destination.out.clone().unwrap_or_else(|| folder.join("results"));
    write(
        &report,
        &spec,
        reference.is_some(),
        &about,
        (&out, ReportFiles::All),
        destination.json,
    )
}

/// `spec` with this reference, if given.
fn compared_with(spec: &ReportSpec, reference: &Option<String>) -> ReportSpec {
    let mut spec = spec.clone();
    if let Some(reference) = reference {
        spec.reference.clone_from(reference);
    }
    spec
}

/// Checks that the requested reference exists.
fn check(report: &Report, reference: &Option<String>) -> anyhow::Result<()> {
    match reference {
        Some(reference) if report.systems.iter().all(|s| s.compared_with.is_none()) => {
            let labels: Vec<&str> = report.systems.iter().map(|s| s.label.as_str()).collect();
            anyhow::bail!(
                "--reference {reference}: expected a system of this report or one part of its label, one of {}",
                labels.join("; ")
            )
        }
        _ => Ok(()),
    }
}

/// Refuses to publish anything except the unmodified experiment.
pub fn check_publish(
    spec: &SweepSpec,
    reference: &Option<String>,
    destination: &Destination,
) -> Result<(), Usage> {
    match destination.publish && (!spec.is_as_committed() || reference.is_some()) {
        true => Err(Usage(
            "--publish: the committed report is of the experiment as its file says: leave --set, --seed, --smoke and --reference out".into(),
        )),
        false => Ok(()),
    }
}

/// Reports the runs of a sweep; returns the path of the page.
pub fn show(
    spec: &SweepSpec,
    runs: &Path,
    dirs: &[PathBuf],
    reference: &Option<String>,
    destination: &Destination,
) -> anyhow::Result<PathBuf> {
    check_publish(spec, reference, destination)?;
    let mut of_report = compared_with(spec.report(), reference);
    if !spec.is_as_committed() || reference.is_some() {
        // The answer is about the experiment as its file says.
        of_report.answer.clear();
    }
    let report = Report::read(&spec.name(), runs, dirs, &of_report)?;
    check(&report, reference)?;
    let out = match &destination.out {
        Some(out) => out.clone(),
        None if destination.publish => spec.folder().join("results"),
        None => runs.join("results"),
    };
    let about = About::read(spec.folder(), &out)?;
    let files = match destination.publish {
        true => ReportFiles::Committed,
        false => ReportFiles::All,
    };
    write(
        &report,
        &of_report,
        reference.is_some(),
        &about,
        (&out, files),
        destination.json,
    )?;
    Ok(match files {
        ReportFiles::All => out.join("index.html"),
        ReportFiles::Committed => out.join("README.md"),
    })
}

/// Writes the report and prints its table, and the claims if a reference was requested.
fn write(
    report: &Report,
    spec: &ReportSpec,
    with_claims: bool,
    about: &About,
    (out, files): (&Path, ReportFiles),
    as_json: bool,
) -> anyhow::Result<()> {
    for path in report.write(out, spec, about, files)? {
        super::note(format!("wrote {}", path.display()));
    }
    if as_json {
        super::print_json(&as_values(report))
    } else {
        let claims = match with_claims {
            true => report.claims_markdown(&report.select(&spec.columns)),
            false => String::new(),
        };
        // Pipes and files get every metric; on a terminal the lines would wrap.
        let table = match std::io::stdout().is_terminal() {
            true => report.short_table(spec),
            false => report.table(spec),
        };
        super::print(&format!("{table}{claims}"))
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
