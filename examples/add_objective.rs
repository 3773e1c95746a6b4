//! Train a prior with a loss of your own, without a change of the library: `cargo run --release --example add_objective`.
//!
//! A [`Criterion`] is the forward pass and the loss. To use it in experiment files too, add it to the list of objectives: see CONTRIBUTING.md.

use std::error::Error;
use std::sync::Arc;

use eclipse_t2i::data::pairs::Pairs;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::models::prior::Prior;
use eclipse_t2i::models::text::{EncodedText, EncodedTexts};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::train::hardware::Hardware;
use eclipse_t2i::train::micro_batches::Values;
use eclipse_t2i::train::negatives::NegativeOptions;
use eclipse_t2i::train::objectives::eclipse::{EclipseBatch, eclipse_batches};
use eclipse_t2i::train::prior::{PriorTraining, TrainingData};
use eclipse_t2i::train::spec::{ModelSpec, TrainSpec};
use eclipse_t2i::train::trainer::{Criterion, Trainer};

/// Mean absolute error to the image embedding.
#[derive(Debug, Clone)]
struct AbsoluteError;

impl Criterion<Prior> for AbsoluteError {
    type Batch = EclipseBatch;

    fn values(&self, prior: &Prior, batch: EclipseBatch) -> Values {
        let z_x_hat = prior.forward(batch.eps, batch.text);
        vec![("loss", (z_x_hat - batch.z_x).abs().mean())]
    }
}

pub fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (n, d_clip, mut noise) = (48, 16, Noise::new(0));
    let mut captions = |n: usize| {
        let mut texts = EncodedTexts::new(d_clip);
        for _ in 0..n {
            texts.push(EncodedText {
                z_y: &noise.normal_vec(d_clip),
                hidden: &noise.normal_vec(4 * d_clip),
            });
        }
        texts
    };
    let (texts, empty) = (captions(n), captions(1));
    let pairs = Pairs::new(noise.normal_vec(n * d_clip), texts, empty, 0..n, 0..n);
    let data = TrainingData {
        train: Arc::new(pairs),
        validation: None,
        n_text: 4,
        tau: None,
        clip: "random numbers".into(),
    };
    let model = ModelSpec {
        n_heads: 2,
        d_head: 8,
        n_layers: 1,
        ..ModelSpec::default()
    };
    let train = TrainSpec {
        steps: 30,
        batch_size: 16,
        lr: 1e-3,
        ..TrainSpec::default()
    };
    let dir = std::env::temp_dir().join(format!("eclipse-objective-{}", std::process::id()));
    let hardware = Hardware::one(DeviceSpec::default().device()?);
    let training = PriorTraining::in_folder(&dir, &data, &model, &train, 0, &hardware, |progress| {
        if progress.step % 10 == 0 {
            println!("step {}: loss {}", progress.step, progress.values[0].1);
        }
    })?;

    // The batch of a step is a function of its number: a killed run resumes with the same batches.
    let batches = eclipse_batches(
        data.train.clone(),
        training.layout.clone(),
        0,
        NegativeOptions::default(),
    );
    let (config, device) = (training.config.clone(), training.autodiff_device());
    let prior = training.initialised(Prior::init(&config, &device));
    let trainer = Trainer::new(prior, AbsoluteError, training.update, || {
        Prior::init(&config, &device)
    });
    training.fit(trainer, batches, None, |prior, dir| Ok(prior.save(&config, dir)?))?;
    println!("the prior is in {}", dir.join("prior").display());
    Ok(())
}
