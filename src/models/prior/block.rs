//! One block of the prior (reference: diffusers `BasicTransformerBlock` with `activation_fn="gelu"`, `attention_bias=True`).

use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;

use super::PriorConfig;
use crate::nn::{Activation, KvCache, PackedLayout, SelfAttention, SelfAttentionConfig, norm_rows};

/// Layer norms of the reference are PyTorch's: eps 1e-5.
pub(super) const NORM_EPS: f64 = 1e-5;
/// The feed-forward layer is four times as wide as the block.
const FF_RATIO: usize = 4;

/// `x + attention(norm(x))`, then `x + ff(norm(x))`.
#[derive(Module, Debug)]
pub(super) struct Block {
    norm_1: LayerNorm,
    attention: SelfAttention,
    norm_2: LayerNorm,
    /// `[d_model, 4 d_model]`
    fc_1: Linear,
    fc_2: Linear,
}

impl Block {
    pub(super) fn init(config: &PriorConfig, device: &Device) -> Self {
        let d = config.d_model();
        let norm = || LayerNormConfig::new(d).with_epsilon(NORM_EPS).init(device);
        Self {
            norm_1: norm(),
            attention: SelfAttentionConfig::new(d, config.n_heads, config.d_head).init(device),
            norm_2: norm(),
            fc_1: LinearConfig::new(d, FF_RATIO * d).init(device),
            fc_2: LinearConfig::new(FF_RATIO * d, d).init(device),
        }
    }

    /// `x`: `[n, d_model]`, the tokens of `layout`; `bias`: see [`SelfAttention::forward`]; `fused`: [`super::FastPaths::fused_qkv`]. Also
    /// returns the keys and values of `x`.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        layout: &PackedLayout,
        bias: Option<Tensor<4>>,
        fused: bool,
    ) -> (Tensor<2>, KvCache) {
        let h = norm_rows(&self.norm_1, NORM_EPS, x.clone());
        let (query, kv) = if fused {
            self.attention.project_qkv(h, layout)
        } else {
            let kv = self.attention.project_kv(h.clone(), layout);
            (self.attention.project_q(h, layout), kv)
        };
        (self.finish(x, query, kv.clone(), bias, layout), kv)
    }

    /// [`Block::forward`] of the last token of each sequence only, `[batch, d_model]`.
    pub(super) fn last(&self, x: Tensor<2>, layout: &PackedLayout, bias: Option<Tensor<4>>) -> Tensor<2> {
        let h = norm_rows(&self.norm_1, NORM_EPS, x.clone());
        let kv = self.attention.project_kv(h.clone(), layout);
        let x = layout.last(x);
        let one = PackedLayout::dense(x.dims()[0], 1);
        let query = self.attention.project_q(layout.last(h), &one);
        let bias = bias.map(|bias| {
            let seq = bias.dims()[2];
            bias.narrow(2, seq - 1, 1)
        });
        self.finish(x, query, kv, bias, &one)
    }

    /// Keys and values of `x` `[n, d_model]`.
    pub(super) fn project_kv(&self, x: Tensor<2>, layout: &PackedLayout) -> KvCache {
        self.attention
            .project_kv(norm_rows(&self.norm_1, NORM_EPS, x), layout)
    }

    /// [`Block::forward`] of `x` `[n, d_model]` that follows the tokens of `kv`; `bias`: `[batch, 1, seq, n_cached + seq]` for a layout of `[batch, seq]`.
    pub(super) fn forward_cached(
        &self,
        kv: KvCache,
        x: Tensor<2>,
        layout: &PackedLayout,
        bias: Tensor<4>,
    ) -> Tensor<2> {
        let h = norm_rows(&self.norm_1, NORM_EPS, x.clone());
        let kv = kv.append(self.attention.project_kv(h.clone(), layout));
        self.finish(x, self.attention.project_q(h, layout), kv, Some(bias), layout)
    }

    /// Attention of `query` to `kv`, and the feed-forward layer, on the residual stream `x`.
    fn finish(
        &self,
        x: Tensor<2>,
        query: Tensor<4>,
        kv: KvCache,
        bias: Option<Tensor<4>>,
        layout: &PackedLayout,
    ) -> Tensor<2> {
        let x = x + self.attention.attend(query, kv, bias, layout);
        let h = self.fc_1.forward(norm_rows(&self.norm_2, NORM_EPS, x.clone()));
        let h = Activation::Gelu.forward(h);
        x + self.fc_2.forward(h)
    }
}
