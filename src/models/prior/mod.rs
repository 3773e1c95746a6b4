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
mod published;
mod trunk;

pub use crate::models::text::TextCondition;
pub use config::{Conditioning, NormType, PriorConfig};
pub use diffusion::DiffusionPrior;
pub use eclipse::Prior;
pub use fast_paths::FastPaths;
pub use trunk::PrefixCache;

use crate::weights::Mapping;

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
