//! One block of the prior (reference: diffusers `BasicTransformerBlock` with `activation_fn="gelu"`, `attention_bias=True`).

use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;

use super::PriorConfig;
use crate::nn::{Activation, KeysValues, Places, SelfAttention, SelfAttentionConfig};

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

    /// `x`: `[n, d_model]`, the rows of `places`; `bias`: see [`SelfAttention::forward`]; `fused`: [`super::Shortcuts::fused_qkv`]. Also returns
    /// what later tokens see of `x`.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        places: &Places,
        bias: Option<Tensor<4>>,
        fused: bool,
    ) -> (Tensor<2>, KeysValues) {
        let h = self.norm_1.forward(x.clone());
        let (query, known) = if fused {
            self.attention.ask_and_remember(h, places)
        } else {
            let known = self.attention.remember(h.clone(), places);
            (self.attention.ask(h, places), known)
        };
        (self.finish(x, query, known.clone(), bias, places), known)
    }

    /// The last row of each sequence of [`Block::forward`] alone, `[batch, d_model]`.
    pub(super) fn last(&self, x: Tensor<2>, places: &Places, bias: Option<Tensor<4>>) -> Tensor<2> {
        let h = self.norm_1.forward(x.clone());
        let known = self.attention.remember(h.clone(), places);
        let x = places.last(x);
        let one = Places::all(x.dims()[0], 1);
        let query = self.attention.ask(places.last(h), &one);
        let bias = bias.map(|bias| {
            let seq = bias.dims()[2];
            bias.narrow(2, seq - 1, 1)
        });
        self.finish(x, query, known, bias, &one)
    }

    /// What later tokens see of `x` `[n, d_model]`.
    pub(super) fn remember(&self, x: Tensor<2>, places: &Places) -> KeysValues {
        self.attention.remember(self.norm_1.forward(x), places)
    }

    /// `x` `[n, d_model]` after tokens that left `known`; `bias`: `[batch, 1, seq, n_known + seq]` for places of `[batch, seq]`.
    pub(super) fn after(
        &self,
        known: KeysValues,
        x: Tensor<2>,
        places: &Places,
        bias: Tensor<4>,
    ) -> Tensor<2> {
        let h = self.norm_1.forward(x.clone());
        let known = known.then(self.attention.remember(h.clone(), places));
        self.finish(x, self.attention.ask(h, places), known, Some(bias), places)
    }

    /// Rows `x` with their queries, looking at `known`.
    fn finish(
        &self,
        x: Tensor<2>,
        query: Tensor<4>,
        known: KeysValues,
        bias: Option<Tensor<4>>,
        places: &Places,
    ) -> Tensor<2> {
        let x = x + self.attention.attend(query, known, bias, places);
        let h = Activation::Gelu.forward(self.fc_1.forward(self.norm_2.forward(x.clone())));
        x + self.fc_2.forward(h)
    }
}
