//! Clipping by the global norm. Burn's optimisers clip each parameter separately.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

use super::flat;
use crate::device::groups_updates;

/// Scales the gradients of `module` so that their joint Euclidean norm is at most `max_norm` (PyTorch's `clip_grad_norm_`); `None` only
/// measures. Returns the norm before clipping, `[1]`, on the device.
pub fn clip_global_norm<M: Module>(
    module: &M,
    grads: &mut GradientsParams,
    max_norm: Option<f64>,
) -> Tensor<1> {
    if groups_updates(&module.devices()[0]) {
        return clip_flat(module, grads, max_norm);
    }
    let mut square = SumOfSquares { grads, total: None };
    module.visit(&mut square);
    let Some(total) = square.total else {
        return Tensor::zeros([1], &module.devices()[0]);
    };
    let norm = total.sqrt();
    if let Some(max_norm) = max_norm {
        let scale = scale(norm.clone(), max_norm);
        module.visit(&mut Scale { grads, scale });
    }
    norm
}

/// The factor that brings `norm` down to `max_norm`, `[1]`.
fn scale(norm: Tensor<1>, max_norm: f64) -> Tensor<1> {
    // 1e-6: as PyTorch, against division by zero
    let factor = norm.add_scalar(1e-6).recip().mul_scalar(max_norm);
    factor.clamp_max(1.0)
}

/// [`clip_global_norm`] by a few operations on all gradients as one tensor, of which those of the parameters are slices afterwards.
fn clip_flat<M: Module>(module: &M, grads: &mut GradientsParams, max_norm: Option<f64>) -> Tensor<1> {
    let mut collected = Collect {
        grads,
        parts: Vec::new(),
    };
    module.visit(&mut collected);
    if collected.parts.is_empty() {
        return Tensor::zeros([1], &module.devices()[0]);
    }
    let all = flat::join(collected.parts);
    let norm = flat::sum(all.clone().square()).sqrt();
    if let Some(max_norm) = max_norm {
        let all = all * scale(norm.clone(), max_norm);
        module.visit(&mut Distribute { grads, all, next: 0 });
    }
    norm
}

/// Gradients as vectors, in the order of the module's parameters.
struct Collect<'a> {
    grads: &'a GradientsParams,
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.parts.push(flat::of(grad));
        }
    }
}

/// Replaces the gradients by their slices of `all`, from `next` on.
struct Distribute<'a> {
    grads: &'a mut GradientsParams,
    all: Tensor<1>,
    next: usize,
}

impl ModuleVisitor for Distribute<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let slice = flat::slice(&self.all, self.next, grad.shape());
            self.next += flat::room(&grad.shape());
            self.grads.register::<D>(param.id, slice);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;
    use burn::nn::{Linear, LinearConfig};

    #[test]
    fn one_flat_tensor_clips_as_many_do() {
        let device = DeviceSpec::default()
            .device()
            .expect("the default device")
            .autodiff();
        // 15 and 5 elements begin at no multiple of the alignment.
        let layers: Vec<Linear> = [(64, 32), (3, 5), (32, 16)]
            .map(|(n, m)| LinearConfig::new(n, m).init(&device))
            .into();
        let grads = || {
            let mut noise = Noise::new(3);
            let mut grads = GradientsParams::new();
            for layer in &layers {
                let [n, m] = layer.weight.dims();
                let plain = device.clone().inner();
                grads.register::<2>(layer.weight.id, noise.normal([m, n], &plain).swap_dims(0, 1));
                let bias = layer.bias.as_ref().expect("a bias");
                grads.register::<1>(bias.id, noise.normal([m], &plain));
            }
            grads
        };
        let read = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        for max_norm in [Some(0.5), Some(1e6), None] {
            let (mut one, mut many) = (grads(), grads());
            let norm = read(clip_flat(&layers, &mut one, max_norm))[0];
            let expected = read(clip_global_norm(&layers, &mut many, max_norm))[0];
            assert!((norm - expected).abs() < 1e-4 * expected, "{norm}, {expected}");
            for layer in &layers {
                let values = |grads: &GradientsParams| {
                    let grad = grads.get::<2>(layer.weight.id).expect("a gradient");
                    read(grad.reshape([-1]))
                };
                for (a, b) in values(&one).into_iter().zip(values(&many)) {
                    assert!((a - b).abs() <= 1e-6 * b.abs(), "{a}, {b}");
                }
            }
        }
    }
}
