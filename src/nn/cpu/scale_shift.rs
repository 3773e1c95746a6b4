//! Group norm, its modulation and SiLU, in one pass over memory for the statistics and one for the values.

use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use super::vector::{dispatch, gated};
use crate::device::{host_values, map_host};

/// Partial sums that are kept side by side.
const LANES: usize = 32;
/// Values that are summed in f32 before they are added in f64.
const CHUNK: usize = 1 << 13;

/// Mean and variance of each group of `x` `[batch, n_groups, n]`, both `[batch, n_groups, 1]`.
pub(in crate::nn) fn group_statistics(x: &Tensor<3>) -> [Tensor<3>; 2] {
    let [batch, n_groups, n] = x.dims();
    let values = host_values(x).expect("callers ask first");
    let (means, variances): (Vec<f32>, Vec<f32>) = values
        .par_chunks(n)
        .map(|group| {
            let mean = sum(group, |v| v) / n as f64;
            let shift = mean as f32;
            let variance = sum(group, |v| (v - shift) * (v - shift)) / n as f64;
            (shift, variance as f32)
        })
        .unzip();
    [means, variances].map(|values| {
        Tensor::from_data(
            TensorData::new(values, [batch, n_groups, 1]),
            (&x.device(), DType::F32),
        )
    })
}

/// The sum of `f` of all values.
fn sum(values: &[f32], f: impl Fn(f32) -> f32 + Copy) -> f64 {
    let sum_of = |chunk: &[f32]| {
        dispatch(
            #[inline(always)]
            || {
                let mut sums = [0.0f32; LANES];
                let (lanes, rest) = chunk.as_chunks::<LANES>();
                for lane in lanes {
                    for (sum, &value) in sums.iter_mut().zip(lane) {
                        *sum += f(value);
                    }
                }
                sums.iter().sum::<f32>() + rest.iter().map(|&v| f(v)).sum::<f32>()
            },
        )
    };
    values.chunks(CHUNK).map(|chunk| f64::from(sum_of(chunk))).sum()
}

/// `x * scale + shift`, then SiLU if `silu`. `x`: `[batch, channels, h, w]`; `scale`, `shift`: `[batch, channels, h / n, w / n]`, a value for each n x n pixels.
pub(in crate::nn) fn scale_shift_silu(
    x: Tensor<4>,
    scale: &Tensor<4>,
    shift: &Tensor<4>,
    silu: bool,
) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let [_, _, h_block, w_block] = scale.dims();
    let (rows, columns) = (h / h_block, w / w_block);
    let values = |x| host_values(x).expect("callers ask first");
    let (scale, shift) = (values(scale), values(shift));
    let (scale, shift): (&[f32], &[f32]) = (&scale, &shift);
    map_host(x, |x| {
        // A strip: the rows of an image that share a row of `scale`.
        let strips = x.par_chunks_mut(rows * w);
        let factors = scale.par_chunks(w_block).zip(shift.par_chunks(w_block));
        strips.zip(factors).for_each(|(strip, (scale, shift))| {
            dispatch(
                #[inline(always)]
                || {
                    if w_block == 1 {
                        return apply(strip, scale[0], shift[0], silu);
                    }
                    for row in strip.chunks_exact_mut(w) {
                        for ((pixels, &scale), &shift) in row.chunks_exact_mut(columns).zip(scale).zip(shift)
                        {
                            apply(pixels, scale, shift, silu);
                        }
                    }
                },
            );
        });
    })
    .expect("callers ask first")
}

#[inline(always)]
fn apply(values: &mut [f32], scale: f32, shift: f32, silu: bool) {
    if silu {
        values
            .iter_mut()
            .for_each(|x| *x = gated(*x * scale + shift, 1.0));
    } else {
        values.iter_mut().for_each(|x| *x = *x * scale + shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceSpec, has_own_kernels};
    use crate::noise::Noise;

    #[test]
    fn blocks_of_pixels_have_their_own_factors() {
        let device = DeviceSpec::default().device().expect("the default device");
        let mut noise = Noise::new(5);
        let x: Tensor<4> = noise.normal([2, 3, 12, 20], &device);
        if !has_own_kernels(&device) {
            return;
        }
        for blocks in [[1, 1], [3, 5], [12, 20]] {
            let [h, w] = blocks;
            let [scale, shift]: [Tensor<4>; 2] = std::array::from_fn(|_| noise.normal([2, 3, h, w], &device));
            let whole = |y: &Tensor<4>| -> Tensor<4> {
                let y = y
                    .clone()
                    .reshape([6, h, 1, w, 1])
                    .expand([6, h, 12 / h, w, 20 / w]);
                y.reshape([2, 3, 12, 20])
            };
            let expected = x.clone() * whole(&scale) + whole(&shift);
            let y = scale_shift_silu(x.clone(), &scale, &shift, false);
            assert!((y - expected.clone()).abs().max().into_scalar::<f32>() < 1e-6);
            let expected = expected.clone() * burn::tensor::activation::sigmoid(expected);
            let y = scale_shift_silu(x.clone(), &scale, &shift, true);
            assert!((y - expected).abs().max().into_scalar::<f32>() < 2e-6);
        }
    }
}
