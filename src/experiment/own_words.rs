//! Images of the user's own prompts, drawn with trained priors of a built-in world.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burn::prelude::*;
use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::error::{RunDirError, SpecError};
use super::run::ResolvedRun;
use super::run_dir::RunDir;
use super::sweep;
use crate::benchmark::images::check_decoder;
use crate::files::{self, FileError};
use crate::generate::decoder::DecoderSettings;
use crate::generate::error::RenderError;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::prior_pipeline::{PipelineError, PriorPipeline, PriorRequest};
use crate::noise::Noise;
use crate::train::objectives::PriorObjective;
use crate::world::checker::{Checker, verdict};
use crate::world::{Colour, Noun, Relation, Texture, World};

/// Folders in `runs/` of runs outside sweeps: each of their runs is listed separately.
const SINGLE_RUNS: &str = "train";

/// Why the prompts could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// There is no trained prior.
    #[error(
        "no finished run of a built-in world in {0}: train some priors first, with `eclipse sweep objectives` (or, to look at the program in a minute, `eclipse sweep objectives --smoke`), or name a run with --run DIR"
    )]
    NoRun(PathBuf),
    /// The run has no prior for this world.
    #[error("{dir}: {reason}")]
    Run {
        /// The run directory.
        dir: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Words that the world does not know.
    #[error("the world {world} does not know {}.\n{vocabulary}", quoted(.words))]
    Unknown {
        /// Its name.
        world: World,
        /// The words.
        words: Vec<String>,
        /// The words that it knows, over several lines.
        vocabulary: String,
    },
    /// A prompt exceeds the length of the text tower.
    #[error("{prompt:?} is too long: the last {n} words do not fit the text tower")]
    TooLong {
        /// The prompt.
        prompt: String,
        /// Words that were cut.
        n: usize,
    },
    /// A run's configuration is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A run directory cannot be read.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text tower or the prior failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The decoder failed.
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl DrawError {
    /// Whether the user can correct the request, as opposed to a failure of the program.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoRun(_) | Self::Run { .. } | Self::Unknown { .. } | Self::TooLong { .. }
        )
    }
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}

/// A finished run with a trained prior.
#[derive(Debug, Clone)]
pub struct TrainedRun {
    /// Its directory.
    pub dir: PathBuf,
    /// Its label within the experiment: all axes except the seed.
    pub label: String,
    run: ResolvedRun,
}

/// Images of one prompt by one prior.
#[derive(Debug, Clone)]
pub struct Row {
    /// The prior's label.
    pub label: String,
    /// Its run directory.
    pub dir: PathBuf,
    /// The prompt.
    pub prompt: String,
    /// Enlarged images, one per seed.
    pub images: Vec<RgbImage>,
    /// Number of images that show the whole prompt, by the world's checker; `None` for prompts that the checker cannot parse.
    pub n_right: Option<usize>,
}

/// A request to draw.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// Prompts.
    pub prompts: &'a [String],
    /// Images of each prompt and prior.
    pub n_images: usize,
    /// Seed of the first image's noise; each further image adds 1.
    pub seed: u64,
    /// Side of an enlarged pixel.
    pub zoom: u32,
}

/// The priors at `place`: a run directory, or a folder of run directories, which contributes one run per system (the lowest seed).
///
/// # Errors
/// [`DrawError`]: no finished run, a run on a store, or a baseline, which trains no prior.
pub fn priors_at(place: &Path) -> Result<Vec<TrainedRun>, DrawError> {
    if RunDir::new(place).config_path().is_file() {
        return Ok(vec![trained_run(place)?]);
    }
    let mut found: Vec<TrainedRun> = Vec::new();
    if place.is_dir() {
        for dir in files::list_folders(place)? {
            if let Ok(run) = trained_run(&dir)
                && found.iter().all(|other| other.label != run.label)
            {
                found.push(run);
            }
        }
    }
    // One world and one CLIP, so that all priors have one vocabulary.
    if let Some(first) = found.first().map(|first| first.run.clone()) {
        found.retain(|run| run.run.world() == first.world());
    }
    match found.is_empty() {
        true => Err(DrawError::NoRun(place.to_path_buf())),
        false => Ok(found),
    }
}

/// Path of the newest finished run of a built-in world in `runs`: its experiment's folder, or the run itself if it belongs to no sweep.
///
/// # Errors
/// [`DrawError::NoRun`] if there is none.
pub fn newest(runs: &Path) -> Result<PathBuf, DrawError> {
    let none = || DrawError::NoRun(runs.to_path_buf());
    let experiments = if runs.is_dir() {
        files::list_folders(runs)?
    } else {
        return Err(none());
    };
    let mut dirs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for experiment in experiments.iter().filter(|dir| !is_hidden(dir)) {
        for dir in files::list_folders(experiment)? {
            let done = std::fs::metadata(dir.join("DONE")).and_then(|file| file.modified());
            if let Ok(time) = done {
                dirs.push((time, dir));
            }
        }
    }
    dirs.sort();
    let mut newest = dirs.iter().rev().map(|(_, dir)| dir);
    let newest = newest.find(|dir| trained_run(dir).is_ok());
    let dir = newest.ok_or_else(none)?;
    let experiment = dir.parent().unwrap_or(runs);
    Ok(match experiment.file_name() {
        Some(name) if name != SINGLE_RUNS => experiment.to_path_buf(),
        _ => dir.clone(),
    })
}

fn is_hidden(dir: &Path) -> bool {
    dir.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Whether [`draw`] supports the prior of a run with this configuration.
pub fn can_draw(run: &ResolvedRun) -> bool {
    run.data().store.is_none() && run.objective().baseline().is_none()
}

/// The finished run in `dir`.
fn trained_run(dir: &Path) -> Result<TrainedRun, DrawError> {
    let wrong = |reason: &str| DrawError::Run {
        dir: dir.to_path_buf(),
        reason: reason.into(),
    };
    let folder = RunDir::new(dir);
    if !folder.config_path().is_file() {
        return Err(wrong("expected a run directory (with config.toml)"));
    }
    let trial = sweep::single(&folder.config_path(), &[])?;
    let run = trial.run().clone();
    if run.data().store.is_some() {
        return Err(wrong(
            "this prior was trained on a store, not in a built-in world: draw with `eclipse generate --pipeline DECODER --prior DIR`",
        ));
    }
    if run.objective().baseline().is_some() {
        return Err(wrong(
            "a baseline trains no prior: name a run of another objective",
        ));
    }
    if !folder.is_done() {
        return Err(wrong("the run is not finished"));
    }
    let axes = folder.provenance()?.axes;
    let axes: Vec<String> = axes
        .into_iter()
        .filter(|(key, _)| key != "seed")
        .map(|(_, label)| label)
        .collect();
    let label = match axes.is_empty() {
        true => run.objective().kind().to_owned(),
        false => axes.join(" "),
    };
    Ok(TrainedRun {
        dir: dir.to_path_buf(),
        label,
        run,
    })
}

/// Draws every prompt with every prior, from the same noise.
///
/// # Errors
/// [`DrawError`]: unknown words, models that cannot be loaded or do not match.
pub fn draw(priors: &[TrainedRun], words: &Words<'_>, device: &Device) -> Result<Vec<Row>, DrawError> {
    let mut decoders: HashMap<PathBuf, FrozenDecoder> = HashMap::new();
    let mut checkers: HashMap<World, Checker> = HashMap::new();
    let mut rows = Vec::new();
    for prior in priors {
        let run = &prior.run;
        let dir = RunDir::new(&prior.dir);
        let folder = dir.scored_prior_dir(run.eval().checkpoint);
        let pipeline = PriorPipeline::load(&folder, run.clip(), device)?;
        let unknown: Vec<String> = words
            .prompts
            .iter()
            .flat_map(|prompt| pipeline.unknown_words(prompt))
            .collect();
        if !unknown.is_empty() {
            return Err(DrawError::Unknown {
                world: run.world(),
                words: unknown,
                vocabulary: vocabulary(run.world()),
            });
        }
        let decoder = match decoders.entry(run.decoder().to_path_buf()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(FrozenDecoder::load(run.decoder(), device)?)
            }
        };
        check_decoder(run.clip(), run.decoder(), decoder, decoder.d_clip()).map_err(|reason| {
            DrawError::Run {
                dir: prior.dir.clone(),
                reason: reason.to_string(),
            }
        })?;
        let checker = checkers
            .entry(run.world())
            .or_insert_with(|| Checker::new(run.world()));
        for prompt in words.prompts {
            let request = PriorRequest {
                prompts: vec![prompt.clone(); words.n_images],
                settings: run.objective().sampler(),
                ..PriorRequest::default()
            };
            let predicted = pipeline.predict(&request, &mut Noise::new(words.seed))?;
            if let Some(&n) = predicted.n_words_cut.first().filter(|n| **n > 0) {
                return Err(DrawError::TooLong {
                    prompt: prompt.clone(),
                    n,
                });
            }
            let eval = run.eval();
            let settings = DecoderSettings {
                n_steps: eval.decoder_steps,
                guidance: eval.decoder_guidance,
                noise_level: eval.decoder_noise_level,
                ..decoder.own_settings()
            };
            let z_x_hat = TensorData::new(predicted.z_x_hat, [words.n_images, predicted.d_clip]);
            let seeds: Vec<u64> = (0..words.n_images as u64)
                .map(|i| words.seed.wrapping_add(i))
                .collect();
            let images = decoder.draw(&Tensor::from_data(z_x_hat, device), &seeds, settings)?;
            let n_right = run.world().parse(prompt).map(|statement| {
                let is_right = |image: &&RgbImage| verdict(&statement, &checker.read(image.as_raw())).all();
                images.iter().filter(is_right).count()
            });
            rows.push(Row {
                label: prior.label.clone(),
                dir: prior.dir.clone(),
                prompt: prompt.clone(),
                images: images.iter().map(|image| enlarged(image, words.zoom)).collect(),
                n_right,
            });
        }
    }
    Ok(rows)
}

/// Enlarges each pixel to a square of `zoom` pixels, so that small images stay sharp.
fn enlarged(image: &RgbImage, zoom: u32) -> RgbImage {
    resize(
        image,
        image.width() * zoom,
        image.height() * zoom,
        FilterType::Nearest,
    )
}

/// The vocabulary and grammar of a world.
fn vocabulary(world: World) -> String {
    let list = |words: Vec<&str>| words.join(", ");
    let colours = list(Colour::ALL.iter().map(|colour| colour.word()).collect());
    let nouns = list(world.nouns().map(Noun::word).collect());
    let relations = list(Relation::ALL.iter().map(|relation| relation.word()).collect());
    let mut text = format!("It knows the objects {nouns}; the colours {colours}");
    let textures = world.textures();
    if !textures.is_empty() {
        let words: Vec<&str> = textures.iter().map(|texture: &Texture| texture.word()).collect();
        text += &format!("; the textures {}", list(words));
    }
    text + &format!("; the places {relations}; as in \"{}\"", example(world))
}

/// A prompt of the world's words only.
pub fn example(world: World) -> &'static str {
    world.example()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_their_world() {
        for world in World::ALL {
            assert!(world.parse(example(world)).is_some(), "{world}");
            let known = vocabulary(world);
            let words = world.vocabulary();
            let small = ["a", "and", "is", "of", "on", "picture", "the", "there"];
            for word in words
                .iter()
                .filter(|word| !small.contains(word) && !word.starts_with('<'))
            {
                assert!(known.contains(word), "{world}: {word} is not listed");
            }
        }
    }
}
