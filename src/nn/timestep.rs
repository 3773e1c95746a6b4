//! Sinusoidal embedding of diffusion timesteps (reference: diffusers `Timesteps`, `flip_sin_to_cos=True`, `downscale_freq_shift=0`).

use burn::prelude::*;

/// `timesteps` `[batch]` (host values in 0..1000) -> `[batch, dim]`: cosines first, then sines, of `t / 10000^(i / (dim / 2))`.
///
/// Computed on the host in f64: a product of 999 and a frequency loses four digits in f32.
///
/// # Panics
/// If `dim` is odd.
pub fn timestep_embedding(timesteps: &[f64], dim: usize, device: &Device) -> Tensor<2> {
    assert_eq!(
        dim % 2,
        0,
        "the timestep embedding needs an even width, got {dim}"
    );
    let half = dim / 2;
    let angle = |t: f64, i: usize| t * (-(10_000f64.ln()) * i as f64 / half as f64).exp();
    let values: Vec<f32> = timesteps
        .iter()
        .flat_map(|&t| {
            let cos = (0..half).map(move |i| angle(t, i).cos() as f32);
            cos.chain((0..half).map(move |i| angle(t, i).sin() as f32))
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [timesteps.len(), dim]), device)
}
