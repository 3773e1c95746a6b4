//! A build without kernels of its own: [`super::takes_custom_kernels`] is false, so that nothing calls these functions.

use burn::tensor::Tensor;

use super::adamw_step::AdamWStep;
use super::windows::Windows;

const NONE: &str = "this build has no kernels of its own";

/// Never called.
pub fn gelu<const D: usize>(_x: Tensor<D>) -> Tensor<D> {
    unreachable!("{NONE}")
}

/// Never called.
pub fn layer_norm(_x: Tensor<2>, _gamma: Tensor<1>, _beta: Tensor<1>, _epsilon: f64) -> Tensor<2> {
    unreachable!("{NONE}")
}

/// Never called.
pub fn biased_softmax(_scores: Tensor<4>, _bias: Tensor<4>, _scale: f64) -> Tensor<4> {
    unreachable!("{NONE}")
}

/// Never called.
pub fn adamw<const D: usize>(_step: AdamWStep, _tensors: [Tensor<D>; 4]) -> [Tensor<D>; 3] {
    unreachable!("{NONE}")
}

/// Never called.
pub fn windows(_x: Tensor<4>, _windows: Windows) -> Tensor<3> {
    unreachable!("{NONE}")
}
