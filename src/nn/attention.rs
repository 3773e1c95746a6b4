//! Multi-head self-attention with separate q, k, v and output projections, as the published checkpoints store it.
//!
//! Axes: batch; seq; d_model = n_heads * d_head.

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::assert_shape;
use burn::tensor::module::{attention, linear};
use burn::tensor::ops::AttentionModuleOptions;

use super::Places;

/// Added to a score that must not count. The prior's reference adds this value (diffusers `PriorTransformer`); in f32 and f16 alike
/// the softmax turns it into an exact zero, and two of them may add up.
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
pub struct KeysValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KeysValues {
    /// These, and then `later` ones.
    pub fn then(self, later: Self) -> Self {
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
        let places = Places::all(batch, seq);
        let x = places.rows(x);
        let known = self.remember(x.clone(), &places);
        places.sequences(self.attend(self.ask(x, &places), known, bias, &places))
    }

    /// What the rows `x` `[n, d_in]` look for, `[batch, n_heads, seq, d_head]`.
    pub fn ask(&self, x: Tensor<2>, places: &Places) -> Tensor<4> {
        self.heads(&self.query, x, places)
    }

    /// What others see of the rows `x` `[n, d_in]`.
    pub fn remember(&self, x: Tensor<2>, places: &Places) -> KeysValues {
        KeysValues {
            keys: self.heads(&self.key, x.clone(), places),
            values: self.heads(&self.value, x, places),
        }
    }

    /// [`SelfAttention::ask`] and [`SelfAttention::remember`] of the same rows by one product, with the three matrices side by side.
    pub fn ask_and_remember(&self, x: Tensor<2>, places: &Places) -> (Tensor<4>, KeysValues) {
        let y = self.side_by_side([&self.query, &self.key, &self.value], x, places);
        let [query, keys, values] = y.try_into().expect("three went in");
        (query, KeysValues { keys, values })
    }

    /// `query`, from [`SelfAttention::ask`] with the same `places` of `[batch, n]`, looking at `known`, of `seq` tokens; `bias`:
    /// `[batch or 1, 1, n, seq]` -> a row `[d_in]` for each of the places.
    pub fn attend(
        &self,
        query: Tensor<4>,
        known: KeysValues,
        bias: Option<Tensor<4>>,
        places: &Places,
    ) -> Tensor<2> {
        let [batch, n_heads, n, d_head] = query.dims();
        let options = AttentionModuleOptions {
            scale: None,
            softcap: None,
            is_causal: false,
        };
        let y = attention(query, known.keys, known.values, None, bias, options);
        assert_shape!(y, [batch, n_heads, n, d_head]);
        let y = y.swap_dims(1, 2).reshape([batch, n, n_heads * d_head]);
        self.output.forward(places.rows(y))
    }

    /// `[n, d_in]` -> `[batch, n_heads, seq, d_head]` for each of the layers.
    fn side_by_side<const N: usize>(
        &self,
        layers: [&Linear; N],
        x: Tensor<2>,
        places: &Places,
    ) -> Vec<Tensor<4>> {
        let weight = Tensor::cat(layers.map(|layer| layer.weight.val()).to_vec(), 1);
        let bias = layers.map(|layer| layer.bias.as_ref().expect("ours have one").val());
        let y = places.sequences(linear(x, weight, Some(Tensor::cat(bias.to_vec(), 0))));
        let [batch, seq, wide] = y.dims();
        y.reshape([batch, seq, N, self.n_heads, wide / (N * self.n_heads)])
            .permute([2, 0, 3, 1, 4])
            .chunk(N, 0)
            .into_iter()
            .map(|part| part.squeeze_dim(0))
            .collect()
    }

    /// `[n, d_in]` -> `[batch, n_heads, seq, d_head]`
    fn heads(&self, layer: &Linear, x: Tensor<2>, places: &Places) -> Tensor<4> {
        let y = places.sequences(layer.forward(x));
        let [batch, seq, d_inner] = y.dims();
        y.reshape([batch, seq, self.n_heads, d_inner / self.n_heads])
            .swap_dims(1, 2)
    }
}

/// `[1, 1, seq, seq]`: [`MASKED`] where the key comes after the query, 0 elsewhere.
pub fn causal_bias(seq: usize, device: &Device) -> Tensor<4> {
    let values = (0..seq * seq)
        .map(|i| if i % seq > i / seq { MASKED } else { 0.0 })
        .collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [1, 1, seq, seq]), device)
}

/// `mask` `[batch, n]`, 1 where a token counts and 0 where it is padding -> `[batch, 1, 1, n]` of 0 and [`MASKED`].
pub fn padding_bias(mask: Tensor<2>) -> Tensor<4> {
    let [batch, n] = mask.dims();
    mask.mul_scalar(-1.0)
        .add_scalar(1.0)
        .mul_scalar(MASKED)
        .reshape([batch, 1, 1, n])
}
