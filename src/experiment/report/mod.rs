//! What came out: tables, plots and pages from run directories and nothing else.
//!
//! Runs that differ only in their seed are one system. Values are means over seeds and prompts, intervals come from the
//! bootstrap over both ([`crate::eval::bootstrap`]); nobody types a number.

mod about;
mod claims;
pub(super) mod curve;
mod finished;
mod gallery;
mod index;
mod page;
mod plot;
mod preference;
mod provenance;
mod sheet;
mod spec;
mod text;
mod training;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Table;

pub use self::about::About;
pub use self::claims::{Claim, Claims, Order};
pub use self::index::{index, write_index};
pub use self::preference::{Meeting, Preference};
pub use self::spec::{CurveSpec, PreferenceSpec, ReportSpec};

use self::curve::Curves;
use self::finished::Finished;
use self::gallery::Gallery;
use self::sheet::Sheet;
use super::convergence::Convergence;
use super::error::RunDirError;
use super::run_dir::RunDir;
use crate::eval::{Bootstrap, EvalError, Interval, Metric, Seeds};
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
    /// The pictures of a run cannot be shown.
    #[error("cannot show the pictures of {dir}")]
    Pictures {
        /// The run directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: EvalError,
    },
    /// The report cannot be written, or a page about it not read.
    #[error("cannot write the report")]
    Write(#[from] FileError),
    /// The table cannot be put into CSV.
    #[error("cannot write CSV: {0}")]
    Csv(String),
    /// A kept picture is none, or the sheet of them cannot be made.
    #[error("cannot put the pictures on one sheet")]
    Sheet(#[source] image::ImageError),
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
    /// The system that its differences are to.
    pub compared_with: Option<String>,
    /// Whether its training had converged, by the least converged of its runs; `None` for a baseline, which needs no training.
    pub convergence: Option<Convergence>,
    /// `(axis, label)` without the seed.
    axes: Vec<(String, String)>,
    /// Its complete configuration without the seed.
    config: Table,
    /// Losses of its runs; none for a baseline.
    losses: Vec<training::Losses>,
    /// The run of its first seed.
    first: RunDir,
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
    /// Who wins how often, as the specification asks.
    pub preferences: Vec<Preference>,
    reference: String,
    provenance: Vec<(&'static str, Vec<String>)>,
}

/// The runs of one system.
struct Group<'a> {
    label: String,
    runs: Vec<&'a Finished>,
}

/// What the runs of one system say about one metric.
struct Scores {
    /// The seed of each row.
    rows: Vec<u64>,
    /// `[seed][prompt]`.
    table: Vec<Vec<f64>>,
    is_per_prompt: bool,
    prompts: Option<Vec<usize>>,
}

impl Scores {
    /// `None` if no run has the metric.
    fn of(key: &MetricKey, runs: &[&Finished]) -> Result<Option<Self>, EvalError> {
        let (mut rows, mut metrics) = (Vec::new(), Vec::new());
        for run in runs {
            if let Some(metric) = run.scores.iter().find(|m| MetricKey::of(m) == *key) {
                rows.push(run.provenance.seed);
                metrics.push(metric);
            }
        }
        let Some(first) = metrics.first() else {
            return Ok(None);
        };
        Ok(Some(Self {
            rows,
            is_per_prompt: first.per_prompt.is_some(),
            prompts: first.prompts.clone(),
            table: Metric::table(&metrics)?,
        }))
    }

    fn seeds(&self, other: &Self) -> Seeds {
        Seeds::of(&self.rows, &other.rows)
    }

    /// Whether prompt by prompt comparison makes sense.
    fn is_comparable(&self, other: &Self) -> bool {
        self.is_per_prompt
            && other.is_per_prompt
            && self.prompts == other.prompts
            && self.table[0].len() == other.table[0].len()
    }
}

impl Report {
    /// Reads the runs in `dirs`, in that order. Unfinished ones are listed as missing. `folder` is named when none is
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
        let groups = Group::all(&runs);
        let mut systems = Vec::new();
        for group in &groups {
            let against = group.counterpart(&groups, &spec.reference);
            let mut cells = BTreeMap::new();
            for key in &metrics {
                let cell = cell(key, &group.runs, against.map_or(&[], |g| g.runs.as_slice()));
                let cell = cell.map_err(|source| ReportError::Combine {
                    system: group.label.clone(),
                    source,
                })?;
                cells.extend(cell.map(|c| (key.clone(), c)));
            }
            let first = group.runs[0];
            systems.push(System {
                label: group.label.clone(),
                n_runs: group.runs.len(),
                cells,
                compared_with: against.map(|g| g.label.clone()),
                convergence: group.runs.iter().filter_map(|run| run.convergence).max(),
                axes: first.axes().cloned().collect(),
                config: first.config.clone(),
                losses: group.runs.iter().filter_map(|run| run.losses.clone()).collect(),
                first: first.dir.clone(),
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

    /// The metrics that `wanted` names (`name` for every split, `name@split` for one); without any, those of all prompts.
    /// A name that nothing has is left out with a warning.
    pub fn select(&self, wanted: &[String]) -> Vec<MetricKey> {
        Self::chosen(&self.metrics, wanted)
    }

    fn chosen(metrics: &[MetricKey], wanted: &[String]) -> Vec<MetricKey> {
        if wanted.is_empty() {
            return metrics.iter().filter(|k| k.split == "all").cloned().collect();
        }
        let mut keys: Vec<MetricKey> = Vec::new();
        for want in wanted {
            let matches = |k: &&MetricKey| *want == k.name || *want == format!("{}@{}", k.name, k.split);
            let found: Vec<_> = metrics.iter().filter(matches).cloned().collect();
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

    /// The curves that `spec` asks for and the runs have numbers for.
    fn curves(&self, spec: &ReportSpec) -> Vec<Curves> {
        let curves = spec.curves.iter();
        curves
            .filter_map(|curve| Curves::of(self, curve, &spec.columns))
            .collect()
    }

    /// The metrics of the dot plot.
    fn plotted(&self, spec: &ReportSpec) -> Vec<MetricKey> {
        self.select(if spec.plot.is_empty() {
            &spec.columns
        } else {
            &spec.plot
        })
    }

    /// Writes the report into `out` and returns the paths: `index.html`, `README.md`, `scores.csv`, `scores.svg`, and where `spec` has them
    /// `preferences.csv`, `curves.svg` and `pictures.png`. `about` is what the experiment says about itself.
    ///
    /// # Errors
    /// [`ReportError`]: pictures of a run that cannot be read, a plot that cannot be drawn, a file that cannot be written.
    pub fn write(&self, out: &Path, spec: &ReportSpec, about: &About) -> Result<Vec<PathBuf>, ReportError> {
        let gallery = Gallery::of(self)?;
        let sheet = Sheet::of(&gallery, spec.sheet);
        let pictures = sheet.as_ref().map(|sheet| sheet.markdown(SHEET));
        let markdown = self.markdown(spec, pictures.as_deref().unwrap_or_default());
        let mut parts = vec![
            ("README.md".to_owned(), markdown),
            ("scores.csv".to_owned(), self.csv()?),
            ("scores.svg".to_owned(), plot::scores(self, &self.plotted(spec))?),
        ];
        if !self.preferences.is_empty() {
            parts.push(("preferences.csv".to_owned(), self.preferences_csv()?));
        }
        for (i, curves) in self.curves(spec).iter().enumerate() {
            let title = match curves.only() {
                only if only.is_empty() => self.experiment.clone(),
                only => format!("{}, {only}", self.experiment),
            };
            parts.push((curve_file(i), curves.sheet(&title)?));
        }
        let names: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
        parts.push(("index.html".to_owned(), self.page(spec, about, &names, &gallery)?));
        let mut parts: Vec<(String, Vec<u8>)> = parts
            .into_iter()
            .map(|(name, text)| (name, text.into_bytes()))
            .collect();
        if let Some(sheet) = sheet {
            parts.push((SHEET.to_owned(), sheet.png()?));
        }
        files::write_all_atomic(out, &parts)?;
        remove_others(out, &parts);
        Ok(parts.into_iter().map(|(name, _)| out.join(name)).collect())
    }
}

/// Removes what a report before has left that this one does not have: it would be taken for a part of it.
fn remove_others(out: &Path, parts: &[(String, Vec<u8>)]) {
    let is_ours = |name: &str| {
        let curve = name.strip_prefix("curves").and_then(|n| n.strip_suffix(".svg"));
        let is_curve = curve
            .is_some_and(|n| n.is_empty() || n.strip_prefix('-').is_some_and(|n| n.parse::<usize>().is_ok()));
        is_curve || ["preferences.csv", SHEET].contains(&name)
    };
    for path in files::list(out).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_ours(&name) && parts.iter().all(|(part, _)| *part != name) {
            // The report is whole without it.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Name of the file with the pictures.
const SHEET: &str = "pictures.png";

/// Name of the file of curve `i`.
fn curve_file(i: usize) -> String {
    match i {
        0 => "curves.svg".into(),
        i => format!("curves-{}.svg", i + 1),
    }
}

impl<'a> Group<'a> {
    /// Runs by system, in the order of the runs; systems of one label get different ones.
    fn all(runs: &'a [Finished]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            match groups.iter_mut().find(|g| g.runs[0].config == run.config) {
                Some(group) => group.runs.push(run),
                None => groups.push(Self {
                    label: run.label(),
                    runs: vec![run],
                }),
            }
        }
        let labels: Vec<String> = groups.iter().map(|g| g.label.clone()).collect();
        for group in &mut groups {
            if labels.iter().filter(|l| **l == group.label).count() > 1 {
                let config = group.runs[0].config.to_string();
                group.label = format!("{} #{}", group.label, &files::sha256(config.as_bytes())[..4]);
            }
        }
        groups
    }

    /// What this system is compared with: the system of the label `reference`; if there is none, the one that differs in one axis only and has
    /// `reference` there.
    fn counterpart<'g>(&self, groups: &'g [Self], reference: &str) -> Option<&'g Self> {
        let others = || groups.iter().filter(|g| g.label != self.label);
        if groups.iter().any(|g| g.label == reference) {
            return others().find(|g| g.label == reference);
        }
        let own: Vec<_> = self.runs[0].axes().collect();
        others().find(|g| is_counterpart(&own, &g.runs[0].axes().collect::<Vec<_>>(), reference))
    }
}

impl System {
    /// Whether an order may be claimed that rests on this system.
    pub fn may_be_compared(&self) -> bool {
        matches!(self.convergence, None | Some(Convergence::Converged))
    }

    /// The column `converged` of tables.
    pub fn converged(&self) -> &'static str {
        self.convergence.map_or("-", Convergence::words)
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

/// Axis labels in a row, without the seed.
fn label_of<'a>(axes: impl Iterator<Item = &'a (String, String)>) -> String {
    let parts: Vec<String> = axes
        .filter(|(key, _)| key != "seed")
        .map(|(key, label)| match key.rsplit('.').next() {
            Some("objective") | None => label.clone(),
            Some(last) => format!("{last}={label}"),
        })
        .collect();
    parts.join(", ")
}

/// Whether `other` differs from `own` in one axis only and is called `reference` there.
fn is_counterpart(own: &[&(String, String)], other: &[&(String, String)], reference: &str) -> bool {
    let of =
        |axes: &[&(String, String)], key: &str| axes.iter().find(|(k, _)| k == key).map(|(_, l)| l.clone());
    let changed: Vec<_> = other
        .iter()
        .filter(|(key, label)| of(own, key).as_ref() != Some(label))
        .collect();
    match changed[..] {
        [one] => {
            let is_called = one.1 == reference || label_of(std::iter::once(*one)) == reference;
            own.len() == other.len() && is_called && of(own, &one.0).is_some()
        }
        _ => false,
    }
}

fn cell(key: &MetricKey, runs: &[&Finished], reference: &[&Finished]) -> Result<Option<Cell>, EvalError> {
    let Some(scores) = Scores::of(key, runs)? else {
        return Ok(None);
    };
    let (n_runs, n_values) = (scores.table.len(), scores.table[0].len());
    let first = runs
        .iter()
        .find_map(|r| r.scores.iter().find(|m| MetricKey::of(m) == *key));
    let bootstrap = Bootstrap::default();
    let others = Scores::of(key, reference)?.filter(|others| scores.is_comparable(others));
    let difference = match others {
        Some(others) => {
            Some(bootstrap.paired_difference(&scores.table, &others.table, scores.seeds(&others))?)
        }
        None => None,
    };
    Ok(Some(Cell {
        interval: bootstrap.mean(&scores.table)?,
        has_interval: n_runs > 1 || n_values > 1,
        n_runs,
        n_prompts: match first {
            Some(metric) if !scores.is_per_prompt => metric.n,
            _ => n_values,
        },
        difference,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counterpart_differs_in_the_axis_of_the_reference_only() {
        let axes = |objective: &str, n_pairs: &str| {
            [("objective", objective), ("data.n_pairs", n_pairs)].map(|(k, l)| (k.to_owned(), l.to_owned()))
        };
        let is = |own: [(String, String); 2], other: [(String, String); 2], reference: &str| {
            is_counterpart(&own.each_ref(), &other.each_ref(), reference)
        };
        assert!(is(axes("ridge", "300"), axes("eclipse", "300"), "eclipse"));
        assert!(!is(axes("ridge", "300"), axes("eclipse", "1000"), "eclipse"));
        assert!(!is(axes("ridge", "300"), axes("projection", "300"), "eclipse"));
        assert!(!is(axes("eclipse", "300"), axes("eclipse", "1000"), "eclipse"));
        assert!(is(
            axes("eclipse", "300"),
            axes("eclipse", "1000"),
            "n_pairs=1000"
        ));
        let lone = ("objective".to_owned(), "oracle".to_owned());
        assert!(!is_counterpart(
            &[&lone],
            &axes("eclipse", "300").each_ref(),
            "eclipse"
        ));
    }
}
