//! Resizing feature maps and images as PyTorch's `interpolate` does with `align_corners=False`.
//!
//! Burn's `interpolate` copies pixels, but isn't used for bicubic resizing, because it has no antialiasing and computes its weights in f32.
//!
//! Axes: batch; channels; h, w.

use burn::prelude::*;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// The free parameter of the cubic kernel (Keys 1981): PyTorch's without and with antialiasing.
const A_PLAIN: f64 = -0.75;
const A_ANTIALIAS: f64 = -0.5;
/// The cubic kernel is zero from here on, in input pixels.
const CUBIC_SUPPORT: f64 = 2.0;

/// Bicubic resampling of `x` `[batch, channels, h, w]` to `size` `[h, w]`, up or down.
///
/// With `antialias` the kernel is Keys' with a = -0.5, widened where the image shrinks and cut off and renormalised at the edges; without it
/// a = -0.75, four taps always, and the edge pixels repeat. Values are not clamped. Weights are computed on the host in f64, and applied as one
/// matrix product for each axis.
pub fn upscale_bicubic(x: Tensor<4>, size: [usize; 2], antialias: bool) -> Tensor<4> {
    let [batch, channels, h, w] = x.dims();
    let (device, dtype) = (x.device(), x.dtype());
    let matrix = |n_in: usize, n_out: usize| {
        let weights = match antialias {
            true => antialiased(n_in, n_out),
            false => four_taps(n_in, n_out),
        };
        let weights: Vec<f32> = weights.into_iter().map(|w| w as f32).collect();
        Tensor::<3>::from_data(TensorData::new(weights, [1, n_out, n_in]), (&device, dtype))
    };
    let x = x.reshape([batch * channels, h, w]);
    let x = x.matmul(matrix(w, size[1]).swap_dims(1, 2)); // [batch * channels, h, size[1]]
    matrix(h, size[0])
        .matmul(x)
        .reshape([batch, channels, size[0], size[1]])
}

/// Every pixel of `x` `[batch, channels, h, w]` becomes a block of 2 x 2 pixels.
pub fn double_size(x: Tensor<4>) -> Tensor<4> {
    let [.., h, w] = x.dims();
    let nearest = InterpolateOptions::new(InterpolateMode::Nearest);
    interpolate(x, nearest.with_output_size([2 * h, 2 * w]))
}

/// The cubic convolution kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < CUBIC_SUPPORT {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

/// `[n_out, n_in]` weights: four taps around the centre of each output pixel.
fn four_taps(n_in: usize, n_out: usize) -> Vec<f64> {
    let mut weights = vec![0.0; n_out * n_in];
    let scale = n_in as f64 / n_out as f64;
    for (i, row) in weights.chunks_exact_mut(n_in).enumerate() {
        let centre = scale * (i as f64 + 0.5) - 0.5;
        let first = centre.floor() - 1.0;
        for tap in 0..4 {
            let at = first + f64::from(tap);
            row[at.clamp(0.0, (n_in - 1) as f64) as usize] += cubic(centre - at, A_PLAIN);
        }
    }
    weights
}

/// `[n_out, n_in]` weights: the kernel over all input pixels that an output pixel covers, summing to 1 inside the image.
fn antialiased(n_in: usize, n_out: usize) -> Vec<f64> {
    let mut weights = vec![0.0; n_out * n_in];
    let scale = n_in as f64 / n_out as f64;
    let stretch = scale.max(1.0);
    let support = CUBIC_SUPPORT * stretch;
    for (i, row) in weights.chunks_exact_mut(n_in).enumerate() {
        let centre = scale * (i as f64 + 0.5);
        // Casts cut off below zero.
        let start = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(n_in);
        for (j, weight) in row.iter_mut().enumerate().take(end).skip(start) {
            *weight = cubic((j as f64 - centre + 0.5) / stretch, A_ANTIALIAS);
        }
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|w| *w /= sum);
    }
    weights
}
