//! The networks that draw in built-in worlds, loaded once and kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::RgbImage;

use super::error::DrawError;
use super::trained::TrainedRun;
use super::vocabulary::vocabulary;
use crate::benchmark::EvalSpec;
use crate::benchmark::images::check_decoder;
use crate::generate::decoder::DecoderSettings;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::prior::PriorSettings;
use crate::generate::prior_pipeline::{Predictions, PriorPipeline, PriorRequest};
use crate::noise::Noise;
use crate::world::checker::{Checker, Verdict, verdict};
use crate::world::{Statement, World};

/// Most priors that stay loaded.
const MAX_PRIORS: usize = 16;

/// Networks and checkers, loaded when they are first used.
#[derive(Debug)]
pub struct Studio {
    device: Device,
    priors: HashMap<PathBuf, PriorPipeline>,
    decoders: HashMap<PathBuf, FrozenDecoder>,
    checkers: HashMap<World, Checker>,
}

impl Studio {
    /// On `device`; loads nothing yet.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            priors: HashMap::new(),
            decoders: HashMap::new(),
            checkers: HashMap::new(),
        }
    }

    fn prior(&mut self, run: &TrainedRun) -> Result<&PriorPipeline, DrawError> {
        let dir = run.prior_dir();
        if self.priors.len() >= MAX_PRIORS && !self.priors.contains_key(&dir) {
            self.priors.clear();
        }
        Ok(match self.priors.entry(dir) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let loaded = PriorPipeline::load(entry.key(), run.run().clip(), &self.device)?;
                entry.insert(loaded)
            }
        })
    }

    /// Checks that the text tower of a run's prior knows the words of `prompts`.
    ///
    /// # Errors
    /// [`DrawError`]: unknown words, or a prior that cannot be loaded.
    pub fn check_words(&mut self, run: &TrainedRun, prompts: &[String]) -> Result<(), DrawError> {
        let prior = self.prior(run)?;
        let words: Vec<String> = prompts
            .iter()
            .flat_map(|prompt| prior.unknown_words(prompt))
            .collect();
        let world = run.run().world();
        match words.is_empty() {
            true => Ok(()),
            false => Err(DrawError::Unknown {
                world,
                words,
                vocabulary: vocabulary(world),
            }),
        }
    }

    /// Predictions of a run's prior for `n` images of a prompt.
    ///
    /// # Errors
    /// [`DrawError`]: a prompt that is too long, a prior that cannot be loaded.
    pub fn predict(
        &mut self,
        run: &TrainedRun,
        prompt: &str,
        n: usize,
        seed: u64,
        settings: PriorSettings,
    ) -> Result<Predictions, DrawError> {
        let request = PriorRequest {
            prompts: vec![prompt.to_owned(); n],
            settings,
            ..PriorRequest::default()
        };
        let predicted = self.prior(run)?.predict(&request, &mut Noise::new(seed))?;
        match predicted.n_words_cut.first() {
            Some(&n) if n > 0 => Err(DrawError::TooLong {
                prompt: prompt.to_owned(),
                n,
            }),
            _ => Ok(predicted),
        }
    }

    /// The decoder in `dir`, which must be trained on the CLIP in `clip`.
    ///
    /// # Errors
    /// [`DrawError`]: it cannot be loaded, or is of another CLIP; `of` names what it should draw for.
    pub fn decoder(&mut self, dir: &Path, clip: &Path, of: &Path) -> Result<&FrozenDecoder, DrawError> {
        let decoder = match self.decoders.entry(dir.to_path_buf()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(FrozenDecoder::load(dir, &self.device)?),
        };
        check_decoder(clip, dir, decoder, decoder.d_clip()).map_err(|reason| DrawError::Run {
            dir: of.to_path_buf(),
            reason: reason.to_string(),
        })?;
        Ok(decoder)
    }

    /// What of `statement` an image shows, by the checker of its world.
    pub fn verdict(&mut self, statement: &Statement, image: &RgbImage) -> Verdict {
        let world = statement.world();
        let checker = self.checkers.entry(world).or_insert_with(|| Checker::new(world));
        verdict(statement, &checker.read(image.as_raw()))
    }
}

/// The settings with which a run with this evaluation draws.
pub fn decoder_settings(eval: &EvalSpec, decoder: &FrozenDecoder) -> DecoderSettings {
    DecoderSettings {
        n_steps: eval.decoder_steps,
        guidance: eval.decoder_guidance,
        noise_level: eval.decoder_noise_level,
        ..decoder.own_settings()
    }
}
