//! From a prior's predictions to pictures, and what the checker says of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;
use image::RgbImage;
use rayon::prelude::*;

use super::execute::Failure;
use super::questions::{Questions, spread};
use super::run::Run;
use super::run_dir::RunDir;
use super::shared::Shared;
use crate::data::encode::FrozenClip;
use crate::eval::composition::{Drawn, PictureInputs, composition, findings};
use crate::eval::pictures::{PictureIndex, ShownPicture};
use crate::eval::{Embeddings, Split};
use crate::files;
use crate::generate::decoder::DecoderSettings;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::images::write_png;
use crate::weights::Checkpoint;
use crate::world::World;
use crate::world::checker::{Checker, verdict};

/// Draws and reads for all runs of a process; decoders and the checker's templates are made once.
pub(super) struct Pictures {
    device: Device,
    decoders: Shared<PathBuf, FrozenDecoder>,
    checkers: Shared<World, Checker>,
}

impl Pictures {
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            decoders: Shared::new(),
            checkers: Shared::new(),
        }
    }

    /// The decoder of `run`, trained on its CLIP.
    pub(super) fn decoder(&self, run: &Run, clip: &FrozenClip) -> Result<Arc<FrozenDecoder>, Failure> {
        let dir = run.decoder();
        let decoder = self
            .decoders
            .get(dir.to_path_buf(), || FrozenDecoder::load(dir, &self.device))?;
        check_decoder(run, &decoder, clip.d_clip())?;
        Ok(decoder)
    }

    /// Draws some of the predictions, reads the pictures and scores them; keeps a few. `z_x` is that of the training pairs.
    pub(super) fn score(
        &self,
        run: &Run,
        dir: &RunDir,
        clip: &FrozenClip,
        asked: &Questions,
        z_x_hat: &Embeddings,
        z_x: &Embeddings,
    ) -> Result<(), Failure> {
        let eval = run.eval();
        let decoder = self.decoder(run, clip)?;
        let checker = self
            .checkers
            .get(run.world(), || Ok::<_, Failure>(Checker::new(run.world())))?;
        let places = spread(&asked.splits, eval.n_pictures);
        // Of all questions, so that the sizes do not depend on which of them are drawn.
        let z_x_hat = eval.decoder_input.of(z_x_hat, z_x)?.select(&places);
        let settings = DecoderSettings {
            n_steps: eval.decoder_steps,
            guidance: eval.decoder_guidance,
            noise_level: eval.decoder_noise_level,
            ..decoder.own_settings()
        };
        // By prompt, not by run: all systems draw a prompt from the same noise.
        let seeds: Vec<u64> = places.iter().map(|&place| eval.seed + place as u64).collect();
        let values = TensorData::new(z_x_hat.values().to_vec(), [z_x_hat.n(), z_x_hat.d()]);
        let pictures = decoder.draw(&Tensor::from_data(values, &self.device), &seeds, settings)?;
        let z_drawn = Embeddings::new(places.len(), clip.d_clip(), clip.pictures(&pictures)?)?;
        let drawn: Vec<Drawn> = places
            .par_iter()
            .zip(&pictures)
            .map(|(&place, picture)| Drawn {
                place,
                prompt: asked.prompts[place].clone(),
                reading: checker.read(picture.as_raw()),
            })
            .collect();
        let scores = composition(&PictureInputs {
            splits: &asked.splits,
            drawn: &drawn,
            z_x_hat: &z_x_hat,
            z_drawn: &z_drawn,
            z_y: &asked.z_y.select(&places),
            z_x: &asked.candidates.truth().select(&places),
        })?;
        Self::keep(run, dir, &drawn, &pictures)?;
        Ok(scores.write(dir.eval_path("pictures"))?)
    }

    /// Writes some of the pictures, with what the checker says of them, for the report.
    fn keep(run: &Run, dir: &RunDir, drawn: &[Drawn], pictures: &[RgbImage]) -> Result<(), Failure> {
        let splits: Vec<Split> = drawn.iter().map(|d| d.prompt.split.into()).collect();
        let folder = dir.pictures_dir();
        files::create_dir(&folder)?;
        let mut shown = Vec::new();
        for row in spread(&splits, run.eval().n_shown) {
            let prompt = &drawn[row].prompt;
            let file = format!("{row:03}.png");
            write_png(
                &folder.join(&file),
                &pictures[row],
                &[("prompt".into(), prompt.text.clone())],
            )?;
            shown.push(ShownPicture {
                prompt: prompt.text.clone(),
                split: splits[row].name().into(),
                file,
                verdict: findings(&verdict(&prompt.statement, &drawn[row].reading))
                    .into_iter()
                    .map(|(name, right)| (name.to_owned(), right))
                    .collect(),
            });
        }
        Ok(PictureIndex::new(shown).write(&folder)?)
    }
}

/// Refuses a decoder that was trained on another CLIP than the run's, which gives embeddings of width `d_clip`.
pub(super) fn check_decoder(run: &Run, decoder: &FrozenDecoder, d_clip: usize) -> Result<(), Failure> {
    let weights = Checkpoint::open(run.clip())?.fingerprint();
    if (decoder.d_clip(), decoder.clip()) != (d_clip, weights.as_str()) {
        return Err(format!(
            "the decoder in {} was trained on embeddings of another CLIP than the one in {}: expected weights {weights}, found {}",
            run.decoder().display(),
            run.clip().display(),
            decoder.clip()
        )
        .into());
    }
    Ok(())
}

/// SHA-256 of the files of a decoder, by folder and name.
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
