//! The two norms of MoVQ.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::prelude::*;

use super::config::{MovqConfig, SPATIAL_GROUPS};
use crate::nn::{Activate, GroupNorm, GroupNormConfig, convolve, scale_shift, to_f32};

/// eps of every norm in the reference.
const NORM_EPS: f64 = 1e-6;

/// Group norm, plain in the encoder and modulated in the decoder.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most norms of a model are the larger one"
)]
pub(super) enum Norm {
    /// Of [`Encoder`](super::encoder::Encoder).
    Group(GroupNorm),
    /// Of [`Decoder`](super::decoder::Decoder).
    Spatial(SpatialNorm),
}

/// `group_norm(x) * scale(z) + shift(z)`, with z resized to x (arXiv 2209.09002, eq. 5).
#[derive(Module, Debug)]
pub(super) struct SpatialNorm {
    group: GroupNorm,
    /// 1 x 1, `[d_code, channels]`
    scale: Conv2d,
    shift: Conv2d,
}

impl Norm {
    /// The encoder's.
    pub(super) fn group(config: &MovqConfig, channels: usize, device: &Device) -> Self {
        Self::Group(group_norm(config.n_groups, channels, device))
    }

    /// The decoder's.
    pub(super) fn spatial(config: &MovqConfig, channels: usize, device: &Device) -> Self {
        let conv = || Conv2dConfig::new([config.latent_channels, channels], [1, 1]).init(device);
        Self::Spatial(SpatialNorm {
            group: group_norm(SPATIAL_GROUPS, channels, device),
            scale: conv(),
            shift: conv(),
        })
    }

    /// `x`: `[batch, channels, h, w]`; `z`: the latents, `[batch, d_code, h / n, w / n]`, in the decoder.
    pub(super) fn forward(&self, x: Tensor<4>, z: Option<&Tensor<4>>) -> Tensor<4> {
        match (self, z) {
            (Self::Group(norm), None) => norm.forward(x),
            (Self::Spatial(norm), Some(z)) => norm.forward(x, z, Activate::No),
            _ => unreachable!("the encoder has no latents and the decoder has"),
        }
    }

    /// `silu(norm(x))`.
    pub(super) fn forward_silu(&self, x: Tensor<4>, z: Option<&Tensor<4>>) -> Tensor<4> {
        match (self, z) {
            (Self::Group(norm), None) => norm.forward_silu(x),
            (Self::Spatial(norm), Some(z)) => norm.forward(x, z, Activate::Silu),
            _ => unreachable!("the encoder has no latents and the decoder has"),
        }
    }
}

impl SpatialNorm {
    fn forward(&self, x: Tensor<4>, z: &Tensor<4>, activate: Activate) -> Tensor<4> {
        let [batch, channels, ..] = x.dims();
        let (dtype, x) = (x.dtype(), to_f32(x));
        // Everything that does not vary within a pixel of z is computed there, on few pixels: the 1 x 1 convolutions, which commute with copying
        // pixels, and their products with the group norm's own factors, one for each channel.
        let (own_scale, own_shift) = self.group.affine(&x);
        let per_channel = |y: Tensor<2>| y.reshape([batch, channels, 1, 1]);
        let scale = to_f32(convolve(&self.scale, z.clone()));
        let shift = scale.clone() * per_channel(own_shift) + to_f32(convolve(&self.shift, z.clone()));
        let scale = scale * per_channel(own_scale);
        scale_shift(x, scale, shift, activate).cast(dtype)
    }
}

fn group_norm(groups: usize, channels: usize, device: &Device) -> GroupNorm {
    GroupNormConfig::new(groups, channels, NORM_EPS).init(device)
}
