//! Rows of unit length.

use burn::prelude::*;

/// Rows of unit length. 1e-12: PyTorch's `F.normalize`.
pub fn normalize(x: Tensor<2>) -> Tensor<2> {
    let norm = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    x / norm
}
