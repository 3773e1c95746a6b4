//! A JSON object that is read key by key, for files whose keys depend on each other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check::InvalidValue;
use super::error::{ConfigError, alternatives};
use super::read::{from_json, read_json, show};

/// The keys of a JSON object, and which of them were read.
#[derive(Debug)]
pub struct Keys {
    origin: String,
    map: Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl Keys {
    /// The object in the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::new(&read_json(path)?, path.display())
    }

    /// The object `value`; `origin` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for another value than an object.
    pub fn new(value: &Value, origin: impl Display) -> Result<Self, ConfigError> {
        let origin = origin.to_string();
        Ok(Self {
            map: from_json(value, &origin)?,
            origin,
            read: RefCell::default(),
        })
    }

    /// The value of `key`; `None` where it is absent or null.
    ///
    /// # Errors
    /// [`ConfigError`] for another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        self.or(key, None)
    }

    /// The value of `key`, or `default` where it is absent.
    ///
    /// # Errors
    /// [`ConfigError`] for another type.
    pub fn or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, ConfigError> {
        self.read.borrow_mut().insert(key.to_owned());
        match self.map.get(key) {
            None => Ok(default),
            Some(value) => from_json(value, &self.origin).map_err(|e| e.under(key)),
        }
    }

    /// The value of a key without default.
    ///
    /// # Errors
    /// [`ConfigError`] for another type, or none.
    pub fn need<T: DeserializeOwned>(&self, key: &str) -> Result<T, ConfigError> {
        self.get(key)?.ok_or_else(|| self.wrong(key, "a value"))
    }

    /// The value of `key` as one of `known`, by name; `default` where it is absent.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for another name.
    pub fn choice<T: Copy>(
        &self,
        key: &str,
        default: Option<T>,
        known: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let name: Option<Value> = self.get(key)?;
        match (&name, default) {
            (None, Some(default)) if !self.map.contains_key(key) => return Ok(default),
            _ => (),
        }
        let found = known
            .iter()
            .find(|(known, _)| name.as_ref().is_some_and(|name| name == known));
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| self.wrong(key, alternatives(&names)))
    }

    /// Refuses `key` unless `ok`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] unless `ok`.
    pub fn require(&self, key: &str, ok: bool, expected: impl Into<String>) -> Result<(), ConfigError> {
        match ok {
            true => Ok(()),
            false => Err(self.wrong(key, expected)),
        }
    }

    /// That the value of `key` is not `expected`.
    pub fn wrong(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        let found = self.map.get(key).map_or_else(|| "nothing".into(), show);
        ConfigError::value(&self.origin, key, expected, found)
    }

    /// `invalid` in this object.
    pub fn invalid(&self, invalid: InvalidValue) -> ConfigError {
        invalid.at(&self.origin)
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Warns of keys that nothing has read, but for those that start with `_` or are among `others`; `what` has no such key.
    pub fn warn_unread(&self, what: &str, others: &[&str]) {
        let read = self.read.borrow();
        for key in self.map.keys() {
            if !(key.starts_with('_') || read.contains(key) || others.contains(&key.as_str())) {
                tracing::warn!("{}: `{key}` is no key of {what} and is ignored", self.origin);
            }
        }
    }

    /// Where the object came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}
