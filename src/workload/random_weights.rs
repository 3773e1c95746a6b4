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
        // Every tensor has a buffer of its own length, as one that was loaded: flex copies a view of a longer one before most operations.
        let (n, device) = (shape.num_elements(), param.lazy_device());
        let from_host = |values: &[f32]| {
            Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &device)
        };
        let (repeats, rest) = (n / PATTERN, &scaled[..n % PATTERN]);
        let whole = (repeats > 0).then(|| from_host(&scaled).repeat_dim(0, repeats));
        let rest = (!rest.is_empty()).then(|| from_host(rest));
        let values = Tensor::cat(whole.into_iter().chain(rest).collect(), 0);
        let id = param.id;
        param.transform_for_load(values.reshape(shape), id)
    }
}
