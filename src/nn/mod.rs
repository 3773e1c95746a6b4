//! Layers that Burn lacks and two models share. Each file says why Burn's own layer is not used.

mod activation;
mod attention;
mod conv;
mod cpu;
mod group_norm;
mod init;
mod layer_norm;
mod linear;
mod packed_layout;
mod precision;
mod row_groups;
mod timestep;
mod token_mask;
mod upscale;

pub use activation::{Activation, UnknownActivation};
pub use attention::{
    KvCache, MASKED, SelfAttention, SelfAttentionConfig, attention, causal_bias, padding_bias,
};
pub use conv::{Conv3x3, conv2d, convolve};
pub use group_norm::{Activate, GroupNorm, GroupNormConfig, scale_shift};
pub use init::torch_default;
pub use layer_norm::{LayerNorm, LayerNormConfig};
pub use linear::{linear, with_linear_layers_in};
pub use packed_layout::PackedLayout;
pub use precision::{to_compute_dtype, to_f32};
pub use row_groups::{RowGroups, Rows, narrow};
pub use timestep::{Sinusoids, TimeEmbedding, timestep_embedding};
pub use token_mask::TokenMask;
pub use upscale::{double_size, upscale_bicubic};
