//! Many tensors as slices of one.

use burn::prelude::*;

/// Elements to which slices are aligned. CubeCL makes a slice without a copy if it begins and ends at multiples of the device's alignment, at most
/// 512 bytes.
const ALIGNMENT: usize = 128;
/// Values that [`sum`] adds one after another: a result of [`join`] needs no padding.
const RUN: usize = ALIGNMENT;

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

/// The sum of `x`, `[1]`, added in the same order every time. Burn 0.22.1's `sum` adds the parts of a long vector by atomics on CubeCL, in any order;
/// with `autotune` it may take one thread for all, which software drivers stop early (docs/devices.md).
pub(super) fn sum(mut x: Tensor<1>) -> Tensor<1> {
    loop {
        let n = x.dims()[0];
        let rows = n.div_ceil(RUN).max(1);
        let row = if rows == 1 { n } else { RUN };
        if rows * row > n {
            let zeros = Tensor::zeros([rows * row - n], (&x.device(), x.dtype()));
            x = Tensor::cat(vec![x, zeros], 0);
        }
        x = x.reshape([rows, row]).sum_dim(1).reshape([rows]);
        if rows == 1 {
            return x;
        }
    }
}

/// Elements that a tensor of `shape` takes in the result of [`join`].
pub(super) fn room(shape: &Shape) -> usize {
    shape.num_elements().next_multiple_of(ALIGNMENT)
}

/// The tensor of `shape` that begins at `from` in a result of [`join`].
pub(super) fn slice<const D: usize>(all: &Tensor<1>, from: usize, shape: Shape) -> Tensor<D> {
    all.clone().narrow(0, from, shape.num_elements()).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn sums_of_any_length_are_whole() {
        let device = DeviceSpec::default().device().expect("a CPU");
        for n in [1, 127, 128, 129, 16_384, 16_385, 100_000] {
            let x = Tensor::<1, Int>::arange(0..n, &device).float().add_scalar(1.0);
            let expected = (n * (n + 1) / 2) as f64;
            let found = f64::from(sum(x).into_scalar::<f32>());
            assert!((found / expected - 1.0).abs() < 1e-6, "{n}: {found}, {expected}");
        }
    }
}
