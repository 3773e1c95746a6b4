//! Convolutions as matrix products, where those are faster than Burn's own operation.
//!
//! On flex ([`has_own_kernels`]) 3 x 3 convolutions that keep the size, most of a UNet's work: large images by Winograd's minimal filtering
//! ([`cpu::convolve`]); few small images by one product with all shifted copies side by side, which doesn't transform the weights. On the GPUs that
//! [`convolves_by_products`] names, every convolution: products with the windows of the image. Everything else uses Burn's operation.
//!
//! Axes: batch; c_in, c_out; h, w.

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::prelude::*;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{assert_shape, module};

use super::{cpu, to_f32};
use crate::device::{Windows, convolves_by_products, custom_kernels, has_own_kernels};

/// Pixels of an image from which Winograd's transform of the weights pays, and pixels of a batch from which copying every pixel nine times doesn't.
const LARGE: usize = 1024;
/// With fewer channels matrix products aren't faster.
const MIN_CHANNELS: usize = 16;
/// Values of the windows that exist at a time, 128 MiB in f32, which is the largest buffer of some Vulkan drivers. With more, rows of the image follow one
/// another.
const MOST_WINDOWS: usize = 1 << 25;

/// A 3 x 3 convolution with one pixel of zeros around the image.
#[derive(Module, Debug)]
pub struct Conv3x3 {
    /// `[c_out, c_in, 3, 3]`
    weight: Param<Tensor<4>>,
    /// `[c_out]`
    bias: Param<Tensor<1>>,
}

impl Conv3x3 {
    /// `[c_in, c_out]`, with Burn's own (lazy) initial values.
    pub fn init(channels: [usize; 2], device: &Device) -> Self {
        let config = Conv2dConfig::new(channels, [3, 3]);
        let conv = config
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init(device);
        Self {
            weight: conv.weight,
            bias: conv.bias.expect("the default has one"),
        }
    }

    /// `x`: `[batch, c_in, h, w]` -> `[batch, c_out, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let [c_out, c_in, ..] = weight.dims();
        let [batch, _, h, w] = x.dims();
        assert_shape!(x, [batch, c_in, h, w]);
        let bias = self.bias.val();
        let has_own = c_in.min(c_out) >= MIN_CHANNELS && has_own_kernels(&x.device());
        if has_own && h * w >= LARGE && h.is_multiple_of(2) && w.is_multiple_of(2) {
            let dtype = x.dtype();
            return cpu::convolve(&to_f32(x), &to_f32(weight), &to_f32(bias)).cast(dtype);
        }
        if !has_own || batch * h * w >= LARGE {
            return conv2d(x, weight, Some(bias), ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
        }
        by_one_product(x, weight) + bias.reshape([1, c_out, 1, 1])
    }
}

/// `layer` on `x` `[batch, c_in, h, w]`.
pub fn convolve(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let padding = match layer.padding {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        PaddingConfig2d::Same => return layer.forward(x),
    };
    let options = ConvOptions::new_with_padding(layer.stride, padding, layer.dilation, layer.groups);
    conv2d(
        x,
        layer.weight.val(),
        layer.bias.as_ref().map(Param::val),
        options,
    )
}

/// The convolution of `x` `[batch, c_in, h, w]` by `weight` `[c_out, c_in / groups, kernel_h, kernel_w]` and `bias` `[c_out]`.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let is_plain = options.groups == 1 && options.dilation == [1, 1];
    if !(is_plain && convolves_by_products(&x.device())) {
        return module::conv2d(x, weight, bias, options);
    }
    let y = by_products(x, weight, &options);
    match bias {
        Some(bias) => y + bias.reshape([1, -1, 1, 1]),
        None => y,
    }
}

/// `[c_out, c_in * taps]` times the windows, `[batch, c_in * taps, pixels]`.
fn by_products(x: Tensor<4>, weight: Tensor<4>, options: &ConvOptions<2>) -> Tensor<4> {
    let [batch, c_in, h, w] = x.dims();
    let [c_out, _, kernel_h, kernel_w] = weight.dims();
    assert_shape!(weight, [c_out, c_in, kernel_h, kernel_w]);
    let size = |axis: usize, from: usize, kernel: usize| {
        let (before, after) = options.padding[axis];
        (from + before + after - kernel) / options.stride[axis] + 1
    };
    let (rows, columns) = (size(0, h, kernel_h), size(1, w, kernel_w));
    let weight = weight.reshape([1, c_out, c_in * kernel_h * kernel_w]);
    if [kernel_h, kernel_w] == options.stride && [kernel_h, kernel_w, rows, columns] == [1, 1, h, w] {
        let y = weight.matmul(x.reshape([batch, c_in, h * w]));
        return y.reshape([batch, c_out, h, w]);
    }
    let values_per_row = batch * c_in * kernel_h * kernel_w * columns;
    let at_a_time = (MOST_WINDOWS / values_per_row).clamp(1, rows);
    let product = |start: usize| {
        let windows = Windows {
            kernel: [kernel_h, kernel_w],
            stride: options.stride,
            padding: options.padding_begin(),
            rows: start..rows.min(start + at_a_time),
            columns,
        };
        let n_rows = windows.rows.len();
        let y = weight.clone().matmul(custom_kernels::windows(x.clone(), windows));
        y.reshape([batch, c_out, n_rows, columns])
    };
    Tensor::cat((0..rows).step_by(at_a_time).map(product).collect(), 2)
}

/// `[c_out, 9 c_in]` times the nine shifted copies of the image, `[9 c_in, batch * h * w]`.
fn by_one_product(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let [batch, c_in, h, w] = x.dims();
    let c_out = weight.dims()[0];
    let padded = x.swap_dims(0, 1).pad((1, 1, 1, 1), 0.0); // [c_in, batch, h + 2, w + 2]
    let shifted = |tap: usize| {
        let moved = padded.clone().narrow(2, tap / 3, h).narrow(3, tap % 3, w);
        moved.reshape([c_in, 1, batch * h * w])
    };
    let columns = Tensor::cat((0..9).map(shifted).collect(), 1).reshape([9 * c_in, batch * h * w]);
    let y = weight.reshape([c_out, 9 * c_in]).matmul(columns);
    y.reshape([c_out, batch, h, w]).swap_dims(0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;

    /// Every way gives what Burn's own operation gives, at any size that it is used for.
    #[test]
    fn all_ways_are_one() {
        let device = DeviceSpec::default().device().expect("the default device");
        let mut noise = Noise::new(4);
        let sizes = [
            [1, 2, 2],
            [3, 6, 4],
            [2, 40, 32],
            [2, 1, 5],
            [1, 7, 3],
            [1, 6, 700],
            [40, 8, 8],
        ];
        for (size, [c_in, c_out]) in
            sizes
                .into_iter()
                .zip([[16, 20], [17, 16], [24, 16], [32, 16], [3, 2], [16, 17], [16, 16]])
        {
            let [batch, h, w] = size;
            let mut conv = Conv3x3::init([c_in, c_out], &device);
            conv.bias = Param::from_tensor(noise.normal([c_out], &device));
            conv.weight = Param::from_tensor(noise.normal([c_out, c_in, 3, 3], &device));
            let x: Tensor<4> = noise.normal([batch, c_in, h, w], &device);
            let bias = conv.bias.val().reshape([1, c_out, 1, 1]);
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            let reference = module::conv2d(x.clone(), conv.weight.val(), Some(conv.bias.val()), options);
            let mut ways = vec![
                conv.forward(x.clone()),
                by_one_product(x.clone(), conv.weight.val()) + bias.clone(),
            ];
            if h % 2 == 0 && w % 2 == 0 && has_own_kernels(&device) {
                ways.push(cpu::convolve(&x, &conv.weight.val(), &conv.bias.val()));
            }
            for (i, way) in ways.into_iter().enumerate() {
                assert_eq!(way.dims(), reference.dims());
                // Values of order sqrt(9 c_in), about 15.
                let off = (way - reference.clone()).abs().max().into_scalar::<f32>();
                assert!(off < 5e-5, "way {i} at {size:?}: off by {off}");
            }
        }
    }
}
