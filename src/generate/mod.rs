//! From prompts to image embeddings and pictures: the place where towers, priors, decoders and samplers meet.

pub mod draws;
pub mod layout;
pub mod pipeline;
pub mod prior;
pub mod slerp;
