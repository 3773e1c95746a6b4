//! Loss functions: pure functions on tensors, one per equation of the paper, and their variants.

pub mod clip;
pub mod contrastive;
pub mod diffusion;
pub mod eclipse;
mod normalize;
pub mod projection;

pub use normalize::normalize;
