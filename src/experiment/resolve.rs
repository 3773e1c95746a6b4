//! Merges layers of TOML into a checked [`ResolvedRun`].

use toml::{Table, Value};

use super::run::ResolvedRun;
use super::spec::{Objective, RunSpec};
use crate::config::layers::{lookup, merge, nest};
use crate::config::{ConfigError, Layers, Setting};

/// Keys of a sweep file that are not keys of a run.
pub(super) const SWEEP_KEYS: &[&str] = &["axes", "baselines", "smoke", "report"];

impl Layers {
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
    /// [`ConfigError::UnknownKey`] or [`ConfigError::Value`], naming the layer that set the key.
    pub fn resolve(&self) -> Result<ResolvedRun, ConfigError> {
        let spec: RunSpec = self.deserialize(&self.over_defaults()).map_err(of_a_run)?;
        spec.resolve_or_bad().map_err(|invalid| self.invalid(invalid))
    }

    /// The layers, on top of the two `kind`s that a file may omit.
    fn over_defaults(&self) -> Table {
        let mut table = nest("objective.kind", Value::String("eclipse".into()));
        merge(
            &mut table,
            &nest("train.schedule.kind", Value::String("sgdr".into())),
        );
        merge(&mut table, &self.written());
        table
    }
}

/// Adds hints to `error`: keys of sweeps, and keys that belong to another table.
fn of_a_run(mut error: ConfigError) -> ConfigError {
    if let ConfigError::UnknownKey {
        key,
        expected,
        suggestion,
        ..
    } = &mut error
    {
        let name = key.rsplit('.').next().unwrap_or_default();
        // A key of another objective or schedule is known, in the same table.
        *suggestion = suggestion
            .take()
            .or_else(|| elsewhere(name))
            .filter(|found| found != key);
        if SWEEP_KEYS.contains(&key.as_str()) {
            *expected = "one run here; a sweep is for `eclipse sweep`".into();
        }
    }
    error
}

impl Setting {
    /// Whether a run of objective `kind` has this key, if any objective has the key. An unknown key counts as
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

/// The table of the key `name` in a specification: `lr` is `train.lr`.
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
