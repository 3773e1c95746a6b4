//! From prompts to image embeddings and pictures: the place where towers, priors, decoders and samplers meet.

pub mod decoder;
pub mod draws;
pub mod embeddings;
pub mod error;
pub mod frozen;
pub mod kandinsky;
pub mod karlo;
pub mod latents;
pub mod layout;
pub mod picture;
pub mod pipeline;
pub mod plan;
pub mod prior;
pub mod random_stack;
pub mod recipe;
pub mod render;
pub mod request;
mod sides;
pub mod slerp;
