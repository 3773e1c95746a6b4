//! Range checks on the values of a configuration.
//!
//! Checks tell the bounds that they know ([`bounds_of`]), from which the JSON Schemas of specifications are made: a bound is written once, in its check.

use std::cell::RefCell;
use std::fmt::Display;

use serde_json::{Value, json};

use super::error::{ConfigError, one_of};

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

/// A bound on a value that holds whatever the other keys are.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Not below.
    AtLeast(f64),
    /// Above.
    Above(f64),
    /// Not above.
    AtMost(f64),
    /// Below.
    Below(f64),
    /// Another number.
    Not(f64),
    /// One of these texts.
    OneOf(Vec<String>),
}

impl Bound {
    /// Its keyword in a JSON Schema, and the keyword's value.
    pub fn keyword(&self) -> (&'static str, Value) {
        let number = |n: &f64| match n.fract() {
            0.0 if n.abs() < 1e15 => json!(*n as i64),
            _ => json!(n),
        };
        match self {
            Self::AtLeast(n) => ("minimum", number(n)),
            Self::Above(n) => ("exclusiveMinimum", number(n)),
            Self::AtMost(n) => ("maximum", number(n)),
            Self::Below(n) => ("exclusiveMaximum", number(n)),
            Self::Not(n) => ("not", json!({ "const": number(n) })),
            Self::OneOf(names) => ("enum", json!(names)),
        }
    }

    fn holds(&self, found: f64) -> bool {
        match self {
            Self::AtLeast(n) => found >= *n,
            Self::Above(n) => found > *n,
            Self::AtMost(n) => found <= *n,
            Self::Below(n) => found < *n,
            Self::Not(n) => found != *n,
            Self::OneOf(_) => false,
        }
    }
}

thread_local! {
    /// The bounds that checks have told since [`bounds_of`] began; `None` outside it.
    static TOLD: RefCell<Option<Vec<(String, Bound)>>> = const { RefCell::new(None) };
}

/// The bounds of the checks that `check` makes, by dotted key. A check that fails ends most lists of checks, so `check` is given valid values.
pub fn bounds_of<E>(check: impl FnOnce() -> Result<(), E>) -> Result<Vec<(String, Bound)>, E> {
    TOLD.with_borrow_mut(|told| *told = Some(Vec::new()));
    let result = check();
    let told = TOLD.with_borrow_mut(Option::take).unwrap_or_default();
    result.map(|()| told)
}

fn tell(key: &str, bounds: &[Bound]) {
    TOLD.with_borrow_mut(|told| {
        if let Some(told) = told {
            told.extend(bounds.iter().map(|bound| (key.to_owned(), bound.clone())));
        }
    });
}

/// Reports `key` as `expected` unless `ok`. A condition that depends on no other key is better told by [`bounded`].
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

/// Finite and within `bounds`, which `expected` describes.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn bounded(
    key: &str,
    bounds: &[Bound],
    expected: impl Into<String>,
    found: f64,
) -> Result<(), InvalidValue> {
    tell(key, bounds);
    let ok = found.is_finite() && bounds.iter().all(|bound| bound.holds(found));
    require(key, ok, expected, found)
}

/// One of the names `known`.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn known_name(key: &str, known: Vec<String>, found: &str) -> Result<(), InvalidValue> {
    let ok = known.iter().any(|name| name == found);
    let expected = one_of(&known);
    tell(key, &[Bound::OneOf(known)]);
    require(
        key,
        ok,
        expected,
        if found.is_empty() { "nothing" } else { found },
    )
}

/// `found >= least`.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn at_least(key: &str, least: usize, found: usize) -> Result<(), InvalidValue> {
    tell(key, &[Bound::AtLeast(least as f64)]);
    require(
        key,
        found >= least,
        format!("a whole number, {least} or above"),
        found,
    )
}

/// `found <= most`, for sizes that memory is allocated for (see [`crate::limits`]). `most` depends on no other key.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn at_most(key: &str, most: usize, found: usize) -> Result<(), InvalidValue> {
    tell(key, &[Bound::AtMost(most as f64)]);
    require(key, found <= most, format!("at most {most}"), found)
}

/// Finite and above 0.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn positive(key: &str, found: f64) -> Result<(), InvalidValue> {
    bounded(key, &[Bound::Above(0.0)], "a number above 0", found)
}

/// Finite and not below 0.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn non_negative(key: &str, found: f64) -> Result<(), InvalidValue> {
    bounded(key, &[Bound::AtLeast(0.0)], "a number, 0 or above", found)
}

/// In `[0, 1)`.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn fraction(key: &str, found: f64) -> Result<(), InvalidValue> {
    let bounds = [Bound::AtLeast(0.0), Bound::Below(1.0)];
    bounded(key, &bounds, "a number from 0 to below 1", found)
}

/// In `(0, 1)`.
///
/// # Errors
/// [`InvalidValue`] otherwise.
pub fn between_0_and_1(key: &str, found: f64) -> Result<(), InvalidValue> {
    let bounds = [Bound::Above(0.0), Bound::Below(1.0)];
    bounded(key, &bounds, "a number between 0 and 1", found)
}
