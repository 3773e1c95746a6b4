//! Latents to images (reference: diffusers `Decoder` with `norm_type="spatial"`).

use burn::prelude::*;

use super::MovqConfig;
use super::block::{Mid, NewNorm, Stage};
use super::norm::Norm;
use crate::nn::{Conv3x3, double_size};

/// The middle, stages up to the image's size, and the way out to its channels.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: Conv3x3,
    mid: Mid,
    stages: Vec<UpStage>,
    norm_out: Norm,
    conv_out: Conv3x3,
}

/// A stage and, unless it is the last, a convolution of the doubled image.
#[derive(Module, Debug)]
struct UpStage {
    layers: Stage,
    upsample: Option<Conv3x3>,
}

impl Decoder {
    pub(super) fn init(config: &MovqConfig, device: &Device) -> Self {
        let norm: NewNorm = &|channels| Norm::spatial(config, channels, device);
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let stage = |(i, attention): (usize, bool)| {
            let (from, to) = (channels[i.saturating_sub(1)], channels[i]);
            UpStage {
                layers: Stage::init([from, to], config.layers_per_block + 1, attention, norm, device),
                upsample: (i + 1 < channels.len()).then(|| Conv3x3::init([to, to], device)),
            }
        };
        Self {
            conv_in: Conv3x3::init([config.latent_channels, first], device),
            mid: Mid::init(first, norm, device),
            stages: config.up_attention().enumerate().map(stage).collect(),
            norm_out: norm(last),
            conv_out: Conv3x3::init([last, config.out_channels], device),
        }
    }

    /// `x`: `[batch, latent_channels, h, w]`; `z`: what modulates the norms, `[batch, d_code, h, w]` -> `[batch, out_channels, scale h, scale w]`.
    pub(super) fn forward(&self, x: Tensor<4>, z: &Tensor<4>) -> Tensor<4> {
        let mut x = self.mid.forward(self.conv_in.forward(x), Some(z));
        for stage in &self.stages {
            x = stage.layers.forward(x, Some(z));
            if let Some(conv) = &stage.upsample {
                x = conv.forward(double_size(x));
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(x, Some(z)))
    }
}
