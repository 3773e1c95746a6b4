//! Group norm whose affine part is one multiply-add for each channel, whatever modulates it.
//!
//! Axes: batch; channels; h; w.

use burn::module::Param;
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::assert_shape;

/// Sizes of a [`GroupNorm`].
#[derive(Config, Debug)]
pub struct GroupNormConfig {
    /// Groups; they divide the channels.
    pub n_groups: usize,
    /// Channels.
    pub n_channels: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `(x - mean) / sqrt(var + epsilon) * gamma + beta`, mean and variance of each group of channels of one picture.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    n_groups: usize,
    epsilon: f64,
}

impl GroupNormConfig {
    /// The identity (lazy) as affine part.
    pub fn init(&self, device: &Device) -> GroupNorm {
        GroupNorm {
            gamma: Initializer::Ones.init([self.n_channels], device),
            beta: Initializer::Zeros.init([self.n_channels], device),
            n_groups: self.n_groups,
            epsilon: self.epsilon,
        }
    }
}

impl GroupNorm {
    /// `x`: `[batch, channels, h, w]` -> the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = self.affine(&x);
        apply(x, scale, shift)
    }

    /// `norm(x) * (1 + scale) + shift`; `scale` and `shift`: `[batch, channels]`.
    pub fn forward_modulated(&self, x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
        let (own_scale, own_shift) = self.affine(&x);
        let factor = scale.add_scalar(1.0);
        apply(x, own_scale * factor.clone(), own_shift * factor + shift)
    }

    /// The norm of `x` as `x * scale + shift`, both `[batch, channels]`.
    fn affine(&self, x: &Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let [batch, channels, h, w] = x.dims();
        let n_groups = self.n_groups;
        let in_group = channels / n_groups;
        let groups = x.clone().reshape([batch, n_groups, in_group * h * w]);
        let mean = groups.clone().mean_dim(2);
        let var = (groups - mean.clone()).square().mean_dim(2);
        let inverse = var.add_scalar(self.epsilon).sqrt().recip();
        let each_channel = |y: Tensor<3>| y.expand([batch, n_groups, in_group]).reshape([batch, channels]);
        let scale = each_channel(inverse) * self.gamma.val().unsqueeze();
        let shift = self.beta.val().unsqueeze() - each_channel(mean) * scale.clone();
        assert_shape!(shift, [batch, channels]);
        (scale, shift)
    }
}

fn apply(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
    let [batch, channels, ..] = x.dims();
    x * scale.reshape([batch, channels, 1, 1]) + shift.reshape([batch, channels, 1, 1])
}
