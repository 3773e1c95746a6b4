//! Range checks on the values of a configuration.

use std::fmt::Display;

use super::error::ConfigError;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: expected {expected}, found {found}")]
pub struct InvalidValue {
    /// Dotted path of the key.
    pub key: String,
    /// What the value must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl InvalidValue {
    /// The error of a value that `origin` set.
    pub fn at(self, origin: impl Display) -> ConfigError {
        ConfigError::value(origin, self.key, self.expected, self.found)
    }
}

/// Reports `key` as `expected` unless `ok`.
///
/// # Errors
/// [`InvalidValue`] unless `ok`.
pub fn require(
    key: &str,
    ok: bool,
    expected: impl Into<String>,
    found: impl Display,
) -> Result<(), InvalidValue> {
    if ok {
        Ok(())
    } else {
        Err(InvalidValue {
            key: key.into(),
            expected: expected.into(),
            found: found.to_string(),
        })
    }
}

/// `found >= least`.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn at_least(key: &str, least: usize, found: usize) -> Result<(), InvalidValue> {
    require(
        key,
        found >= least,
        format!("a whole number, {least} or above"),
        found,
    )
}

/// `found <= most`, for sizes that memory is allocated for (see [`crate::limits`]).
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn at_most(key: &str, most: usize, found: usize) -> Result<(), InvalidValue> {
    require(key, found <= most, format!("at most {most}"), found)
}

/// Finite and above 0.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn positive(key: &str, found: f64) -> Result<(), InvalidValue> {
    require(key, found.is_finite() && found > 0.0, "a number above 0", found)
}

/// Finite and not below 0.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn non_negative(key: &str, found: f64) -> Result<(), InvalidValue> {
    require(
        key,
        found.is_finite() && found >= 0.0,
        "a number, 0 or above",
        found,
    )
}

/// In `[0, 1)`.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn fraction(key: &str, found: f64) -> Result<(), InvalidValue> {
    require(
        key,
        (0.0..1.0).contains(&found),
        "a number from 0 to below 1",
        found,
    )
}
