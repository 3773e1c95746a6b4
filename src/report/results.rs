//! Data of a report: systems and their scores, read from run directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::{Table, Value as TomlValue};

use super::error::ReportError;
use super::finished::Finished;
use super::group::{Cell, Group};
use super::losses::RunLosses;
use super::metric_key::{self, MetricKey};
use super::preference::Preference;
use super::provenance;
use crate::config::layers::lookup;
use crate::eval::image_score::ImageScore;
use crate::experiment::RunDir;
use crate::experiment::convergence::Convergence;
use crate::experiment::provenance::Provenance;
use crate::experiment::report_spec::ReportSpec;
use crate::files::FileError;

/// A system: runs that differ only in their seed.
#[derive(Debug, Clone)]
pub struct System {
    /// Its axis labels.
    pub label: String,
    /// Its name for readers.
    pub title: String,
    /// Number of finished runs.
    pub n_runs: usize,
    /// Its scores.
    pub cells: BTreeMap<MetricKey, Cell>,
    /// The reference of its differences.
    pub compared_with: Option<String>,
    /// Whether its training converged, by the least converged of its runs; `None` for a baseline, which needs no training.
    pub convergence: Option<Convergence>,
    /// `(axis, label)` without the seed.
    pub(super) axes: Vec<(String, String)>,
    /// Its complete configuration without the seed.
    pub(super) config: Table,
    /// Losses of its runs; none for a baseline.
    pub(super) losses: Vec<RunLosses>,
    /// Its runs by seed; none for committed results.
    pub(super) runs: Vec<RunEntry>,
}

/// A finished run of a system.
#[derive(Debug, Clone)]
pub(super) struct RunEntry {
    /// Its directory.
    pub(super) dir: RunDir,
    /// Where it comes from.
    pub(super) provenance: Provenance,
    /// `None` for a baseline.
    pub(super) convergence: Option<Convergence>,
    /// Its scores.
    pub(super) scores: Vec<(MetricKey, f64)>,
}

impl RunEntry {
    fn of(run: &Finished) -> Self {
        let scores = run.scores.iter();
        Self {
            dir: run.dir.clone(),
            provenance: run.provenance.clone(),
            convergence: run.convergence,
            scores: scores
                .map(|metric| (MetricKey::of(metric), metric.value))
                .collect(),
        }
    }

    /// The name of its directory.
    pub(super) fn name(&self) -> String {
        let name = self.dir.path().file_name();
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    pub(super) fn seed(&self) -> u64 {
        self.provenance.seed
    }
}

/// The data of a report.
#[derive(Debug, Clone)]
pub struct Report {
    /// Title.
    pub experiment: String,
    /// The systems, in the order of the runs.
    pub systems: Vec<System>,
    /// All metrics, in the order of the evaluation.
    pub metrics: Vec<MetricKey>,
    /// The protocol of each metric of images.
    pub protocols: Vec<Protocol>,
    /// Requested runs that are not finished.
    pub missing: Vec<PathBuf>,
    /// Provenance of the runs: commits, devices, time.
    pub made: String,
    /// Preferences, as specified.
    pub preferences: Vec<Preference>,
    /// The reference of the specification.
    pub(super) reference: String,
    /// Provenance by name, with values.
    pub(super) provenance: Vec<(&'static str, Vec<String>)>,
}

/// How a metric of images was computed in all runs that have it.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The metric.
    pub metric: String,
    /// Keys and values.
    pub keys: Vec<(String, String)>,
}

impl Report {
    /// Reads the runs in `dirs`, in that order. Unfinished runs are listed as missing. `folder` is named in the error if no run is
    /// finished.
    ///
    /// # Errors
    /// [`ReportError`], naming the directory.
    pub fn read(
        experiment: &str,
        folder: &Path,
        dirs: &[PathBuf],
        spec: &ReportSpec,
    ) -> Result<Self, ReportError> {
        let (done, missing): (Vec<_>, Vec<_>) =
            dirs.iter().cloned().partition(|d| RunDir::new(d).is_reportable());
        if done.is_empty() {
            return Err(ReportError::Empty {
                folder: folder.to_path_buf(),
            });
        }
        let runs = done.iter().map(Finished::read).collect::<Result<Vec<_>, _>>()?;
        let mut metrics = Vec::new();
        for metric in runs.iter().flat_map(|r| &r.scores) {
            let key = MetricKey::of(metric);
            if !metrics.contains(&key) {
                metrics.push(key);
            }
        }
        let protocols = protocols(&runs)?;
        let groups = Group::all(&runs);
        let mut systems = Vec::new();
        for group in &groups {
            let reference = group.counterpart(&groups, &spec.reference);
            let mut cells = BTreeMap::new();
            for key in &metrics {
                let cell = group
                    .cell(key, reference)
                    .map_err(|source| ReportError::Combine {
                        system: group.label.clone(),
                        source,
                    })?;
                cells.extend(cell.map(|c| (key.clone(), c)));
            }
            let first = group.runs[0];
            systems.push(System {
                label: group.label.clone(),
                title: spec.name_of(&group.label),
                n_runs: group.runs.len(),
                cells,
                compared_with: reference.map(|g| g.label.clone()),
                convergence: group.runs.iter().filter_map(|run| run.convergence).max(),
                axes: first.axes().cloned().collect(),
                config: first.config.clone(),
                losses: group.runs.iter().filter_map(|run| run.losses.clone()).collect(),
                runs: group.runs.iter().map(|run| RunEntry::of(run)).collect(),
            });
        }
        if !spec.reference.is_empty() && systems.iter().all(|s| s.compared_with.is_none()) {
            tracing::warn!("no system to compare with: [report] asks for {}", spec.reference);
        }
        Ok(Self {
            experiment: experiment.to_owned(),
            preferences: Preference::of(spec, &groups, &metrics)?,
            systems,
            metrics,
            protocols,
            missing,
            made: provenance::made(&runs),
            reference: spec.reference.clone(),
            provenance: provenance::of(&runs),
        })
    }

    /// The finished and unfinished run directories in `folder`, by name.
    ///
    /// # Errors
    /// [`ReportError::Write`] when the folder cannot be read.
    pub fn dirs_in(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let fail = |source| FileError::Io {
            action: "read",
            path: folder.to_path_buf(),
            source,
        };
        let mut dirs = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if RunDir::new(&path).config_path().is_file() {
                dirs.push(path);
            }
        }
        dirs.sort();
        Ok(dirs)
    }

    /// The metrics that `wanted` names (`name` for every split, `name@split` for one); if `wanted` is empty, those of all prompts.
    /// Unknown names are left out with a warning.
    pub fn select(&self, wanted: &[String]) -> Vec<MetricKey> {
        metric_key::select(&self.metrics, wanted)
    }

    /// Whether the mean of `system` is the best of all systems that predict, by the metric's direction. Oracles know the answer: they do not count. A single
    /// system has no best value.
    pub(super) fn is_best(&self, key: &MetricKey, system: &System) -> bool {
        let value = |s: &System| s.cells.get(key).map(|c| c.interval.value);
        let values = || self.systems.iter().filter(|s| !s.is_oracle()).filter_map(value);
        let best = key.better().best(values());
        !system.is_oracle() && values().count() > 1 && best.is_some() && best == value(system)
    }

    /// The system labelled `label`.
    pub fn system(&self, label: &str) -> Option<&System> {
        self.systems.iter().find(|s| s.label == label)
    }

    /// The name for readers of the system labelled `label`.
    pub(super) fn title_of<'a>(&'a self, label: &'a str) -> &'a str {
        self.system(label).map_or(label, |s| &s.title)
    }

    /// The metrics of the dot plot.
    pub(super) fn plotted(&self, spec: &ReportSpec) -> Vec<MetricKey> {
        self.select(if spec.plot.is_empty() {
            &spec.columns
        } else {
            &spec.plot
        })
    }
}

/// The protocol of each metric of images.
///
/// # Errors
/// [`ReportError::Protocol`] for runs whose values are not comparable.
fn protocols(runs: &[Finished]) -> Result<Vec<Protocol>, ReportError> {
    let mut first: Vec<&(PathBuf, ImageScore)> = Vec::new();
    for scored in runs.iter().flat_map(|run| &run.image_scores) {
        let (path, score) = scored;
        match first.iter().find(|(_, known)| known.metric == score.metric) {
            None => first.push(scored),
            Some((there, known)) => {
                score
                    .check_same(known, there)
                    .map_err(|source| ReportError::Protocol {
                        here: path.clone(),
                        source,
                    })?;
            }
        }
    }
    let shown = first.into_iter().map(|(_, score)| {
        let shared = score.protocol.iter().filter(|(key, _)| !key.ends_with("_path"));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let keys = shared.map(|(key, value)| (key.clone(), text(value)));
        let n = ("images".to_owned(), score.n.to_string());
        Protocol {
            metric: score.metric.clone(),
            keys: [n].into_iter().chain(keys).collect(),
        }
    });
    Ok(shown.collect())
}

impl System {
    /// Whether a claim of order may rest on this system.
    pub fn may_be_compared(&self) -> bool {
        matches!(self.convergence, None | Some(Convergence::Converged))
    }

    /// Whether it is a baseline that knows the true image.
    pub fn is_oracle(&self) -> bool {
        let method = lookup(&self.config, "objective.method").and_then(TomlValue::as_str);
        method.is_some_and(|name| name.starts_with("oracle"))
    }

    /// The column `converged` of tables.
    pub fn converged(&self) -> &'static str {
        self.convergence.map_or("-", Convergence::words)
    }
}
