//! Random weights without drawing each one.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

use crate::noise::Noise;

/// Values that repeat: a prime number, so that no row or column of a matrix repeats another.
const PATTERN: usize = 65_537;

/// `module` with random matrices and kernels, normal with variance 1 / inputs, from a short list of values that repeats on the device: a billion draws would
/// take longer than the measurement. Vectors (biases, norms) keep their initial values.
pub fn random_weights<M: Module>(module: M) -> M {
    module.map(&mut Fill(Noise::new(0).normal_vec(PATTERN)))
}

struct Fill(Vec<f32>);

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        let shape = param.lazy_shape();
        // Rows of a Linear's weight, all but the first axis of a kernel.
        let inputs: usize = if D == 2 {
            shape[0]
        } else {
            shape.iter().skip(1).product()
        };
        let scale = 1.0 / (inputs as f32).sqrt();
        let scaled: Vec<f32> = self.0.iter().map(|value| value * scale).collect();
        let pattern: Tensor<1> = Tensor::from_data(TensorData::new(scaled, [PATTERN]), &param.lazy_device());
        let n = shape.num_elements();
        let values = pattern.repeat_dim(0, n.div_ceil(PATTERN)).narrow(0, 0, n);
        let id = param.id;
        param.transform_for_load(values.reshape(shape), id)
    }
}
