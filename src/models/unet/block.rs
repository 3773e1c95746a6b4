//! The three kinds of blocks: down, middle, up (reference: diffusers `ResnetDownsampleBlock2D`, `SimpleCrossAttnDownBlock2D`,
//! `UNetMidBlock2D`, `UNetMidBlock2DSimpleCrossAttn`, `ResnetUpsampleBlock2D`, `SimpleCrossAttnUpBlock2D`).

use burn::prelude::*;

use super::attention::{AddedAttention, Context};
use super::config::{BlockType, UNetConfig};
use super::resnet::{Resample, Resnet};

fn attentions(
    config: &UNetConfig,
    kind: BlockType,
    n: usize,
    channels: usize,
    device: &Device,
) -> Vec<AddedAttention> {
    let n = match kind {
        BlockType::Resnet => 0,
        BlockType::CrossAttention => n,
    };
    (0..n)
        .map(|_| AddedAttention::init(config, channels, device))
        .collect()
}

/// Attends where the block has attention.
fn attend(attention: Option<&AddedAttention>, x: Tensor<4>, context: Option<&Context>) -> Tensor<4> {
    match attention {
        None => x,
        Some(attention) => attention.forward(x, context.expect("checked against the config")),
    }
}

/// Layers at one size, then half of it.
#[derive(Module, Debug)]
pub(super) struct DownBlock {
    resnets: Vec<Resnet>,
    /// As many as resnets, or none.
    attentions: Vec<AddedAttention>,
    /// In every block but the last.
    downsample: Option<Resnet>,
}

impl DownBlock {
    /// Block `level`, counted from the largest size.
    pub(super) fn init(config: &UNetConfig, level: usize, device: &Device) -> Self {
        let c_out = config.channels[level];
        let c_in = config.channels[level.saturating_sub(1)];
        let resnet = |i: usize| {
            let c_in = if i == 0 { c_in } else { c_out };
            Resnet::init(config, [c_in, c_out], Resample::Keep, device)
        };
        let is_last = level + 1 == config.channels.len();
        Self {
            resnets: (0..config.n_layers).map(resnet).collect(),
            attentions: attentions(config, config.down[level], config.n_layers, c_out, device),
            downsample: (!is_last).then(|| Resnet::init(config, [c_out, c_out], Resample::Down, device)),
        }
    }

    /// Pushes what each layer gives, and the halved image, on `skips`.
    pub(super) fn forward(
        &self,
        mut x: Tensor<4>,
        time: &Tensor<2>,
        context: Option<&Context>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = attend(self.attentions.get(i), resnet.forward(x, time.clone()), context);
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(x, time.clone());
            skips.push(x.clone());
        }
        x
    }
}

/// Layers at the smallest size: a resnet, then pairs of attention and resnet.
#[derive(Module, Debug)]
pub(super) struct MidBlock {
    resnets: Vec<Resnet>,
    /// One fewer than resnets, or none.
    attentions: Vec<AddedAttention>,
}

impl MidBlock {
    pub(super) fn init(config: &UNetConfig, device: &Device) -> Self {
        let c = config.deepest();
        let n = config.n_mid_resnets();
        let resnet = |_| Resnet::init(config, [c, c], Resample::Keep, device);
        Self {
            resnets: (0..n).map(resnet).collect(),
            attentions: attentions(config, config.mid, n - 1, c, device),
        }
    }

    pub(super) fn forward(&self, mut x: Tensor<4>, time: &Tensor<2>, context: Option<&Context>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            if i > 0 {
                x = attend(self.attentions.get(i - 1), x, context);
            }
            x = resnet.forward(x, time.clone());
        }
        x
    }
}

/// Layers at one size that also read what the way down left there, then twice the size.
#[derive(Module, Debug)]
pub(super) struct UpBlock {
    resnets: Vec<Resnet>,
    /// As many as resnets, or none.
    attentions: Vec<AddedAttention>,
    /// In every block but the last.
    upsample: Option<Resnet>,
}

impl UpBlock {
    /// Block `i`, counted from the smallest size.
    pub(super) fn init(config: &UNetConfig, i: usize, device: &Device) -> Self {
        let channels = &config.channels;
        let level = channels.len() - 1 - i;
        let c_out = channels[level];
        let below = channels[(level + 1).min(channels.len() - 1)];
        // One more than on the way down: the first image of this size came from the level above.
        let n = config.n_layers + 1;
        let resnet = |j: usize| {
            let c_in = if j == 0 { below } else { c_out };
            let c_skip = if j + 1 == n {
                channels[level.saturating_sub(1)]
            } else {
                c_out
            };
            Resnet::init(config, [c_in + c_skip, c_out], Resample::Keep, device)
        };
        Self {
            resnets: (0..n).map(resnet).collect(),
            attentions: attentions(config, config.up[i], n, c_out, device),
            upsample: (level > 0).then(|| Resnet::init(config, [c_out, c_out], Resample::Up, device)),
        }
    }

    /// Takes one of `skips` for each layer, the latest first.
    pub(super) fn forward(
        &self,
        mut x: Tensor<4>,
        time: &Tensor<2>,
        context: Option<&Context>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down left one for each layer");
            let both = Tensor::cat(vec![x, skip], 1);
            x = attend(
                self.attentions.get(i),
                resnet.forward(both, time.clone()),
                context,
            );
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(x, time.clone()),
            None => x,
        }
    }
}
