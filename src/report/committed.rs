//! The committed results of an experiment as a report: numbers from `results/*.csv`, systems and configurations from its specification. Images, training
//! curves and provenance are in run directories only.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::error::ReportError;
use super::group::{Axes, Cell, counterpart, distinct_labels};
use super::metric_key::MetricKey;
use super::preference::{Meeting, Preference};
use super::results::{Report, System};
use crate::eval::{Interval, WinRate};
use crate::experiment::convergence::Convergence;
use crate::experiment::report_spec::system_label;
use crate::experiment::{SweepSpec, Trial};
use crate::files;

/// File of the scores.
pub(super) const SCORES: &str = "scores.csv";
/// The same where it is committed: a sixth of the size.
pub(super) const PACKED_SCORES: &str = "scores.csv.gz";
/// File of the preferences.
pub(super) const PREFERENCES: &str = "preferences.csv";

/// A row of [`SCORES`].
#[derive(Deserialize)]
struct ScoreRow {
    system: String,
    metric: String,
    split: String,
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    difference: Option<f64>,
    difference_low: Option<f64>,
    difference_high: Option<f64>,
    runs: usize,
    prompts: usize,
    converged: String,
}

/// A row of [`PREFERENCES`].
#[derive(Deserialize)]
struct PreferenceRow {
    metric: String,
    split: String,
    system: String,
    against: String,
    win: f64,
    win_low: f64,
    win_high: f64,
    tie: f64,
    tie_low: f64,
    tie_high: f64,
    loss: f64,
    loss_low: f64,
    loss_high: f64,
    rate: f64,
    rate_low: f64,
    rate_high: f64,
}

/// A system as its specification plans it.
struct Planned {
    label: String,
    axes: Axes,
    config: Table,
}

impl Report {
    /// The committed results of the experiment `spec`, which plans `trials`; `None` if it has none.
    ///
    /// # Errors
    /// [`ReportError`], naming the file.
    pub fn committed(spec: &SweepSpec, trials: &[Trial]) -> Result<Option<Self>, ReportError> {
        let folder = spec.folder().join("results");
        let Some((path, text)) = scores(&folder)? else {
            return Ok(None);
        };
        let rows: Vec<ScoreRow> = read_csv(&path, &text)?;
        let planned = planned(trials);
        let mut report = Self {
            experiment: spec.name(),
            systems: Vec::new(),
            metrics: Vec::new(),
            missing: Vec::new(),
            made: made(&folder.join("README.md"))?,
            preferences: Vec::new(),
            reference: spec.report().reference.clone(),
            provenance: Vec::new(),
            protocols: Default::default(),
        };
        for row in rows {
            let key = MetricKey {
                name: row.metric.clone(),
                split: row.split.clone(),
            };
            if !report.metrics.contains(&key) {
                report.metrics.push(key.clone());
            }
            let at = match report.systems.iter().position(|s| s.label == row.system) {
                Some(at) => at,
                None => {
                    report.systems.push(system(&row, spec, &planned));
                    report.systems.len() - 1
                }
            };
            report.systems[at].cells.insert(key, cell(&row));
        }
        let all: Vec<_> = report
            .systems
            .iter()
            .map(|s| (s.label.clone(), s.axes.clone()))
            .collect();
        for system in &mut report.systems {
            let others: Vec<_> = all.iter().filter(|s| s.0 != system.label).cloned().collect();
            system.compared_with = counterpart((&system.label, &system.axes), &others, &report.reference);
        }
        let path = folder.join(PREFERENCES);
        if path.is_file() {
            report.preferences =
                preferences(read_csv(&path, &files::read_text(&path)?)?, spec, &report.systems);
        }
        Ok(Some(report))
    }
}

/// The systems of `trials`: runs that differ only in their seed.
fn planned(trials: &[Trial]) -> Vec<Planned> {
    let mut systems: Vec<Planned> = Vec::new();
    for trial in trials {
        let mut config: Table = trial.run().config().parse().unwrap_or_default();
        config.remove("seed");
        if systems.iter().all(|s| s.config != config) {
            let label = match system_label(trial.axes().iter()) {
                label if label.is_empty() => trial.name().to_owned(),
                label => label,
            };
            let axes = trial.axes().iter().filter(|(key, _)| key != "seed");
            systems.push(Planned {
                label,
                axes: axes.cloned().collect(),
                config,
            });
        }
    }
    let labels = systems.iter().map(|s| (s.label.as_str(), &s.config));
    let labels = distinct_labels(&labels.collect::<Vec<_>>());
    for (system, label) in systems.iter_mut().zip(labels) {
        system.label = label;
    }
    systems
}

fn system(row: &ScoreRow, spec: &SweepSpec, planned: &[Planned]) -> System {
    let plan = planned.iter().find(|p| p.label == row.system);
    System {
        label: row.system.clone(),
        title: spec.report().name_of(&row.system),
        n_runs: row.runs,
        cells: Default::default(),
        compared_with: None,
        convergence: Convergence::from_words(&row.converged),
        axes: plan.map_or_else(Vec::new, |p| p.axes.clone()),
        config: plan.map_or_else(Table::new, |p| p.config.clone()),
        losses: Vec::new(),
        runs: Vec::new(),
    }
}

fn cell(row: &ScoreRow) -> Cell {
    let interval = |value: f64, low: Option<f64>, high: Option<f64>| Interval {
        value,
        low: low.unwrap_or(value),
        high: high.unwrap_or(value),
    };
    Cell {
        interval: interval(row.value, row.low, row.high),
        has_interval: row.low.is_some(),
        n_runs: row.runs,
        n_prompts: row.prompts,
        difference: row
            .difference
            .map(|d| interval(d, row.difference_low, row.difference_high)),
    }
}

fn preferences(rows: Vec<PreferenceRow>, spec: &SweepSpec, systems: &[System]) -> Vec<Preference> {
    let mut all: Vec<Preference> = Vec::new();
    for row in rows {
        let key = MetricKey {
            name: row.metric,
            split: row.split,
        };
        let asked = spec
            .report()
            .preferences
            .iter()
            .find(|p| p.metric == key.name || p.metric == format!("{}@{}", key.name, key.split));
        let at = all.iter().position(|p| p.key == key).unwrap_or_else(|| {
            all.push(Preference {
                key,
                tolerance: asked.map_or(0.0, |p| p.tolerance),
                systems: Vec::new(),
                meetings: Vec::new(),
                round_robin: asked.is_some_and(|p| p.round_robin),
            });
            all.len() - 1
        });
        let one = &mut all[at];
        for name in [&row.system, &row.against] {
            if !one.systems.contains(name) {
                one.systems.push(name.clone());
            }
        }
        let reference = asked.and_then(|p| p.reference.as_deref());
        let reference = reference.unwrap_or(&spec.report().reference);
        let axes = |label: &String| {
            let system = systems.iter().find(|s| s.label == *label);
            (label.clone(), system.map_or_else(Vec::new, |s| s.axes.clone()))
        };
        let (own, other) = (axes(&row.against), axes(&row.system));
        let is_reference = counterpart((&own.0, &own.1), &[other], reference).is_some();
        let interval = |value, low, high| Interval { value, low, high };
        one.meetings.push(Meeting {
            system: row.system,
            opponent: row.against,
            wins: WinRate {
                win: interval(row.win, row.win_low, row.win_high),
                tie: interval(row.tie, row.tie_low, row.tie_high),
                loss: interval(row.loss, row.loss_low, row.loss_high),
                rate: interval(row.rate, row.rate_low, row.rate_high),
            },
            is_reference,
        });
    }
    all
}

/// The sentence on the provenance of the runs: the last line of the committed Markdown.
fn made(path: &Path) -> Result<String, ReportError> {
    if !path.is_file() {
        return Ok(String::new());
    }
    let text = files::read_text(path)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// The committed scores in the folder of results, and their file: packed, or as runs have them.
pub(super) fn scores(folder: &Path) -> Result<Option<(PathBuf, String)>, ReportError> {
    let packed = folder.join(PACKED_SCORES);
    let (path, text) = match packed.is_file() {
        true => (packed.clone(), files::read_gzip(packed)),
        false => (folder.join(SCORES), files::read_text(folder.join(SCORES))),
    };
    match text {
        Ok(text) => Ok(Some((path, text))),
        Err(_) if !path.is_file() => Ok(None),
        Err(source) => Err(ReportError::Committed {
            path,
            source: std::io::Error::other(source).into(),
        }),
    }
}

fn read_csv<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>, ReportError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Result<Vec<T>, csv::Error> = reader.deserialize().collect();
    rows.map_err(|source| ReportError::Committed {
        path: path.to_path_buf(),
        source,
    })
}
