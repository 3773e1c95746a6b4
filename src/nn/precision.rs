//! Precision inside and outside networks. Weights and activations have the dtype that the device was opened in (f32, f16 or bf16); tensors that pass
//! between networks (noise, samples, embeddings) are f32, because samplers need it: the first step of a squared-cosine schedule divides by 5e-5.
//!
//! Burn has the cast, `Tensor::cast`, and the device's setting, but nothing that joins them.

use burn::prelude::*;
use burn::tensor::FloatDType;

/// `x` in the dtype that networks on its device compute in.
pub fn to_compute_dtype<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let precision = x.device().settings().float_dtype;
    x.cast(precision)
}

/// `x` in f32, the dtype of everything outside networks.
pub fn to_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}
