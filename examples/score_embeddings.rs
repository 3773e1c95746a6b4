//! Score predicted image embeddings: `cargo run --release --example score_embeddings`.
//!
//! Predictions of any system can be scored; here they are the image embeddings themselves with noise, and a ridge regression from the text embeddings.

use std::error::Error;

use eclipse_t2i::eval::baselines::BaselineKind;
use eclipse_t2i::eval::embedding::ModalityGap;
use eclipse_t2i::eval::{Embeddings, Inputs, evaluate};
use eclipse_t2i::noise::Noise;

pub fn main() -> Result<(), Box<dyn Error>> {
    let (n, d, mut noise) = (200, 8, Noise::new(0));
    // z_x is a linear function of z_y, and something that z_y does not say.
    let z_y = noise.normal_vec(n * d);
    let z_x: Vec<f32> = z_y
        .chunks(d)
        .flat_map(|row| {
            (0..d)
                .map(|i| row[i] - 0.5 * row[(i + 1) % d])
                .collect::<Vec<_>>()
        })
        .zip(noise.normal_vec(n * d))
        .map(|(said, unsaid)| said + 0.5 * unsaid)
        .collect();
    let noisy = z_x
        .iter()
        .zip(noise.normal_vec(n * d))
        .map(|(z, eps)| z + 0.1 * eps);
    let noisy = Embeddings::new(n, d, noisy.collect())?;
    let (z_y, z_x) = (Embeddings::new(n, d, z_y)?, Embeddings::new(n, d, z_x)?);
    let ridge = BaselineKind::Ridge.fit(&z_y, &z_x, &z_x)?.predict(&z_y)?;

    for (name, z_x_hat) in [("noisy", noisy), ("ridge", ridge)] {
        let scores = evaluate(&Inputs {
            z_x_hat: &[z_x_hat],
            z_y: &z_y,
            z_x: &z_x,
            candidates: None,
            splits: &[],
            gap: &ModalityGap::of(&z_y, &z_x)?,
        })?;
        println!("{name}");
        for metric in ["cos/z_x", "nmse", "retrieval/image_r1"] {
            let found = scores
                .metrics
                .iter()
                .find(|m| m.name == metric && m.split == "all");
            println!("  {metric}: {:.3}", found.ok_or("no such metric")?.value);
        }
    }
    Ok(())
}
