//! One block of the prior (reference: diffusers `BasicTransformerBlock` with `activation_fn="gelu"`, `attention_bias=True`).

use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;

use super::PriorConfig;
use crate::nn::{Activation, KeysValues, SelfAttention, SelfAttentionConfig};

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

    /// `x`: `[batch, seq, d_model]`; `bias`: see [`SelfAttention::forward`]. Also returns what later tokens see of `x`.
    pub(super) fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> (Tensor<3>, KeysValues) {
        let h = self.norm_1.forward(x.clone());
        let known = self.attention.remember(h.clone());
        (self.finish(x, h, known.clone(), bias), known)
    }

    /// The last row of [`Block::forward`] alone, `[batch, 1, d_model]`.
    pub(super) fn last(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let h = self.norm_1.forward(x.clone());
        let known = self.attention.remember(h.clone());
        let seq = x.dims()[1];
        let bias = bias.map(|bias| bias.narrow(2, seq - 1, 1));
        self.finish(x.narrow(1, seq - 1, 1), h.narrow(1, seq - 1, 1), known, bias)
    }

    /// What later tokens see of `x` `[batch, seq, d_model]`.
    pub(super) fn remember(&self, x: Tensor<3>) -> KeysValues {
        self.attention.remember(self.norm_1.forward(x))
    }

    /// `x` `[batch, n, d_model]` after tokens that left `known`; `bias`: `[batch, 1, n, n_known + n]`.
    pub(super) fn after(&self, known: KeysValues, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let h = self.norm_1.forward(x.clone());
        let known = known.then(self.attention.remember(h.clone()));
        self.finish(x, h, known, Some(bias))
    }

    /// Rows `x`, and `h`, their norm, looking at `known`.
    fn finish(&self, x: Tensor<3>, h: Tensor<3>, known: KeysValues, bias: Option<Tensor<4>>) -> Tensor<3> {
        let x = x + self.attention.attend(h, known, bias);
        let h = Activation::Gelu.forward(self.fc_1.forward(self.norm_2.forward(x.clone())));
        x + self.fc_2.forward(h)
    }
}
