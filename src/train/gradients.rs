//! Clipping by the global norm. Burn's optimisers clip each parameter separately.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

/// Scales the gradients of `module` so that their joint Euclidean norm is at most `max_norm` (PyTorch's `clip_grad_norm_`); `None` only
/// measures. Returns the norm before clipping, `[1]`, on the device.
pub fn clip_global_norm<M: Module>(
    module: &M,
    grads: &mut GradientsParams,
    max_norm: Option<f64>,
) -> Tensor<1> {
    let mut square = SumOfSquares { grads, total: None };
    module.visit(&mut square);
    let Some(total) = square.total else {
        return Tensor::zeros([1], &module.devices()[0]);
    };
    let norm = total.sqrt();
    if let Some(max_norm) = max_norm {
        // 1e-6: as PyTorch, against division by zero
        let scale = norm
            .clone()
            .add_scalar(1e-6)
            .recip()
            .mul_scalar(max_norm)
            .clamp_max(1.0);
        module.visit(&mut Scale { grads, scale });
    }
    norm
}

struct SumOfSquares<'a> {
    grads: &'a mut GradientsParams,
    total: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        let square = grad.square().sum();
        self.total = Some(match self.total.take() {
            Some(total) => total + square,
            None => square,
        });
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    scale: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return;
        };
        let scaled = grad * self.scale.clone().reshape([1; D]);
        self.grads.register::<D>(param.id, scaled);
    }
}
