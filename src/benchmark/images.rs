//! Images decoded from predicted embeddings, and their scores by the checker.

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use image::RgbImage;
use rayon::prelude::*;

use super::spec::EvalSpec;
use super::test_set::{TestSet, spread};
use crate::data::encode::FrozenClip;
use crate::eval::kept_images::{KeptImage, KeptImages};
use crate::eval::metrics::findings;
use crate::eval::{CheckedImage, DecodedInputs, Embeddings, EvalFile, Split, evaluate_images};
use crate::files;
use crate::generate::decoder::DecoderSettings;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::images::write_png;
use crate::train::session::Failure;
use crate::weights::{self, Checkpoint};
use crate::world::checker::{Checker, verdict};

/// Decodes some of the predictions for a world's test set, parses the images with the checker and scores them; keeps a few images.
pub(super) struct ImageTest<'a> {
    pub(super) clip: &'a FrozenClip,
    pub(super) decoder: &'a FrozenDecoder,
    pub(super) checker: &'a Checker,
    pub(super) test_set: &'a TestSet,
    pub(super) eval: &'a EvalSpec,
    pub(super) device: &'a Device,
}

impl ImageTest<'_> {
    /// Scores of the images of `z_x_hat` `[n_tests, d_clip]`. `z_x`: embeddings of the training pairs.
    pub(super) fn score(
        &self,
        z_x_hat: &Embeddings,
        z_x: &Embeddings,
        folder: &Path,
    ) -> Result<EvalFile, Failure> {
        let (eval, tests) = (self.eval, self.test_set);
        let places = spread(&tests.splits, eval.n_pictures);
        // Over all predictions, so that the scale does not depend on which predictions are decoded.
        let z_x_hat = eval.decoder_input.of(z_x_hat, z_x)?.select(&places);
        let settings = DecoderSettings {
            n_steps: eval.decoder_steps,
            guidance: eval.decoder_guidance,
            noise_level: eval.decoder_noise_level,
            ..self.decoder.own_settings()
        };
        // Noise by prompt, not by run: all systems decode a prompt from the same noise.
        let seeds: Vec<u64> = places.iter().map(|&place| eval.seed + place as u64).collect();
        let values = TensorData::new(z_x_hat.values().to_vec(), [z_x_hat.n(), z_x_hat.d()]);
        let images = self
            .decoder
            .draw(&Tensor::from_data(values, self.device), &seeds, settings)?;
        let z_drawn = Embeddings::new(places.len(), self.clip.d_clip(), self.clip.images(&images)?)?;
        let drawn: Vec<CheckedImage> = places
            .par_iter()
            .zip(&images)
            .map(|(&place, image)| CheckedImage {
                place,
                prompt: tests.prompts[place].clone(),
                reading: self.checker.read(image.as_raw()),
            })
            .collect();
        let scores = evaluate_images(&DecodedInputs {
            splits: &tests.splits,
            images: &drawn,
            z_x_hat: &z_x_hat,
            z_decoded: &z_drawn,
            z_y: &tests.z_y.select(&places),
            z_x: &tests.candidates.truth().select(&places),
        })?;
        self.keep(folder, &drawn, &images)?;
        Ok(scores)
    }

    /// Writes some of the images, with the checker's results, for the report.
    fn keep(&self, folder: &Path, drawn: &[CheckedImage], images: &[RgbImage]) -> Result<(), Failure> {
        let splits: Vec<Split> = drawn.iter().map(|d| d.prompt.split).collect();
        files::create_dir(folder)?;
        let mut shown = Vec::new();
        for row in spread(&splits, self.eval.n_shown) {
            let prompt = &drawn[row].prompt;
            let file = format!("{row:03}.png");
            write_png(
                &folder.join(&file),
                &images[row],
                &[("prompt".into(), prompt.text.clone())],
            )?;
            shown.push(KeptImage {
                prompt: prompt.text.clone(),
                split: splits[row].name().into(),
                file,
                verdict: findings(&verdict(&prompt.statement, &drawn[row].reading))
                    .into_iter()
                    .map(|(name, right)| (name.to_owned(), right))
                    .collect(),
            });
        }
        Ok(KeptImages::new(shown).write(folder)?)
    }
}

/// Refuses the decoder in `dir` if it was trained on a CLIP other than that in `clip`, whose embeddings have width `d_clip`.
///
/// # Errors
/// The expected and found hashes of the weights.
pub fn check_decoder(clip: &Path, dir: &Path, decoder: &FrozenDecoder, d_clip: usize) -> Result<(), Failure> {
    let weights = Checkpoint::open(&weights::folder(clip)?)?.fingerprint();
    if (decoder.d_clip(), decoder.clip()) != (d_clip, weights.as_str()) {
        return Err(format!(
            "the decoder in {} was trained on embeddings of another CLIP than the one in {}: expected weights {weights}, found {}",
            dir.display(),
            clip.display(),
            decoder.clip()
        )
        .into());
    }
    Ok(())
}

/// SHA-256 of the files of a decoder, by folder and file name.
pub(super) fn decoder_files(dir: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let mut hashes = BTreeMap::new();
    for (part, folder) in FrozenDecoder::folders(dir)? {
        for file in files::list(folder)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            hashes.insert(format!("decoder/{part}/{name}"), files::sha256_file(&file)?);
        }
    }
    Ok(hashes)
}
