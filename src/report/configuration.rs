//! The configuration of systems: what all share, and a table of what differs.

use maud::{Markup, html};
use toml::Table;

use super::layout::breakable;
use super::results::Report;
use crate::experiment::report_spec::flatten;

/// Keys with their values.
type Pairs = Vec<(String, String)>;

impl Report {
    /// The configuration keys that all trained systems share, and a table of the other keys: a row a system, a column a key.
    pub(super) fn configuration(&self) -> Markup {
        let flat: Vec<Pairs> = self.systems.iter().map(|s| own_keys(&s.config)).collect();
        let is_trained = |pairs: &&Pairs| !pairs.contains(&baseline());
        let mut trained: Vec<_> = flat.iter().filter(is_trained).collect();
        if trained.is_empty() {
            trained = flat.iter().collect();
        }
        let first = trained.first().map_or(&[][..], |pairs| pairs.as_slice());
        let shared = |pair: &&(String, String)| trained.iter().all(|other| other.contains(pair));
        let common: Vec<_> = first.iter().filter(shared).collect();
        let mut others: Vec<&str> = Vec::new();
        for (key, _) in flat.iter().flatten().filter(|pair| !common.contains(pair)) {
            if !others.contains(&key.as_str()) && common.iter().all(|(shared, _)| shared != key) {
                others.push(key);
            }
        }
        html! {
            details {
                summary { "Configuration" }
                @if !others.is_empty() {
                    h3 { "What differs between the systems" }
                    div.scroll.long { table {
                        thead { tr { th { "system" } @for key in &others { th { (breakable(key)) } } } }
                        tbody { @for (system, pairs) in self.systems.iter().zip(&flat) {
                            tr {
                                th scope="row" { (breakable(&system.title)) }
                                @for key in &others { td { (value_of(pairs, key).unwrap_or("-")) } }
                            }
                        } }
                    } }
                }
                h3 { "What the trained systems share" }
                pre { @for (key, value) in &common { (key) " = " (value) "\n" } }
            }
        }
    }
}

fn value_of<'a>(pairs: &'a Pairs, key: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(other, _)| other == key);
    found.map(|(_, value)| value.as_str())
}

/// The key and value that mark a baseline.
fn baseline() -> (String, String) {
    ("objective.kind".into(), "\"baseline\"".into())
}

/// The keys of a configuration that affect a system: model and training keys do not affect a baseline.
fn own_keys(config: &Table) -> Pairs {
    let values = flatten(config).into_iter();
    let mut pairs: Pairs = values.map(|(key, value)| (key, value.to_string())).collect();
    if pairs.contains(&baseline()) {
        pairs.retain(|(key, _)| !key.starts_with("model.") && !key.starts_with("train."));
    }
    pairs
}
