//! What priors with and without time have in common.

use burn::module::Param;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::assert_shape;

use super::block::{Block, NORM_EPS};
use super::{NormType, PriorConfig, TextCondition};
use crate::nn::{causal_bias, enter, leave, padding_bias};

/// Projections, positions, blocks and the output head.
#[derive(Module, Debug)]
pub(super) struct Trunk {
    /// Norm of the noise, if the config asks for one.
    norm_in: Option<LayerNorm>,
    /// `[d_clip, d_model]`: noise, or the noisy image embedding.
    proj_noise: Linear,
    norm_pooled: Option<LayerNorm>,
    proj_pooled: Linear,
    proj_tokens: Linear,
    /// `[1, seq, d_model]`
    positions: Param<Tensor<3>>,
    /// The learned query `prd`, `[1, 1, d_model]`; the output is read at its place.
    query_token: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm_out: LayerNorm,
    proj_out: Linear,
    /// `[1, d_out]`: statistics by which diffusion priors whiten their targets. Never trained.
    clip_mean: Param<Tensor<2>>,
    clip_std: Param<Tensor<2>>,
}

impl Trunk {
    pub(super) fn init(config: &PriorConfig, device: &Device) -> Self {
        let (d, d_clip) = (config.d_model(), config.d_clip);
        let (d_pooled, d_out) = (config.d_pooled.unwrap_or(d_clip), config.d_out.unwrap_or(d_clip));
        let norm = |d: usize| LayerNormConfig::new(d).with_epsilon(NORM_EPS).init(device);
        let norm_if = |kind: Option<NormType>, d: usize| kind.map(|NormType::Layer| norm(d));
        // Zeros: the constructor of diffusers' PriorTransformer.
        let zeros = Initializer::Zeros;
        Self {
            norm_in: norm_if(config.norm_in_type, d),
            proj_noise: LinearConfig::new(d_clip, d).init(device),
            norm_pooled: norm_if(config.embedding_proj_norm_type, d_pooled),
            proj_pooled: LinearConfig::new(d_pooled, d).init(device),
            proj_tokens: LinearConfig::new(d_clip, d).init(device),
            positions: zeros.init([1, config.n_text + config.n_extra, d], device),
            query_token: zeros.init([1, 1, d], device),
            blocks: (0..config.n_layers)
                .map(|_| Block::init(config, device))
                .collect(),
            norm_out: norm(d),
            proj_out: LinearConfig::new(d, d_out).init(device),
            clip_mean: zeros.init([1, d_out], device).set_require_grad(false),
            clip_std: zeros.init([1, d_out], device).set_require_grad(false),
        }
    }

    /// `noise`: `[batch, d_clip]`; `time`: `[batch, d_model]`, the embedded timestep of a diffusion prior -> `[batch, d_out]`.
    ///
    /// Order of the tokens: text states, pooled text, time, noise, query.
    pub(super) fn forward(
        &self,
        noise: Tensor<2>,
        text: TextCondition,
        time: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let [batch, n_text, _] = text.tokens.dims();
        let [_, seq, d_model] = self.positions.dims();
        let token = |x: Tensor<2>| x.reshape([batch, 1, d_model]);
        let pooled = match &self.norm_pooled {
            Some(norm) => norm.forward(enter(text.z_y)),
            None => enter(text.z_y),
        };
        let noise = self.proj_noise.forward(enter(noise));
        let mut tokens = vec![
            self.proj_tokens.forward(enter(text.tokens)),
            token(self.proj_pooled.forward(pooled)),
        ];
        tokens.extend(time.map(token));
        tokens.push(token(noise));
        tokens.push(self.query_token.val().expand([batch, 1, d_model]));
        let x = Tensor::cat(tokens, 1);
        assert_shape!(x, [batch, seq, d_model]);
        let mut x = x + self.positions.val();
        let bias = text.mask.map(enter).map(|mask| {
            let extra = Tensor::ones([batch, seq - n_text], &mask.device());
            causal_bias(seq, &mask.device()) + padding_bias(Tensor::cat(vec![mask, extra], 1))
        });
        if let Some(norm) = &self.norm_in {
            x = norm.forward(x);
        }
        for block in &self.blocks {
            x = block.forward(x, bias.clone());
        }
        // Only the query's place is read, so only it needs the norm.
        let last = x.slice([0..batch, seq - 1..seq]).reshape([batch, d_model]);
        leave(self.proj_out.forward(self.norm_out.forward(last)))
    }

    /// `z_x * clip_std + clip_mean` (reference: `post_process_latents`).
    pub(super) fn unwhiten(&self, z_x: Tensor<2>) -> Tensor<2> {
        z_x * leave(self.clip_std.val()) + leave(self.clip_mean.val())
    }

    /// The same trunk with these statistics, both `[d_out]`.
    pub(super) fn with_statistics(mut self, mean: Tensor<1>, std: Tensor<1>) -> Self {
        self.clip_mean = Param::from_tensor(mean.unsqueeze()).set_require_grad(false);
        self.clip_std = Param::from_tensor(std.unsqueeze()).set_require_grad(false);
        self
    }
}
