//! The networks, each with its config, its module and the mapping to its published tensor names.

pub mod blip;
pub mod clip;
pub mod inception;
pub mod movq;
pub mod noise_augmentation;
pub mod pixel_space;
pub mod prior;
pub mod text;
pub mod text_proj;
pub mod unet;
