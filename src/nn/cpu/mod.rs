//! Kernels for flex, Burn's CPU backend, which computes these operations on one thread, with scalar functions, or in several passes over memory.
//!
//! Only large layers use them: in small ones they save nothing, and there every result keeps the rounding of Burn's own operations. Without flex, and
//! while gradients are recorded, the callers compute the same by Burn's operations. Kernels compute in f32, whatever the dtype of a tensor.

mod attention;
mod elementwise;
mod scale_shift;
mod vector;
mod winograd;

pub(super) use attention::{attention, is_long};
pub(super) use elementwise::{gelu, quick_gelu, silu};
pub(super) use scale_shift::{group_statistics, scale_shift_silu};
pub(super) use winograd::convolve;

use burn::prelude::*;

use crate::device::has_own_kernels;

/// Values of an image, or of a token, from which a kernel is used.
const LEAST_IMAGE: usize = 1 << 16;
const LEAST_TOKEN: usize = 2048;

/// Whether the kernels are used for `x`: `[batch, channels, h, w]`, or tokens `[.., d]`.
pub(super) fn is_used<const D: usize>(x: &Tensor<D>) -> bool {
    is_large(x) && has_own_kernels(&x.device())
}

/// Whether `x` is so large that the kernels save time.
pub(super) fn is_large<const D: usize>(x: &Tensor<D>) -> bool {
    let dims = x.dims();
    match D {
        4 => dims[1..].iter().product::<usize>() >= LEAST_IMAGE,
        _ => dims[D - 1] >= LEAST_TOKEN,
    }
}
