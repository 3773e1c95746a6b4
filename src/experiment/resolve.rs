//! Layers of a specification: defaults, the `extends` chain, the file, a sweep's axes, `--set`.
//!
//! Layers are merged as TOML tables and read into a [`RunSpec`] once, so that a later layer may change one key of an
//! earlier one. A table whose `kind` changes is replaced, not merged. An error names the layer that set the key.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::SpecError;
use super::run::Run;
use super::spec::{Objective, RunSpec};
use crate::files;

/// Keys of a sweep file that are not keys of a run.
pub(super) const SWEEP_KEYS: &[&str] = &["axes", "baselines", "smoke", "report"];

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
    /// [`SpecError::File`], [`SpecError::Toml`] or [`SpecError::Cycle`], naming the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, SpecError> {
        let mut layers = Vec::new();
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut next = Some(path.as_ref().to_path_buf());
        while let Some(path) = next {
            if let Some(again) = seen.iter().find(|p| same_file(p, &path)) {
                let from = seen.last().unwrap_or(again).clone();
                return Err(SpecError::Cycle {
                    path: from,
                    again: path,
                });
            }
            let mut table: Table =
                files::read_text(&path)?
                    .parse()
                    .map_err(|e: toml::de::Error| SpecError::Toml {
                        path: path.clone(),
                        message: e.to_string(),
                    })?;
            next = match table.remove("extends") {
                None => None,
                Some(Value::String(base)) => Some(path.parent().unwrap_or(Path::new("")).join(base)),
                Some(other) => {
                    return Err(SpecError::Value {
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
    pub(super) fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Takes the top-level keys `keys` out of every layer: `(origin, key, value)`, lowest layer first.
    pub(super) fn take(&mut self, keys: &[&str]) -> Vec<(String, String, Value)> {
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
    pub(super) fn only(&self, keys: &[&str]) -> Self {
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

    /// The value of `objective.kind` that the layers give.
    pub fn objective_kind(&self) -> String {
        match lookup(&self.over_defaults(), "objective.kind") {
            Some(Value::String(kind)) => kind.clone(),
            _ => "eclipse".into(),
        }
    }

    /// Merges, reads and checks.
    ///
    /// # Errors
    /// [`SpecError::UnknownKey`] or [`SpecError::Value`], naming the layer that set the key.
    pub fn resolve(&self) -> Result<Run, SpecError> {
        let table = self.over_defaults();
        let spec: RunSpec = table
            .clone()
            .try_into()
            .map_err(|e: toml::de::Error| self.explain(&table, &e))?;
        spec.resolve_or_bad().map_err(|bad| SpecError::Value {
            origin: self.origin_of(&bad.key),
            key: bad.key,
            expected: bad.expected,
            found: bad.found,
        })
    }

    /// The layers over the two `kind`s that a file may leave out.
    fn over_defaults(&self) -> Table {
        let mut table = nest("objective.kind", Value::String("eclipse".into()));
        merge(
            &mut table,
            &nest("train.schedule.kind", Value::String("sgdr".into())),
        );
        merge(&mut table, &self.written());
        table
    }

    fn origin_of(&self, key: &str) -> String {
        let set = self.0.iter().rev().find(|l| lookup(&l.table, key).is_some());
        set.map_or_else(|| "defaults".into(), |l| l.origin.clone())
    }

    /// Finds the key that `error` is about and says it in our words.
    fn explain(&self, table: &Table, error: &toml::de::Error) -> SpecError {
        let attempt = |t: Table| t.try_into::<RunSpec>().map(drop);
        let (path, message) = locate(table, error, &attempt);
        let key = path.join(".");
        let origin = self.origin_of(&key);
        if message.starts_with("unknown field") {
            let known = quoted(&message).into_iter().skip(1).collect::<Vec<_>>();
            let wrong = path.last().map(String::as_str).unwrap_or_default();
            let suggestion = nearest(wrong, &known).or_else(|| elsewhere(wrong));
            // A key that another objective or schedule has is known elsewhere, at the same place.
            let suggestion = suggestion.filter(|found| *found != key);
            let expected = match known.as_slice() {
                _ if SWEEP_KEYS.contains(&key.as_str()) => {
                    "one run here; a sweep is for `eclipse sweep`".into()
                }
                [] => "no keys here".to_owned(),
                [one] => one.clone(),
                many => format!("one of {}", many.join(", ")),
            };
            return SpecError::UnknownKey {
                origin,
                key,
                expected,
                suggestion,
            };
        }
        let expected = match message.split_once("expected ") {
            Some((_, rest)) => plain(rest),
            None => message.clone(),
        };
        let found = lookup(table, &key).map_or_else(|| "nothing".to_owned(), short);
        SpecError::Value {
            origin,
            key,
            expected,
            found,
        }
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

    /// Whether a run of objective `kind` has this key, when it is a key of some objective at all. A typo counts as
    /// applicable, so that it is refused rather than ignored.
    pub(super) fn applies_to(&self, kind: &str) -> bool {
        let Some(rest) = self.key.strip_prefix("objective.") else {
            return true;
        };
        let first = rest.split('.').next().unwrap_or(rest);
        let has = |kind: &str| {
            Objective::of_kind(kind)
                .and_then(|o| Table::try_from(o).ok())
                .is_some_and(|t| t.contains_key(first))
        };
        has(kind) || !Objective::KINDS.iter().any(|k| has(k))
    }
}

impl std::str::FromStr for Setting {
    type Err = SpecError;

    fn from_str(given: &str) -> Result<Self, SpecError> {
        let fail = || SpecError::Set {
            given: given.to_owned(),
        };
        let (key, text) = given.split_once('=').ok_or_else(fail)?;
        let key = key.trim();
        let segment = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
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
pub(super) fn nest(key: &str, value: Value) -> Table {
    let mut table = Table::new();
    match key.split_once('.') {
        None => table.insert(key.to_owned(), value),
        Some((first, rest)) => table.insert(first.to_owned(), Value::Table(nest(rest, value))),
    };
    table
}

/// The value at a dotted path.
pub(super) fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

/// Puts `over` on `base`. Tables merge, except when both have a `kind` and it differs: then the new one stands alone.
pub(super) fn merge(base: &mut Table, over: &Table) {
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

/// What stands between backticks.
fn quoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// serde's names of types, in words.
fn plain(expected: &str) -> String {
    let expected = expected.split(", found").next().unwrap_or(expected);
    match expected {
        "usize" | "u64" => "a whole number, 0 or above".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "fewer elements in array" => "a shorter list".into(),
        s if s.starts_with("struct ") || s.starts_with("internally tagged enum ") => "a table".into(),
        s => s
            .replace('`', "")
            .replace("an array of length", "a list of length"),
    }
}

/// A value on one line, cut when long.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= 60 {
        text
    } else {
        text.chars().take(57).chain("...".chars()).collect()
    }
}

/// Where in a specification the key `name` stands: `lr` is `train.lr`.
pub fn elsewhere(name: &str) -> Option<String> {
    fn search(table: &Table, prefix: &str, name: &str) -> Option<String> {
        let path = |key: &str| format!("{prefix}{key}");
        let found = table
            .iter()
            .find(|(key, value)| *key == name && !value.is_table());
        found.map(|(key, _)| path(key)).or_else(|| {
            let tables = table
                .iter()
                .filter_map(|(key, value)| Some((key, value.as_table()?)));
            tables
                .filter_map(|(key, inner)| search(inner, &path(&format!("{key}.")), name))
                .next()
        })
    }
    search(&Table::try_from(RunSpec::default()).ok()?, "", name)
}

/// The known key at an edit distance of at most a third of its length.
pub fn nearest(wrong: &str, known: &[String]) -> Option<String> {
    let distance = |known: &String| strsim::damerau_levenshtein(wrong, known);
    let best = known.iter().min_by_key(|known| distance(known))?;
    (distance(best) <= best.len().div_ceil(3)).then(|| best.clone())
}
