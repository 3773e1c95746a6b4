//! `[report]` of a sweep file: what its tables, plots and comparisons show.

use toml::{Table, Value};

use crate::config::layers::short;
use crate::config::{ConfigError, nearest};

/// `[report]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReportSpec {
    /// Metrics that the table shows, in order: `name` for all splits of a metric or `name@split`. Empty: all of them.
    pub columns: Vec<String>,
    /// Metrics that the dot plot shows, a panel each, in the same notation. Empty: the first four columns.
    pub plot: Vec<String>,
    /// The system that the others are compared with, prompt by prompt: its label, or one part of it (`eclipse` where the axes are objective and
    /// size), and each system is compared with the one that differs in this part only. Empty: no comparison.
    pub reference: String,
    /// Lines over an axis of numbers.
    pub curves: Vec<CurveSpec>,
    /// Who wins how often on the same prompt.
    pub preferences: Vec<PreferenceSpec>,
    /// Prompts of each split on `pictures.png`; 0 for none.
    pub sheet: usize,
}

/// `curve = { x = "objective.lambda", log = true, metrics = ["cos/z_x@all"] }`: one panel a metric, one line a series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CurveSpec {
    /// The key of a run that lies along the panel; runs without it are level lines.
    pub x: String,
    /// The key whose values tell the lines apart. Left out: all axes but `x` and the seed.
    pub series: Option<String>,
    /// A panel each, as in [`ReportSpec::columns`]. Empty: the columns of the table.
    pub metrics: Vec<String>,
    /// Whether `x` is drawn by its logarithm; zero then stands at the left edge.
    pub log: bool,
    /// Only systems whose configuration has these values, as in `only = { "data.n_pairs" = 1000 }`. Empty: all.
    pub only: Vec<(String, Value)>,
}

/// `preference = { metric = "picture/clip_score@all", reference = "eclipse", round_robin = true }`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PreferenceSpec {
    /// A metric with a value for each prompt; the higher value wins.
    pub metric: String,
    /// The system whose wins are counted. Left out: [`ReportSpec::reference`].
    pub reference: Option<String>,
    /// Differences up to this are ties.
    pub tolerance: f64,
    /// Whether every system meets every other too.
    pub round_robin: bool,
}

impl ReportSpec {
    /// Reads the table that `origin` has under `report`.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] or [`ConfigError::Value`], naming `origin` and the key.
    pub(in crate::experiment) fn read(origin: &str, value: Value) -> Result<Self, ConfigError> {
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

/// A table whose keys are taken one by one; what is wrong is said with file and path.
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

    /// One table, or a list of them.
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
pub(super) fn flatten(table: &Table) -> Vec<(String, Value)> {
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

/// A whole or a real number.
pub(super) fn number(value: &Value) -> Option<f64> {
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
