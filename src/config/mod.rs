//! Configurations: range checks with one error shape.
//!
//! A check returns [`InvalidValue`]: the key, what was expected and what was found. Whoever knows the file, axis or option that set the key adds that
//! origin.

pub mod check;

pub use check::InvalidValue;
