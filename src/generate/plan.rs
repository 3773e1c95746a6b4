//! From what is asked to what will be done: every configuration read, every width and setting checked, every file looked at, before anything is
//! loaded or computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::draws::{Need, Recorded, Stage};
use super::embeddings::embedding;
use super::error::{RenderError, option, width};
use super::kandinsky::{cached_zero_image, visits_of_strength};
use super::layout::{Layout, Part, Stack};
use super::prior::{PriorSettings, check_text};
use super::recipe::{
    FileRecord, Init, Latents, Origin, PriorRecord, Recipe, Size, VERSION, WeightsRecord, absolute,
};
use super::request::{LatentsChoice, Options, Request, Subject};
use super::sides::{DecoderSide, Finish, Sampled, decoder_needs, prior_side};
use crate::files;
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::PriorConfig;
use crate::weights::{Checkpoint, read_json};

/// A picture, and whether it is there already.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What is asked for.
    pub subject: Subject,
    /// Everything that makes it.
    pub recipe: Recipe,
    /// A picture of the same call stands there.
    pub done: bool,
}

/// A call that is ready to be carried out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The pictures in order.
    pub pictures: Vec<Planned>,
    /// What size was asked for, where it had to be rounded up.
    pub asked: Option<Size>,
    pub(super) layout: Layout,
    pub(super) decoder: Sampled,
    pub(super) finish: Finish,
    pub(super) prior: PriorSettings,
    pub(super) d_clip: usize,
    pub(super) init: Option<Init>,
    pub(super) negative: Option<String>,
    pub(super) recorded: Option<Arc<Recorded>>,
    pub(super) out: PathBuf,
    pub(super) dtype: String,
    overwrite: bool,
}

impl Plan {
    /// Plans `request` on the parts of `layout`.
    ///
    /// # Errors
    /// [`RenderError`]; [`RenderError::is_usage`] tells arguments from files.
    pub fn new(request: &Request, layout: Layout, options: &Options) -> Result<Self, RenderError> {
        let names = [("steps", "prior-steps"), ("guidance", "prior-guidance")];
        request.prior.check().map_err(|e| option(e, &names))?;
        let side = DecoderSide::read(&layout, request)?;
        let towers = embedding_side(request, &layout, &side, &options.dtype)?;
        let mut weights = towers.weights;
        for part in side.parts(&layout) {
            weights.insert(part, weights_record(&layout, part)?);
        }
        let DecoderSide {
            decoder,
            record: decoder_record,
            finish,
            super_res,
            d_clip,
            size,
            asked,
            ..
        } = side;

        // Noise and pictures from files.
        let init = match &request.init {
            None => None,
            Some((image, strength)) => {
                visits_of_strength(&decoder.scheduler, decoder.settings.n_steps, *strength)?;
                let image = FileRecord::new(image)?;
                Some(Init {
                    image,
                    strength: *strength,
                })
            }
        };
        let mut needs = towers.draws;
        needs.extend(decoder_needs(&decoder, &finish, init.as_ref())?);
        let (recorded, latents) = match &request.latents {
            None => (None, None),
            Some(LatentsChoice { path, n_pictures }) => {
                let recorded = Recorded::read(path, &needs, *n_pictures)?;
                (
                    Some(Arc::new(recorded)),
                    Some((FileRecord::new(path)?, *n_pictures)),
                )
            }
        };

        let recipe = |subject: &Subject| Recipe {
            version: VERSION,
            program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            command: request.command.clone(),
            origin: subject.origin.clone(),
            seed: subject.seed,
            negative: request.negative.clone(),
            init: init.clone(),
            latents: latents.clone().map(|(file, n_pictures)| Latents {
                file,
                row: subject.row,
                n_pictures,
            }),
            size,
            stack: layout.stack(),
            prior: towers.prior.clone(),
            decoder: decoder_record.clone(),
            super_res: super_res.clone(),
            device: options.device.clone(),
            dtype: options.dtype.clone(),
            weights: weights.clone(),
        };
        let mut pictures = Vec::with_capacity(request.subjects.len());
        for subject in &request.subjects {
            let recipe = recipe(subject);
            let done = is_done(&recipe, &options.out.join(&subject.name), options.overwrite)?;
            pictures.push(Planned {
                subject: subject.clone(),
                recipe,
                done,
            });
        }
        Ok(Self {
            pictures,
            asked,
            decoder,
            finish,
            prior: request.prior,
            d_clip,
            init,
            negative: request.negative.clone(),
            recorded,
            out: options.out.clone(),
            dtype: options.dtype.clone(),
            overwrite: options.overwrite,
            layout,
        })
    }

    /// Whether `picture` stands on disk by now: another call may have written since this one was planned.
    ///
    /// # Errors
    /// [`RenderError::OtherCall`], [`RenderError::Occupied`]: what is there is another call's, and may not be replaced.
    pub(super) fn is_drawn(&self, picture: &Planned) -> Result<bool, RenderError> {
        is_done(
            &picture.recipe,
            &self.out.join(&picture.subject.name),
            self.overwrite,
        )
    }

    /// Plans the picture of a side file again, under `name`, from the folders and files that it records.
    ///
    /// # Errors
    /// Like [`Plan::new`]; [`RenderError::Changed`] where weights, a file, the device or the float type are others now.
    pub fn repeat(recipe: &Recipe, name: &str, options: &Options) -> Result<Self, RenderError> {
        for end in recipe.origin.ends() {
            if let Origin::Image(file) | Origin::Embedding { file, .. } = end {
                let now = FileRecord::new(&file.path)?.sha256;
                if now != file.sha256 {
                    return Err(RenderError::Changed {
                        key: file.path.display().to_string(),
                        then: file.sha256.clone(),
                        now,
                    });
                }
            }
        }
        let plan = Self::new(
            &Request::repeating(recipe, name),
            Layout::recorded(recipe.stack, recorded_parts(recipe)),
            options,
        )?;
        let now = plan.pictures.iter().map(|p| &p.recipe);
        match now.into_iter().find_map(|now| recipe.difference(now)) {
            Some((key, then, now)) => Err(RenderError::Changed { key, then, now }),
            None => Ok(plan),
        }
    }
}

/// All that gives z_x: the towers and the prior that a call needs.
struct EmbeddingSide {
    weights: BTreeMap<Part, WeightsRecord>,
    prior: Option<PriorRecord>,
    /// What the prior draws, where noise from a file can stand for it.
    draws: Vec<Need>,
}

/// Checks that towers and prior give the z_x that the decoder reads.
fn embedding_side(
    request: &Request,
    layout: &Layout,
    side: &DecoderSide,
    dtype: &str,
) -> Result<EmbeddingSide, RenderError> {
    let karlo = layout.stack() == Stack::Karlo;
    let (reader, d_clip) = (layout.part(side.reader)?, side.d_clip);
    let guided = side.decoder.settings.guided() && !karlo;
    let ends = || request.subjects.iter().flat_map(|s| s.origin.ends());
    let negated = request.negative.is_some() && guided;
    let needs_prior = ends().any(|o| matches!(o, Origin::Prompt(_))) || negated;
    let needs_zero = request.negative.is_none() && guided;
    let (mut weights, mut prior, mut draws) = (BTreeMap::new(), None, Vec::new());

    if karlo || needs_prior {
        let dir = layout.part(Part::TextEncoder)?;
        let text = ClipTextConfig::read(dir)?;
        if karlo {
            let what = "d_clip";
            width(what, (dir, text.projection_dim), (reader, d_clip))?;
            width(what, (dir, text.hidden_size), (reader, d_clip))?;
        }
        if needs_prior {
            let prior_dir = layout.part(Part::Prior)?;
            check_text(&text, &PriorConfig::read(prior_dir)?, prior_dir)?;
        }
        weights.insert(Part::TextEncoder, weights_record(layout, Part::TextEncoder)?);
    }
    if needs_prior {
        let dir = layout.part(Part::Prior)?;
        let config = PriorConfig::read(dir)?;
        let d_out = config.d_out.unwrap_or(config.d_clip);
        width("the width of image embeddings", (dir, d_out), (reader, d_clip))?;
        weights.insert(Part::Prior, weights_record(layout, Part::Prior)?);
        let (record, n_draws) = prior_side(dir, &config, request.prior)?;
        let need = |stage| Need {
            stage,
            n_draws,
            row: vec![config.d_clip],
        };
        let is_prompt = |s: &Subject| matches!(s.origin, Origin::Prompt(_));
        if request.subjects.iter().all(is_prompt) {
            draws.push(need(Stage::Prior));
            draws.extend(negated.then(|| need(Stage::Negative)));
        }
        prior = Some(record);
    }
    let mut needs_vision = ends().any(|o| matches!(o, Origin::Image(_)));
    if needs_zero {
        let dir = layout.part(Part::ImageEncoder)?;
        match cached_zero_image(dir, d_clip, dtype) {
            Some((_, sampled_sha256)) => {
                let path = absolute(dir);
                // The tower may be absent where its answer is known.
                let sha256 = Checkpoint::open(dir).ok().and_then(|tower| tower.sha256().ok());
                let record = WeightsRecord {
                    path,
                    sampled_sha256,
                    sha256,
                };
                weights.insert(Part::ImageEncoder, record);
            }
            None => needs_vision = true,
        }
    }
    if needs_vision {
        let dir = layout.part(Part::ImageEncoder)?;
        let d_vision = ClipVisionConfig::read(dir)?.projection_dim;
        width("the width of image embeddings", (dir, d_vision), (reader, d_clip))?;
        weights.insert(Part::ImageEncoder, weights_record(layout, Part::ImageEncoder)?);
    }
    for origin in ends() {
        if let Origin::Embedding { file, row, .. } = origin {
            embedding(&file.path, *row, d_clip)?;
        }
    }
    Ok(EmbeddingSide {
        weights,
        prior,
        draws,
    })
}

/// The folders that a side file records, with the schedulers, which stand beside their networks.
fn recorded_parts(recipe: &Recipe) -> BTreeMap<Part, PathBuf> {
    let mut parts: BTreeMap<Part, PathBuf> = recipe
        .weights
        .iter()
        .map(|(part, w)| (*part, w.path.clone()))
        .collect();
    let beside: &[(Part, Part, &str)] = match recipe.stack {
        Stack::Karlo => &[
            (Part::Decoder, Part::DecoderScheduler, "decoder_scheduler"),
            (
                Part::SuperResFirst,
                Part::SuperResScheduler,
                "super_res_scheduler",
            ),
        ],
        Stack::Kandinsky22 => &[(Part::Decoder, Part::DecoderScheduler, "scheduler")],
    };
    for (network, scheduler, folder) in beside {
        if let Some(dir) = parts.get(network).and_then(|p| p.parent()) {
            let at = dir.join(folder);
            parts.insert(*scheduler, at);
        }
    }
    parts
}

/// What is recorded of a part's weights.
fn weights_record(layout: &Layout, part: Part) -> Result<WeightsRecord, RenderError> {
    let path = layout.part(part)?;
    let (sampled_sha256, sha256) = match part {
        // It has no weights.
        Part::PixelSpace => (files::sha256_file(path.join("config.json"))?, None),
        _ => {
            let checkpoint = Checkpoint::open(path)?;
            (checkpoint.fingerprint(), Some(checkpoint.sha256()?))
        }
    };
    Ok(WeightsRecord {
        path: absolute(path),
        sampled_sha256,
        sha256,
    })
}

/// Whether the picture at `stem` was made by `recipe`.
fn is_done(recipe: &Recipe, stem: &Path, overwrite: bool) -> Result<bool, RenderError> {
    let with = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
    let (picture, side) = (with("png"), with("json"));
    // One of zero bytes is what a power cut has left: no image of anybody's.
    if std::fs::metadata(&picture).map_or(true, |m| m.is_file() && m.len() == 0) {
        return Ok(false);
    }
    // A side file that does not read is as good as none.
    let found: Option<Value> = read_json(&side).ok();
    let found: Option<Recipe> = found.and_then(|v| serde_json::from_value(v).ok());
    match found.map(|there| recipe.difference(&there)) {
        Some(None) => Ok(true),
        _ if overwrite => Ok(false),
        Some(Some((key, here, there))) => Err(RenderError::OtherCall {
            path: picture,
            key,
            there,
            here,
        }),
        None => Err(RenderError::Occupied(picture)),
    }
}
