//! Residual block of two convolutions that the timestep modulates (reference: diffusers `ResnetBlock2D`).

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;

use super::config::{TimeShift, UNetConfig};
use crate::nn::{Conv3x3, GroupNorm, convolve, double_size};

/// Change of size inside a block, before its first convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resample {
    /// None.
    Keep,
    /// Half, by the mean of each 2 x 2.
    Down,
    /// Double, each pixel four times.
    Up,
}

impl Resample {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Keep => x,
            Self::Down => avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2])),
            Self::Up => double_size(x),
        }
    }
}

/// `shortcut(x) + conv_2(silu(norm_2(conv_1(silu(norm_1(x))))))`, the time between the convolutions.
#[derive(Module, Debug)]
pub(super) struct Resnet {
    norm_1: GroupNorm,
    conv_1: Conv3x3,
    /// `[d_time, channels]`, or twice as wide: scale, then shift.
    proj_time: Linear,
    norm_2: GroupNorm,
    conv_2: Conv3x3,
    /// 1 x 1, where the number of channels changes.
    shortcut: Option<Conv2d>,
    #[module(skip)]
    time_shift: TimeShift,
    #[module(skip)]
    resample: Resample,
}

impl Resnet {
    pub(super) fn init(
        config: &UNetConfig,
        channels: [usize; 2],
        resample: Resample,
        device: &Device,
    ) -> Self {
        let [c_in, c_out] = channels;
        let c_time = match config.time_shift {
            TimeShift::Additive => c_out,
            TimeShift::ScaleShift => 2 * c_out,
        };
        Self {
            norm_1: config.norm(c_in, device),
            conv_1: Conv3x3::init([c_in, c_out], device),
            proj_time: LinearConfig::new(config.d_time(), c_time).init(device),
            norm_2: config.norm(c_out, device),
            conv_2: Conv3x3::init([c_out, c_out], device),
            shortcut: (c_in != c_out).then(|| Conv2dConfig::new([c_in, c_out], [1, 1]).init(device)),
            time_shift: config.time_shift,
            resample,
        }
    }

    /// `x`: `[batch, c_in, h, w]`; `time`: `[batch, d_time]`, activated -> `[batch, c_out, h', w']`.
    pub(super) fn forward(&self, x: Tensor<4>, time: Tensor<2>) -> Tensor<4> {
        let h = self.norm_1.forward_silu(x.clone());
        let (x, h) = (self.resample.forward(x), self.resample.forward(h));
        let h = self.conv_1.forward(h);
        let time = self.proj_time.forward(time);
        let h = match self.time_shift {
            TimeShift::Additive => self.norm_2.forward_silu(h + time.unsqueeze_dims(&[2, 3])),
            TimeShift::ScaleShift => {
                let c_out = h.dims()[1];
                let (scale, shift) = (time.clone().narrow(1, 0, c_out), time.narrow(1, c_out, c_out));
                self.norm_2.forward_modulated_silu(h, scale, shift)
            }
        };
        let h = self.conv_2.forward(h);
        match &self.shortcut {
            Some(shortcut) => convolve(shortcut, x) + h,
            None => x + h,
        }
    }
}
