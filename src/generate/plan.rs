//! From what is asked to what will be done: every configuration read, every width and setting checked, every file looked at, before anything is
//! loaded or computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::decoder::DecoderSettings;
use super::draws::{LatentsError, Need, Recorded, Stage};
use super::kandinsky::{cached_zero_image, visits_of_strength};
use super::latents::LatentSpace;
use super::layout::{Layout, LayoutError, Part, Stack};
use super::picture::PictureError;
use super::prior::{PriorError, PriorSettings, check_text, scheduler_of};
use super::recipe::{
    FileRecord, Init, Latents, Origin, PriorRecord, Recipe, SamplerRecord, Size, VERSION, WeightsRecord,
    absolute,
};
use crate::diffusion::{DiffusionError, Sampler, Scheduler, SchedulerConfig, SchedulerKind, Visit};
use crate::files::{self, FileError};
use crate::models::clip::{ClipError, ClipTextConfig, ClipVisionConfig};
use crate::models::prior::PriorConfig;
use crate::models::text_proj::TextProjConfig;
use crate::models::unet::{Conditioning, UNetConfig};
use crate::weights::{Checkpoint, WeightsError, read_json};

/// A call that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Folders.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Config or weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tower, a prompt or a picture.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The prior, or a number out of range.
    #[error(transparent)]
    Prior(#[from] PriorError),
    /// A scheduler.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// Recorded noise.
    #[error(transparent)]
    Latents(#[from] LatentsError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture that came out broken, or cannot be written.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Parts of different models.
    #[error("{a} and {b} do not belong together: {what} is {in_a} in the first, {in_b} in the second")]
    Width {
        /// A folder.
        a: PathBuf,
        /// Another.
        b: PathBuf,
        /// What should be equal.
        what: &'static str,
        /// There.
        in_a: String,
        /// And there.
        in_b: String,
    },
    /// Something the stack does not have.
    #[error("{name}: {reason}")]
    Stack {
        /// The option.
        name: &'static str,
        /// Why not.
        reason: String,
    },
    /// A picture of another call has the name.
    #[error(
        "{path} is of another call: `{key}` is {there} there, {here} now; give another folder, or --overwrite"
    )]
    OtherCall {
        /// The picture.
        path: PathBuf,
        /// What differs.
        key: String,
        /// In the side file.
        there: String,
        /// In this call.
        here: String,
    },
    /// A picture without a side file has the name.
    #[error("{0} exists, without a side file that says how it was made; give another folder, or --overwrite")]
    Occupied(PathBuf),
    /// What a side file records has changed.
    #[error("cannot repeat the call exactly: `{key}` was {then}, is {now}")]
    Changed {
        /// What differs.
        key: String,
        /// In the side file.
        then: String,
        /// Now.
        now: String,
    },
    /// A file of embeddings that does not fit.
    #[error("{path}: {reason}")]
    Embeddings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RenderError {
    /// Whether an argument makes no sense, rather than a file.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Prior(PriorError::Setting { .. })
                | Self::Stack { .. }
                | Self::Diffusion(DiffusionError::Steps { .. } | DiffusionError::Eta(_))
        )
    }
}

/// One picture that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// File name, without an extension.
    pub name: String,
    /// Where its image embedding comes from.
    pub origin: Origin,
    /// Seed of its noise.
    pub seed: u64,
    /// Its row in files of noise.
    pub row: usize,
}

/// The decoder's settings; what is absent is the stack's own.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DecoderChoice {
    /// Steps: 25 for Karlo, 100 for Kandinsky 2.2, 4 for small decoders of pixels.
    pub n_steps: Option<usize>,
    /// Guidance scale: 8 for Karlo, 4 for Kandinsky 2.2, 2 for small decoders of pixels.
    pub guidance: Option<f64>,
    /// Weight of added noise: 1, or 0 for DDIM.
    pub eta: Option<f64>,
    /// Sampler: the pipeline's.
    pub sampler: Option<Sampler>,
}

/// Noise from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentsChoice {
    /// The file.
    pub path: PathBuf,
    /// Pictures in it.
    pub n_pictures: usize,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `generate`, `vary`, `interpolate`.
    pub command: String,
    /// The pictures.
    pub subjects: Vec<Subject>,
    /// What guidance pushes away from.
    pub negative: Option<String>,
    /// A picture to start from, and the part of the trajectory that is sampled.
    pub init: Option<(PathBuf, f64)>,
    /// Noise from a file.
    pub latents: Option<LatentsChoice>,
    /// Size of the pictures: the stack's own if absent.
    pub size: Option<Size>,
    /// The prior's sampling.
    pub prior: PriorSettings,
    /// The decoder's sampling.
    pub decoder: DecoderChoice,
    /// Steps of Karlo's super-resolution.
    pub super_res_steps: usize,
}

/// Steps of Karlo's super-resolution (reference: `super_res_num_inference_steps`).
pub const SUPER_RES_STEPS: usize = 7;

/// Where the pictures go, and on what they are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The folder.
    pub out: PathBuf,
    /// Replace pictures of other calls.
    pub overwrite: bool,
    /// Name of the device, for the side files.
    pub device: String,
    /// Name of the float type, for the side files.
    pub dtype: String,
}

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

/// A UNet with its sampler.
#[derive(Debug, Clone)]
pub(super) struct Sampled {
    pub(super) config: UNetConfig,
    pub(super) scheduler: Scheduler,
    pub(super) settings: DecoderSettings,
}

/// What only one stack has.
#[derive(Debug, Clone)]
pub(super) enum Finish {
    /// Karlo.
    SuperRes(Box<Sampled>),
    /// Kandinsky 2.2, and small decoders of pixels: height and width of the latents.
    Latents { latent: [usize; 2] },
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
}

fn width<T: PartialEq + ToString>(
    what: &'static str,
    (a, in_a): (&Path, T),
    (b, in_b): (&Path, T),
) -> Result<(), RenderError> {
    if in_a == in_b {
        return Ok(());
    }
    Err(RenderError::Width {
        a: a.into(),
        b: b.into(),
        what,
        in_a: in_a.to_string(),
        in_b: in_b.to_string(),
    })
}

fn no_such(name: &'static str, reason: impl Into<String>) -> RenderError {
    RenderError::Stack {
        name,
        reason: reason.into(),
    }
}

/// The same error under the option's name, where a setting of another part has it too.
fn option(error: impl Into<RenderError>, names: &[(&'static str, &'static str)]) -> RenderError {
    match error.into() {
        RenderError::Prior(PriorError::Setting {
            name,
            expected,
            found,
        }) => {
            let option = names.iter().find(|(setting, _)| *setting == name);
            RenderError::Prior(PriorError::Setting {
                name: option.map_or(name, |(_, option)| option),
                expected,
                found,
            })
        }
        other => other,
    }
}

impl Sampled {
    /// The UNet in `unet` and the sampler in `scheduler`, with the choices made and `n_steps`, `guidance` where none was.
    fn read(
        unet: &Path,
        scheduler: &Path,
        choice: DecoderChoice,
        (n_steps, guidance): (usize, f64),
    ) -> Result<(Self, SamplerRecord), RenderError> {
        let shipped = SchedulerConfig::read(scheduler)?;
        let config = choice.sampler.map_or(shipped, |s| shipped.sampled_by(s));
        let ddim = matches!(config.kind, SchedulerKind::Ddim { .. });
        let settings = DecoderSettings {
            n_steps: choice.n_steps.unwrap_or(n_steps),
            guidance: choice.guidance.unwrap_or(guidance),
            eta: choice.eta.unwrap_or(if ddim { 0.0 } else { 1.0 }),
        };
        settings.check()?;
        let scheduler = Scheduler::new(config);
        scheduler.visits(settings.n_steps)?;
        let record = SamplerRecord {
            settings,
            scheduler: shipped.to_json(),
            sampler: choice.sampler,
        };
        let config = UNetConfig::read(unet)?;
        Ok((
            Self {
                config,
                scheduler,
                settings,
            },
            record,
        ))
    }

    /// Draws of the visits, and the initial latent.
    fn n_draws(&self, visits: &[Visit]) -> usize {
        let draws = |v: &&Visit| self.scheduler.draws_noise(**v, self.settings.eta);
        1 + visits.iter().filter(draws).count()
    }

    fn visits(&self) -> Result<Vec<Visit>, DiffusionError> {
        self.scheduler.visits(self.settings.n_steps)
    }
}

impl Plan {
    /// Plans `request` on the parts of `layout`.
    ///
    /// # Errors
    /// [`RenderError`]; [`RenderError::is_usage`] tells arguments from files.
    pub fn new(request: &Request, layout: Layout, options: &Options) -> Result<Self, RenderError> {
        let names = [("steps", "prior-steps"), ("guidance", "prior-guidance")];
        request.prior.check().map_err(|e| option(e, &names))?;
        let ends = || request.subjects.iter().flat_map(|s| s.origin.ends());
        let prompts = ends().any(|o| matches!(o, Origin::Prompt(_)));
        let images = ends().any(|o| matches!(o, Origin::Image(_)));
        let karlo = layout.stack() == Stack::Karlo;

        let unet_dir = layout.part(Part::Decoder)?.to_path_buf();
        let space = if karlo {
            None
        } else {
            Some(LatentSpace::read(&layout)?)
        };
        let own = space.as_ref().map_or((25, 8.0), LatentSpace::own_sampling);
        let scheduler_dir = layout.part(Part::DecoderScheduler)?;
        let (decoder, decoder_record) = Sampled::read(&unet_dir, scheduler_dir, request.decoder, own)
            .map_err(|e| option(e, &[("eta", "decoder-eta")]))?;
        let negated = request.negative.is_some() && decoder.settings.guided() && !karlo;
        let needs_text = karlo || prompts || negated;
        let needs_prior = prompts || negated;
        let needs_zero = !karlo && decoder.settings.guided() && request.negative.is_none();

        let mut weights = BTreeMap::new();
        let record = |part: Part, weights: &mut BTreeMap<Part, WeightsRecord>| -> Result<(), RenderError> {
            let path = layout.part(part)?;
            let sampled_sha256 = match part {
                // It has no weights.
                Part::PixelSpace => files::sha256_file(path.join("config.json"))?,
                _ => Checkpoint::open(path)?.fingerprint(),
            };
            let path = absolute(path);
            weights.insert(part, WeightsRecord { path, sampled_sha256 });
            Ok(())
        };

        // The decoder's side: which width of z_x it reads.
        let (d_clip, finish, super_res, size, asked) = if let Some(space) = &space {
            let (d_clip, latent, size) = kandinsky_side(&layout, &decoder, space, request.size)?;
            let asked = request.size.filter(|asked| *asked != size);
            (d_clip, Finish::Latents { latent }, None, size, asked)
        } else {
            let (d_clip, super_res, super_record) = karlo_side(&layout, &decoder, request)?;
            let side = super_res.config.sample_size;
            let size = Size {
                width: side,
                height: side,
            };
            if request.size.is_some_and(|asked| asked != size) {
                return Err(no_such(
                    "size",
                    format!("this Karlo draws {size} pixels, nothing else"),
                ));
            }
            if request.init.is_some() {
                return Err(no_such("init", "Karlo has no image-to-image; Kandinsky 2.2 has"));
            }
            (
                d_clip,
                Finish::SuperRes(Box::new(super_res)),
                Some(super_record),
                size,
                None,
            )
        };
        let reader = layout.part(if karlo { Part::TextProj } else { Part::Decoder })?;

        // The towers and the prior must give that width.
        if needs_text {
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
            record(Part::TextEncoder, &mut weights)?;
        }
        let mut prior_needs = Vec::new();
        let prior_record = match needs_prior {
            false => None,
            true => {
                let dir = layout.part(Part::Prior)?;
                let config = PriorConfig::read(dir)?;
                let d_out = config.d_out.unwrap_or(config.d_clip);
                width("the width of image embeddings", (dir, d_out), (reader, d_clip))?;
                record(Part::Prior, &mut weights)?;
                let (record, n_draws) = prior_side(dir, &config, request.prior)?;
                let need = |stage| Need {
                    stage,
                    n_draws,
                    row: vec![config.d_clip],
                };
                if request
                    .subjects
                    .iter()
                    .all(|s| matches!(s.origin, Origin::Prompt(_)))
                {
                    prior_needs.push(need(Stage::Prior));
                    if negated {
                        prior_needs.push(need(Stage::Negative));
                    }
                }
                Some(record)
            }
        };
        let mut vision = images;
        if needs_zero {
            let dir = layout.part(Part::ImageEncoder)?;
            match cached_zero_image(dir, d_clip, &options.dtype) {
                Some((_, sampled_sha256)) => {
                    let path = absolute(dir);
                    weights.insert(Part::ImageEncoder, WeightsRecord { path, sampled_sha256 });
                }
                None => vision = true,
            }
        }
        if vision {
            let dir = layout.part(Part::ImageEncoder)?;
            let d_vision = ClipVisionConfig::read(dir)?.projection_dim;
            width("the width of image embeddings", (dir, d_vision), (reader, d_clip))?;
            record(Part::ImageEncoder, &mut weights)?;
        }
        for origin in ends() {
            if let Origin::Embedding { file, row, .. } = origin {
                embedding(&file.path, *row, d_clip)?;
            }
        }
        let parts: &[Part] = match &finish {
            Finish::SuperRes(_) => &[
                Part::TextProj,
                Part::Decoder,
                Part::SuperResFirst,
                Part::SuperResLast,
            ],
            Finish::Latents { .. } => &[Part::Decoder, LatentSpace::part(&layout)],
        };
        for part in parts {
            record(*part, &mut weights)?;
        }

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
        let mut needs = prior_needs;
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
            prior: prior_record.clone(),
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
            layout,
        })
    }

    /// Plans the picture of a side file again, under `name`, from the folders and files that it records.
    ///
    /// # Errors
    /// Like [`Plan::new`]; [`RenderError::Changed`] where weights, a file, the device or the float type are others now.
    pub fn repeat(recipe: &Recipe, name: &str, options: &Options) -> Result<Self, RenderError> {
        let mut parts: BTreeMap<Part, PathBuf> = recipe
            .weights
            .iter()
            .map(|(part, w)| (*part, w.path.clone()))
            .collect();
        // Schedulers stand beside their networks.
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
        let settings = recipe.decoder.settings;
        let request = Request {
            command: recipe.command.clone(),
            subjects: vec![Subject {
                name: name.into(),
                origin: recipe.origin.clone(),
                seed: recipe.seed,
                row: recipe.latents.as_ref().map_or(0, |l| l.row),
            }],
            negative: recipe.negative.clone(),
            init: recipe.init.as_ref().map(|i| (i.image.path.clone(), i.strength)),
            latents: recipe.latents.as_ref().map(|l| LatentsChoice {
                path: l.file.path.clone(),
                n_pictures: l.n_pictures,
            }),
            size: Some(recipe.size),
            prior: match &recipe.prior {
                Some(PriorRecord::Diffusion { settings, .. }) => *settings,
                _ => PriorSettings::default(),
            },
            decoder: DecoderChoice {
                n_steps: Some(settings.n_steps),
                guidance: Some(settings.guidance),
                eta: Some(settings.eta),
                sampler: recipe.decoder.sampler,
            },
            super_res_steps: recipe
                .super_res
                .as_ref()
                .map_or(SUPER_RES_STEPS, |s| s.settings.n_steps),
        };
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
        let plan = Self::new(&request, Layout::recorded(recipe.stack, parts), options)?;
        let now = plan.pictures.iter().map(|p| &p.recipe);
        match now.into_iter().find_map(|now| recipe.difference(now)) {
            Some((key, then, now)) => Err(RenderError::Changed { key, then, now }),
            None => Ok(plan),
        }
    }
}

/// Karlo's text projection and super-resolution: d_clip, the networks' sampling and its record.
fn karlo_side(
    layout: &Layout,
    decoder: &Sampled,
    request: &Request,
) -> Result<(usize, Sampled, SamplerRecord), RenderError> {
    let unet_dir = layout.part(Part::Decoder)?;
    let proj_dir = layout.part(Part::TextProj)?;
    let proj = TextProjConfig::read(proj_dir)?;
    let Conditioning::Tokens { d_cross, .. } = decoder.config.conditioning else {
        return Err(conditioned(unet_dir, &decoder.config, "text tokens"));
    };
    width(
        "`cross_attention_dim`",
        (proj_dir, proj.d_cross),
        (unet_dir, d_cross),
    )?;
    let d_time = decoder.config.d_time();
    width(
        "the width of the time embedding",
        (proj_dir, proj.d_time),
        (unet_dir, d_time),
    )?;
    let (first, last) = (
        layout.part(Part::SuperResFirst)?,
        layout.part(Part::SuperResLast)?,
    );
    let choice = DecoderChoice {
        n_steps: Some(request.super_res_steps),
        guidance: Some(1.0),
        eta: Some(1.0),
        sampler: None,
    };
    let scheduler = layout.part(Part::SuperResScheduler)?;
    let (super_res, record) = Sampled::read(first, scheduler, choice, (SUPER_RES_STEPS, 1.0))
        .map_err(|e| option(e, &[("steps", "super-res-steps")]))?;
    for (dir, config) in [(first, super_res.config.clone()), (last, UNetConfig::read(last)?)] {
        if config.conditioning != Conditioning::None {
            return Err(conditioned(dir, &config, "nothing"));
        }
        let pictures = config.in_channels / 2;
        width(
            "the number of colour channels",
            (dir, pictures),
            (unet_dir, decoder.config.in_channels),
        )?;
        width(
            "`sample_size`",
            (dir, config.sample_size),
            (first, super_res.config.sample_size),
        )?;
    }
    Ok((proj.d_clip, super_res, record))
}

/// Kandinsky's latents: d_clip, height and width of the latents, and the size of the picture they make.
fn kandinsky_side(
    layout: &Layout,
    decoder: &Sampled,
    space: &LatentSpace,
    size: Option<Size>,
) -> Result<(usize, [usize; 2], Size), RenderError> {
    let unet_dir = layout.part(Part::Decoder)?;
    let Conditioning::Image { d_clip, .. } = decoder.config.conditioning else {
        return Err(conditioned(unet_dir, &decoder.config, "an image embedding"));
    };
    width(
        "the number of latent channels",
        (layout.part(LatentSpace::part(layout))?, space.channels()),
        (unet_dir, decoder.config.in_channels),
    )?;
    let own = space.own_side(decoder.config.sample_size);
    let asked = size.unwrap_or(Size {
        width: own,
        height: own,
    });
    for (name, side) in [("width", asked.width), ("height", asked.height)] {
        if side == 0 {
            return Err(PriorError::Setting {
                name,
                expected: "at least 1",
                found: "0".into(),
            }
            .into());
        }
    }
    // The UNet halves the latents: published ones need no more than MoVQ's rule gives.
    let multiple = decoder.config.size_multiple();
    let side = |pixels| space.side(pixels).next_multiple_of(multiple);
    let latent = [side(asked.height), side(asked.width)];
    let size = Size {
        width: latent[1] * space.scale(),
        height: latent[0] * space.scale(),
    };
    Ok((d_clip, latent, size))
}

pub(super) fn conditioned(dir: &Path, config: &UNetConfig, expected: &str) -> RenderError {
    WeightsError::Config {
        path: dir.join("config.json"),
        reason: format!(
            "this UNet is conditioned on {}, this part on {expected}",
            config.conditioning
        ),
    }
    .into()
}

/// What is recorded of the prior in `dir`, and how often it draws noise.
fn prior_side(
    dir: &Path,
    config: &PriorConfig,
    settings: PriorSettings,
) -> Result<(PriorRecord, usize), RenderError> {
    if !config.has_time() {
        return Ok((PriorRecord::OnePass, 1));
    }
    let scheduler = Scheduler::read(scheduler_of(dir)?)?;
    let visits = scheduler.visits(settings.n_steps)?;
    let draws = |v: &&Visit| scheduler.draws_noise(**v, settings.eta);
    let n_draws = 1 + visits.iter().filter(draws).count();
    let scheduler = scheduler.config().to_json();
    Ok((PriorRecord::Diffusion { settings, scheduler }, n_draws))
}

fn decoder_needs(decoder: &Sampled, finish: &Finish, init: Option<&Init>) -> Result<Vec<Need>, RenderError> {
    let channels = decoder.config.in_channels;
    let need = |stage, sampled: &Sampled, visits: &[Visit], [h, w]: [usize; 2]| Need {
        stage,
        n_draws: sampled.n_draws(visits),
        row: vec![channels, h, w],
    };
    let visits = match init {
        Some(init) => visits_of_strength(&decoder.scheduler, decoder.settings.n_steps, init.strength)?,
        None => decoder.visits()?,
    };
    Ok(match finish {
        Finish::SuperRes(super_res) => {
            let (small, large) = (decoder.config.sample_size, super_res.config.sample_size);
            vec![
                need(Stage::Decoder, decoder, &visits, [small; 2]),
                need(Stage::SuperRes, super_res, &super_res.visits()?, [large; 2]),
            ]
        }
        Finish::Latents { latent } => vec![need(Stage::Decoder, decoder, &visits, *latent)],
    })
}

/// Whether the picture at `stem` was made by `recipe`.
fn is_done(recipe: &Recipe, stem: &Path, overwrite: bool) -> Result<bool, RenderError> {
    let with = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
    let (picture, side) = (with("png"), with("json"));
    if !picture.exists() {
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

/// Row `row` of the image embeddings in `path` (`z_x_hat`, as `eclipse prior` writes them).
///
/// # Errors
/// [`RenderError::Embeddings`] for another width or a row that is not there; [`RenderError::Weights`] where the file does not load.
pub(super) fn embedding(path: &Path, row: usize, d_clip: usize) -> Result<Vec<f32>, RenderError> {
    let (rows, d, values) = embeddings(path)?;
    let wrong = |reason| RenderError::Embeddings {
        path: path.into(),
        reason,
    };
    if d != d_clip {
        return Err(wrong(format!(
            "`{EMBEDDINGS}`: expected rows of width {d_clip}, which the decoder reads, found {d}"
        )));
    }
    if row >= rows {
        return Err(wrong(format!(
            "`{EMBEDDINGS}`: expected row {row}, found {rows} rows"
        )));
    }
    Ok(values[row * d..(row + 1) * d].to_vec())
}

/// The tensor that `eclipse prior` writes.
const EMBEDDINGS: &str = "z_x_hat";

fn embeddings(path: &Path) -> Result<(usize, usize, Vec<f32>), RenderError> {
    let file = Checkpoint::open(path)?;
    let shape = file.tensors().get(EMBEDDINGS).map(|t| t.shape.clone());
    match shape.as_deref() {
        Some([rows, d]) => Ok((*rows, *d, file.read(EMBEDDINGS)?.iter::<f32>().collect())),
        found => Err(RenderError::Embeddings {
            path: path.into(),
            reason: format!(
                "`{EMBEDDINGS}`: expected [rows, width], found {}",
                found.map_or("no such tensor".into(), |s| format!("{s:?}"))
            ),
        }),
    }
}

/// The rows of a file that `eclipse prior` wrote, each with its prompt where the file says so.
///
/// # Errors
/// [`RenderError`], naming the file.
pub fn embedding_origins(path: &Path) -> Result<Vec<Origin>, RenderError> {
    let (rows, _, _) = embeddings(path)?;
    let prompts = Checkpoint::open(path)?.metadata().get("prompts").cloned();
    let prompts: Vec<String> = prompts
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let file = FileRecord::new(path)?;
    let origin = |row| Origin::Embedding {
        file: file.clone(),
        row,
        prompt: prompts.get(row).cloned(),
    };
    Ok((0..rows).map(origin).collect())
}
