//! 3 x 3 convolution by Winograd's minimal filtering F(2 x 2, 3 x 3) (Lavin & Gray, 2015), which takes 16 multiplications where the definition takes 36.
//!
//! Y = A^T [(G g G^T) . (B^T d B)] A over tiles d of 4 x 4 pixels that overlap by two, each giving 2 x 2 pixels. An image is divided into blocks of tiles,
//! one thread each: what a block needs stays in the cache, and its products are sixteen of `[c_out, c_in]` and `[c_in, tiles]`.
//!
//! Axes: batch; c_in, c_out; h, w.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use super::vector::dispatch;
use crate::device::host_values;

/// Tiles of a block, about: enough for a fast product, few enough for the cache.
const TILES: usize = 256;

/// Some rows of tiles of an image, and where their results belong: two rows of pixels a row of tiles, for each channel.
struct Strip<'a> {
    image: usize,
    rows: Range<usize>,
    out: Vec<&'a mut [f32]>,
}

/// `x`: `[batch, c_in, h, w]` with even sides; `weight`: `[c_out, c_in, 3, 3]`; `bias`: `[c_out]` -> `[batch, c_out, h, w]`, with a pixel of zeros around the
/// image.
pub(in crate::nn) fn convolve(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>) -> Tensor<4> {
    let [batch, c_in, h, w] = x.dims();
    let c_out = weight.dims()[0];
    let device = x.device();
    let filters = filters(weight);
    let values = host_values(x).expect("callers ask first");
    let bias = host_values(bias).expect("as the image");
    let (values, bias): (&[f32], &[f32]) = (&values, &bias);
    let (tile_rows, columns) = (h / 2, w / 2);
    // A block for every thread, and no larger than the cache; small images share one.
    let tiles = TILES.min((batch * tile_rows * columns).div_ceil(rayon::current_num_threads()));
    let strip_rows = tiles.div_ceil(columns).min(tile_rows);
    let strips_of_block = (tiles / (strip_rows * columns)).max(1);

    let mut y = vec![0.0f32; batch * c_out * h * w];
    let mut strips = Vec::new();
    for (image, planes) in y.chunks_mut(c_out * h * w).enumerate() {
        let mut planes: Vec<_> = planes
            .chunks_mut(h * w)
            .map(|plane| plane.chunks_mut(2 * strip_rows * w))
            .collect();
        for first in (0..tile_rows).step_by(strip_rows) {
            let out = planes.iter_mut().filter_map(Iterator::next).collect();
            let rows = first..tile_rows.min(first + strip_rows);
            strips.push(Strip { image, rows, out });
        }
    }
    strips.par_chunks_mut(strips_of_block).for_each(|strips| {
        let n = strips.iter().map(|strip| strip.rows.len() * columns).sum();
        let mut tiles = vec![0.0f32; 16 * c_in * n];
        let mut at = 0;
        for strip in &*strips {
            let image = &values[strip.image * c_in * h * w..][..c_in * h * w];
            input_tiles(image, [h, w], strip.rows.clone(), &mut tiles, [n, at]);
            at += strip.rows.len() * columns;
        }
        let tiles = Tensor::<3>::from_data(TensorData::new(tiles, [16, c_in, n]), (&device, DType::F32));
        let products = filters.clone().matmul(tiles).into_data();
        let products = products.as_slice::<f32>().expect("values of f32");
        let mut at = 0;
        for strip in strips {
            for (channel, out) in strip.out.iter_mut().enumerate() {
                let planes = std::array::from_fn(|i| &products[(i * c_out + channel) * n + at..]);
                output_rows(planes, bias[channel], out, w);
            }
            at += strip.rows.len() * columns;
        }
    });
    drop(strips);
    Tensor::from_data(TensorData::new(y, [batch, c_out, h, w]), (&device, DType::F32))
}

/// G g G^T of every filter, `[16, c_out, c_in]`.
fn filters(weight: &Tensor<4>) -> Tensor<3> {
    let [c_out, c_in, ..] = weight.dims();
    let n = c_out * c_in;
    let values = host_values(weight).expect("as the image");
    let values: &[f32] = &values;
    let mut transformed = vec![0.0f32; 16 * n];
    let mut planes: Vec<Vec<&mut [f32]>> = (0..c_out).map(|_| Vec::with_capacity(16)).collect();
    for plane in transformed.chunks_mut(n) {
        for (row, part) in planes.iter_mut().zip(plane.chunks_mut(c_in)) {
            row.push(part);
        }
    }
    let rows = planes.into_par_iter().zip(values.par_chunks(9 * c_in));
    rows.for_each(|(mut planes, row)| {
        for (i, g) in row.chunks_exact(9).enumerate() {
            let columns: [[f32; 4]; 3] =
                std::array::from_fn(|j| filter_transform([g[j], g[3 + j], g[6 + j]]));
            for k in 0..4 {
                let of_row = filter_transform([columns[0][k], columns[1][k], columns[2][k]]);
                for (j, value) in of_row.into_iter().enumerate() {
                    planes[4 * k + j][i] = value;
                }
            }
        }
    });
    Tensor::from_data(
        TensorData::new(transformed, [16, c_out, c_in]),
        (&weight.device(), DType::F32),
    )
}

/// G g.
#[inline(always)]
fn filter_transform([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
}

/// B^T d B of the tiles in `rows` of an image `[c_in, h, w]`, written from `start` on into `tiles` `[16, c_in, n]`.
fn input_tiles(
    image: &[f32],
    [h, w]: [usize; 2],
    rows: Range<usize>,
    tiles: &mut [f32],
    [n, start]: [usize; 2],
) {
    let (c_in, columns) = (image.len() / (h * w), w / 2);
    // Four rows of the image with a pixel of zeros on both sides, and B^T of them.
    let mut padded = vec![0.0f32; 4 * (w + 2)];
    let mut mixed = vec![0.0f32; 4 * (w + 2)];
    for (channel, plane) in image.chunks_exact(h * w).enumerate() {
        for (at, row) in rows.clone().enumerate() {
            for (k, line) in padded.chunks_exact_mut(w + 2).enumerate() {
                let inner = &mut line[1..=w];
                match (2 * row + k).checked_sub(1).filter(|&y| y < h) {
                    Some(y) => inner.copy_from_slice(&plane[y * w..][..w]),
                    None => inner.fill(0.0),
                }
            }
            dispatch(
                #[inline(always)]
                || {
                    mix_rows(&padded, &mut mixed, w + 2);
                    for (i, line) in mixed.chunks_exact(w + 2).enumerate() {
                        let mut into = tiles[4 * i * c_in * n..][..4 * c_in * n].chunks_exact_mut(c_in * n);
                        let into: [&mut [f32]; 4] = std::array::from_fn(|_| {
                            let plane = into.next().expect("four of them");
                            &mut plane[channel * n + start + at * columns..][..columns]
                        });
                        mix_columns(line, into);
                    }
                },
            );
        }
    }
}

/// d0 - d2, d1 + d2, d2 - d1, d1 - d3 of four rows.
#[inline(always)]
fn mix_rows(rows: &[f32], out: &mut [f32], width: usize) {
    let d: [&[f32]; 4] = std::array::from_fn(|i| &rows[i * width..][..width]);
    let (a, rest) = out.split_at_mut(width);
    let (b, rest) = rest.split_at_mut(width);
    let (c, e) = rest.split_at_mut(width);
    let e = &mut e[..width];
    for x in 0..width {
        let [d0, d1, d2, d3] = [d[0][x], d[1][x], d[2][x], d[3][x]];
        (a[x], b[x], c[x], e[x]) = (d0 - d2, d1 + d2, d2 - d1, d1 - d3);
    }
}

/// The same along a row, of the four pixels at every second pixel.
#[inline(always)]
fn mix_columns(row: &[f32], [a, b, c, e]: [&mut [f32]; 4]) {
    let n = a.len();
    let (b, c, e) = (&mut b[..n], &mut c[..n], &mut e[..n]);
    let (row, next) = (&row[..2 * n], &row[2..][..2 * n]);
    for x in 0..n {
        let [d0, d1, d2, d3] = [row[2 * x], row[2 * x + 1], next[2 * x], next[2 * x + 1]];
        (a[x], b[x], c[x], e[x]) = (d0 - d2, d1 + d2, d2 - d1, d1 - d3);
    }
}

/// A^T m A of the sixteen `planes` of a channel's tiles, and `bias`: the rows of `out`, `w` pixels each.
fn output_rows(planes: [&[f32]; 16], bias: f32, out: &mut [f32], w: usize) {
    let columns = w / 2;
    dispatch(
        #[inline(always)]
        || {
            for (row, pair) in out.chunks_exact_mut(2 * w).enumerate() {
                let m: [&[f32]; 16] = std::array::from_fn(|i| &planes[i][row * columns..][..columns]);
                let (even, odd) = pair.split_at_mut(w);
                let odd = &mut odd[..2 * columns];
                let even = &mut even[..2 * columns];
                for x in 0..columns {
                    // A^T along the first axis, then along the second.
                    let upper: [f32; 4] = std::array::from_fn(|j| m[j][x] + m[4 + j][x] + m[8 + j][x]);
                    let lower: [f32; 4] = std::array::from_fn(|j| m[4 + j][x] - m[8 + j][x] - m[12 + j][x]);
                    even[2 * x] = upper[0] + upper[1] + upper[2] + bias;
                    even[2 * x + 1] = upper[1] - upper[2] - upper[3] + bias;
                    odd[2 * x] = lower[0] + lower[1] + lower[2] + bias;
                    odd[2 * x + 1] = lower[1] - lower[2] - lower[3] + bias;
                }
            }
        },
    );
}
