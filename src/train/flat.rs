//! Many tensors as slices of one.

use burn::prelude::*;

/// Elements to which slices are aligned. CubeCL makes a slice without a copy if it begins and ends at multiples of the device's alignment, at most
/// 512 bytes.
const ALIGNMENT: usize = 128;

/// `x` as a vector.
pub(super) fn of<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let n = x.shape().num_elements();
    x.reshape([n])
}

/// The vectors one after another, each followed by zeros up to its [`room`].
///
/// # Panics
/// Without vectors.
pub(super) fn join(parts: Vec<Tensor<1>>) -> Tensor<1> {
    let mut padded = Vec::with_capacity(parts.len());
    for part in parts {
        let padding = room(&part.shape()) - part.dims()[0];
        let options = (&part.device(), part.dtype());
        let zeros = (padding > 0).then(|| Tensor::zeros([padding], options));
        padded.push(part);
        padded.extend(zeros);
    }
    Tensor::cat(padded, 0)
}

/// Elements that a tensor of `shape` takes in the result of [`join`].
pub(super) fn room(shape: &Shape) -> usize {
    shape.num_elements().next_multiple_of(ALIGNMENT)
}

/// The tensor of `shape` that begins at `from` in a result of [`join`].
pub(super) fn slice<const D: usize>(all: &Tensor<1>, from: usize, shape: Shape) -> Tensor<D> {
    all.clone().narrow(0, from, shape.num_elements()).reshape(shape)
}
