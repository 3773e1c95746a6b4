//! Layer norm, computed in f32 whatever the dtype of its input.
//!
//! Burn's `LayerNorm` isn't used, because it computes in the input's dtype unless that is f16: in bf16, on CubeCL and under autodiff, mean, variance and
//! differences would have 8 significant bits.

use burn::module::Param;
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::module::layer_norm;

use super::to_f32;
use crate::device::{custom_kernels, takes_custom_kernels};

/// Sizes of a [`LayerNorm`].
#[derive(Config, Debug)]
pub struct LayerNormConfig {
    /// Width of a row.
    pub d_model: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `(x - mean) / sqrt(var + epsilon) * gamma + beta`, mean and variance of each row of the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[d_model]`
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNormConfig {
    /// The identity (lazy) as affine part.
    pub fn init(&self, device: &Device) -> LayerNorm {
        LayerNorm {
            gamma: Initializer::Ones.init([self.d_model], device),
            beta: Initializer::Zeros.init([self.d_model], device),
            epsilon: self.epsilon,
        }
    }
}

impl LayerNorm {
    /// `x`: `[.., d_model]` -> the same shape and dtype.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let (x, gamma, beta) = (to_f32(x), to_f32(self.gamma.val()), to_f32(self.beta.val()));
        if takes_custom_kernels(&x) {
            let (shape, [d_model]) = (x.shape(), gamma.dims());
            let rows = x.reshape([shape.num_elements() / d_model, d_model]);
            let y = custom_kernels::layer_norm(rows, gamma, beta, self.epsilon);
            return y.reshape(shape).cast(dtype);
        }
        layer_norm(x, gamma, Some(beta), self.epsilon).cast(dtype)
    }
}
