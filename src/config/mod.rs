//! Configurations: range checks with one error shape.
//!
//! A check returns [`InvalidValue`]: the key, what was expected and what was found. Whoever knows the file, axis or option that set the key adds that
//! origin.

pub mod check;

pub use check::InvalidValue;

/// Whether a key has its default value: for keys that are written only where they differ from it, so that the hashes of older configurations stay.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
