//! Configurations in TOML and JSON: layers, reading and range checks, with one error shape.
//!
//! [`ConfigError`] names the origin of a key (file, option, sweep axis), the key, what was expected and what was found. Checks that don't know the origin
//! return [`InvalidValue`]; [`InvalidValue::at`] adds it.

pub mod check;
mod error;
mod keys;
pub mod layers;
mod read;
pub mod schema;

pub use check::InvalidValue;
pub use error::{ConfigError, nearest, one_of};
pub use keys::Keys;
pub use layers::{Layer, Layers, Setting};
pub use read::{from_json, from_toml, read_json, write_json};

/// Whether a key has its default value: for keys that are written only where they differ from it, so that the hashes of older configurations stay.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
