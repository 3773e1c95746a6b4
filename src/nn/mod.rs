//! Layers that Burn lacks and two models share.

mod activation;
mod attention;
mod init;
mod timestep;

pub use activation::{Activation, UnknownActivation};
pub use attention::{MASKED, SelfAttention, SelfAttentionConfig, causal_bias, padding_bias};
pub use init::torch_default;
pub use timestep::timestep_embedding;
