//! `[report]` of a sweep file: the content of its tables, plots and comparisons, and the check that curves fit the planned runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::config::check::{Bound, bounds_of, non_negative};
use crate::config::layers::{lookup, short};
use crate::config::{ConfigError, InvalidValue, from_toml};

/// `[report]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSpec {
    /// Metrics of the table, in order: `name` for all splits of a metric or `name@split`. Empty: all metrics.
    pub columns: Vec<String>,
    /// Metrics of the dot plot, one panel each, in the same notation. Empty: the first four columns.
    pub plot: Vec<String>,
    /// The reference system of the paired comparison: its label, or one part of it (`eclipse` if the axes are objective and
    /// size), in which case each system is compared with the one that differs in this part only. Empty: no comparison.
    pub reference: String,
    /// Curves of metrics over a numeric axis.
    #[serde(rename = "curve")]
    #[schemars(with = "OneOrMany<CurveSpec>")]
    pub curves: Vec<CurveSpec>,
    /// Win rates on the same prompt.
    #[serde(rename = "preference")]
    #[schemars(with = "OneOrMany<PreferenceSpec>")]
    pub preferences: Vec<PreferenceSpec>,
    /// Prompts of each split on the sheet of images, `figure.svg`; 0 for none.
    pub sheet: usize,
    /// The systems on the sheet, by label, in this order. Empty: all that have images.
    pub sheet_systems: Vec<String>,
    /// The metrics of the first table of a page and of its first plot, at most [`MAX_SUMMARY`]. Empty: the first of [`ReportSpec::columns`].
    #[schemars(length(max = MAX_SUMMARY))]
    pub summary: Vec<String>,
    /// The answer to the experiment's question: at most three sentences of Markdown for the head of the page and the list of experiments.
    /// `{a: metric@split}` stands for a system's value, `{a - b: metric@split}` for the paired difference of two systems, with 95 % intervals. Results of
    /// other configurations or of unfinished sweeps do not show it.
    pub answer: String,
    /// Place in the list of experiments, from 1; those without one follow by name.
    pub place: Option<usize>,
    /// Names of systems for readers, by label or by one part of it: `eclipse = "ECLIPSE"`.
    pub names: BTreeMap<String, String>,
}

/// How `curve` and `preference` are written: a table, or a list of tables.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a file")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// Names for readers of systems that many experiments have; [`ReportSpec::names`] adds to them and replaces them.
const NAMES: [(&str, &str); 11] = [
    ("eclipse", "ECLIPSE"),
    ("projection", "Projection"),
    ("diffusion", "Diffusion-Baseline"),
    ("diffusion_g15", "Diffusion-Baseline, guidance 1.5"),
    ("text_as_prior", "text embedding"),
    ("mean_shift", "mean shift"),
    ("ridge", "ridge regression"),
    ("nearest_caption", "nearest caption"),
    ("oracle", "true embedding (oracle)"),
    ("oracle_mean", "mean of true embeddings (oracle)"),
    ("scaled_mean_shift", "scaled mean shift"),
];

/// Most metrics of [`ReportSpec::summary`].
pub const MAX_SUMMARY: usize = 4;

/// `curve = { x = "objective.lambda", log = true, metrics = ["cos/z_x@all"] }`: one panel per metric, one line per series.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["x"]))]
pub struct CurveSpec {
    /// The key on the x axis; systems without it are horizontal lines.
    #[schemars(length(min = 1))]
    pub x: String,
    /// The key that distinguishes the lines. Omitted: all axes except `x` and the seed.
    pub series: Option<String>,
    /// One panel each, as in [`ReportSpec::columns`]. Empty: the columns of the table.
    pub metrics: Vec<String>,
    /// Whether `x` has a logarithmic axis; zero is then drawn at the left edge.
    pub log: bool,
    /// Only systems whose configuration has these values, as in `only = { "data.n_pairs" = 1000 }`. Empty: all.
    #[serde(deserialize_with = "flattened")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub only: Vec<(String, Value)>,
}

/// `preference = { metric = "picture/clip_score@all", reference = "eclipse", round_robin = true }`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["metric"]))]
pub struct PreferenceSpec {
    /// A metric with a value per prompt; the higher value wins.
    #[schemars(length(min = 1))]
    pub metric: String,
    /// The system whose wins are counted. Omitted: [`ReportSpec::reference`].
    pub reference: Option<String>,
    /// Differences up to this are ties.
    pub tolerance: f64,
    /// Whether all pairs of systems are compared.
    pub round_robin: bool,
}

impl ReportSpec {
    /// Reads the table that `origin` has under `report`.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] or [`ConfigError::Value`], naming `origin` and the key.
    pub(super) fn read(origin: &str, value: Value) -> Result<Self, ConfigError> {
        let mut value = value;
        let mut single = Vec::new();
        if let Value::Table(table) = &mut value {
            for key in ["curve", "preference"] {
                // One table stands for a list of one.
                if let Some(one) = table.get_mut(key).filter(|value| value.is_table()) {
                    *one = Value::Array(vec![one.clone()]);
                    single.push(key);
                }
            }
        }
        let spec: Self = from_toml(&value, origin).map_err(|error| {
            let error = single.iter().fold(error, |error, key| error.without_index(key));
            error.under("report")
        })?;
        spec.check_keys(origin)?;
        Ok(spec)
    }

    /// The metrics of the first table of a page.
    pub fn summary(&self) -> &[String] {
        match self.summary.as_slice() {
            [] => &self.columns[..self.columns.len().min(MAX_SUMMARY)],
            summary => summary,
        }
    }

    /// The name for readers of the system `label`: that of the whole label, else each part of it replaced.
    pub fn name_of(&self, label: &str) -> String {
        let usual = |part: &str| {
            NAMES
                .iter()
                .find(|(known, _)| *known == part)
                .map(|(_, name)| (*name).to_owned())
        };
        let pairs = |part: &str| Some(format!("{} pairs", part.strip_prefix("n_pairs=")?));
        let name = |part: &str| {
            self.names
                .get(part)
                .cloned()
                .or_else(|| usual(part))
                .or_else(|| pairs(part))
        };
        name(label).unwrap_or_else(|| {
            let parts: Vec<String> = label
                .split(", ")
                .map(|part| name(part).unwrap_or_else(|| part.to_owned()))
                .collect();
            parts.join(", ")
        })
    }

    /// Fails unless every curve and preference has the keys that have no default, and numbers are in range.
    fn check_keys(&self, origin: &str) -> Result<(), ConfigError> {
        if self.summary.len() > MAX_SUMMARY {
            let found = format!("{} metrics", self.summary.len());
            return Err(ConfigError::value(
                origin,
                "report.summary",
                format!("at most {MAX_SUMMARY} metrics"),
                found,
            ));
        }
        let missing = |key: String, expected| Err(ConfigError::value(origin, key, expected, "nothing"));
        for (i, curve) in self.curves.iter().enumerate() {
            if curve.x.is_empty() {
                let key = format!("report.curve{}.x", index(i, self.curves.len()));
                return missing(key, "the key of a number, as in objective.lambda");
            }
        }
        for (i, preference) in self.preferences.iter().enumerate() {
            let at = index(i, self.preferences.len());
            if preference.metric.is_empty() {
                let expected = "a metric with a value for each prompt, as in picture/clip_score@all";
                return missing(format!("report.preference{at}.metric"), expected);
            }
            preference
                .check_tolerance(&format!("report.preference{at}"))
                .map_err(|invalid| invalid.at(origin))?;
        }
        Ok(())
    }

    /// Fails unless each curve has numeric x values and at most one system per x value and line. `runs`: `(axis, label)` pairs and complete configuration
    /// (TOML) of each planned run.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming `origin` and the key.
    pub(super) fn check_curves<'a>(
        &self,
        runs: impl Iterator<Item = (&'a [(String, String)], &'a str)>,
        origin: &str,
    ) -> Result<(), ConfigError> {
        let without_seed = |(axes, config): (&'a [(String, String)], &str)| {
            let mut config: Table = config
                .parse()
                .expect("the configuration of a resolved run is TOML");
            config.remove("seed");
            (axes, config)
        };
        let runs: Vec<_> = runs.map(without_seed).collect();
        for (i, curve) in self.curves.iter().enumerate() {
            let at = index(i, self.curves.len());
            curve
                .check(&runs)
                .map_err(|(key, expected, found)| ConfigError::Value {
                    origin: origin.to_owned(),
                    key: format!("report.curve{at}.{key}"),
                    expected: expected.to_owned(),
                    found,
                })?;
        }
        Ok(())
    }
}

/// The bounds of the numbers in `[report]`, by key.
pub(super) fn bounds() -> Result<Vec<(String, Bound)>, InvalidValue> {
    let preference = PreferenceSpec::default();
    let mut bounds = bounds_of(|| preference.check_tolerance("report.preference"))?;
    for (key, _) in &mut bounds {
        *key = key.trim_start_matches("report.").to_owned();
    }
    Ok(bounds)
}

impl PreferenceSpec {
    fn check_tolerance(&self, key: &str) -> Result<(), InvalidValue> {
        non_negative(&format!("{key}.tolerance"), self.tolerance)
    }
}

/// Position of a system in a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct CurvePoint {
    /// The value of [`CurveSpec::x`]; `None` for a system without it, which is a horizontal line.
    pub x: Option<f64>,
    /// The name of the system's line.
    pub series: String,
}

impl CurveSpec {
    /// Whether a system with this configuration may be on the curve.
    pub fn selects(&self, config: &Table) -> bool {
        let mut wanted = self.only.iter();
        wanted.all(|(key, value)| lookup(config, key) == Some(value))
    }

    /// The position of the system with these `(axis, label)` pairs and this configuration.
    pub fn point(&self, axes: &[(String, String)], config: &Table) -> CurvePoint {
        let x = own_value(config, &self.x).and_then(number);
        let series = match &self.series {
            Some(key) => {
                let value = || match own_value(config, key)? {
                    Value::String(text) => Some(text.clone()),
                    Value::Table(table) => table.get("kind").and_then(|k| k.as_str()).map(str::to_owned),
                    other => Some(short(other)),
                };
                let axis = axes.iter().find(|(axis, _)| axis == key).cloned();
                let named = axis.or_else(|| Some((key.clone(), value()?)));
                system_label(named.iter())
            }
            None => system_label(axes.iter().filter(|(axis, _)| *axis != self.x)),
        };
        let kind = || lookup(config, "objective.kind").and_then(Value::as_str);
        let series = match series.as_str() {
            "" => kind().unwrap_or_default().to_owned(),
            _ => series,
        };
        CurvePoint { x, series }
    }

    /// [`CurveSpec::only`] as text, as in `data.n_pairs = 1000`; empty if unset.
    pub fn only_text(&self) -> String {
        let pairs = self.only.iter();
        let pairs = pairs.map(|(key, value)| format!("{key} = {}", short(value)));
        pairs.collect::<Vec<_>>().join(", ")
    }

    /// Fails with `(key, expected, found)`; `runs` have no seed.
    fn check(
        &self,
        runs: &[(&[(String, String)], Table)],
    ) -> Result<(), (&'static str, &'static str, String)> {
        let mut met: BTreeMap<(String, String), String> = BTreeMap::new();
        for (axes, config) in runs.iter().filter(|(_, config)| self.selects(config)) {
            let CurvePoint { x: Some(x), series } = self.point(axes, config) else {
                continue;
            };
            if self.log && x < 0.0 {
                let expected = "values of 0 or above along a logarithmic axis";
                return Err(("log", expected, x.to_string()));
            }
            let system = config.to_string();
            let other = met.insert((series.clone(), x.to_string()), system.clone());
            if other.is_some_and(|other| other != system) {
                return Err((
                    "series",
                    "a key that tells apart the systems at one x, or nothing",
                    format!("two systems of {series} at {} = {x}", self.x),
                ));
            }
        }
        // --set or --smoke may remove values: the curve is then omitted. Keys must exist.
        let is_key = |key: &String| runs.iter().any(|(_, config)| lookup(config, key).is_some());
        if let Some((key, _)) = self.only.iter().find(|(key, _)| !is_key(key)) {
            return Err(("only", "keys of some run of this sweep", key.clone()));
        }
        if met.is_empty() && self.only.is_empty() {
            let expected = "a key that is a number in some run of this sweep";
            return Err(("x", expected, self.x.clone()));
        }
        Ok(())
    }
}

/// The value of `key`. Baselines ignore the model and training keys, so they have no value for them.
fn own_value<'a>(config: &'a Table, key: &str) -> Option<&'a Value> {
    let kind = lookup(config, "objective.kind").and_then(Value::as_str);
    let is_unused = kind == Some("baseline") && (key.starts_with("model.") || key.starts_with("train."));
    if is_unused { None } else { lookup(config, key) }
}

/// The label of a system: its axis labels in sequence, without the seed.
pub fn system_label<'a>(axes: impl Iterator<Item = &'a (String, String)>) -> String {
    let parts: Vec<String> = axes
        .filter(|(key, _)| key != "seed")
        .map(|(key, label)| match key.rsplit('.').next() {
            Some("objective") | None => label.clone(),
            Some(last) => format!("{last}={label}"),
        })
        .collect();
    parts.join(", ")
}

/// `[i]` in a list of several.
fn index(i: usize, n: usize) -> String {
    match n {
        1 => String::new(),
        _ => format!("[{i}]"),
    }
}

fn flattened<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Value)>, D::Error> {
    Ok(flatten(&Table::deserialize(deserializer)?))
}

/// Every value with its dotted key.
pub fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut pairs = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flatten(inner).into_iter();
                pairs.extend(inner.map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            other => pairs.push((key.clone(), other.clone())),
        }
    }
    pairs
}

/// An integer or a float as a number.
fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}
