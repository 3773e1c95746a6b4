//! `eclipse sweep`, `report` and `list` for comparisons of systems.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::comparison::{
    self, Comparison, ComparisonError, Failure, Folders, Outcome, Progress, Results, RunOptions, Work,
};
use crate::device::DeviceSpec;
use crate::experiment::{Setting, sweep};
use crate::files;
use crate::generate::error::RenderError;
use crate::generate::render::RenderOptions;
use crate::report::comparison::{as_json, table, write_comparison};
use crate::report::{About, ReportFiles};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::Destination;
use super::output::link;
use super::stop::{self, Stopped};
use super::{Usage, check_output_folder, place};

/// Keys with paths.
const PATHS: [&str; 9] = [
    "pipeline",
    "prior",
    "clip",
    "images",
    "path",
    "reference",
    "inception",
    "blip",
    "published",
];
/// Images that a metric has in memory at once.
const EVAL_BATCH: usize = 50;
/// Images that are drawn at once and finished together, on a CPU and on a GPU: what Ctrl-C waits for.
const CPU: (usize, usize) = (1, 4);
const GPU: (usize, usize) = (4, 16);

/// The specification that `experiment` names, if it is of a comparison.
pub(super) fn find(experiment: &str) -> anyhow::Result<Option<PathBuf>> {
    let Ok(path) = sweep::find(experiment) else {
        // The other kind reports it.
        return Ok(None);
    };
    let is_comparison = comparison::is_comparison(&path).unwrap_or(false);
    Ok(is_comparison.then_some(path))
}

/// Reads the comparison at `path`.
pub(super) fn read(path: &Path, settings: &[Setting], smoke: bool) -> anyhow::Result<Comparison> {
    let settings: Vec<Setting> = settings.iter().cloned().map(from_caller).collect();
    Comparison::read(path, &settings, smoke).map_err(usage)
}

/// Paths of arguments are relative to the caller's folder.
fn from_caller(mut setting: Setting) -> Setting {
    let last = setting.key.rsplit('.').next().unwrap_or_default();
    // A preference's reference is a system.
    let is_path = PATHS.contains(&last) && !setting.key.starts_with("preferences.");
    if let (true, Some(path)) = (is_path, setting.value.as_str()) {
        let is_weights = ["pipeline", "prior", "clip", "blip"].contains(&last);
        let path = if is_weights {
            place::resolved_weights(path)
        } else {
            place::resolved(path)
        };
        setting.value = path.display().to_string().into();
    }
    setting
}

fn usage(error: ComparisonError) -> anyhow::Error {
    match error.is_usage() {
        true => Usage(chain(&error)).into(),
        false => error.into(),
    }
}

/// Draws, scores and reports the comparison at `path`.
pub(super) fn run(
    path: &Path,
    settings: &[Setting],
    smoke: bool,
    dry_run: bool,
    destination: &Destination,
    device: DeviceSpec,
) -> anyhow::Result<()> {
    let comparison = read(path, settings, smoke)?;
    check_publish(&comparison, destination)?;
    check_output_folder("--runs", &destination.runs)?;
    let folders = Folders::new(destination.runs.join(&comparison.name));
    let precision = comparison.compute.precision();
    let (batch, chunk) = if device.is_cpu() { CPU } else { GPU };
    let batch = comparison.compute.batch.unwrap_or(batch);
    let options = RunOptions {
        device: device.device_in(precision)?,
        device_name: device.to_string(),
        dtype: precision.to_string(),
        render: RenderOptions {
            batch,
            chunk: chunk.max(batch),
            save_steps: false,
        },
        eval_batch: EVAL_BATCH,
        cache: files::cache_dir().ok(),
    };
    if dry_run {
        list(&comparison.survey(&folders)?, destination.json)?;
        return comparison::check(&comparison, &folders, &options).map_err(failed);
    }
    let stop = stop::on_signals()?;
    let bars = Bars::new()?;
    let outcome = comparison::run(
        &comparison,
        &folders,
        &options,
        &|| stop.is_requested(),
        &|progress| {
            bars.show(progress);
        },
    );
    bars.end();
    let Outcome { failures, is_stopped } = outcome.map_err(usage)?;
    if is_stopped {
        let what = format!("stopped; what is finished is in {}", folders.runs().display());
        return Err(Stopped::new(what, None).into());
    }
    let page = report(&comparison, destination)?;
    super::note(format!("the report: {}", link(&page)));
    match failures.len() {
        0 => Ok(()),
        n => {
            let lines: Vec<String> = failures
                .iter()
                .map(|failure| format!("\n  {}", told(failure)))
                .collect();
            anyhow::bail!("{n} failed, the same command tries again:{}", lines.concat())
        }
    }
}

/// Reports the comparison from its folders; returns the path of the page.
pub(super) fn report(comparison: &Comparison, destination: &Destination) -> anyhow::Result<PathBuf> {
    check_publish(comparison, destination)?;
    let folders = Folders::new(destination.runs.join(&comparison.name));
    let results = Results::read(comparison, &folders).map_err(usage)?;
    let out = match &destination.out {
        Some(out) => out.clone(),
        None if destination.publish => comparison.folder.join("results"),
        None => folders.runs().join("results"),
    };
    let about = About::read(&comparison.folder, &out)?;
    let (files, page) = match destination.publish {
        true => (ReportFiles::Committed, "README.md"),
        false => (ReportFiles::All, "index.html"),
    };
    for path in write_comparison(&results, &out, &about, files)? {
        super::note(format!("wrote {}", path.display()));
    }
    match destination.json {
        true => super::print_json(&as_json(&results))?,
        false => super::print(&table(&results))?,
    }
    Ok(out.join(page))
}

/// How much of the comparison at `path` is measured: `3 of 60 scores`.
pub(super) fn finished(path: &Path) -> anyhow::Result<String> {
    let comparison = read(path, &[], false)?;
    let folders = Folders::new(Path::new("runs").join(&comparison.name));
    let (measured, all) = Results::read(&comparison, &folders)?.n_measured();
    Ok(format!("{measured} of {all}"))
}

fn check_publish(comparison: &Comparison, destination: &Destination) -> Result<(), Usage> {
    match destination.publish && !comparison.is_as_committed {
        true => Err(Usage(
            "--publish: the committed report is of the comparison as its file says: leave --set and --smoke out".into(),
        )),
        false => Ok(()),
    }
}

fn list(work: &[Work], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return super::print_json(&serde_json::to_value(work)?);
    }
    let line = |one: &Work| {
        let of = one.of.map_or_else(String::new, |of| format!(" of {of}"));
        let metrics = match (&one.left[..], &one.scored[..]) {
            ([], _) => "scored".to_owned(),
            (left, _) => format!("to score: {}", left.join(", ")),
        };
        let missing = match one.missing.is_empty() {
            true => String::new(),
            false => format!("; missing: {}", one.missing.join("; ")),
        };
        format!(
            "{}/{}: {}{of} images; {metrics}{missing}\n",
            one.system, one.prompts, one.images
        )
    };
    super::print(&work.iter().map(line).collect::<String>())
}

fn told(failure: &Failure) -> String {
    let Failure {
        system,
        prompts,
        what,
        error,
    } = failure;
    let remedy = match error {
        ComparisonError::Render(RenderError::OtherCall { .. } | RenderError::Occupied(_)) => {
            " (here: remove the folder of these images, and they are drawn again)"
        }
        _ => "",
    };
    format!("{system}/{prompts}: {what}: {}{remedy}", chain(error))
}

fn failed(failure: Failure) -> anyhow::Error {
    let is_usage = failure.error.is_usage();
    let text = told(&failure);
    if is_usage {
        Usage(text).into()
    } else {
        anyhow::anyhow!(text)
    }
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Progress over all images, then over the images of a metric.
struct Bars {
    bar: ProgressBar,
    drawn: Cell<usize>,
}

impl Bars {
    fn new() -> anyhow::Result<Self> {
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template(
            "{msg} {wide_bar} {pos}/{len} images, {elapsed}, {eta} left",
        )?);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self {
            bar,
            drawn: Cell::new(0),
        })
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| super::note(line));
    }

    fn show(&self, progress: Progress<'_>) {
        match progress {
            Progress::Images { done, total } => {
                self.bar.set_length(total as u64);
                self.bar.set_position(done as u64);
                if self.drawn.get() == 0 {
                    // Images of earlier calls say nothing about the time that is left.
                    self.bar.reset_eta();
                }
            }
            Progress::Draw {
                system,
                prompts,
                left,
            } => {
                if left > 0 {
                    self.bar.set_message(system.name.clone());
                    self.say(&format!(
                        "{}/{}: {left} images to draw",
                        system.name, prompts.name
                    ));
                }
            }
            Progress::Drawn(path) => {
                self.drawn.set(self.drawn.get() + 1);
                tracing::info!("drew {}", path.display());
            }
            Progress::Score {
                system,
                prompts,
                metric,
                done,
                total,
            } => {
                if done == 0 {
                    self.bar.reset();
                    self.bar.set_length(total as u64);
                    self.bar.set_message(metric.to_owned());
                    self.say(&format!(
                        "{}/{}: {metric} of {total} images",
                        system.name, prompts.name
                    ));
                }
                self.bar.set_position(done as u64);
            }
            Progress::Failed(failure) => self.say(&format!("failed: {}", told(failure))),
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
