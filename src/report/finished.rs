//! A finished run, as read for a report.

use std::path::PathBuf;

use toml::{Table, Value};

use super::error::ReportError;
use super::losses::RunLosses;
use crate::eval::image_score::ImageScore;
use crate::eval::{Metric, ScoreFile};
use crate::experiment::convergence::{Convergence, held_out_metrics};
use crate::experiment::provenance::Provenance;
use crate::experiment::report_spec::system_label;
use crate::experiment::spec::ScoredCheckpoint;
use crate::experiment::{MetricsLog, RunDir, RunDirError};
use crate::files;

/// A finished run, read from its directory.
pub(super) struct Finished {
    pub(super) dir: RunDir,
    pub(super) provenance: Provenance,
    /// Axes without the seed.
    pub(super) config: Table,
    /// `None` for a baseline.
    pub(super) convergence: Option<Convergence>,
    /// `None` for a baseline.
    pub(super) losses: Option<RunLosses>,
    pub(super) scores: Vec<Metric>,
    /// Metrics of its images, which are among the scores too, with their files.
    pub(super) image_scores: Vec<(PathBuf, ImageScore)>,
}

impl Finished {
    /// Reads the directory `path`.
    ///
    /// # Errors
    /// [`ReportError`], naming the directory.
    pub(super) fn read(path: &PathBuf) -> Result<Self, ReportError> {
        let dir = RunDir::new(path);
        for read in [
            "config.toml",
            "provenance.json",
            "metrics.jsonl",
            "eval/",
            "pictures/",
        ] {
            dir.check(read)?;
        }
        let provenance = dir.provenance()?;
        let (mut scores, mut image_scores) = (Vec::new(), Vec::new());
        for file in dir.eval_files()? {
            let read = ScoreFile::read(&file).map_err(|source| ReportError::Scores {
                dir: path.clone(),
                source,
            })?;
            if let ScoreFile::Images(score) = &read {
                image_scores.push((file, score.clone()));
            }
            scores.extend(read.into_metrics());
        }
        let config = config_of(&files::read_text(dir.config_path())?, &dir)?;
        let (convergence, losses) = if is_baseline(&config) {
            (None, None)
        } else {
            let (rows, scored) = (MetricsLog::read(dir.metrics_path())?, scored_checkpoint(&config));
            scores.extend(held_out_metrics(&rows, scored));
            (Some(Convergence::of(&rows, scored)), Some(RunLosses::of(&rows)))
        };
        Ok(Self {
            dir,
            provenance,
            config,
            convergence,
            losses,
            scores,
            image_scores,
        })
    }

    /// The metric `name` of its images, where it was computed.
    pub(super) fn image_score(&self, name: &str) -> Option<&ImageScore> {
        let mut scores = self.image_scores.iter().map(|(_, score)| score);
        scores.find(|score| score.metric == name)
    }

    /// `(axis, label)` without the seed.
    pub(super) fn axes(&self) -> impl Iterator<Item = &(String, String)> {
        self.provenance.axes.iter().filter(|(key, _)| key != "seed")
    }

    /// The axis labels without the seed; the directory's name for a run without axes.
    pub(super) fn label(&self) -> String {
        let label = system_label(self.axes());
        let name = || {
            let name = self.dir.path().file_name();
            name.map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        };
        if label.is_empty() { name() } else { label }
    }
}

/// The configuration without its seed.
fn config_of(config: &str, dir: &RunDir) -> Result<Table, ReportError> {
    let mut table: Table = config
        .parse()
        .map_err(|e: toml::de::Error| RunDirError::Malformed {
            path: dir.config_path(),
            expected: "the TOML of a resolved run".into(),
            found: e.message().to_owned(),
        })?;
    table.remove("seed");
    Ok(table)
}

/// Whether a configuration is that of a system without a network.
fn is_baseline(config: &Table) -> bool {
    value_at(config, "objective", "kind").and_then(Value::as_str) == Some("baseline")
}

/// `eval.checkpoint` of a configuration, which omits it if it has the default.
pub(super) fn scored_checkpoint(config: &Table) -> ScoredCheckpoint {
    let value = value_at(config, "eval", "checkpoint").cloned();
    value.and_then(|v| v.try_into().ok()).unwrap_or_default()
}

fn value_at<'a>(config: &'a Table, table: &str, key: &str) -> Option<&'a Value> {
    config.get(table)?.as_table()?.get(key)
}
