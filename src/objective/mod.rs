//! Training objectives: pure functions on tensors, one per equation of the paper.

pub mod clip;
pub mod diffusion;
pub mod eclipse;
