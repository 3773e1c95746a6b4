//! Initial values from our own seeded generator.
//!
//! Burn's initialisers draw from a generator that is global to the backend, so that a run's values would depend on what other threads draw.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use rand_distr::{Distribution, Uniform};

use crate::noise::Noise;

/// Gives every [`Linear`](burn::nn::Linear) of `module` PyTorch's default values, weight and bias from U(-1/sqrt(d_in), 1/sqrt(d_in))
/// (`kaiming_uniform_(a=sqrt 5)`), and leaves every other parameter at the value its own `init` chose: ones and zeros for norms, zeros for
/// the prior's positions and query (reference: the constructor of diffusers' `PriorTransformer`).
///
/// Parameters are visited in the order of the module's fields, so the result depends on the seed alone.
pub fn torch_default<M: Module>(module: M, noise: &mut Noise) -> M {
    module.map(&mut TorchDefault {
        noise,
        containers: Vec::new(),
        names: Vec::new(),
        bound: 0.0,
    })
}

struct TorchDefault<'a> {
    noise: &'a mut Noise,
    containers: Vec<String>,
    names: Vec<String>,
    /// 1/sqrt(d_in) of the linear layer being visited; its weight comes before its bias.
    bound: f32,
}

impl ModuleMapper for TorchDefault<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.containers.push(container.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.names.pop();
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.containers.iter().rev().any(|c| c == "Struct:Linear") {
            return param;
        }
        let shape = param.lazy_shape();
        if shape.num_dims() == 2 {
            self.bound = 1.0 / (shape[0] as f32).sqrt();
        }
        let uniform =
            Uniform::new_inclusive(-self.bound, self.bound).expect("the bound is finite and positive");
        let values: Vec<f32> = (0..shape.num_elements())
            .map(|_| uniform.sample(self.noise.rng()))
            .collect();
        let device = param.lazy_device();
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
