//! LayerNorm of rows.

use burn::nn::LayerNorm;
use burn::prelude::*;

use crate::device::{custom_kernels, takes_custom_kernels};

/// `norm` of rows `x` `[n, d]`, by one kernel where the device has one. `epsilon` is that of `norm`, which hides it.
pub fn norm_rows(norm: &LayerNorm, epsilon: f64, x: Tensor<2>) -> Tensor<2> {
    match &norm.beta {
        Some(beta) if takes_custom_kernels(&x) => {
            custom_kernels::layer_norm(x, norm.gamma.val(), beta.val(), epsilon)
        }
        _ => norm.forward(x),
    }
}
