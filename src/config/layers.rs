//! Layers of a TOML configuration: defaults, the `extends` chain, the file, a sweep's axes, `--set`.
//!
//! Layers are merged as TOML tables and read into a type once, so that a later layer may change one key of an earlier one. A table whose `kind` changes is
//! replaced, not merged. An error names the layer that set the key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::check::InvalidValue;
use super::error::{ConfigError, cut, explain};
use crate::files;

/// One layer and where it came from.
#[derive(Debug, Clone)]
pub struct Layer {
    /// A file's path, `axes`, or the `--set` argument.
    pub origin: String,
    /// The keys it sets.
    pub table: Table,
}

/// Layers in order; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Layers(Vec<Layer>);

impl Layers {
    /// The file at `path` under everything its `extends` chain names. `extends` is relative to the file that has it.
    ///
    /// # Errors
    /// [`ConfigError::File`], [`ConfigError::Syntax`] or [`ConfigError::Cycle`], naming the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let mut layers = Vec::new();
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut next = Some(path.as_ref().to_path_buf());
        while let Some(path) = next {
            if let Some(again) = seen.iter().find(|p| same_file(p, &path)) {
                let from = seen.last().unwrap_or(again).clone();
                return Err(ConfigError::Cycle {
                    path: from,
                    again: path,
                });
            }
            let mut table: Table =
                files::read_text(&path)?
                    .parse()
                    .map_err(|e: toml::de::Error| ConfigError::Syntax {
                        path: path.clone(),
                        format: "TOML",
                        message: format!("\n{e}"),
                    })?;
            next = match table.remove("extends") {
                None => None,
                Some(Value::String(base)) => Some(path.parent().unwrap_or(Path::new("")).join(base)),
                Some(other) => {
                    return Err(ConfigError::Value {
                        origin: path.display().to_string(),
                        key: "extends".into(),
                        expected: "the path of a file".into(),
                        found: other.to_string(),
                    });
                }
            };
            layers.push(Layer {
                origin: path.display().to_string(),
                table,
            });
            seen.push(path);
        }
        layers.reverse();
        Ok(Self(layers))
    }

    /// Puts a layer on top.
    pub fn push(&mut self, origin: impl Into<String>, table: Table) {
        self.0.push(Layer {
            origin: origin.into(),
            table,
        });
    }

    /// Puts one `--set` argument on top.
    pub fn set(&mut self, setting: &Setting) {
        self.push(setting.origin(), nest(&setting.key, setting.value.clone()));
    }

    /// Puts all of `others` on top.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Takes the top-level keys `keys` out of every layer: `(origin, key, value)`, lowest layer first.
    pub fn take(&mut self, keys: &[&str]) -> Vec<(String, String, Value)> {
        let mut taken = Vec::new();
        for layer in &mut self.0 {
            for key in keys {
                if let Some(value) = layer.table.remove(*key) {
                    taken.push((layer.origin.clone(), (*key).to_owned(), value));
                }
            }
        }
        taken
    }

    /// These layers with only the top-level keys `keys`.
    pub fn only(&self, keys: &[&str]) -> Self {
        let keep = |layer: &Layer| Layer {
            origin: layer.origin.clone(),
            table: layer
                .table
                .iter()
                .filter(|(k, _)| keys.contains(&k.as_str()))
                .map(clone_pair)
                .collect(),
        };
        Self(self.0.iter().map(keep).collect())
    }

    /// What the layers say together, without defaults: the run as the user gave it.
    pub fn written(&self) -> Table {
        let mut merged = Table::new();
        for layer in &self.0 {
            merge(&mut merged, &layer.table);
        }
        merged
    }

    /// Where the layers came from, lowest first.
    pub fn origins(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter(|l| !l.table.is_empty())
            .map(|l| l.origin.as_str())
            .collect()
    }

    /// `table`, in which these layers are merged, as a `T` all of whose keys have defaults.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] or [`ConfigError::Value`], naming the layer that set the key.
    pub fn deserialize<T: DeserializeOwned>(&self, table: &Table) -> Result<T, ConfigError> {
        table.clone().try_into().map_err(|error: toml::de::Error| {
            let attempt = |t: Table| t.try_into::<T>().map(drop);
            let (path, message) = locate(table, &error, &attempt);
            explain(
                |key| self.origin_of(key),
                &path,
                &message,
                "a table",
                |key| lookup(table, key).map(short),
            )
        })
    }

    /// `invalid` with the layer that set its key.
    pub fn invalid(&self, invalid: InvalidValue) -> ConfigError {
        let origin = self.origin_of(&invalid.key);
        invalid.at(origin)
    }

    /// The uppermost layer that sets `key`.
    fn origin_of(&self, key: &str) -> String {
        let set = self.0.iter().rev().find(|l| lookup(&l.table, key).is_some());
        set.map_or_else(|| "defaults".into(), |l| l.origin.clone())
    }
}

/// One `--set KEY=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted path.
    pub key: String,
    /// The value, read as TOML; what is not TOML is a string.
    pub value: Value,
}

impl Setting {
    /// Where an error says the value came from.
    pub fn origin(&self) -> String {
        format!("--set {}={}", self.key, short(&self.value))
    }
}

impl std::str::FromStr for Setting {
    type Err = ConfigError;

    fn from_str(given: &str) -> Result<Self, ConfigError> {
        let fail = || ConfigError::Set {
            given: given.to_owned(),
        };
        let (key, text) = given.split_once('=').ok_or_else(fail)?;
        let key = key.trim();
        let segment =
            |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if !key.split('.').all(segment) {
            return Err(fail());
        }
        let parsed = format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut t| t.remove("value"));
        let value = parsed.unwrap_or_else(|| Value::String(text.trim().to_owned()));
        Ok(Self {
            key: key.to_owned(),
            value,
        })
    }
}

/// `a.b = value` as nested tables.
pub fn nest(key: &str, value: Value) -> Table {
    let mut table = Table::new();
    match key.split_once('.') {
        None => table.insert(key.to_owned(), value),
        Some((first, rest)) => table.insert(first.to_owned(), Value::Table(nest(rest, value))),
    };
    table
}

/// The value at a dotted path.
pub fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

/// Puts `over` on `base`. Tables merge, except when both have a `kind` and it differs: then the new one stands alone.
pub fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => {
                let replaced = new
                    .get("kind")
                    .is_some_and(|kind| old.get("kind").is_some_and(|k| k != kind));
                if replaced {
                    *old = new.clone();
                } else {
                    merge(old, new);
                }
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn clone_pair((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// The path of the key that makes `attempt` fail, and the message about it. Every key has a default, so a table with
/// only that key (and its `kind`) fails on its own.
fn locate(
    table: &Table,
    whole: &toml::de::Error,
    attempt: &dyn Fn(Table) -> Result<(), toml::de::Error>,
) -> (Vec<String>, String) {
    let kind = table.get_key_value("kind");
    let others = table.iter().filter(|(key, _)| *key != "kind");
    for (key, value) in kind.into_iter().chain(others) {
        let with = |value: Value| {
            let mut probe: Table = kind.into_iter().map(clone_pair).collect();
            probe.insert(key.clone(), value);
            probe
        };
        let Err(error) = attempt(with(value.clone())) else {
            continue;
        };
        let unknown = error.message().starts_with(&format!("unknown field `{key}`"));
        return match value {
            Value::Table(inner) if !unknown => {
                let (mut path, message) = locate(inner, &error, &|t| attempt(with(Value::Table(t))));
                path.insert(0, key.clone());
                (path, message)
            }
            _ => (vec![key.clone()], error.message().to_owned()),
        };
    }
    (Vec::new(), whole.message().to_owned())
}

/// A value on one line, cut where it is long.
pub fn short(value: &Value) -> String {
    cut(&value.to_string())
}
