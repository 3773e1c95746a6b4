//! The integration tests: one binary, one module a theme.
mod clip;
mod cli;
mod eval;
mod golden;
mod layers;
mod spec;
mod sweep;
mod world;
