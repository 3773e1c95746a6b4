//! The networks, each with its config, its module and the mapping to its published tensor names.

pub mod clip;
pub mod prior;
pub mod unet;
