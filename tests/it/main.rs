//! The integration tests: one binary, one module a theme.
mod cli;
mod clip;
mod eval;
mod golden;
mod layers;
mod spec;
mod sweep;
mod world;
