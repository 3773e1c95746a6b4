//! BLIP's vision tower: a pre-norm ViT (reference: transformers `BlipVisionModel`).
//!
//! Axes: batch; seq = 1 class token + patches; d_model.

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;

use super::BlipVisionConfig;
use crate::nn::{
    Activation, LayerNorm, LayerNormConfig, attention, convolve, to_compute_dtype, upscale_bicubic,
};

/// The vision tower.
#[derive(Module, Debug)]
pub struct BlipVision {
    /// `[1, 1, d_model]`
    class_token: Param<Tensor<3>>,
    /// One step per patch.
    patches: Conv2d,
    /// `[1, seq, d_model]`
    positions: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm_out: LayerNorm,
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Module, Debug)]
struct Block {
    norm_1: LayerNorm,
    /// Queries, keys and values side by side, `[d_model, 3 * d_model]`.
    qkv: Linear,
    projection: Linear,
    norm_2: LayerNorm,
    fc_1: Linear,
    fc_2: Linear,
    n_heads: usize,
    #[module(skip)]
    activation: Activation,
}

impl BlipVisionConfig {
    /// A tower with Burn's own (lazy) initial values.
    pub(super) fn init(&self, device: &Device) -> BlipVision {
        let d = self.hidden_size;
        let norm = || LayerNormConfig::new(d, self.layer_norm_eps).init(device);
        let linear = |d_in: usize, d_out: usize| LinearConfig::new(d_in, d_out).init(device);
        let block = |_| Block {
            norm_1: norm(),
            qkv: linear(d, 3 * d),
            projection: linear(d, d),
            norm_2: norm(),
            fc_1: linear(d, self.intermediate_size),
            fc_2: linear(self.intermediate_size, d),
            n_heads: self.num_attention_heads,
            activation: self.hidden_act,
        };
        let kernel = [self.patch_size; 2];
        let n_patches = (self.image_size / self.patch_size).pow(2);
        BlipVision {
            class_token: Initializer::Zeros.init([1, 1, d], device),
            patches: Conv2dConfig::new([3, d], kernel).with_stride(kernel).init(device),
            positions: Initializer::Zeros.init([1, n_patches + 1, d], device),
            blocks: (0..self.num_hidden_layers).map(block).collect(),
            norm_out: norm(),
        }
    }
}

impl BlipVision {
    /// The position embeddings, `[1, seq, d_model]`.
    pub fn positions(&self) -> Tensor<3> {
        self.positions.val()
    }

    /// The same tower with these position embeddings.
    #[must_use]
    pub fn with_positions(mut self, positions: Tensor<3>) -> Self {
        self.positions = Param::from_tensor(to_compute_dtype(positions));
        self
    }

    /// `pixels`: `[batch, 3, side, side]`, for as many patches as there are position embeddings -> `[batch, seq, d_model]`.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = convolve(&self.patches, to_compute_dtype(pixels));
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let [batch, _, d_model] = patches.dims();
        let class = self.class_token.val().expand([batch, 1, d_model]);
        let mut x = Tensor::cat(vec![class, patches], 1) + self.positions.val();
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.norm_out.forward(x)
    }
}

impl Block {
    /// `[batch, seq, d_model]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, d_model] = x.dims();
        let heads = self.qkv.forward(self.norm_1.forward(x.clone())).reshape([
            batch,
            seq,
            3,
            self.n_heads,
            d_model / self.n_heads,
        ]);
        let heads = heads.permute([2, 0, 3, 1, 4]); // [3, batch, n_heads, seq, d_head]
        let part = |i: usize| -> Tensor<4> { heads.clone().narrow(0, i, 1).squeeze_dim(0) };
        let y = attention(part(0), part(1), part(2), None);
        let y = y.swap_dims(1, 2).reshape([batch, seq, d_model]);
        let x = x + self.projection.forward(y);
        let h = self.fc_1.forward(self.norm_2.forward(x.clone()));
        x + self.fc_2.forward(self.activation.forward(h))
    }
}

/// Position embeddings `[1, 1 + n * n, d]` for `side` by `side` patches: bicubic between the patches (PyTorch's a = -0.75, without antialiasing), the class
/// token's unchanged -> `[1, 1 + side * side, d]` (reference: BLIP's `interpolate_pos_embed`).
pub fn interpolate_positions(positions: Tensor<3>, side: usize) -> Tensor<3> {
    let [_, seq, d] = positions.dims();
    let n = (seq - 1).isqrt();
    if n == side {
        return positions;
    }
    let grid = positions.clone().narrow(1, 1, n * n).reshape([1, n, n, d]);
    let grid = upscale_bicubic(grid.permute([0, 3, 1, 2]), [side, side], false);
    let grid = grid.permute([0, 2, 3, 1]).reshape([1, side * side, d]);
    Tensor::cat(vec![positions.narrow(1, 0, 1), grid], 1)
}
