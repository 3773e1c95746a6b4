//! `[report]` of a sweep file: the content of its tables, plots and comparisons, and the check that curves fit the planned runs.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::config::layers::{lookup, short};
use crate::config::{ConfigError, nearest};

/// `[report]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReportSpec {
    /// Metrics of the table, in order: `name` for all splits of a metric or `name@split`. Empty: all metrics.
    pub columns: Vec<String>,
    /// Metrics of the dot plot, one panel each, in the same notation. Empty: the first four columns.
    pub plot: Vec<String>,
    /// The reference system of the paired comparison: its label, or one part of it (`eclipse` if the axes are objective and
    /// size), in which case each system is compared with the one that differs in this part only. Empty: no comparison.
    pub reference: String,
    /// Curves of metrics over a numeric axis.
    pub curves: Vec<CurveSpec>,
    /// Win rates on the same prompt.
    pub preferences: Vec<PreferenceSpec>,
    /// Prompts of each split on `pictures.png`; 0 for none.
    pub sheet: usize,
}

/// `curve = { x = "objective.lambda", log = true, metrics = ["cos/z_x@all"] }`: one panel per metric, one line per series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CurveSpec {
    /// The key on the x axis; systems without it are horizontal lines.
    pub x: String,
    /// The key that distinguishes the lines. Omitted: all axes except `x` and the seed.
    pub series: Option<String>,
    /// One panel each, as in [`ReportSpec::columns`]. Empty: the columns of the table.
    pub metrics: Vec<String>,
    /// Whether `x` has a logarithmic axis; zero is then drawn at the left edge.
    pub log: bool,
    /// Only systems whose configuration has these values, as in `only = { "data.n_pairs" = 1000 }`. Empty: all.
    pub only: Vec<(String, Value)>,
}

/// `preference = { metric = "picture/clip_score@all", reference = "eclipse", round_robin = true }`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PreferenceSpec {
    /// A metric with a value per prompt; the higher value wins.
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
        let mut table = Keys::of(
            origin,
            "report".into(),
            value,
            &["columns", "plot", "reference", "curve", "preference", "sheet"],
        )?;
        Ok(Self {
            columns: table.texts("columns")?,
            plot: table.texts("plot")?,
            reference: table.text("reference")?.unwrap_or_default(),
            curves: table.each("curve", CurveSpec::read)?,
            preferences: table.each("preference", PreferenceSpec::read)?,
            sheet: table.not_negative("sheet")? as usize,
        })
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
            let at = match self.curves.len() {
                1 => String::new(),
                _ => format!("[{i}]"),
            };
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

/// Position of a system in a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct CurvePoint {
    /// The value of [`CurveSpec::x`]; `None` for a system without it, which is a horizontal line.
    pub x: Option<f64>,
    /// The name of the system's line.
    pub series: String,
}

impl CurveSpec {
    fn read(origin: &str, path: String, value: Value) -> Result<Self, ConfigError> {
        let mut table = Keys::of(origin, path, value, &["x", "series", "metrics", "log", "only"])?;
        Ok(Self {
            x: table.needed("x", "the key of a number, as in objective.lambda")?,
            series: table.text("series")?,
            metrics: table.texts("metrics")?,
            log: table.flag("log")?,
            only: table.values("only")?,
        })
    }

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

impl PreferenceSpec {
    fn read(origin: &str, path: String, value: Value) -> Result<Self, ConfigError> {
        let known = ["metric", "reference", "tolerance", "round_robin"];
        let mut table = Keys::of(origin, path, value, &known)?;
        Ok(Self {
            metric: table.needed(
                "metric",
                "a metric with a value for each prompt, as in picture/clip_score@all",
            )?,
            reference: table.text("reference")?,
            tolerance: table.not_negative("tolerance")?,
            round_robin: table.flag("round_robin")?,
        })
    }
}

/// A table whose keys are taken one by one; errors name file and path.
struct Keys<'a> {
    origin: &'a str,
    path: String,
    table: Table,
}

impl<'a> Keys<'a> {
    fn of(origin: &'a str, path: String, value: Value, known: &[&str]) -> Result<Self, ConfigError> {
        let table = match value {
            Value::Table(table) => table,
            other => return Err(wrong(origin, path, "a table", &other)),
        };
        if let Some(odd) = table.keys().find(|key| !known.contains(&key.as_str())) {
            let names: Vec<String> = known.iter().map(|k| (*k).to_owned()).collect();
            return Err(ConfigError::UnknownKey {
                origin: origin.to_owned(),
                key: format!("{path}.{odd}"),
                expected: format!("one of {}", known.join(", ")),
                suggestion: nearest(odd, &names),
            });
        }
        Ok(Self { origin, path, table })
    }

    fn fail(&self, key: &str, expected: &str, found: &Value) -> ConfigError {
        wrong(self.origin, format!("{}.{key}", self.path), expected, found)
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.fail(key, "a text", &other)),
        }
    }

    fn needed(&mut self, key: &str, expected: &str) -> Result<String, ConfigError> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(ConfigError::Value {
                origin: self.origin.to_owned(),
                key: format!("{}.{key}", self.path),
                expected: expected.to_owned(),
                found: "nothing".into(),
            }),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = self.table.remove(key) else {
            return Ok(Vec::new());
        };
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let texts = value
            .as_array()
            .and_then(|list| list.iter().map(text).collect::<Option<Vec<_>>>());
        texts.ok_or_else(|| self.fail(key, "a list of texts", &value))
    }

    fn flag(&mut self, key: &str) -> Result<bool, ConfigError> {
        match self.table.remove(key) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(other) => Err(self.fail(key, "true or false", &other)),
        }
    }

    /// A table of values under dotted keys.
    fn values(&mut self, key: &str) -> Result<Vec<(String, Value)>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Table(table)) => Ok(flatten(&table)),
            Some(other) => Err(self.fail(key, "a table of keys and values", &other)),
        }
    }

    fn not_negative(&mut self, key: &str) -> Result<f64, ConfigError> {
        let Some(value) = self.table.remove(key) else {
            return Ok(0.0);
        };
        number(&value)
            .filter(|v| v.is_finite() && *v >= 0.0)
            .ok_or_else(|| self.fail(key, "a number, 0 or above", &value))
    }

    /// One table, or a list of tables.
    fn each<T>(
        &mut self,
        key: &str,
        read: impl Fn(&str, String, Value) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let path = format!("{}.{key}", self.path);
        match self.table.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => {
                let items = list.into_iter().enumerate();
                items
                    .map(|(i, value)| read(self.origin, format!("{path}[{i}]"), value))
                    .collect()
            }
            Some(one @ Value::Table(_)) => Ok(vec![read(self.origin, path, one)?]),
            Some(other) => Err(self.fail(key, "a table or a list of tables", &other)),
        }
    }
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

fn wrong(origin: &str, key: String, expected: &str, found: &Value) -> ConfigError {
    ConfigError::Value {
        origin: origin.to_owned(),
        key,
        expected: expected.to_owned(),
        found: short(found),
    }
}
