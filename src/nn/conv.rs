//! 3 x 3 convolution that keeps the size, most of a UNet's work.
//!
//! Burn's `Conv2d` isn't used, because matrix products are up to twice as fast on the devices that [`convolves_by_products`] names: large images by
//! Winograd's minimal filtering F(2 x 2, 3 x 3) (Lavin & Gray, 2015), which takes 16 multiplications where the definition takes 36; small images by one
//! product with all shifted copies side by side, which doesn't transform the weights. Elsewhere Burn's operation computes it.
//!
//! Axes: batch; c_in, c_out; h, w.

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::prelude::*;
use burn::tensor::assert_shape;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use crate::device::convolves_by_products;

/// Pixels of all images of a batch from which Winograd's transform of the weights is faster (measured: slower at 512, faster at 1024).
const WINOGRAD_PIXELS: usize = 1024;
/// With fewer channels matrix products aren't faster.
const MIN_CHANNELS: usize = 16;

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
        let is_wide = c_in.min(c_out) >= MIN_CHANNELS;
        if !is_wide || !convolves_by_products(&x.device()) {
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            return conv2d(x, weight, Some(self.bias.val()), options);
        }
        let is_large = batch * h * w >= WINOGRAD_PIXELS;
        let y = match is_large && h.is_multiple_of(2) && w.is_multiple_of(2) {
            true => by_winograd(x, weight),
            false => by_one_product(x, weight),
        };
        y + self.bias.val().reshape([1, c_out, 1, 1])
    }
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

/// Y = A^T [(G g G^T) . (B^T d B)] A over tiles d of 4 x 4 pixels that overlap by two, each giving 2 x 2 pixels.
///
/// Tiles are not copied: the image's even and odd rows and columns are four images of half the size, and each of a tile's 16 pixels is a
/// pixel of one of them or of its right or lower neighbour.
fn by_winograd(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let [batch, c_in, h, w] = x.dims();
    let c_out = weight.dims()[0];
    let (tiles_h, tiles_w) = (h / 2, w / 2);
    let filters = winograd_filters(weight);

    let parities = x
        .pad((1, 1, 1, 1), 0.0)
        .reshape([batch * c_in, tiles_h + 1, 2, tiles_w + 1, 2])
        .permute([2, 4, 0, 1, 3]); // [row parity, column parity, batch * c_in, tiles_h + 1, tiles_w + 1]
    let parities = parities.reshape([2, 2 * batch * c_in, tiles_h + 1, tiles_w + 1]);
    let of_rows = |parity: usize| -> Tensor<3> { parities.clone().narrow(0, parity, 1).squeeze_dim(0) };
    let rows = input_transform(of_rows(0), of_rows(1), 1, tiles_h);
    // The columns of each, as [column transform][row transform].
    let mut tiles: [Vec<Tensor<3>>; 4] = Default::default();
    for row in rows {
        let of_columns = |parity: usize| row.clone().narrow(0, parity * batch * c_in, batch * c_in);
        let columns = input_transform(of_columns(0), of_columns(1), 2, tiles_w);
        for (kept, column) in tiles.iter_mut().zip(columns) {
            kept.push(column.reshape([batch, c_in, tiles_h * tiles_w]));
        }
    }
    let mut columns = tiles.into_iter().enumerate().map(|(j, of_rows)| {
        let products = of_rows
            .into_iter()
            .enumerate()
            .map(|(i, tile)| filters[4 * i + j].clone().matmul(tile));
        output_transform(products)
    });
    // [column transform] of [even rows, odd rows]
    let columns: [[Tensor<3>; 2]; 4] = std::array::from_fn(|_| columns.next().expect("four of them"));
    let [even, odd]: [[Tensor<3>; 4]; 2] = {
        let [a, b, c, d] = columns;
        let ([a0, a1], [b0, b1], [c0, c1], [d0, d1]) = (a, b, c, d);
        [[a0, b0, c0, d0], [a1, b1, c1, d1]]
    };
    let rows = [even, odd].map(|row| {
        let halves = output_transform(row.into_iter());
        let halves = halves.map(|half| half.reshape([batch * c_out, tiles_h, 1, tiles_w, 1]));
        Tensor::cat(halves.into(), 4)
    });
    Tensor::cat(rows.into(), 2).reshape([batch, c_out, h, w])
}

/// G g G^T of every filter: sixteen of `[1, c_out, c_in]`.
fn winograd_filters(weight: Tensor<4>) -> Vec<Tensor<3>> {
    const G: [[f32; 3]; 4] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
    let [c_out, c_in, ..] = weight.dims();
    let mut both = Vec::with_capacity(16 * 9);
    for (row, column) in (0..16).map(|i| (G[i / 4], G[i % 4])) {
        both.extend((0..9).map(|tap| row[tap / 3] * column[tap % 3]));
    }
    let both = Tensor::<2>::from_data(TensorData::new(both, [16, 9]), &weight.device());
    let filters = both.matmul(weight.reshape([c_out * c_in, 9]).transpose());
    let filter = |i: usize| filters.clone().narrow(0, i, 1).reshape([1, c_out, c_in]);
    (0..16).map(filter).collect()
}

/// B^T d along `axis`: d0 - d2, d1 + d2, d2 - d1, d1 - d3, where d0 and d2 are neighbours in `even`, d1 and d3 in `odd`.
fn input_transform(even: Tensor<3>, odd: Tensor<3>, axis: usize, n: usize) -> [Tensor<3>; 4] {
    let (d0, d2) = (even.clone().narrow(axis, 0, n), even.narrow(axis, 1, n));
    let (d1, d3) = (odd.clone().narrow(axis, 0, n), odd.narrow(axis, 1, n));
    [d0 - d2.clone(), d1.clone() + d2.clone(), d2 - d1.clone(), d1 - d3]
}

/// m A of four: m0 + m1 + m2 and m1 - m2 - m3.
fn output_transform(mut m: impl Iterator<Item = Tensor<3>>) -> [Tensor<3>; 2] {
    let mut next = || m.next().expect("four of them");
    let (m0, m1, m2, m3) = (next(), next(), next(), next());
    [m0 + m1.clone() + m2.clone(), m1 - m2 - m3]
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
        let sizes = [[1, 2, 2], [3, 6, 4], [2, 40, 32], [2, 1, 5], [1, 7, 3]];
        for (size, [c_in, c_out]) in sizes
            .into_iter()
            .zip([[16, 20], [17, 16], [24, 16], [32, 16], [3, 2]])
        {
            let [batch, h, w] = size;
            let mut conv = Conv3x3::init([c_in, c_out], &device);
            conv.bias = Param::from_tensor(noise.normal([c_out], &device));
            conv.weight = Param::from_tensor(noise.normal([c_out, c_in, 3, 3], &device));
            let x: Tensor<4> = noise.normal([batch, c_in, h, w], &device);
            let bias = conv.bias.val().reshape([1, c_out, 1, 1]);
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            let reference = conv2d(x.clone(), conv.weight.val(), Some(conv.bias.val()), options);
            let mut ways = vec![
                conv.forward(x.clone()),
                by_one_product(x.clone(), conv.weight.val()) + bias.clone(),
            ];
            if h % 2 == 0 && w % 2 == 0 {
                ways.push(by_winograd(x, conv.weight.val()) + bias);
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
