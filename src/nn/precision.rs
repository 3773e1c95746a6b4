//! The doors of a network. Weights and activations have the precision that the device was opened in (f32, f16 or bf16); whatever passes
//! between networks, noise, samples and embeddings, is f32, because a sampler's arithmetic does not survive less: the first step of a
//! squared-cosine schedule divides by 5e-5.

use burn::prelude::*;
use burn::tensor::FloatDType;

/// `x` as a network on its device computes.
pub fn enter<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let precision = x.device().settings().float_dtype;
    x.cast(precision)
}

/// `x` as everything outside networks computes: f32.
pub fn leave<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}
