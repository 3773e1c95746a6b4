//! JSON files, and values of TOML and JSON.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ConfigError, cut, explain};
use crate::files;

/// Reads a JSON file into `T`.
///
/// # Errors
/// [`ConfigError`], naming the file and the key.
pub fn read_json<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, ConfigError> {
    let path = path.as_ref();
    let text = files::read_text(path)?;
    let value: Value = serde_json::from_str(&text).map_err(|e| ConfigError::Syntax {
        path: path.to_path_buf(),
        format: "JSON",
        message: format!(": {e}"),
    })?;
    from_json(&value, &path.display().to_string())
}

/// A JSON value as a `T`; `origin` is for messages.
///
/// # Errors
/// [`ConfigError::UnknownKey`] or [`ConfigError::Value`], naming the key.
pub fn from_json<T: DeserializeOwned>(value: &Value, origin: &str) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path: Vec<String> = error.path().iter().map(ToString::to_string).collect();
        let path = match path.as_slice() {
            [root] if root == "." => vec![],
            _ => path,
        };
        let found = |_: &str| path.iter().try_fold(value, step).map(show);
        explain(
            |_| origin.to_owned(),
            &path,
            &error.inner().to_string(),
            "an object",
            found,
        )
    })
}

/// A TOML value as a `T`; `origin` is for messages.
///
/// # Errors
/// [`ConfigError::UnknownKey`] or [`ConfigError::Value`], naming the key.
pub fn from_toml<T: DeserializeOwned>(value: &toml::Value, origin: &str) -> Result<T, ConfigError> {
    let json = serde_json::to_value(value);
    let json = json.map_err(|e| ConfigError::value(origin, "", "values that JSON can hold", e))?;
    from_json(&json, origin)
}

/// The value one step down: a key, or an index in brackets.
fn step<'a>(value: &'a Value, segment: &String) -> Option<&'a Value> {
    match segment.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
        Some(index) => value.get(index.parse::<usize>().ok()?),
        None => value.get(segment),
    }
}

/// A value for messages, cut where it is long; an absent value and `null` are nothing.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        value => cut(&value.to_string()),
    }
}

/// Writes `value` as indented JSON with a final newline.
///
/// # Errors
/// [`ConfigError::File`]; [`ConfigError::Syntax`] for a value that JSON cannot hold.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ConfigError> {
    let fail = |e: serde_json::Error| ConfigError::Syntax {
        path: path.to_path_buf(),
        format: "JSON",
        message: format!(": {e}"),
    };
    let mut text = serde_json::to_string_pretty(value).map_err(fail)?;
    text.push('\n');
    Ok(files::write_atomic(path, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        Fancy,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only errors are looked at")]
    struct Inner {
        heads: usize,
        kind: Option<Kind>,
        sizes: Option<Vec<f64>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
    }

    #[test]
    fn errors_name_the_key() {
        let error = |value: Value| {
            let error = from_json::<Outer>(&value, "config.json").expect_err("is wrong");
            error.to_string()
        };
        for (inner, message) in [
            (
                json!({"heads": "ten"}),
                "inner.heads: expected a whole number, 0 or above, found \"ten\"",
            ),
            (
                json!({"heads": -1}),
                "inner.heads: expected a whole number, 0 or above, found -1",
            ),
            (json!({}), "inner.heads: expected a value, found nothing"),
            (
                json!({"heads": 1, "kind": "odd"}),
                "inner.kind: expected plain or fancy, found \"odd\"",
            ),
            (
                json!({"heads": 1, "sizes": [1, null]}),
                "inner.sizes[1]: expected a number, found nothing",
            ),
            (
                json!({"head": 1}),
                "inner.head: unknown key, expected one of heads, kind, sizes; did you mean heads?",
            ),
        ] {
            assert_eq!(error(json!({"inner": inner})), format!("config.json: {message}"));
        }
        assert_eq!(error(json!([1])), "config.json: [0]: expected an object, found 1");
        assert_eq!(error(json!(7)), "config.json: expected an object, found 7");
        let whole = json!({"inner": {"heads": 1, "kind": "plain"}});
        let read: Outer = from_json(&whole, "").expect("is right");
        assert!(matches!(read.inner.kind, Some(Kind::Plain)));
    }
}
