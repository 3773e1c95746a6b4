//! Linear layers in mixed precision, as under PyTorch's `autocast`.
//!
//! Burn 0.22.1 has no automatic mixed precision, and its `Linear` wants input and weights of one dtype.

use std::borrow::Cow;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::FloatDType;

use crate::device::Precision;

/// `layer` on `x` `[.., d_in]`, computed in the dtype of the layer's weights; the result `[.., d_out]` has that of `x`.
pub fn linear<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    linear_by(x, layer.weight.val(), layer.bias.as_ref().map(Param::val))
}

/// [`linear`] by `weight` `[d_in, d_out]` and `bias` `[d_out]`.
pub(super) fn linear_by<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let dtype = x.dtype();
    let x = x.cast(weight.dtype());
    burn::tensor::module::linear(x, weight, bias).cast(dtype)
}

/// `network`, which is in f32, with the parameters of its linear layers cast to `precision`; others stay as they are. The cast is part of the graph: a
/// backward pass gives f32 gradients to the parameters of `network` itself.
pub fn with_linear_layers_in<M: Module>(network: &M, precision: Precision) -> Cow<'_, M> {
    if precision == Precision::F32 {
        return Cow::Borrowed(network);
    }
    let (dtype, containers) = (precision.dtype(), Vec::new());
    Cow::Owned(network.clone().map(&mut CastLinear { dtype, containers }))
}

struct CastLinear {
    dtype: FloatDType,
    containers: Vec<String>,
}

impl ModuleMapper for CastLinear {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.containers.push(container.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.containers.iter().any(|c| c == "Struct:Linear") {
            true => param.map(|value| value.cast(self.dtype)),
            false => param,
        }
    }
}
