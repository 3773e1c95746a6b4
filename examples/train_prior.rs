//! Train an ECLIPSE prior on embeddings in memory: `cargo run --release --example train_prior`.
//!
//! The embeddings are random here; yours come from a frozen CLIP, or from a store that `eclipse encode` wrote (`data::stored::StoredPairs`).

use std::error::Error;
use std::sync::Arc;

use eclipse_t2i::data::pairs::Pairs;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::models::text::{EncodedText, EncodedTexts};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::train::hardware::Hardware;
use eclipse_t2i::train::objectives::eclipse::Eclipse;
use eclipse_t2i::train::objectives::{Objective, PriorObjective};
use eclipse_t2i::train::prior::{PriorTraining, TrainingData};
use eclipse_t2i::train::spec::{ModelSpec, TrainSpec};

const D_CLIP: usize = 16;
const N_TEXT: usize = 8;

/// `n` captions of five tokens: z_y `[D_CLIP]` and hidden states `[5, D_CLIP]` each.
fn captions(n: usize, noise: &mut Noise) -> EncodedTexts {
    let mut texts = EncodedTexts::new(D_CLIP);
    for _ in 0..n {
        texts.push(EncodedText {
            z_y: &noise.normal_vec(D_CLIP),
            hidden: &noise.normal_vec(5 * D_CLIP),
        });
    }
    texts
}

pub fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (n, mut noise) = (64, Noise::new(0));
    let (texts, empty) = (captions(n, &mut noise), captions(1, &mut noise));
    let z_x = noise.normal_vec(n * D_CLIP);
    let pairs = Arc::new(Pairs::new(z_x, texts, empty, 0..n, 0..n));
    let data = TrainingData {
        train: pairs.clone(),
        validation: Some(pairs),
        n_text: N_TEXT,
        tau: Some(0.07),
        clip: "random numbers".into(),
    };

    // The same tables as in an experiment file: [objective], [model], [train].
    let objective = Objective::Eclipse(Eclipse {
        lambda: 0.2,
        ..Eclipse::default()
    });
    let model = ModelSpec {
        n_heads: 2,
        d_head: 8,
        n_layers: 2,
        ..ModelSpec::default()
    };
    let train = TrainSpec {
        steps: 40,
        batch_size: 16,
        lr: 1e-3,
        checkpoint_every: 10,
        ..TrainSpec::default()
    };

    let dir = std::env::temp_dir().join(format!("eclipse-example-{}", std::process::id()));
    let hardware = Hardware::one(DeviceSpec::default().device()?);
    let training = PriorTraining::in_folder(&dir, &data, &model, &train, 0, &hardware, |progress| {
        if progress.step % 10 == 0 {
            println!(
                "step {} {:?}: loss {}",
                progress.step, progress.phase, progress.values[0].1
            );
        }
    })?;
    objective.train(training)?;
    println!("the prior is in {}", dir.join("prior").display());
    Ok(())
}
