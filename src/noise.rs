//! One seeded source of randomness, passed as an argument.
//!
//! Draws happen on the host, in order, from ChaCha8: the same seed gives the same numbers on every backend, with every number of threads.
//! Nothing else in the project draws random numbers.

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// A seeded generator. `Clone` copies its position too.
#[derive(Debug, Clone)]
pub struct Noise {
    rng: ChaCha8Rng,
}

impl Noise {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// An independent generator: same seed, another `stream`. Streams never overlap.
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng }
    }

    /// The underlying generator, for `rand`'s own methods (`random_range`, shuffles).
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// `n` draws from N(0, 1).
    pub fn normal_vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| StandardNormal.sample(&mut self.rng)).collect()
    }

    /// A tensor of draws from N(0, 1).
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let data = TensorData::new(self.normal_vec(shape.iter().product()), shape);
        Tensor::from_data(data, (device, DType::F32))
    }

    /// Where the generator stands, to be stored in a checkpoint.
    pub fn position(&self) -> u128 {
        self.rng.get_word_pos()
    }

    /// Moves the generator to a [`Noise::position`] of the same seed and stream.
    pub fn seek(&mut self, position: u128) {
        self.rng.set_word_pos(position);
    }
}
