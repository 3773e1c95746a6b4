//! From prompts to image embeddings: the place where text tower, prior and sampler meet.

pub mod picture;
pub mod pipeline;
pub mod prior;
