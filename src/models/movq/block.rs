//! What encoder and decoder are made of: resnets, attention between pixels, stages, the middle.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::prelude::*;

use super::norm::Norm;
use crate::nn::{Conv3x3, SelfAttention, SelfAttentionConfig, convolve};

/// Makes a norm of so many channels: the encoder's or the decoder's.
pub(super) type NewNorm<'a> = &'a dyn Fn(usize) -> Norm;

/// `shortcut(x) + conv(silu(norm(conv(silu(norm(x))))))`.
#[derive(Module, Debug)]
struct Resnet {
    norm_1: Norm,
    conv_1: Conv3x3,
    norm_2: Norm,
    conv_2: Conv3x3,
    /// 1 x 1, where the number of channels changes.
    shortcut: Option<Conv2d>,
}

impl Resnet {
    fn init(from: usize, to: usize, norm: NewNorm, device: &Device) -> Self {
        Self {
            norm_1: norm(from),
            conv_1: Conv3x3::init([from, to], device),
            norm_2: norm(to),
            conv_2: Conv3x3::init([to, to], device),
            shortcut: (from != to).then(|| Conv2dConfig::new([from, to], [1, 1]).init(device)),
        }
    }

    fn forward(&self, x: Tensor<4>, z: Option<&Tensor<4>>) -> Tensor<4> {
        let h = self.norm_1.forward_silu(x.clone(), z);
        let h = self.conv_1.forward(h);
        let h = self.norm_2.forward_silu(h, z);
        let h = self.conv_2.forward(h);
        let x = match &self.shortcut {
            Some(conv) => convolve(conv, x),
            None => x,
        };
        x + h
    }
}

/// `x + attention(norm(x))`, every pixel a token, one head.
#[derive(Module, Debug)]
struct PixelAttention {
    norm: Norm,
    attention: SelfAttention,
}

impl PixelAttention {
    fn init(channels: usize, norm: NewNorm, device: &Device) -> Self {
        Self {
            norm: norm(channels),
            attention: SelfAttentionConfig::new(channels, 1, channels).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>, z: Option<&Tensor<4>>) -> Tensor<4> {
        let shape = x.dims();
        let tokens = self.norm.forward(x.clone(), z).flatten::<3>(2, 3).swap_dims(1, 2); // [batch, h * w, channels]
        let y = self.attention.forward(tokens, None);
        x + y.swap_dims(1, 2).reshape(shape)
    }
}

/// The resnets of one resolution, each with attention after it or none.
#[derive(Module, Debug)]
pub(super) struct Stage {
    resnets: Vec<Resnet>,
    attentions: Vec<PixelAttention>,
}

impl Stage {
    /// `n` resnets, the first of which changes the channels.
    pub(super) fn init(
        [from, to]: [usize; 2],
        n: usize,
        attention: bool,
        norm: NewNorm,
        device: &Device,
    ) -> Self {
        let resnet = |i: usize| Resnet::init(if i == 0 { from } else { to }, to, norm, device);
        let n_attentions = if attention { n } else { 0 };
        Self {
            resnets: (0..n).map(resnet).collect(),
            attentions: (0..n_attentions)
                .map(|_| PixelAttention::init(to, norm, device))
                .collect(),
        }
    }

    pub(super) fn forward(&self, mut x: Tensor<4>, z: Option<&Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, z);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, z);
            }
        }
        x
    }
}

/// The lowest resolution: resnet, attention, resnet.
#[derive(Module, Debug)]
pub(super) struct Mid {
    resnets: Vec<Resnet>,
    attentions: Vec<PixelAttention>,
}

impl Mid {
    pub(super) fn init(channels: usize, norm: NewNorm, device: &Device) -> Self {
        let resnet = |_| Resnet::init(channels, channels, norm, device);
        Self {
            resnets: (0..2).map(resnet).collect(),
            attentions: vec![PixelAttention::init(channels, norm, device)],
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>, z: Option<&Tensor<4>>) -> Tensor<4> {
        let x = self.resnets[0].forward(x, z);
        let x = self.attentions[0].forward(x, z);
        self.resnets[1].forward(x, z)
    }
}
