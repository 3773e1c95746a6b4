//! What a kernel of AdamW is told.

/// A step of AdamW with its bias corrections: what an element's update depends on beside the element.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Decay of the moments.
    pub betas: [f32; 2],
    /// `1 - beta^t` of both moments.
    pub corrections: [f32; 2],
    /// Added to the root of the second moment.
    pub eps: f32,
    /// `1 - lr weight_decay`: what is left of a parameter.
    pub kept: f32,
    /// Learning rate.
    pub lr: f32,
}
