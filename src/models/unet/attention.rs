//! Attention of the image to a context and to itself in one softmax (reference: diffusers `AttnAddedKVProcessor2_0`).
//!
//! Axes: batch; hw pixels; n context tokens; channels = n_heads * d_head.

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::{DType, assert_shape};

use super::config::UNetConfig;
use crate::nn::{GroupNorm, GroupNormConfig, attention, padding_bias};

/// The reference never hands the config's eps to this norm.
const NORM_EPS: f64 = 1e-5;

/// What the image looks at beside itself.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// `[batch, n, d_cross]`
    pub(super) tokens: Tensor<3>,
    /// 1 for tokens, 0 for padding, `[batch, n]`.
    pub(super) mask: Option<Tensor<2>>,
}

/// `x + output(softmax(q [k_context; k]^T / sqrt(d_head) + bias) [v_context; v])`.
#[derive(Module, Debug)]
pub(super) struct AddedAttention {
    norm_in: GroupNorm,
    /// `[channels, channels]`
    query: Linear,
    key: Linear,
    value: Linear,
    /// `[d_cross, channels]`
    context_key: Linear,
    context_value: Linear,
    output: Linear,
    n_heads: usize,
}

impl AddedAttention {
    pub(super) fn init(config: &UNetConfig, channels: usize, device: &Device) -> Self {
        let (d_cross, d_head) = config.cross().expect("a block with attention has a context");
        let own = || LinearConfig::new(channels, channels).init(device);
        let context = || LinearConfig::new(d_cross, channels).init(device);
        Self {
            norm_in: GroupNormConfig::new(config.n_groups, channels, NORM_EPS).init(device),
            query: own(),
            key: own(),
            value: own(),
            context_key: context(),
            context_value: context(),
            output: own(),
            n_heads: channels / d_head,
        }
    }

    /// `x`: `[batch, channels, h, w]` -> the same shape.
    pub(super) fn forward(&self, x: Tensor<4>, context: &Context) -> Tensor<4> {
        let [batch, channels, h, w] = x.dims();
        let n_context = context.tokens.dims()[1];
        let heads = |y: Tensor<3>| {
            let seq = y.dims()[1];
            y.reshape([batch, seq, self.n_heads, channels / self.n_heads])
                .swap_dims(1, 2) // [batch, n_heads, seq, d_head]
        };
        let own = self.norm_in.forward(x.clone()).flatten::<3>(2, 3).swap_dims(1, 2); // [batch, hw, channels]
        let all = |context_layer: &Linear, own_layer: &Linear| {
            let context = context_layer.forward(context.tokens.clone());
            heads(Tensor::cat(vec![context, own_layer.forward(own.clone())], 1))
        };
        // The image's own keys are never masked.
        let bias = context.mask.clone().map(|mask| {
            let own = Tensor::zeros([batch, 1, 1, h * w], (&mask.device(), DType::F32));
            Tensor::cat(vec![padding_bias(mask), own], 3).expand([batch, 1, h * w, n_context + h * w])
        });
        let y = attention(
            heads(self.query.forward(own.clone())),
            all(&self.context_key, &self.key),
            all(&self.context_value, &self.value),
            bias,
        );
        assert_shape!(y, [batch, self.n_heads, h * w, channels / self.n_heads]);
        let y = y.swap_dims(1, 2).reshape([batch, h * w, channels]);
        let y = self.output.forward(y).swap_dims(1, 2);
        x + y.reshape([batch, channels, h, w])
    }
}
