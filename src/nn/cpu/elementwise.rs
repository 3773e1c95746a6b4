//! Activations in place.

use burn::prelude::*;
use rayon::prelude::*;

use super::vector::{self, dispatch, gated};
use crate::device::{map_host, map_host_with_gradient};
use crate::nn::to_f32;

/// Values that a thread computes at a time.
const CHUNK: usize = 1 << 14;

/// `x * sigmoid(x)`.
pub(in crate::nn) fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gate(x, 1.0)
}

/// `x * sigmoid(1.702 x)`.
pub(in crate::nn) fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gate(x, 1.702)
}

/// `x * Phi(x)`, also with gradients; `x` itself where the caller has to compute it by Burn's operation.
pub(in crate::nn) fn gelu<const D: usize>(x: Tensor<D>) -> Result<Tensor<D>, Tensor<D>> {
    let values = |values: &mut [f32]| {
        values.par_chunks_mut(CHUNK).for_each(|chunk| {
            dispatch(
                #[inline(always)]
                || chunk.iter_mut().for_each(|x| *x = vector::gelu(*x)),
            );
        });
    };
    let gradient = |x: &[f32], grad: &mut [f32]| {
        let chunks = x.par_chunks(CHUNK).zip(grad.par_chunks_mut(CHUNK));
        chunks.for_each(|(x, grad)| {
            dispatch(
                #[inline(always)]
                || {
                    grad.iter_mut()
                        .zip(x)
                        .for_each(|(grad, &x)| *grad *= vector::gelu_derivative(x))
                },
            );
        });
    };
    let dtype = x.dtype();
    let y = match x.device().is_autodiff() {
        true => map_host_with_gradient(to_f32(x), values, gradient),
        false => map_host(to_f32(x), values),
    };
    y.map(|y| y.cast(dtype)).map_err(|x| x.cast(dtype))
}

fn gate<const D: usize>(x: Tensor<D>, a: f32) -> Tensor<D> {
    let dtype = x.dtype();
    let y = map_host(to_f32(x), |values| {
        values.par_chunks_mut(CHUNK).for_each(|chunk| {
            dispatch(
                #[inline(always)]
                || chunk.iter_mut().for_each(|x| *x = gated(*x, a)),
            );
        });
    });
    y.expect("callers ask first").cast(dtype)
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation;

    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;

    #[test]
    fn gelu_and_its_gradient_are_the_formula() {
        let device = DeviceSpec::default().device().expect("the default device");
        if !crate::device::shares_memory(&device) {
            return;
        }
        let device = device.autodiff();
        let mut noise = Noise::new(3);
        let x: Tensor<2> = noise.normal([70, 2048], &device).mul_scalar(3.0);
        let weight: Tensor<2> = noise.normal([70, 2048], &device);
        let largest = |x: Tensor<2>| x.abs().max().into_scalar::<f32>();
        // The argument of the second is read again by another operation.
        let run = |f: fn(Tensor<2>) -> Tensor<2>| {
            let leaf = x.clone().require_grad();
            let y = f(leaf.clone().mul_scalar(1.0));
            let loss = (y.clone() * weight.clone()).sum() + leaf.clone().sum();
            let grad = leaf.grad(&loss.backward()).expect("a gradient");
            (y.inner(), grad)
        };
        let (y, grad) = run(|x| gelu(x).expect("flex"));
        let (expected, expected_grad) = run(activation::gelu);
        assert!(largest(y - expected) < 2e-6);
        assert!(largest(grad - expected_grad) < 3e-6);
    }
}
