//! Precision inside and outside networks. Weights and activations have the dtype that the device was opened in (f32, f16 or bf16). Norms and attention compute
//! in f32 and round their results, and matrix products sum in f32. Tensors that pass between networks (noise, samples, embeddings) are f32, because samplers
//! need it: the first step of a squared-cosine schedule divides by 5e-5.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::nn::{GroupNormConfig, LayerNormConfig, attention, causal_bias};
    use crate::noise::Noise;

    /// In half precision they give what they give in f32, rounded once. The values are around 300: their squares, and the scores of attention, overflow in
    /// f16. Autodiff composes every operation, as CubeCL does.
    #[test]
    fn norms_and_attention_compute_in_f32() {
        let device = DeviceSpec::default().device().expect("the default device");
        for device in [device.clone(), device.autodiff()] {
            let layer_norm = LayerNormConfig::new(16, 1e-5).init(&device);
            let group_norm = GroupNormConfig::new(4, 12, 1e-5).init(&device);
            let bias = causal_bias(8, &device);
            let modulated = |x: Tensor<4>| {
                let row = |at| x.clone().narrow(3, at, 1).narrow(2, 0, 1).reshape([2, 12]);
                group_norm.forward_modulated_silu(x.clone(), row(0), row(1))
            };
            let all: [(&str, &dyn Fn(Tensor<4>) -> Tensor<4>); 4] = [
                ("layer norm", &|x| layer_norm.forward(x)),
                ("group norm", &|x| group_norm.forward(x)),
                ("modulated group norm", &modulated),
                ("attention", &|x| {
                    attention(x.clone(), x.clone().mul_scalar(-1.0), x, Some(bias.clone()))
                }),
            ];
            let x: Tensor<4> = Noise::new(2).normal([2, 12, 8, 16], &device);
            let x = x.mul_scalar(40.0).add_scalar(300.0);
            for (dtype, roundoff) in [(FloatDType::F16, 11), (FloatDType::BF16, 8)] {
                let x = x.clone().cast(dtype);
                for (name, operation) in all {
                    let half = operation(x.clone());
                    assert_eq!(FloatDType::from(half.dtype()), dtype, "{name}");
                    let half = half.into_data().iter::<f32>().collect::<Vec<_>>();
                    let exact = operation(to_f32(x.clone())).into_data();
                    for (half, exact) in half.into_iter().zip(exact.iter::<f32>()) {
                        let allowed = 0.5f32.powi(roundoff) * exact.abs() + 1e-7;
                        assert!(
                            (half - exact).abs() <= allowed,
                            "{name} in {dtype:?}: {half}, {exact}"
                        );
                    }
                }
            }
        }
    }
}
