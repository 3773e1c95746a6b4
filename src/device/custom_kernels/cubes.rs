//! The kernels, in CubeCL's subset of Rust.

use burn::cubecl;
use burn::cubecl::ir::ElemType;
use burn::cubecl::prelude::*;
use burn::cubecl::std::tensor::layout::linear::{LinearView, LinearViewMut};

#[cube]
fn phi<F: Float>(x: F) -> F {
    F::new(0.5) * (F::new(1.0) + F::erf(x * F::new(0.707_106_77)))
}

#[cube(launch, address_type = "dynamic")]
pub(super) fn gelu<F: Float>(
    x: LinearView<'_, F>,
    mut y: LinearViewMut<'_, F>,
    #[define(F)] _dtype: ElemType,
) {
    if !y.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let x = x.read(ABSOLUTE_POS);
    y.write(ABSOLUTE_POS, x * phi::<F>(x));
}

/// `phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)`, times the gradient.
#[cube(launch, address_type = "dynamic")]
pub(super) fn gelu_backward<F: Float>(
    x: LinearView<'_, F>,
    grad: LinearView<'_, F>,
    mut x_grad: LinearViewMut<'_, F>,
    #[define(F)] _dtype: ElemType,
) {
    if !x_grad.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let x = x.read(ABSOLUTE_POS);
    let density = F::exp(F::new(-0.5) * x * x) * F::new(0.398_942_3);
    x_grad.write(
        ABSOLUTE_POS,
        grad.read(ABSOLUTE_POS) * (phi::<F>(x) + x * density),
    );
}

/// The sum of the values of a cube's `threads` threads, a power of two; or the largest of them.
#[cube]
fn over_cube<F: Float>(value: F, #[comptime] threads: usize, #[comptime] largest: bool) -> F {
    let mut values = Shared::new_slice(threads);
    let thread = UNIT_POS as usize;
    values[thread] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if thread < half {
            let (own, other) = (values[thread], values[thread + half]);
            if comptime!(largest) {
                values[thread] = max(own, other);
            } else {
                values[thread] = own + other;
            }
        }
        sync_cube();
        half /= 2;
    }
    let result = values[0];
    sync_cube();
    result
}

/// An element of a matrix.
#[cube]
fn at<F: Float>(x: &Tensor<F>, row: usize, column: usize) -> F {
    x[row * x.stride(0) + column * x.stride(1)]
}

/// Where row `row` of a tensor `[batch, n_heads, n, seq]` begins, by the strides of its first three axes.
#[cube]
fn row_start(row: usize, n_heads: usize, n: usize, strides: (usize, usize, usize)) -> usize {
    let head = row / n;
    head / n_heads * strides.0 + head % n_heads * strides.1 + row % n * strides.2
}

/// A score of the softmax, in the row that begins at `from`, and at `bias_from` in the bias.
#[cube]
fn score<F: Float>(
    scores: &Tensor<F>,
    bias: &Tensor<F>,
    from: usize,
    bias_from: usize,
    column: usize,
    scale: F,
) -> F {
    scores[from + column * scores.stride(3)] * scale + bias[bias_from + column * bias.stride(3)]
}

#[cube(launch, address_type = "dynamic")]
pub(super) fn softmax<F: Float>(
    scores: &Tensor<F>,
    bias: &Tensor<F>,
    y: &mut Tensor<F>,
    scale: f32,
    #[comptime] threads: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    let n = scores.shape(2);
    let rows = scores.shape(0) * scores.shape(1) * n;
    if row >= rows {
        terminate!();
    }
    let seq = scores.shape(3);
    let scale = F::cast_from(scale);
    let n_heads = scores.shape(1);
    let from = row_start(
        row,
        n_heads,
        n,
        (scores.stride(0), scores.stride(1), scores.stride(2)),
    );
    let to = row_start(row, n_heads, n, (y.stride(0), y.stride(1), y.stride(2)));
    let y_step = y.stride(3);
    let mut bias_from = row % n * bias.stride(2);
    if bias.shape(0) > 1 {
        bias_from += row / n / scores.shape(1) * bias.stride(0);
    }
    let mut largest = F::min_value();
    let mut column = UNIT_POS as usize;
    while column < seq {
        let score = score::<F>(scores, bias, from, bias_from, column, scale);
        largest = max(largest, score);
        column += threads;
    }
    let largest = over_cube::<F>(largest, threads, true);
    let mut sum = F::new(0.0);
    let mut column = UNIT_POS as usize;
    while column < seq {
        let score = score::<F>(scores, bias, from, bias_from, column, scale);
        sum += F::exp(score - largest);
        column += threads;
    }
    let sum = over_cube::<F>(sum, threads, false);
    let mut column = UNIT_POS as usize;
    while column < seq {
        let score = score::<F>(scores, bias, from, bias_from, column, scale);
        y[to + column * y_step] = F::exp(score - largest) / sum;
        column += threads;
    }
}

/// `scale y (grad - sum(grad y))`
#[cube(launch, address_type = "dynamic")]
pub(super) fn softmax_backward<F: Float>(
    y: &Tensor<F>,
    grad: &Tensor<F>,
    scores_grad: &mut Tensor<F>,
    scale: f32,
    #[comptime] threads: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    let rows = y.shape(0) * y.shape(1) * y.shape(2);
    if row >= rows {
        terminate!();
    }
    let seq = y.shape(3);
    let (n_heads, n) = (y.shape(1), y.shape(2));
    let y_from = row_start(row, n_heads, n, (y.stride(0), y.stride(1), y.stride(2)));
    let grad_from = row_start(row, n_heads, n, (grad.stride(0), grad.stride(1), grad.stride(2)));
    let strides = (
        scores_grad.stride(0),
        scores_grad.stride(1),
        scores_grad.stride(2),
    );
    let to = row_start(row, n_heads, n, strides);
    let step = scores_grad.stride(3);
    let mut sum = F::new(0.0);
    let mut column = UNIT_POS as usize;
    while column < seq {
        sum += y[y_from + column * y.stride(3)] * grad[grad_from + column * grad.stride(3)];
        column += threads;
    }
    let sum = over_cube::<F>(sum, threads, false);
    let mut column = UNIT_POS as usize;
    while column < seq {
        let value = y[y_from + column * y.stride(3)];
        let g = grad[grad_from + column * grad.stride(3)];
        scores_grad[to + column * step] = F::cast_from(scale) * value * (g - sum);
        column += threads;
    }
}

/// Mean and reciprocal standard deviation of row `row`.
#[cube]
fn row_statistics<F: Float>(x: &Tensor<F>, row: usize, epsilon: F, #[comptime] threads: usize) -> (F, F) {
    let d = x.shape(1);
    let mut sum = F::new(0.0);
    let mut column = UNIT_POS as usize;
    while column < d {
        sum += at(x, row, column);
        column += threads;
    }
    let mean = over_cube::<F>(sum, threads, false) / F::cast_from(d);
    let mut squares = F::new(0.0);
    let mut column = UNIT_POS as usize;
    while column < d {
        let centred = at(x, row, column) - mean;
        squares += centred * centred;
        column += threads;
    }
    let variance = over_cube::<F>(squares, threads, false) / F::cast_from(d);
    (mean, F::new(1.0) / F::sqrt(variance + epsilon))
}

#[cube(launch, address_type = "dynamic")]
pub(super) fn row_norm<F: Float>(
    x: &Tensor<F>,
    gamma: &Tensor<F>,
    beta: &Tensor<F>,
    y: &mut Tensor<F>,
    epsilon: f32,
    #[comptime] threads: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= x.shape(0) {
        terminate!();
    }
    let (mean, scale) = row_statistics::<F>(x, row, F::cast_from(epsilon), threads);
    let (y_row, y_column) = (y.stride(0), y.stride(1));
    let mut column = UNIT_POS as usize;
    while column < x.shape(1) {
        let normalised = (at(x, row, column) - mean) * scale;
        y[row * y_row + column * y_column] =
            normalised * gamma[column * gamma.stride(0)] + beta[column * beta.stride(0)];
        column += threads;
    }
}

/// With `h = grad gamma` and the normalised `x`: `scale (h - mean(h) - x mean(h x))`, and `grad x`.
#[cube(launch, address_type = "dynamic")]
pub(super) fn row_norm_backward<F: Float>(
    x: &Tensor<F>,
    gamma: &Tensor<F>,
    grad: &Tensor<F>,
    x_grad: &mut Tensor<F>,
    gamma_grad: &mut Tensor<F>,
    epsilon: f32,
    #[comptime] threads: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= x.shape(0) {
        terminate!();
    }
    let d = x.shape(1);
    let (mean, scale) = row_statistics::<F>(x, row, F::cast_from(epsilon), threads);
    let mut sum = F::new(0.0);
    let mut product = F::new(0.0);
    let mut column = UNIT_POS as usize;
    while column < d {
        let normalised = (at(x, row, column) - mean) * scale;
        let h = at(grad, row, column) * gamma[column * gamma.stride(0)];
        sum += h;
        product += h * normalised;
        column += threads;
    }
    let mean_h = over_cube::<F>(sum, threads, false) / F::cast_from(d);
    let mean_product = over_cube::<F>(product, threads, false) / F::cast_from(d);
    let (x_row, x_column) = (x_grad.stride(0), x_grad.stride(1));
    let (gamma_row, gamma_column) = (gamma_grad.stride(0), gamma_grad.stride(1));
    let mut column = UNIT_POS as usize;
    while column < d {
        let normalised = (at(x, row, column) - mean) * scale;
        let g = at(grad, row, column);
        let h = g * gamma[column * gamma.stride(0)];
        x_grad[row * x_row + column * x_column] = scale * (h - mean_h - normalised * mean_product);
        gamma_grad[row * gamma_row + column * gamma_column] = g * normalised;
        column += threads;
    }
}

/// The order of operations is that of Burn's AdamW.
#[cube(launch, address_type = "dynamic")]
pub(super) fn adamw<F: Float>(
    parameter: LinearView<'_, F>,
    moment_1: LinearView<'_, F>,
    moment_2: LinearView<'_, F>,
    grad: LinearView<'_, F>,
    mut new_parameter: LinearViewMut<'_, F>,
    mut new_moment_1: LinearViewMut<'_, F>,
    mut new_moment_2: LinearViewMut<'_, F>,
    beta_1: f32,
    beta_2: f32,
    correction_1: f32,
    correction_2: f32,
    eps: f32,
    kept: f32,
    lr: f32,
    #[define(F)] _dtype: ElemType,
) {
    if !new_parameter.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let g = grad.read(ABSOLUTE_POS);
    let (beta_1, beta_2) = (F::cast_from(beta_1), F::cast_from(beta_2));
    let m = moment_1.read(ABSOLUTE_POS) * beta_1 + g * (F::new(1.0) - beta_1);
    let v = moment_2.read(ABSOLUTE_POS) * beta_2 + g * g * (F::new(1.0) - beta_2);
    let step =
        (m / F::cast_from(correction_1)) / (F::sqrt(v / F::cast_from(correction_2)) + F::cast_from(eps));
    let updated = parameter.read(ABSOLUTE_POS) * F::cast_from(kept) - step * F::cast_from(lr);
    new_moment_1.write(ABSOLUTE_POS, m);
    new_moment_2.write(ABSOLUTE_POS, v);
    new_parameter.write(ABSOLUTE_POS, updated);
}

/// The windows of an image: `y[sample, (channel, tap), pixel]`, for the pixels of a convolution's output that follow `first_row` of its rows, `columns` wide;
/// zeros outside the image.
#[cube(launch, address_type = "dynamic")]
pub(super) fn windows<F: Float>(
    x: &Tensor<F>,
    y: &mut Tensor<F>,
    first_row: usize,
    columns: usize,
    kernel_w: usize,
    taps: usize,
    stride_h: usize,
    stride_w: usize,
    padding_h: usize,
    padding_w: usize,
    #[define(F)] _dtype: ElemType,
) {
    let (window, pixels) = (y.shape(1), y.shape(2));
    if ABSOLUTE_POS >= y.shape(0) * window * pixels {
        terminate!();
    }
    let pixel = ABSOLUTE_POS % pixels;
    let at = ABSOLUTE_POS / pixels;
    let (sample, in_window) = (at / window, at % window);
    let (channel, tap) = (in_window / taps, in_window % taps);
    // Counted from the padding's edge.
    let row = (first_row + pixel / columns) * stride_h + tap / kernel_w;
    let column = pixel % columns * stride_w + tap % kernel_w;
    let mut value = F::new(0.0);
    if row >= padding_h
        && row < padding_h + x.shape(2)
        && column >= padding_w
        && column < padding_w + x.shape(3)
    {
        value = x[sample * x.stride(0)
            + channel * x.stride(1)
            + (row - padding_h) * x.stride(2)
            + (column - padding_w) * x.stride(3)];
    }
    let to = sample * y.stride(0) + in_window * y.stride(1) + pixel * y.stride(2);
    y[to] = value;
}
