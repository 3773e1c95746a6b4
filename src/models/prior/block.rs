//! One block of the prior (reference: diffusers `BasicTransformerBlock` with `activation_fn="gelu"`, `attention_bias=True`).

use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;

use super::PriorConfig;
use crate::nn::{Activation, SelfAttention, SelfAttentionConfig};

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

    /// `x`: `[batch, seq, d_model]`; `bias`: see [`SelfAttention::forward`].
    pub(super) fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm_1.forward(x), bias);
        let h = Activation::Gelu.forward(self.fc_1.forward(self.norm_2.forward(x.clone())));
        x + self.fc_2.forward(h)
    }
}
