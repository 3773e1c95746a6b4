//! Embedding of the diffusion timestep (reference: diffusers `Timesteps` and `TimestepEmbedding`).
//!
//! Burn's `PositionalEncoding` isn't used: it tabulates whole positions in f32, with sines and cosines interleaved, and has no frequency shift.

use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::DType;

use super::{Activation, linear, to_compute_dtype};

/// Sinusoidal embedding of a timestep: angles `t / 10000^(i / (dim / 2 - frequency_shift))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sinusoids {
    /// Width.
    pub dim: usize,
    /// Cosines before sines (`flip_sin_to_cos`).
    pub cosines_first: bool,
    /// Taken from the divisor of the exponent (`downscale_freq_shift`).
    pub frequency_shift: f64,
}

impl Sinusoids {
    /// `timesteps`: host values in 0..1000, one a row -> `[batch, dim]`, f32.
    ///
    /// Computed on the host in f64: a product of 999 and a frequency loses four digits in f32.
    ///
    /// # Panics
    /// If `dim` is odd.
    pub fn embed(&self, timesteps: &[f64], device: &Device) -> Tensor<2> {
        let dim = self.dim;
        assert_eq!(
            dim % 2,
            0,
            "the timestep embedding needs an even width, got {dim}"
        );
        let divisor = (dim / 2) as f64 - self.frequency_shift;
        let angle = |t: f64, i: usize| t * (-(10_000f64.ln()) * i as f64 / divisor).exp();
        let mut values = Vec::with_capacity(timesteps.len() * dim);
        for &t in timesteps {
            let cosines = (0..dim / 2).map(|i| angle(t, i).cos() as f32);
            let sines = (0..dim / 2).map(|i| angle(t, i).sin() as f32);
            match self.cosines_first {
                true => values.extend(cosines.chain(sines)),
                false => values.extend(sines.chain(cosines)),
            }
        }
        let values = TensorData::new(values, [timesteps.len(), dim]);
        Tensor::from_data(values, (device, DType::F32))
    }
}

/// [`Sinusoids`] as every published network has them: cosines first, no shift.
///
/// # Panics
/// If `dim` is odd.
pub fn timestep_embedding(timesteps: &[f64], dim: usize, device: &Device) -> Tensor<2> {
    let sinusoids = Sinusoids {
        dim,
        cosines_first: true,
        frequency_shift: 0.0,
    };
    sinusoids.embed(timesteps, device)
}

/// Linear -> activation -> linear, on sinusoids.
#[derive(Module, Debug)]
pub struct TimeEmbedding {
    fc_in: Linear,
    fc_out: Linear,
    #[module(skip)]
    activation: Activation,
}

impl TimeEmbedding {
    /// Layers with Burn's own (lazy) initial values.
    pub fn init(d_in: usize, d_inner: usize, d_out: usize, activation: Activation, device: &Device) -> Self {
        Self {
            fc_in: LinearConfig::new(d_in, d_inner).init(device),
            fc_out: LinearConfig::new(d_inner, d_out).init(device),
            activation,
        }
    }

    /// Layers whose output is zero until they are trained.
    pub fn zero_init(
        d_in: usize,
        d_inner: usize,
        d_out: usize,
        activation: Activation,
        device: &Device,
    ) -> Self {
        let out = LinearConfig::new(d_inner, d_out).with_initializer(Initializer::Zeros);
        Self {
            fc_out: out.init(device),
            ..Self::init(d_in, d_inner, d_out, activation, device)
        }
    }

    /// `[batch, d_in]` -> `[batch, d_out]`.
    pub fn forward(&self, sinusoids: Tensor<2>) -> Tensor<2> {
        let inner = linear(&self.fc_in, to_compute_dtype(sinusoids));
        let inner = self.activation.forward(inner);
        linear(&self.fc_out, inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn order_and_shift() {
        let device = DeviceSpec::default().device().expect("the default device");
        let values = |cosines_first, frequency_shift| {
            let sinusoids = Sinusoids {
                dim: 4,
                cosines_first,
                frequency_shift,
            };
            let data = sinusoids.embed(&[2.0], &device).into_data();
            data.iter::<f32>().collect::<Vec<_>>()
        };
        let close = |a: Vec<f32>, b: [f64; 4]| {
            for (a, b) in a.iter().zip(b) {
                assert!((f64::from(*a) - b).abs() < 1e-6, "{a} {b}");
            }
        };
        // Half the width is 2: the second frequency is 10000^(-1/2), or 10000^(-1) with a shift of 1.
        let (slow, slower) = (2.0f64 / 100.0, 2.0f64 / 10_000.0);
        close(
            values(true, 0.0),
            [2f64.cos(), slow.cos(), 2f64.sin(), slow.sin()],
        );
        close(
            values(false, 1.0),
            [2f64.sin(), slower.sin(), 2f64.cos(), slower.cos()],
        );
    }
}
