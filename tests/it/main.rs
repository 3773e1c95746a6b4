//! The integration tests: one binary, one module a theme.
mod cli;
mod layers;
mod spec;
mod sweep;
