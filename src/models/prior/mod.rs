//! The prior transformer: text embedding and noise to a predicted image embedding (paper 3.3 "Base Prior Model"; appendix, Table 3).
//!
//! Two modules share one `trunk`: [`Prior`] without time (the ECLIPSE and Projection priors; reference: the authors'
//! `PriorTransformer`, eclipse-inference `src/priors/prior_transformer.py`) and [`DiffusionPrior`] with it (Diffusion-Baseline and the 1B
//! priors of Karlo and Kandinsky 2.2; reference: diffusers `PriorTransformer`). Both read and write diffusers' folders.
//!
//! Axes: batch; n_text tokens (77 in the published ones); seq = n_text + extra tokens; d_model = n_heads * d_head; d_clip.

mod block;
mod config;
mod diffusion;
mod eclipse;
mod fast_paths;
mod trunk;

pub use config::{Conditioning, NormType, PriorConfig};
pub use diffusion::DiffusionPrior;
pub use eclipse::Prior;
pub use fast_paths::FastPaths;
pub use trunk::PrefixCache;

use burn::prelude::*;

use crate::nn::TokenMask;
use crate::weights::Mapping;

/// What a prior reads of a caption.
#[derive(Debug, Clone)]
pub struct TextCondition {
    /// The text embedding, `[batch, d_clip]`.
    pub z_y: Tensor<2>,
    /// The text tower's last hidden states, `[batch, n_text, d_clip]`. With a mask, padding that all captions have at their end may be left out: it
    /// changes nothing and costs time.
    pub tokens: Tensor<3>,
    /// 1 for tokens, 0 for padding, `[batch, n_text]`. `None` drops the causal mask too, as the reference does.
    pub mask: Option<TokenMask>,
}

impl TextCondition {
    /// The same captions without the padding that all of them have at their end. Looks at the mask on the host; without one: unchanged.
    #[must_use]
    pub fn without_padding(self) -> Self {
        let (Some(mask), [batch, n_text, _]) = (&self.mask, self.tokens.dims()) else {
            return self;
        };
        let mask = mask.counts();
        let counts = |token: &usize| (0..batch).any(|row| mask[row * n_text + token]);
        let longest = (0..n_text).rev().find(counts).map_or(1, |last| last + 1);
        Self {
            z_y: self.z_y,
            tokens: self.tokens.narrow(1, 0, longest),
            mask: self.mask.map(|mask| mask.first(longest)),
        }
    }

    /// The same captions with `n_text` tokens (or as many as there are, if more), by tokens that do not count. Without a mask: unchanged.
    #[must_use]
    pub fn padded_to(self, n_text: usize) -> Self {
        let ([batch, n, d], Some(mask)) = (self.tokens.dims(), self.mask.clone()) else {
            return self;
        };
        if n >= n_text {
            return self;
        }
        let like = (&self.tokens.device(), self.tokens.dtype());
        let tokens = Tensor::zeros([batch, n_text - n, d], like);
        Self {
            z_y: self.z_y,
            tokens: Tensor::cat(vec![self.tokens, tokens], 1),
            mask: Some(mask.followed_by(n_text - n, false)),
        }
    }
}

/// Published names of a prior's parameters.
pub const MAPPING: Mapping = Mapping {
    rules: &[
        (".trunk.", "."),
        (".time.fc_in.", ".time_embedding.linear_1."),
        (".time.fc_out.", ".time_embedding.linear_2."),
        (".proj_noise.", ".proj_in."),
        (".proj_pooled.", ".embedding_proj."),
        (".norm_pooled.", ".embedding_proj_norm."),
        (".proj_tokens.", ".encoder_hidden_states_proj."),
        (".positions", ".positional_embedding"),
        (".query_token", ".prd_embedding"),
        (".blocks.", ".transformer_blocks."),
        (".norm_1.", ".norm1."),
        (".norm_2.", ".norm3."),
        (".attention.query.", ".attn1.to_q."),
        (".attention.key.", ".attn1.to_k."),
        (".attention.value.", ".attn1.to_v."),
        (".attention.output.", ".attn1.to_out.0."),
        (".fc_1.", ".ff.net.0.proj."),
        (".fc_2.", ".ff.net.2."),
        (".proj_out.", ".proj_to_clip_embeddings."),
    ],
};
