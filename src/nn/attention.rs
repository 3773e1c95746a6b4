//! Multi-head self-attention with separate q, k, v and output projections, as the published checkpoints store it.
//!
//! Burn's `MultiHeadAttention` isn't used, because it returns the attention weights and so can't call the backend's fused attention; its masks replace
//! scores where the reference adds to them; it can't skip padding ([`PackedLayout`]) or reuse keys and values of a prefix ([`KvCache`]: its own cache
//! takes one token a call, and projects every query again).
//!
//! Axes: batch; seq; d_model = n_heads * d_head.

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::assert_shape;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, module};

use super::linear::linear_by;
use super::{PackedLayout, cpu, linear, to_f32};
use crate::device::{custom_kernels, takes_custom_kernels};

/// Added to a score that must not count. The prior's reference adds this value (diffusers `PriorTransformer`); the softmax turns it into an exact zero,
/// and two of them may add up.
pub const MASKED: f32 = -10_000.0;

/// Sizes of a [`SelfAttention`].
#[derive(Config, Debug)]
pub struct SelfAttentionConfig {
    /// Width of the sequence, in and out.
    pub d_in: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width of one head.
    pub d_head: usize,
}

/// `softmax(q k^T / sqrt(d_head) + bias) v`, projected back.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[d_in, n_heads * d_head]`
    query: Linear,
    key: Linear,
    value: Linear,
    /// `[n_heads * d_head, d_in]`
    output: Linear,
    n_heads: usize,
}

impl SelfAttentionConfig {
    /// A layer with Burn's own (lazy) initial values.
    pub fn init(&self, device: &Device) -> SelfAttention {
        let d_inner = self.n_heads * self.d_head;
        SelfAttention {
            query: LinearConfig::new(self.d_in, d_inner).init(device),
            key: LinearConfig::new(self.d_in, d_inner).init(device),
            value: LinearConfig::new(self.d_in, d_inner).init(device),
            output: LinearConfig::new(d_inner, self.d_in).init(device),
            n_heads: self.n_heads,
        }
    }
}

/// Keys and values of a sequence, `[batch, n_heads, seq, d_head]` each.
#[derive(Debug, Clone)]
pub struct KvCache {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KvCache {
    /// The same sequence followed by `later` tokens.
    pub fn append(self, later: Self) -> Self {
        Self {
            keys: Tensor::cat(vec![self.keys, later.keys], 2),
            values: Tensor::cat(vec![self.values, later.values], 2),
        }
    }
}

impl SelfAttention {
    /// `x`: `[batch, seq, d_in]`; `bias`: `[batch or 1, 1, seq, seq]`, added to the scores of every head -> `[batch, seq, d_in]`.
    pub fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let layout = PackedLayout::dense(batch, seq);
        let x = layout.pack(x);
        let kv = self.project_kv(x.clone(), &layout);
        layout.unpack(self.attend(self.project_q(x, &layout), kv, bias, &layout))
    }

    /// Queries of the packed tokens `x` `[n, d_in]`, `[batch, n_heads, seq, d_head]`.
    pub fn project_q(&self, x: Tensor<2>, layout: &PackedLayout) -> Tensor<4> {
        self.heads(&self.query, x, layout)
    }

    /// Keys and values of the packed tokens `x` `[n, d_in]`.
    pub fn project_kv(&self, x: Tensor<2>, layout: &PackedLayout) -> KvCache {
        KvCache {
            keys: self.heads(&self.key, x.clone(), layout),
            values: self.heads(&self.value, x, layout),
        }
    }

    /// [`SelfAttention::project_q`] and [`SelfAttention::project_kv`] of the same tokens by one product, with the three matrices side by side.
    pub fn project_qkv(&self, x: Tensor<2>, layout: &PackedLayout) -> (Tensor<4>, KvCache) {
        let y = self.fused_heads([&self.query, &self.key, &self.value], x, layout);
        let [query, keys, values] = y.try_into().expect("one tensor a layer");
        (query, KvCache { keys, values })
    }

    /// Attention of `query`, from [`SelfAttention::project_q`] with the same `layout` of `[batch, n]`, to `kv` of `seq` tokens; `bias`:
    /// `[batch or 1, 1, n, seq]` -> the packed tokens of `layout`, `[rows, d_in]`.
    pub fn attend(
        &self,
        query: Tensor<4>,
        kv: KvCache,
        bias: Option<Tensor<4>>,
        layout: &PackedLayout,
    ) -> Tensor<2> {
        let [batch, n_heads, n, d_head] = query.dims();
        let y = attention(query, kv.keys, kv.values, bias);
        assert_shape!(y, [batch, n_heads, n, d_head]);
        let y = y.swap_dims(1, 2).reshape([batch, n, n_heads * d_head]);
        linear(&self.output, layout.pack(y))
    }

    /// `[n, d_in]` -> `[batch, n_heads, seq, d_head]` of each layer.
    fn fused_heads<const N: usize>(
        &self,
        layers: [&Linear; N],
        x: Tensor<2>,
        layout: &PackedLayout,
    ) -> Vec<Tensor<4>> {
        let weight = Tensor::cat(layers.map(|layer| layer.weight.val()).to_vec(), 1);
        let bias = layers.map(|layer| layer.bias.as_ref().expect("init gives every layer a bias").val());
        let y = layout.unpack(linear_by(x, weight, Some(Tensor::cat(bias.to_vec(), 0))));
        let [batch, seq, wide] = y.dims();
        y.reshape([batch, seq, N, self.n_heads, wide / (N * self.n_heads)])
            .permute([2, 0, 3, 1, 4])
            .chunk(N, 0)
            .into_iter()
            .map(|part| part.squeeze_dim(0))
            .collect()
    }

    /// `[n, d_in]` -> `[batch, n_heads, seq, d_head]`
    fn heads(&self, layer: &Linear, x: Tensor<2>, layout: &PackedLayout) -> Tensor<4> {
        let y = layout.unpack(linear(layer, x));
        let [batch, seq, d_inner] = y.dims();
        y.reshape([batch, seq, self.n_heads, d_inner / self.n_heads])
            .swap_dims(1, 2)
    }
}

/// `softmax(query keys^T / sqrt(d_head) + bias) values`, computed in f32 whatever the dtype of its inputs; the result has theirs. `query`: `[batch,
/// n_heads, n, d_head]`; `keys`, `values`: `[batch, n_heads, seq, d_head]`; `bias`: `[batch or 1, 1 or n_heads, n, seq]`, without a gradient ->
/// `[batch, n_heads, n, d_head]`.
///
/// Flex casts to f32 itself. CubeCL with a bias, and autodiff, compose the operation in the inputs' dtype: scores above 65504 overflow in f16, and
/// probabilities have 8 significant bits in bf16. PyTorch's composed attention casts to f32 too.
pub fn attention(query: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<4> {
    let dtype = query.dtype();
    let options = AttentionModuleOptions::default();
    let [query, keys, values] = [query, keys, values].map(to_f32);
    if bias.is_none() && cpu::is_long(&query, keys.dims()[2]) {
        return cpu::attention(query, keys, values).cast(dtype);
    }
    let y = match bias {
        // The kernel reads one bias for all heads.
        Some(bias) if bias.dims()[1] == 1 && takes_custom_kernels(&query) => {
            let [n, d_head] = [query.dims()[2], query.dims()[3]];
            let scores = query.matmul(keys.swap_dims(2, 3));
            let bias = to_f32(bias).expand([-1, 1, n as i64, scores.dims()[3] as i64]);
            let weights = custom_kernels::biased_softmax(scores, bias, (d_head as f64).powf(-0.5));
            weights.matmul(values)
        }
        bias => module::attention(query, keys, values, None, bias.map(to_f32), options),
    };
    y.cast(dtype)
}

/// `[1, 1, seq, seq]`, f32: [`MASKED`] where the key comes after the query, 0 elsewhere.
pub fn causal_bias(seq: usize, device: &Device) -> Tensor<4> {
    let values = (0..seq * seq)
        .map(|i| if i % seq > i / seq { MASKED } else { 0.0 })
        .collect();
    Tensor::from_data(
        TensorData::new::<f32, _>(values, [1, 1, seq, seq]),
        (device, DType::F32),
    )
}

/// `mask` `[batch, n]`, 1 where a token counts and 0 where it is padding -> `[batch, 1, 1, n]` of 0 and [`MASKED`], f32.
pub fn padding_bias(mask: Tensor<2>) -> Tensor<4> {
    let [batch, n] = mask.dims();
    to_f32(mask)
        .mul_scalar(-1.0)
        .add_scalar(1.0)
        .mul_scalar(MASKED)
        .reshape([batch, 1, 1, n])
}
