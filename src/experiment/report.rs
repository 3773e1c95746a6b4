//! What came out: tables from run directories and nothing else.
//!
//! Runs that differ only in their seed are one system. Values are means over seeds and prompts, intervals come from the
//! bootstrap over both ([`crate::eval::bootstrap`]); nobody types a number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Table;

use super::error::RunDirError;
use super::plot;
use super::provenance::Provenance;
use super::run_dir::RunDir;
use super::sweep::ReportSpec;
use crate::eval::{Bootstrap, EvalError, EvalFile, Interval, Metric};
use crate::files::{self, FileError};

/// A report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to report.
    #[error("no finished run in {folder}: expected directories with a DONE file; run the sweep first")]
    Empty {
        /// Where runs were looked for.
        folder: PathBuf,
    },
    /// A run directory is damaged.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The scores of a run cannot be read.
    #[error("cannot use the scores of {dir}")]
    Scores {
        /// The run directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: EvalError,
    },
    /// Seeds of one system were not asked the same.
    #[error("cannot combine the runs of {system}")]
    Combine {
        /// Label of the system.
        system: String,
        /// Why.
        #[source]
        source: EvalError,
    },
    /// The report cannot be written.
    #[error("cannot write the report")]
    Write(#[from] FileError),
    /// The table cannot be put into CSV.
    #[error("cannot write CSV: {0}")]
    Csv(String),
    /// The plot cannot be drawn.
    #[error("cannot draw the plot: {0}")]
    Draw(String),
}

/// A metric on a split.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey {
    /// As in `forced_choice/object`.
    pub name: String,
    /// `all`, `seen`, `unseen`, `against`.
    pub split: String,
}

/// A mean over the runs of one system.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The mean, and its interval.
    pub interval: Interval,
    /// Whether the interval says anything: not for one number of one run.
    pub has_interval: bool,
    /// Runs behind it.
    pub n_runs: usize,
    /// Prompts of each run behind it.
    pub n_prompts: usize,
    /// This system minus the reference on the same prompts, where both have values per prompt.
    pub difference: Option<Interval>,
}

/// Runs that differ only in their seed.
#[derive(Debug, Clone)]
pub struct System {
    /// Its axis labels.
    pub label: String,
    /// Number of finished runs.
    pub n_runs: usize,
    /// Its scores.
    pub cells: BTreeMap<MetricKey, Cell>,
}

/// Everything a report shows.
#[derive(Debug, Clone)]
pub struct Report {
    /// Title.
    pub experiment: String,
    /// The systems, in the order of the runs.
    pub systems: Vec<System>,
    /// All metrics, in the order of the evaluation.
    pub metrics: Vec<MetricKey>,
    /// Runs that were asked for and are not finished.
    pub missing: Vec<PathBuf>,
    /// How the runs were made: commits, devices, time.
    pub made: String,
    reference: String,
}

struct Finished {
    dir: RunDir,
    provenance: Provenance,
    group: String,
    scores: Vec<Metric>,
}

impl Report {
    /// Reads the runs in `dirs`, in that order. Unfinished ones are listed as missing. `folder` is named when none is
    /// finished; `reference` is the label of the system that the others are compared with, or empty.
    ///
    /// # Errors
    /// [`ReportError`], naming the directory.
    pub fn read(
        experiment: &str,
        folder: &Path,
        dirs: &[PathBuf],
        reference: &str,
    ) -> Result<Self, ReportError> {
        let (done, missing): (Vec<_>, Vec<_>) = dirs.iter().cloned().partition(|d| RunDir::new(d).is_done());
        if done.is_empty() {
            return Err(ReportError::Empty {
                folder: folder.to_path_buf(),
            });
        }
        let runs = done.iter().map(Finished::read).collect::<Result<Vec<_>, _>>()?;
        let mut groups: Vec<(&str, Vec<&Finished>)> = Vec::new();
        for run in &runs {
            match groups.iter_mut().find(|(group, _)| *group == run.group) {
                Some((_, members)) => members.push(run),
                None => groups.push((&run.group, vec![run])),
            }
        }
        let mut metrics = Vec::new();
        for metric in runs.iter().flat_map(|r| &r.scores) {
            let key = MetricKey::of(metric);
            if !metrics.contains(&key) {
                metrics.push(key);
            }
        }
        let labels: Vec<String> = groups.iter().map(|(_, runs)| runs[0].label()).collect();
        let compared = labels.iter().position(|l| l == reference).map(|i| &groups[i].1);
        let mut systems = Vec::new();
        for (i, (group, members)) in groups.iter().enumerate() {
            let twice = labels.iter().filter(|l| **l == labels[i]).count() > 1;
            let label = if twice {
                format!("{} #{}", labels[i], &files::sha256(group.as_bytes())[..4])
            } else {
                labels[i].clone()
            };
            let against = compared.filter(|_| labels[i] != reference);
            let mut cells = BTreeMap::new();
            for key in &metrics {
                let cell = cell(key, members, against.map_or(&[], |v| v.as_slice()));
                let cell = cell.map_err(|source| ReportError::Combine {
                    system: label.clone(),
                    source,
                })?;
                cells.extend(cell.map(|c| (key.clone(), c)));
            }
            systems.push(System {
                label,
                n_runs: members.len(),
                cells,
            });
        }
        let reference = if compared.is_some() {
            reference.to_owned()
        } else {
            String::new()
        };
        let made = made(&runs);
        Ok(Self {
            experiment: experiment.to_owned(),
            systems,
            metrics,
            missing,
            made,
            reference,
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

    /// The metrics that `wanted` names (`name` for every split, `name@split` for one); without any, those of all prompts.
    /// A name that nothing has is left out with a warning.
    pub fn select(&self, wanted: &[String]) -> Vec<MetricKey> {
        if wanted.is_empty() {
            return self
                .metrics
                .iter()
                .filter(|k| k.split == "all")
                .cloned()
                .collect();
        }
        let mut keys: Vec<MetricKey> = Vec::new();
        for want in wanted {
            let matches = |k: &&MetricKey| *want == k.name || *want == format!("{}@{}", k.name, k.split);
            let found: Vec<_> = self.metrics.iter().filter(matches).cloned().collect();
            if found.is_empty() {
                tracing::warn!("no run has the metric {want}, which [report] asks for");
            }
            keys.extend(
                found
                    .into_iter()
                    .filter(|k| !keys.contains(k))
                    .collect::<Vec<_>>(),
            );
        }
        keys
    }

    /// The table for a terminal, a column a system: mean and half the width of its interval.
    pub fn table(&self, spec: &ReportSpec) -> String {
        let show = |cell: &Cell| {
            let (value, half) = (cell.interval.value, cell.interval.width() / 2.0);
            if cell.has_interval {
                format!("{value:.3} ±{half:.3}")
            } else {
                format!("{value:.3}")
            }
        };
        let head = std::iter::once("metric".to_owned()).chain(self.systems.iter().map(|s| s.label.clone()));
        let runs =
            std::iter::once("runs".to_owned()).chain(self.systems.iter().map(|s| s.n_runs.to_string()));
        let mut rows: Vec<Vec<String>> = vec![head.collect(), runs.collect()];
        for key in self.select(&spec.columns) {
            let cells = self
                .systems
                .iter()
                .map(|s| s.cells.get(&key).map_or_else(|| "-".into(), show));
            rows.push(std::iter::once(key.title()).chain(cells).collect());
        }
        aligned(&rows)
    }

    /// The report as Markdown.
    pub fn markdown(&self, spec: &ReportSpec) -> String {
        let keys = self.select(&spec.columns);
        let mut text = format!("# {}: results\n\n", self.experiment);
        text.push_str("Made by `eclipse report` from run directories. Mean and 95 % bootstrap interval over seeds and prompts.\n\n");
        let value = |cell: &Cell| interval_text(&cell.interval, cell.has_interval, false);
        text.push_str(&self.markdown_table(&keys, value, |_| true));
        if !self.reference.is_empty() {
            text.push_str(&format!(
                "\n## Difference to {}, on the same prompts\n\n",
                self.reference
            ));
            let difference = |cell: &Cell| {
                cell.difference
                    .as_ref()
                    .map_or_else(|| "-".into(), |d| interval_text(d, true, true))
            };
            let has = |k: &MetricKey| {
                self.systems
                    .iter()
                    .any(|s| s.cells.get(k).is_some_and(|c| c.difference.is_some()))
            };
            let keys: Vec<_> = keys.into_iter().filter(has).collect();
            text.push_str(&self.markdown_table(&keys, difference, |s| s.label != self.reference));
        }
        text.push_str("\n![scores](scores.svg)\n\n");
        if !self.missing.is_empty() {
            text.push_str(&format!(
                "{} runs of this experiment are not finished and not counted.\n\n",
                self.missing.len()
            ));
        }
        text.push_str(&format!("{}\n", self.made));
        text
    }

    fn markdown_table(
        &self,
        keys: &[MetricKey],
        show: impl Fn(&Cell) -> String,
        keep: impl Fn(&System) -> bool,
    ) -> String {
        let titles = keys
            .iter()
            .map(|k| format!(" {} |", k.title()))
            .collect::<String>();
        let mut text = format!(
            "| system | runs |{titles}\n|---|---|{}\n",
            "---|".repeat(keys.len())
        );
        for system in self.systems.iter().filter(|s| keep(s)) {
            let cells = keys
                .iter()
                .map(|k| system.cells.get(k).map_or_else(|| "-".into(), &show));
            let cells = cells.map(|c| format!(" {c} |")).collect::<String>();
            text.push_str(&format!("| {} | {} |{cells}\n", system.label, system.n_runs));
        }
        text
    }

    /// Every cell as a row of CSV.
    ///
    /// # Errors
    /// [`ReportError::Csv`] when the library refuses a record.
    pub fn csv(&self) -> Result<String, ReportError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fail = ReportError::Csv;
        let header = [
            "system",
            "metric",
            "split",
            "value",
            "low",
            "high",
            "difference",
            "difference_low",
            "difference_high",
            "runs",
            "prompts",
        ];
        writer.write_record(header).map_err(|e| fail(e.to_string()))?;
        for system in &self.systems {
            for key in &self.metrics {
                let Some(cell) = system.cells.get(key) else {
                    continue;
                };
                let number = |v: f64, there: bool| if there { format!("{v:.6}") } else { String::new() };
                let d = cell.difference.unwrap_or(Interval {
                    value: 0.0,
                    low: 0.0,
                    high: 0.0,
                });
                let has = cell.difference.is_some();
                let record = [
                    system.label.clone(),
                    key.name.clone(),
                    key.split.clone(),
                    number(cell.interval.value, true),
                    number(cell.interval.low, cell.has_interval),
                    number(cell.interval.high, cell.has_interval),
                    number(d.value, has),
                    number(d.low, has),
                    number(d.high, has),
                    cell.n_runs.to_string(),
                    cell.n_prompts.to_string(),
                ];
                writer.write_record(record).map_err(|e| fail(e.to_string()))?;
            }
        }
        let bytes = writer.into_inner().map_err(|e| fail(e.to_string()))?;
        String::from_utf8(bytes).map_err(|e| fail(e.to_string()))
    }

    /// Writes `README.md`, `scores.csv` and `scores.svg` into `out` and returns their paths.
    ///
    /// # Errors
    /// [`ReportError::Write`] or [`ReportError::Draw`].
    pub fn write(&self, out: &Path, spec: &ReportSpec) -> Result<Vec<PathBuf>, ReportError> {
        let panels = if spec.plot.is_empty() {
            &spec.columns
        } else {
            &spec.plot
        };
        let svg = plot::scores(self, &self.select(panels))?;
        let parts = [
            ("README.md", self.markdown(spec)),
            ("scores.csv", self.csv()?),
            ("scores.svg", svg),
        ];
        files::create_dir(out)?;
        let mut written = Vec::new();
        for (name, text) in parts {
            let path = out.join(name);
            files::write_atomic(&path, text.as_bytes())?;
            written.push(path);
        }
        Ok(written)
    }
}

impl MetricKey {
    fn of(metric: &Metric) -> Self {
        Self {
            name: metric.name.clone(),
            split: metric.split.clone(),
        }
    }

    /// How tables call it.
    pub fn title(&self) -> String {
        if self.split == "all" {
            self.name.clone()
        } else {
            format!("{} {}", self.name, self.split)
        }
    }
}

impl Finished {
    fn read(path: &PathBuf) -> Result<Self, ReportError> {
        let dir = RunDir::new(path);
        let provenance = dir.provenance()?;
        let mut scores = Vec::new();
        for file in dir.eval_files()? {
            let read = EvalFile::read(&file);
            scores.extend(
                read.map_err(|source| ReportError::Scores {
                    dir: path.clone(),
                    source,
                })?
                .metrics,
            );
        }
        let group = group_of(&files::read_text(dir.config_path())?, &dir)?;
        Ok(Self {
            dir,
            provenance,
            group,
            scores,
        })
    }

    /// The axis labels without the seed; the directory's name for a run without axes.
    fn label(&self) -> String {
        let axes = self.provenance.axes.iter().filter(|(key, _)| key != "seed");
        let parts: Vec<String> = axes
            .map(|(key, label)| match key.rsplit('.').next() {
                Some("objective") | None => label.clone(),
                Some(last) => format!("{last}={label}"),
            })
            .collect();
        let name = || {
            self.dir
                .path()
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        };
        if parts.is_empty() {
            name()
        } else {
            parts.join(", ")
        }
    }
}

/// The configuration without its seed.
fn group_of(config: &str, dir: &RunDir) -> Result<String, ReportError> {
    let mut table: Table = config
        .parse()
        .map_err(|e: toml::de::Error| RunDirError::Malformed {
            path: dir.config_path(),
            expected: "the TOML of a resolved run".into(),
            found: e.message().to_owned(),
        })?;
    table.remove("seed");
    Ok(table.to_string())
}

fn cell(key: &MetricKey, runs: &[&Finished], reference: &[&Finished]) -> Result<Option<Cell>, EvalError> {
    fn of<'a>(key: &MetricKey, runs: &[&'a Finished]) -> Vec<&'a Metric> {
        runs.iter()
            .filter_map(|r| r.scores.iter().find(|m| MetricKey::of(m) == *key))
            .collect()
    }
    let metrics = of(key, runs);
    let Some(first) = metrics.first() else {
        return Ok(None);
    };
    let bootstrap = Bootstrap::default();
    let interval = Metric::interval(&metrics, &bootstrap)?;
    let n_prompts = first.per_prompt.as_ref().map_or(first.n, Vec::len);
    let has_interval = metrics.len() > 1 || first.per_prompt.as_ref().is_some_and(|p| p.len() > 1);
    let others = of(key, reference);
    let comparable = |other: &&&Metric| first.per_prompt.is_some() && first.check_same(other).is_ok();
    let difference = match others.first().filter(comparable) {
        Some(_) => Some(bootstrap.paired_difference(&Metric::table(&metrics)?, &Metric::table(&others)?)?),
        None => None,
    };
    Ok(Some(Cell {
        interval,
        has_interval,
        n_runs: metrics.len(),
        n_prompts,
        difference,
    }))
}

fn interval_text(interval: &Interval, has_interval: bool, signed: bool) -> String {
    let Interval { value, low, high } = interval;
    match (has_interval, signed) {
        (false, _) => format!("{value:.3}"),
        (true, false) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        (true, true) => format!("{value:+.3} [{low:+.3}, {high:+.3}]"),
    }
}

/// One sentence on how the runs were made.
fn made(runs: &[Finished]) -> String {
    let sessions = || runs.iter().flat_map(|r| &r.provenance.sessions);
    let commit = |s: &super::provenance::Session| {
        let sha = s
            .git_sha
            .as_deref()
            .map_or("unknown", |sha| sha.get(..10).unwrap_or(sha));
        format!(
            "{sha}{}",
            if s.git_dirty == Some(true) {
                " (changed)"
            } else {
                ""
            }
        )
    };
    let seconds: u64 = sessions()
        .filter_map(|s| duration(&s.start, s.end.as_deref()?))
        .sum();
    format!(
        "{} finished runs; code {}; device {}; {} s of run time in all.",
        runs.len(),
        distinct(sessions().map(commit)),
        distinct(sessions().map(|s| s.device.clone())),
        seconds
    )
}

fn duration(start: &str, end: &str) -> Option<u64> {
    let parse = |text| humantime::parse_rfc3339(text).ok();
    parse(end)?
        .duration_since(parse(start)?)
        .ok()
        .map(|d| d.as_secs())
}

fn distinct(values: impl Iterator<Item = String>) -> String {
    let set: std::collections::BTreeSet<String> = values.collect();
    set.into_iter().collect::<Vec<_>>().join(", ")
}

/// Columns of equal width; the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &w))| match i {
                0 => format!("{cell:<w$}"),
                _ => format!("  {cell:>w$}"),
            });
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}
