//! The pre-norm transformer that both towers share (reference: transformers `CLIPEncoderLayer`).
//!
//! Axes: batch; seq; d_model.

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;

use crate::nn::{Activation, LayerNorm, LayerNormConfig, SelfAttention, SelfAttentionConfig};

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Module, Debug)]
pub(super) struct Block {
    norm_1: LayerNorm,
    attention: SelfAttention,
    norm_2: LayerNorm,
    /// `[d_model, d_ff]`
    fc_1: Linear,
    fc_2: Linear,
    #[module(skip)]
    activation: Activation,
}

/// Sizes of a [`Block`].
pub(super) struct BlockConfig {
    pub(super) d_model: usize,
    pub(super) d_ff: usize,
    pub(super) n_heads: usize,
    pub(super) activation: Activation,
    pub(super) norm_eps: f64,
}

impl BlockConfig {
    pub(super) fn norm(&self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.d_model, self.norm_eps).init(device)
    }

    pub(super) fn init(&self, device: &Device) -> Block {
        let d_head = self.d_model / self.n_heads;
        Block {
            norm_1: self.norm(device),
            attention: SelfAttentionConfig::new(self.d_model, self.n_heads, d_head).init(device),
            norm_2: self.norm(device),
            fc_1: LinearConfig::new(self.d_model, self.d_ff).init(device),
            fc_2: LinearConfig::new(self.d_ff, self.d_model).init(device),
            activation: self.activation,
        }
    }
}

impl Block {
    /// `x`: `[batch, seq, d_model]`; `bias`: see [`SelfAttention::forward`].
    pub(super) fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm_1.forward(x), bias);
        let h = self
            .activation
            .forward(self.fc_1.forward(self.norm_2.forward(x.clone())));
        x + self.fc_2.forward(h)
    }
}

/// Published names of a [`Block`]'s parts; a tower's mapping starts with its own and ends with these.
macro_rules! block_rules {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            (".norm_1.", ".layer_norm1."),
            (".norm_2.", ".layer_norm2."),
            (".attention.query.", ".self_attn.q_proj."),
            (".attention.key.", ".self_attn.k_proj."),
            (".attention.value.", ".self_attn.v_proj."),
            (".attention.output.", ".self_attn.out_proj."),
            (".fc_1.", ".mlp.fc1."),
            (".fc_2.", ".mlp.fc2."),
        ]
    };
}
pub(super) use block_rules;
