//! Layers that Burn lacks and two models share.

mod activation;
mod attention;
mod init;
mod timestep;
mod upscale;

pub use activation::{Activation, UnknownActivation};
pub use attention::{MASKED, SelfAttention, SelfAttentionConfig, causal_bias, padding_bias};
pub use init::torch_default;
pub use timestep::timestep_embedding;
pub use upscale::{upscale_bicubic, upscale_nearest};
