//! Text-to-image priors of the unCLIP stack, on Burn.
pub mod data;
pub mod device;
pub mod diffusion;
pub mod eval;
pub mod experiment;
pub mod files;
pub mod generate;
pub mod models;
pub mod nn;
pub mod noise;
pub mod objective;
pub mod train;
pub mod verify;
pub mod weights;
pub mod world;
