//! Sizes of a workload.

/// Sizes of a workload; it ignores those that it has no use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Captions, images or latents of a call.
    pub batch: usize,
    /// Tokens of a caption.
    pub tokens: usize,
    /// Width of the prior's blocks, or side of a square matrix.
    pub width: usize,
    /// Side of an image in pixels, of a UNet's input or of MoVQ's latents.
    pub side: usize,
}
