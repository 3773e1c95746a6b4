//! Attention over many tokens: blocks of queries on all threads, whose scores stay in the cache.

use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use super::vector::{dispatch, exp};
use crate::device::has_own_kernels;

/// Tokens from which this is faster than Burn's operation, whose softmax is scalar and which leaves one head to one thread.
const LEAST_TOKENS: usize = 256;
/// Scores of a block, 1 MiB.
const SCORES: usize = 1 << 18;
/// Partial results that are kept side by side.
const LANES: usize = 16;

/// Whether [`attention`] is used for queries `[batch, n_heads, n, d_head]` and keys of `seq` tokens.
pub(in crate::nn) fn is_long(query: &Tensor<4>, seq: usize) -> bool {
    seq >= LEAST_TOKENS && query.dims()[2] >= LEAST_TOKENS && has_own_kernels(&query.device())
}

/// `softmax(query keys^T / sqrt(d_head)) values`; `query`: `[batch, n_heads, n, d_head]`; `keys`, `values`: `[batch, n_heads, seq, d_head]` -> as `query`.
pub(in crate::nn) fn attention(query: Tensor<4>, keys: Tensor<4>, values: Tensor<4>) -> Tensor<4> {
    let [batch, n_heads, n, d_head] = query.dims();
    let seq = keys.dims()[2];
    let query = query.mul_scalar(1.0 / (d_head as f64).sqrt());
    let for_cache = (SCORES / seq).max(32);
    let for_threads = (batch * n_heads * n).div_ceil(rayon::current_num_threads());
    let rows = for_cache.min(for_threads).clamp(1, n);
    let blocks = n.div_ceil(rows);
    let heads: Vec<[Tensor<3>; 3]> = (0..batch * n_heads)
        .map(|head| {
            let of = |x: &Tensor<4>| -> Tensor<3> {
                x.clone()
                    .narrow(0, head / n_heads, 1)
                    .narrow(1, head % n_heads, 1)
                    .squeeze_dim(0)
            };
            [of(&query), of(&keys).swap_dims(1, 2), of(&values)]
        })
        .collect();
    let parts: Vec<Tensor<3>> = (0..heads.len() * blocks)
        .into_par_iter()
        .map(|i| {
            let [query, keys, values] = &heads[i / blocks];
            let first = i % blocks * rows;
            let query = query.clone().narrow(1, first, rows.min(n - first));
            let mut scores = query.matmul(keys.clone()).into_data();
            let sums = exponentiate(scores.as_mut_slice().expect("values of f32"), seq);
            let mut y = Tensor::from_data(scores, (&values.device(), DType::F32))
                .matmul(values.clone())
                .into_data();
            let of_rows = y
                .as_mut_slice::<f32>()
                .expect("values of f32")
                .chunks_exact_mut(d_head);
            for (row, sum) in of_rows.zip(sums) {
                row.iter_mut().for_each(|value| *value /= sum);
            }
            Tensor::from_data(y, (&values.device(), DType::F32))
        })
        .collect();
    Tensor::cat(parts, 1).reshape([batch, n_heads, n, d_head])
}

/// `exp(row - max(row))` of rows of `n` scores, and the sum of each.
fn exponentiate(scores: &mut [f32], n: usize) -> Vec<f32> {
    let one = |row: &mut [f32]| {
        dispatch(
            #[inline(always)]
            || {
                let mut maxima = [f32::NEG_INFINITY; LANES];
                let (lanes, rest) = row.as_chunks::<LANES>();
                for lane in lanes {
                    for (max, &score) in maxima.iter_mut().zip(lane) {
                        *max = if score > *max { score } else { *max };
                    }
                }
                let max = maxima
                    .iter()
                    .chain(rest)
                    .fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                let mut sums = [0.0f32; LANES];
                let (lanes, rest) = row.as_chunks_mut::<LANES>();
                for lane in lanes {
                    for (sum, score) in sums.iter_mut().zip(lane) {
                        *score = exp(*score - max);
                        *sum += *score;
                    }
                }
                let mut sum = sums.iter().sum::<f32>();
                for score in rest {
                    *score = exp(*score - max);
                    sum += *score;
                }
                sum
            },
        )
    };
    scores.chunks_exact_mut(n).map(one).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::module;
    use burn::tensor::ops::AttentionModuleOptions;

    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;

    #[test]
    fn is_burns_attention() {
        let device = DeviceSpec::default().device().expect("the default device");
        let mut noise = Noise::new(7);
        for [batch, n_heads, n, seq, d_head] in [[2, 3, 257, 257, 16], [1, 1, 300, 1100, 40]] {
            let mut random = |n: usize| -> Tensor<4> { noise.normal([batch, n_heads, n, d_head], &device) };
            // A wide spread of scores.
            let (query, keys, values) = (random(n).mul_scalar(5.0), random(seq), random(seq));
            if !is_long(&query, seq) {
                return;
            }
            let options = AttentionModuleOptions::default();
            let reference =
                module::attention(query.clone(), keys.clone(), values.clone(), None, None, options);
            let y = attention(query, keys, values);
            assert_eq!(y.dims(), reference.dims());
            let off = (y - reference).abs().max().into_scalar::<f32>();
            assert!(off < 1e-5, "{off}");
        }
    }
}
