//! The integration tests: one binary, one module a theme.
mod bad_input;
mod cli;
mod clip;
mod eval;
mod generate;
mod golden;
mod keys;
mod layers;
mod movq;
mod pages;
mod priors;
mod spec;
mod sweep;
mod tiny;
mod training;
mod unet;
mod world;
