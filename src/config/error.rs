//! The error of configurations, and its words.

use std::fmt::Display;
use std::path::PathBuf;

use crate::files::FileError;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not parse.
    #[error("{path} is not valid {format}{message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// `TOML` or `JSON`.
        format: &'static str,
        /// The parser's message, after a colon or on lines of its own.
        message: String,
    },
    /// `extends` leads back to a file that it came from.
    #[error("{path}: extends: expected a chain that ends, found {again} a second time")]
    Cycle {
        /// The file whose `extends` closes the cycle.
        path: PathBuf,
        /// The file that is met again.
        again: PathBuf,
    },
    /// A key that does not exist.
    #[error("{origin}: {key}: unknown key, expected {expected}{}", hint(.suggestion))]
    UnknownKey {
        /// File or option that set it.
        origin: String,
        /// Dotted path of the key.
        key: String,
        /// The keys that exist there.
        expected: String,
        /// The most similar existing key.
        suggestion: Option<String>,
    },
    /// A value of the wrong type, or out of range.
    #[error("{origin}: {}expected {expected}, found {found}", prefix(.key))]
    Value {
        /// File or option that set it, or `defaults`.
        origin: String,
        /// Dotted path of the key; empty for the whole file.
        key: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// `--set` without `=`, or with an impossible key.
    #[error("expected KEY=VALUE with a dotted key, as in objective.lambda=0.5, found {given}")]
    Set {
        /// The argument.
        given: String,
    },
}

impl ConfigError {
    /// [`ConfigError::Value`].
    pub fn value(
        origin: impl Display,
        key: impl Into<String>,
        expected: impl Into<String>,
        found: impl Display,
    ) -> Self {
        Self::Value {
            origin: origin.to_string(),
            key: key.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// The same error with `key` in the place of `key[0]`: for a list of one that was written without brackets.
    #[must_use]
    pub fn without_index(mut self, list: &str) -> Self {
        if let Self::Value { key, .. } | Self::UnknownKey { key, .. } = &mut self
            && let Some(rest) = key.strip_prefix(&format!("{list}[0]"))
        {
            *key = format!("{list}{rest}");
        }
        self
    }

    /// The same error one level deeper: its key under `parent`.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        if let Self::Value { key, .. } | Self::UnknownKey { key, .. } = &mut self {
            *key = join(parent, key);
        }
        self
    }
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion
        .as_ref()
        .map_or_else(String::new, |s| format!("; did you mean {s}?"))
}

fn prefix(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("{key}: "),
    }
}

/// A dotted path.
pub(super) fn join(parent: &str, key: &str) -> String {
    match (parent, key) {
        ("", key) => key.to_owned(),
        (parent, "") => parent.to_owned(),
        (parent, key) => format!("{parent}.{key}"),
    }
}

/// The known key at an edit distance of at most a third of its length.
pub fn nearest(wrong: &str, known: &[String]) -> Option<String> {
    let distance = |known: &String| strsim::damerau_levenshtein(wrong, known);
    let best = known.iter().min_by_key(|known| distance(known))?;
    (distance(best) <= best.len().div_ceil(3)).then(|| best.clone())
}

/// `a`, `one of a, b`, or that there are none.
pub fn one_of(known: &[String]) -> String {
    match known {
        [] => "no keys here".to_owned(),
        [one] => one.clone(),
        many => format!("one of {}", many.join(", ")),
    }
}

/// `a`, `a or b`, or `one of a, b, c`: serde's words for variants.
pub(super) fn alternatives(names: &[&str]) -> String {
    match names {
        [one] => (*one).to_owned(),
        [one, other] => format!("{one} or {other}"),
        many => format!("one of {}", many.join(", ")),
    }
}

/// Text on one line, cut where it is long.
pub(super) fn cut(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= 60 {
        text
    } else {
        text.chars().take(57).chain("...".chars()).collect()
    }
}

/// The error for serde's `message` about the key at `path`; the format calls its maps `object`, and `found` shows the value at a path.
pub(super) fn explain(
    origin: impl FnOnce(&str) -> String,
    path: &[String],
    message: &str,
    object: &str,
    found: impl FnOnce(&str) -> Option<String>,
) -> ConfigError {
    let mut key = path.join(".").replace(".[", "[");
    if message.starts_with("unknown field") {
        let mut names = quoted(message).into_iter();
        let wrong = names.next().unwrap_or_default();
        let known: Vec<String> = names.collect();
        if path.last() != Some(&wrong) {
            key = join(&key, &wrong);
        }
        return ConfigError::UnknownKey {
            origin: origin(&key),
            suggestion: nearest(&wrong, &known),
            expected: one_of(&known),
            key,
        };
    }
    if let Some(missing) = message.strip_prefix("missing field") {
        key = join(&key, missing.trim().trim_matches('`'));
        return ConfigError::Value {
            origin: origin(&key),
            key,
            expected: "a value".into(),
            found: "nothing".into(),
        };
    }
    let expected = match message.split_once("expected ") {
        Some((_, rest)) => plain(rest, object),
        None => message.to_owned(),
    };
    ConfigError::Value {
        origin: origin(&key),
        found: found(&key).unwrap_or_else(|| "nothing".into()),
        key,
        expected,
    }
}

/// The names between backticks.
fn quoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// serde's names of types, in words.
fn plain(expected: &str, object: &str) -> String {
    let expected = expected.split(", found").next().unwrap_or(expected);
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number, 0 or above".into(),
        "i64" | "i32" => "a whole number".into(),
        "f64" | "f32" => "a number".into(),
        "a string" => "a text".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "fewer elements in array" => "a shorter list".into(),
        "a map" => object.into(),
        s if s.starts_with("struct ") || s.starts_with("internally tagged enum ") => object.into(),
        s => s
            .replace('`', "")
            .replace("an array of length", "a list of length"),
    }
}
