//! Images to latents (reference: diffusers `Encoder` with `double_z=False`).

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::prelude::*;

use super::MovqConfig;
use super::block::{Mid, NewNorm, Stage};
use super::norm::Norm;
use crate::nn::{Conv3x3, convolve};

/// Stages from the image's size down, the middle, and the way out to the latents' channels.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv_in: Conv3x3,
    stages: Vec<DownStage>,
    mid: Mid,
    norm_out: Norm,
    conv_out: Conv3x3,
}

/// A stage and, unless it is the last, a convolution with stride 2.
#[derive(Module, Debug)]
struct DownStage {
    layers: Stage,
    downsample: Option<Conv2d>,
}

impl Encoder {
    pub(super) fn init(config: &MovqConfig, device: &Device) -> Self {
        let norm: NewNorm = &|channels| Norm::group(config, channels, device);
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let stage = |(i, attention): (usize, bool)| {
            let (from, to) = (channels[i.saturating_sub(1)], channels[i]);
            let down = || {
                Conv2dConfig::new([to, to], [3, 3])
                    .with_stride([2, 2])
                    .init(device)
            };
            DownStage {
                layers: Stage::init([from, to], config.layers_per_block, attention, norm, device),
                downsample: (i + 1 < channels.len()).then(down),
            }
        };
        Self {
            conv_in: Conv3x3::init([config.in_channels, first], device),
            stages: config.down_attention().enumerate().map(stage).collect(),
            mid: Mid::init(last, norm, device),
            norm_out: norm(last),
            conv_out: Conv3x3::init([last, config.latent_channels], device),
        }
    }

    /// `x`: `[batch, in_channels, h, w]` -> `[batch, latent_channels, h / scale, w / scale]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(x);
        for stage in &self.stages {
            x = stage.layers.forward(x, None);
            if let Some(conv) = &stage.downsample {
                // The reference pads below and to the right only.
                x = convolve(conv, x.pad((0, 1, 0, 1), 0.0));
            }
        }
        let x = self.norm_out.forward_silu(self.mid.forward(x, None), None);
        self.conv_out.forward(x)
    }
}
