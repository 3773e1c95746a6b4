//! A sweep: one specification and axes, expanded into trials.
//!
//! ```toml
//! extends = "base.toml"
//! baselines = ["text_as_prior", "ridge"]          # methods without a network, beside the runs
//! [axes]                                 # product, in this order
//! "objective.lambda" = [0.0, 0.2, 1.0]   # a list of values, or a table of named ones (for values that are tables)
//! seed = [0, 1, 2]
//! [smoke]                                # replaces values under --smoke; [smoke.axes] replaces axes
//! train.steps = 20
//! [report]                               # what tables and plots show
//! columns = ["forced_choice/binding"]
//! curve = { x = "objective.lambda", log = true }
//! ```

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use toml::Value;

use super::error::SpecError;
use super::report_spec::ReportSpec;
use super::resolve::SWEEP_KEYS;
use super::run::ResolvedRun;
use crate::config::layers::{merge, nest, short};
use crate::config::{ConfigError, Layers, Setting};
use crate::eval::baselines::BaselineKind;

/// The parts of a run that a baseline depends on. A baseline has no network, so no size, no training and no seed.
const BASELINE_KEYS: &[&str] = &["world", "clip", "decoder", "data", "eval"];

/// Sizes of a smoke run; the file's own `[smoke]` overrides them.
const SMOKE: &str = "
data = { n_pairs = 64, n_validation = 16 }
train = { steps = 20, batch_size = 16, checkpoint_every = 10, log_every = 5 }
eval = { n_prompts = 8, n_noise = 2 }
";

/// A sweep that is read and not yet expanded.
#[derive(Debug, Clone)]
pub struct SweepSpec {
    name: String,
    folder: PathBuf,
    smoke: bool,
    layers: Layers,
    axes: Vec<Axis>,
    baselines: Vec<BaselineKind>,
    settings: Vec<Setting>,
    report: ReportSpec,
    report_origin: String,
}

/// One axis: a key and its labelled values.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    origin: String,
    key: String,
    values: Vec<(String, Value)>,
}

/// One run of a sweep.
#[derive(Debug, Clone)]
pub struct Trial {
    name: String,
    axes: Vec<(String, String)>,
    run: ResolvedRun,
    written: String,
}

impl Trial {
    /// Name of its run directory: axis labels and the configuration's hash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `(axis, label)`, in the order of the spec.
    pub fn axes(&self) -> &[(String, String)] {
        &self.axes
    }

    /// The run.
    pub fn run(&self) -> &ResolvedRun {
        &self.run
    }

    /// The specification as the user wrote it: text of `spec.toml`.
    pub fn written(&self) -> &str {
        &self.written
    }
}

/// The single run of a file without axes, as in `eclipse train`.
///
/// # Errors
/// Like [`Layers::read`] and [`Layers::resolve`].
pub fn single(path: &Path, settings: &[Setting]) -> Result<Trial, SpecError> {
    let mut layers = Layers::read(path)?;
    for setting in settings {
        layers.set(setting);
    }
    let stem = path
        .file_stem()
        .map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
    let run = plan(vec![], &layers, |hash| format!("{}_{hash}", file_name(&stem)))?;
    Ok(run)
}

impl SweepSpec {
    /// Reads `experiments/<name>/sweep.toml`, or the file or folder that `name` is a path of. Under `smoke` the runs are
    /// tiny. `settings` override everything; a setting that names an axis replaces the axis.
    ///
    /// # Errors
    /// [`SpecError`], naming file and key.
    pub fn read(name: &str, settings: &[Setting], smoke: bool) -> Result<Self, SpecError> {
        let path = find(name)?;
        let mut layers = Layers::read(&path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let stem = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        let name = match folder.file_name() {
            Some(parent) if stem == "sweep" => parent.to_string_lossy().into_owned(),
            _ => stem,
        };
        let mut spec = Self {
            name: file_name(&name),
            folder,
            smoke,
            layers: Layers::default(),
            axes: vec![],
            baselines: vec![],
            settings: vec![],
            report: ReportSpec::default(),
            report_origin: String::new(),
        };
        let mut on_top = Layers::default();
        if smoke {
            on_top.push("--smoke", SMOKE.parse().expect("the built-in sizes are TOML"));
        }
        let mut smoke_axes = vec![];
        for (origin, key, value) in layers.take(SWEEP_KEYS) {
            match key.as_str() {
                "axes" => spec.add_axes(&origin, "axes", value)?,
                "baselines" => spec.baselines = read_as(&origin, &key, value, BASELINES)?,
                "report" => {
                    spec.report = ReportSpec::read(&origin, value)?;
                    spec.report_origin = origin;
                }
                _ => {
                    let Value::Table(mut table) = value else {
                        return Err(wrong(&origin, &key, "a table", &value).into());
                    };
                    if let Some(axes) = table.remove("axes") {
                        smoke_axes.push((origin.clone(), axes));
                    }
                    if smoke {
                        on_top.push(format!("{origin} [smoke]"), table);
                    }
                }
            }
        }
        for (origin, axes) in smoke_axes {
            if smoke {
                spec.add_axes(&origin, "smoke.axes", axes)?;
            }
        }
        layers.append(on_top);
        spec.layers = layers;
        for setting in settings {
            match spec.axes.iter_mut().find(|a| a.key == setting.key) {
                Some(axis) => *axis = axis.replaced_by(setting)?,
                None => spec.settings.push(setting.clone()),
            }
        }
        Ok(spec)
    }

    /// Name of the experiment; smoke runs have a separate name.
    pub fn name(&self) -> String {
        if self.smoke {
            format!("{}-smoke", self.name)
        } else {
            self.name.clone()
        }
    }

    /// The folder of the specification.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the sweep reproduces the folder's committed results: no `--smoke`, no `--set`.
    pub fn is_as_committed(&self) -> bool {
        let pinned = self.axes.iter().any(|a| a.origin.starts_with("--set"));
        !self.smoke && self.settings.is_empty() && !pinned
    }

    /// `[report]`.
    pub fn report(&self) -> &ReportSpec {
        &self.report
    }

    /// All runs: the product of the axes with the last axis fastest, then the baselines.
    ///
    /// # Errors
    /// [`SpecError`], naming file, axis or option and key. A `--set` of an objective's key must apply to at least one run.
    pub fn expand(&self) -> Result<Vec<Trial>, SpecError> {
        let mut runs = Vec::new();
        let mut used = vec![false; self.settings.len()];
        for point in product(&self.axes) {
            let mut layers = self.layers.clone();
            for (axis, _, value) in &point {
                layers.push(
                    format!("{}: axis {}", axis.origin, axis.key),
                    nest(&axis.key, (*value).clone()),
                );
            }
            let kind = layers.objective_kind();
            for (setting, used) in self.settings.iter().zip(&mut used) {
                if setting.applies_to(&kind) {
                    *used = true;
                    layers.set(setting);
                }
            }
            let labels = point
                .iter()
                .map(|(axis, label, _)| (axis.key.clone(), (*label).to_owned()));
            runs.push(named(labels.collect(), &layers)?);
        }
        for &baseline in &self.baselines {
            runs.extend(self.expand_baseline(baseline)?);
        }
        if let Some(unused) = used.iter().position(|used| !used) {
            let setting = &self.settings[unused];
            return Err(ConfigError::UnknownKey {
                origin: setting.origin(),
                key: setting.key.clone(),
                expected: "a key of an objective in this sweep".into(),
                suggestion: None,
            }
            .into());
        }
        let mut seen = HashSet::new();
        match runs.iter().find(|r| !seen.insert(r.run.hash().to_owned())) {
            None => {
                let configs = runs.iter().map(|trial| (trial.axes(), trial.run().config()));
                self.report.check_curves(configs, &self.report_origin)?;
                Ok(runs)
            }
            Some(twice) => Err(ConfigError::Value {
                origin: self.folder.join("sweep.toml").display().to_string(),
                key: "axes".into(),
                expected: "runs that differ".into(),
                found: format!(
                    "one configuration twice, the second time as {}",
                    labels_of(&twice.axes)
                ),
            }
            .into()),
        }
    }

    fn expand_baseline(&self, baseline: BaselineKind) -> Result<Vec<Trial>, ConfigError> {
        let concerns = |key: &str| BASELINE_KEYS.contains(&key.split('.').next().unwrap_or(key));
        let axes: Vec<Axis> = self.axes.iter().filter(|a| concerns(&a.key)).cloned().collect();
        let mut runs = Vec::new();
        for point in product(&axes) {
            let mut layers = self.layers.only(BASELINE_KEYS);
            let mut objective = nest("objective.kind", Value::String("baseline".into()));
            merge(
                &mut objective,
                &nest("objective.method", Value::String(baseline.name().into())),
            );
            layers.push("baselines", objective);
            for (axis, _, value) in &point {
                layers.push(
                    format!("{}: axis {}", axis.origin, axis.key),
                    nest(&axis.key, (*value).clone()),
                );
            }
            for setting in self.settings.iter().filter(|s| concerns(&s.key)) {
                layers.set(setting);
            }
            let mut labels = vec![("objective".to_owned(), baseline.name().to_owned())];
            labels.extend(
                point
                    .iter()
                    .map(|(axis, label, _)| (axis.key.clone(), (*label).to_owned())),
            );
            runs.push(named(labels, &layers)?);
        }
        Ok(runs)
    }

    /// Adds the axes of one file; an axis with the same key is replaced in place.
    fn add_axes(&mut self, origin: &str, key: &str, value: Value) -> Result<(), ConfigError> {
        let Value::Table(table) = value else {
            return Err(wrong(origin, key, "a table of axes", &value));
        };
        for (name, value) in table {
            for axis in Axis::read(origin, &name, value)? {
                match self.axes.iter_mut().find(|a| a.key == axis.key) {
                    Some(old) => *old = axis,
                    None => self.axes.push(axis),
                }
            }
        }
        Ok(())
    }
}

const BASELINES: &str =
    "a list of text_as_prior, mean_shift, scaled_mean_shift, ridge, nearest_caption, oracle, oracle_mean";

fn read_as<T: serde::de::DeserializeOwned>(
    origin: &str,
    key: &str,
    value: Value,
    expected: &str,
) -> Result<T, ConfigError> {
    value
        .clone()
        .try_into()
        .map_err(|_| wrong(origin, key, expected, &value))
}

fn wrong(origin: &str, key: &str, expected: &str, found: &Value) -> ConfigError {
    ConfigError::Value {
        origin: origin.into(),
        key: key.into(),
        expected: expected.into(),
        found: short(found),
    }
}

impl Axis {
    /// The axes of `key = value`: usually one; several if `a.b = [..]` was written without quotes.
    fn read(origin: &str, key: &str, value: Value) -> Result<Vec<Self>, ConfigError> {
        let values = match value {
            Value::Array(values) => values.into_iter().map(|v| (label(&v), v)).collect(),
            Value::Table(table) if table.values().any(Value::is_array) => {
                let inner = table
                    .into_iter()
                    .map(|(k, v)| Self::read(origin, &format!("{key}.{k}"), v));
                return Ok(inner.collect::<Result<Vec<_>, _>>()?.concat());
            }
            Value::Table(table) => table.into_iter().collect(),
            other => {
                return Err(wrong(
                    origin,
                    &format!("axes.{key}"),
                    "a list of values or a table of named ones",
                    &other,
                ));
            }
        };
        Self::new(origin.to_owned(), key.to_owned(), values).map(|axis| vec![axis])
    }

    fn new(origin: String, key: String, values: Vec<(String, Value)>) -> Result<Self, ConfigError> {
        let found = match values
            .iter()
            .enumerate()
            .find(|(i, v)| values[..*i].iter().any(|w| w.0 == v.0))
        {
            Some((_, (twice, _))) => format!("{twice} twice"),
            None if values.is_empty() => "none".into(),
            None => return Ok(Self { origin, key, values }),
        };
        let expected = "one or more values, each once (name tables: a = {..}, b = {..})".into();
        Err(ConfigError::Value {
            origin,
            key: format!("axes.{key}"),
            expected,
            found,
        })
    }

    /// This axis with the values of a `--set`: a list, the name of one of its values, or one value.
    fn replaced_by(&self, setting: &Setting) -> Result<Self, ConfigError> {
        let one = |value: &Value| {
            let text = label(value);
            let named = self
                .values
                .iter()
                .find(|(label, v)| *label == text && v.is_table());
            named.cloned().unwrap_or_else(|| (text, value.clone()))
        };
        let values = match &setting.value {
            Value::Array(values) => values.iter().map(one).collect(),
            value => vec![one(value)],
        };
        Self::new(setting.origin(), self.key.clone(), values)
    }
}

/// The label of a value in names and tables.
fn label(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        // 1 and 1.0 are the same value of a float.
        Value::Float(v) => v.to_string(),
        Value::Table(table) => match table.get("kind").or_else(|| table.get("method")) {
            Some(Value::String(kind)) => kind.clone(),
            _ => short(value),
        },
        other => short(other),
    }
}

type Point<'a> = Vec<(&'a Axis, &'a str, &'a Value)>;

/// Every combination of values, the last axis fastest. Without axes, one empty combination.
fn product(axes: &[Axis]) -> Vec<Point<'_>> {
    let mut points = vec![vec![]];
    for axis in axes {
        let mut longer = Vec::new();
        for point in &points {
            for (label, value) in &axis.values {
                let mut point: Point<'_> = point.clone();
                point.push((axis, label, value));
                longer.push(point);
            }
        }
        points = longer;
    }
    points
}

fn named(axes: Vec<(String, String)>, layers: &Layers) -> Result<Trial, ConfigError> {
    let parts = axes
        .iter()
        .map(|(key, label)| format!("{key}-{}_", file_name(label)));
    let prefix = parts.collect::<String>();
    plan(axes, layers, |hash| format!("{prefix}{hash}"))
}

/// `a = 1, b = 2`.
fn labels_of(axes: &[(String, String)]) -> String {
    axes.iter()
        .map(|(key, label)| format!("{key} = {label}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn plan(
    axes: Vec<(String, String)>,
    layers: &Layers,
    name: impl FnOnce(&str) -> String,
) -> Result<Trial, ConfigError> {
    let run = layers.resolve()?;
    let origins = layers
        .origins()
        .iter()
        .map(|o| format!("#   {o}\n"))
        .collect::<String>();
    let table = toml::to_string(&layers.written()).expect("layers of TOML are TOML");
    Ok(Trial {
        name: name(run.short_hash()),
        axes,
        run,
        written: format!("# As given, lowest layer first:\n{origins}\n{table}"),
    })
}

/// `text`, with characters that are unsafe in file names replaced by `-`.
fn file_name(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._+-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// The sweep file of the experiment `name`: `experiments/<name>/sweep.toml`, or the file or folder that `name` is a path of.
///
/// # Errors
/// [`SpecError::NoExperiment`], with the experiments that there are.
pub fn find(name: &str) -> Result<PathBuf, SpecError> {
    let given = Path::new(name);
    if given.is_file() {
        return Ok(given.to_path_buf());
    }
    let inside = given.join("sweep.toml");
    if inside.is_file() {
        return Ok(inside);
    }
    let expected = Path::new("experiments").join(name).join("sweep.toml");
    if expected.is_file() {
        return Ok(expected);
    }
    let mut available: Vec<String> = std::fs::read_dir("experiments")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.path().join("sweep.toml").is_file())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    available.sort();
    Err(SpecError::NoExperiment {
        name: name.to_owned(),
        expected,
        available,
    })
}
