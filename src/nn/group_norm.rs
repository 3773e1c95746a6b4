//! Group norm as one multiply-add a channel, `x * scale + shift`.
//!
//! Burn's `GroupNorm` isn't used, because it has no modulated form (a UNet's time embedding, MoVQ's spatial norm): with it the affine part would be a
//! second pass over the image. Computed in f32 whatever the dtype of the image: squares above 65504 overflow in f16.
//!
//! Axes: batch; channels; h; w.

use burn::module::Param;
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::assert_shape;

use super::{Activation, cpu, to_f32};

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

/// `(x - mean) / sqrt(var + epsilon) * gamma + beta`, mean and variance of each group of channels of one image.
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
    /// `x`: `[batch, channels, h, w]` -> the same shape and dtype.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (dtype, x) = (x.dtype(), to_f32(x));
        let (scale, shift) = self.affine(&x);
        apply(x, scale, shift, Activate::No).cast(dtype)
    }

    /// `silu(norm(x))`.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        let (dtype, x) = (x.dtype(), to_f32(x));
        let (scale, shift) = self.affine(&x);
        apply(x, scale, shift, Activate::Silu).cast(dtype)
    }

    /// `silu(norm(x) * (1 + scale) + shift)`; `scale` and `shift`: `[batch, channels]`.
    pub fn forward_modulated_silu(&self, x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>) -> Tensor<4> {
        let (dtype, x) = (x.dtype(), to_f32(x));
        let (own_scale, own_shift) = self.affine(&x);
        let factor = to_f32(scale).add_scalar(1.0);
        let shift = own_shift * factor.clone() + to_f32(shift);
        apply(x, own_scale * factor, shift, Activate::Silu).cast(dtype)
    }

    /// The norm of `x` as `x * scale + shift`, both `[batch, channels]` and f32.
    pub fn affine(&self, x: &Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let [batch, channels, h, w] = x.dims();
        let n_groups = self.n_groups;
        let in_group = channels / n_groups;
        let x = to_f32(x.clone());
        let is_large = cpu::is_used(&x);
        let groups = x.reshape([batch, n_groups, in_group * h * w]);
        let [mean, var] = if is_large {
            cpu::group_statistics(&groups)
        } else {
            let mean = groups.clone().mean_dim(2);
            [mean.clone(), (groups - mean).square().mean_dim(2)]
        };
        let inverse = var.add_scalar(self.epsilon).sqrt().recip();
        let each_channel = |y: Tensor<3>| y.expand([batch, n_groups, in_group]).reshape([batch, channels]);
        let scale = each_channel(inverse) * to_f32(self.gamma.val()).unsqueeze();
        let shift = to_f32(self.beta.val()).unsqueeze() - each_channel(mean) * scale.clone();
        assert_shape!(shift, [batch, channels]);
        (scale, shift)
    }
}

fn apply(x: Tensor<4>, scale: Tensor<2>, shift: Tensor<2>, activate: Activate) -> Tensor<4> {
    let [batch, channels, ..] = x.dims();
    let per_channel = |y: Tensor<2>| y.reshape([batch, channels, 1, 1]);
    scale_shift(x, per_channel(scale), per_channel(shift), activate)
}

/// What follows a [`scale_shift`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activate {
    /// Nothing.
    No,
    /// [`Activation::Silu`].
    Silu,
}

/// `x * scale + shift` and what `activate` says. `x`: `[batch, channels, h, w]`; `scale`, `shift`: `[batch, channels, h / n, w / n]`, a value for each block of
/// n x n pixels, or `[batch, channels, 1, 1]`.
pub fn scale_shift(x: Tensor<4>, scale: Tensor<4>, shift: Tensor<4>, activate: Activate) -> Tensor<4> {
    if cpu::is_used(&x) {
        return cpu::scale_shift_silu(x, &scale, &shift, activate == Activate::Silu);
    }
    let [batch, channels, h, w] = x.dims();
    let [_, _, h_block, w_block] = scale.dims();
    let y = match [h_block, w_block] {
        [1, 1] => x * scale + shift,
        _ => {
            let per_block = |y: Tensor<4>| y.reshape([batch, channels, h_block, 1, w_block, 1]);
            let blocks = x.reshape([batch, channels, h_block, h / h_block, w_block, w / w_block]);
            (blocks * per_block(scale) + per_block(shift)).reshape([batch, channels, h, w])
        }
    };
    match activate {
        Activate::No => y,
        Activate::Silu => Activation::Silu.forward(y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;

    #[test]
    fn small_and_large_images_are_the_formula() {
        is_the_formula(4, 5);
        is_the_formula(128, 130);
    }

    /// Against the formula in f64, at a mean ten times the spread.
    fn is_the_formula(h: usize, w: usize) {
        let device = DeviceSpec::default().device().expect("the default device");
        let (batch, groups, in_group) = (2, 3, 2);
        let channels = groups * in_group;
        let mut noise = Noise::new(1);
        let x: Vec<f32> = noise
            .normal_vec(batch * channels * h * w)
            .into_iter()
            .map(|v| 10.0 + v)
            .collect();
        let mut vector = |n: usize| noise.normal_vec(n);
        let (gamma, beta) = (vector(channels), vector(channels));
        let (scale, shift) = (vector(batch * channels), vector(batch * channels));
        let one = |v: &[f32]| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [v.len()]), &device);
        let norm = GroupNorm {
            gamma: Param::from_tensor(one(&gamma)),
            beta: Param::from_tensor(one(&beta)),
            n_groups: groups,
            epsilon: 1e-5,
        };
        let image = one(&x).reshape([batch, channels, h, w]);
        let rows = |v: &[f32]| one(v).reshape([batch, channels]);
        let values = |t: Tensor<4>| t.into_data().iter::<f32>().collect::<Vec<_>>();
        let plain = values(norm.forward(image.clone()));
        let modulated = values(norm.forward_modulated_silu(image, rows(&scale), rows(&shift)));

        let n = in_group * h * w;
        for (i, &value) in x.iter().enumerate() {
            let group = &x[i / n * n..][..n];
            let mean = group.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
            let var = group.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n as f64;
            let normed = (f64::from(value) - mean) / (var + 1e-5).sqrt();
            let (row, c) = (i / (h * w), i / (h * w) % channels);
            let y = normed * f64::from(gamma[c]) + f64::from(beta[c]);
            let z = y * (1.0 + f64::from(scale[row])) + f64::from(shift[row]);
            let z = z / (1.0 + (-z).exp());
            for (ours, want) in [(plain[i], y), (modulated[i], z)] {
                assert!(
                    (f64::from(ours) - want).abs() < 2e-5 * (1.0 + want.abs()),
                    "{i}: {ours} {want}"
                );
            }
        }
    }
}
