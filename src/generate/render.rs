//! Carries out a plan: wave by wave, and in a wave stage by stage, so that one network at a time is in memory.
//!
//! ```text
//! text tower -> prior -> vision tower -> (MoVQ's encoder) -> decoder -> super-resolution, first -> last | MoVQ
//! ```
//! A wave is as many pictures as are worth loading every network for; after it they stand on disk. Each file is renamed into place when it is whole,
//! the side file before its picture: where there is a picture, it can be repeated.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use image::RgbImage;
use safetensors::tensor::{Dtype, TensorView};

use super::draws::{RowNoise, Rows, Stage};
use super::embeddings::embedding;
use super::error::RenderError;
use super::kandinsky::{self, Start, cached_zero_image, picture_tensor};
use super::karlo::{self, SuperRes};
use super::latents::{Autoencoder, LatentSpace};
use super::layout::{Part, Stack};
use super::picture::{to_pictures, write_png};
use super::plan::{Plan, Planned};
use super::prior::AnyPrior;
use super::recipe::Origin;
use super::sides::{Finish, Sampled};
use super::slerp::{mix, slerp};
use crate::files;
use crate::models::clip::preprocess::read_picture;
use crate::models::clip::{ClipError, ImageEncoder, TextEncoder};
use crate::models::prior::TextCondition;
use crate::models::text_proj::TextProj;
use crate::models::unet::UNet;
use crate::weights::WeightsError;

/// Captions, embeddings or pictures that a tower or a prior takes at once.
const BATCH: usize = 32;

/// How to carry a plan out; none of it changes the pictures beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenderOptions {
    /// Pictures that the decoder draws at once.
    pub batch: usize,
    /// Pictures for which every network is loaded once, and which are finished together.
    pub wave: usize,
    /// Also write every step: the trajectories, and a picture of each step of the decoder.
    pub save_steps: bool,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// A network is loaded and will take this many steps.
    Stage {
        /// Its name.
        name: &'static str,
        /// Steps, over all batches of the wave.
        n_steps: usize,
    },
    /// One step was taken.
    Step,
    /// A picture stands on disk.
    Picture(&'a Path),
    /// A picture of the same call stood there already.
    Skipped(&'a Path),
}

/// A trajectory on the host: one array of a picture's size for each step.
#[derive(Debug, Clone, Default)]
struct Trajectory {
    shape: Vec<usize>,
    steps: Vec<Vec<f32>>,
}

/// The trajectories of one picture, by stage.
type Trajectories = BTreeMap<&'static str, Trajectory>;

/// What the networks of a wave pass on.
struct Wave<'a> {
    plan: &'a Plan,
    pictures: Vec<&'a Planned>,
    device: &'a Device,
    options: RenderOptions,
    trajectories: Vec<Trajectories>,
}

/// An image embedding that a picture needs: one for a prompt or an image, two for an interpolation.
#[derive(Debug, Clone, PartialEq)]
struct Leaf<'a> {
    origin: &'a Origin,
    seed: u64,
    row: usize,
    /// Whether recorded noise is its own.
    alone: bool,
}

/// Captions, encoded.
struct Captions<'a> {
    texts: Vec<&'a str>,
    encoded: TextCondition,
}

impl Captions<'_> {
    /// One row for each of `texts`, which must be among those encoded.
    fn rows(&self, texts: &[&str], device: &Device) -> TextCondition {
        let at = |text: &&str| self.texts.iter().position(|t| t == text).expect("encoded") as i64;
        let rows: Vec<i64> = texts.iter().map(at).collect();
        let n = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), device);
        let TextCondition { z_y, tokens, mask } = self.encoded.clone();
        TextCondition {
            z_y: z_y.select(0, rows.clone()),
            tokens: tokens.select(0, rows.clone()),
            mask: mask.map(|m| m.select(0, rows)),
        }
    }
}

impl Plan {
    /// Draws the pictures that are not there yet. `on_event` sees what happens.
    ///
    /// # Errors
    /// [`RenderError`]; pictures that were finished before stay.
    pub fn render(
        &self,
        device: &Device,
        options: RenderOptions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        files::create_dir(&self.out)?;
        for done in self.pictures.iter().filter(|p| p.done) {
            on_event(Event::Skipped(&self.file(done, "png")));
        }
        let left: Vec<&Planned> = self.pictures.iter().filter(|p| !p.done).collect();
        for pictures in left.chunks(options.wave.max(1)) {
            let wave = Wave {
                plan: self,
                pictures: pictures.to_vec(),
                device,
                options,
                trajectories: vec![Trajectories::new(); pictures.len()],
            };
            wave.render(on_event)?;
        }
        Ok(())
    }

    fn file(&self, picture: &Planned, extension: &str) -> PathBuf {
        self.out.join(format!("{}.{extension}", picture.subject.name))
    }
}

impl<'a> Wave<'a> {
    fn render(mut self, on_event: &mut dyn FnMut(Event)) -> Result<(), RenderError> {
        let plan = self.plan;
        let leaves = self.leaves();
        let negated = plan
            .negative
            .as_deref()
            .filter(|_| self.stack() == Stack::Kandinsky22);
        let negated = negated.filter(|_| plan.decoder.settings.guided());
        let captions = self.captions(&leaves, on_event)?;
        let mut z_x: Vec<Option<Vec<f32>>> = vec![None; leaves.len()];
        let negatives = self.predict(&leaves, negated, captions.as_ref(), &mut z_x, on_event)?;
        let zero = self.look(&leaves, negated.is_none(), &mut z_x, on_event)?;
        let z_x = self.embeddings(&leaves, &z_x)?;
        match &plan.finish {
            Finish::SuperRes(super_res) => {
                let captions = captions.expect("Karlo's decoder reads captions");
                let small = self.draw_karlo(&z_x, &captions, on_event)?;
                drop(captions);
                self.super_resolve(small, super_res, on_event)
            }
            Finish::Latents { latent } => {
                drop(captions);
                let away = match zero {
                    Some(zero) => Some(vec![zero; self.pictures.len()]),
                    None => negatives,
                };
                let start = self.start(*latent, on_event)?;
                let latents = self.draw_kandinsky(&z_x, away.as_deref(), &start, on_event)?;
                self.decode_latents(latents, on_event)
            }
        }
    }

    fn stack(&self) -> Stack {
        self.plan.layout.stack()
    }

    fn part(&self, part: Part) -> Result<&'a Path, RenderError> {
        Ok(self.plan.layout.part(part)?)
    }

    /// The embeddings of the wave, each once.
    fn leaves(&self) -> Vec<Leaf<'a>> {
        let mut leaves: Vec<Leaf> = Vec::new();
        for picture in &self.pictures {
            let ends = picture.subject.origin.ends();
            for origin in &ends {
                let leaf = Leaf {
                    origin,
                    seed: picture.subject.seed,
                    row: picture.subject.row,
                    alone: std::ptr::eq(*origin, &picture.subject.origin),
                };
                if !leaves.iter().any(|l| l.same(&leaf)) {
                    leaves.push(leaf);
                }
            }
        }
        leaves
    }

    /// Encodes every caption that the prior or Karlo's decoder reads; `None` if there is none to read.
    fn captions(
        &self,
        leaves: &[Leaf<'a>],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Captions<'a>>, RenderError> {
        let plan = self.plan;
        let karlo = self.stack() == Stack::Karlo;
        let negated = plan.negative.is_some() && plan.decoder.settings.guided();
        let mut wanted: Vec<&str> = Vec::new();
        for leaf in leaves {
            if let Origin::Prompt(prompt) = leaf.origin {
                wanted.push(prompt);
            }
        }
        if karlo {
            wanted.extend(self.pictures.iter().map(|p| p.subject.origin.caption()));
        }
        if !karlo && !negated && wanted.is_empty() {
            return Ok(None);
        }
        wanted.push(plan.negative.as_deref().unwrap_or_default());
        let mut texts: Vec<&str> = Vec::new();
        for text in wanted {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        on_event(Event::Stage {
            name: "text",
            n_steps: texts.len().div_ceil(BATCH),
        });
        let encoder = TextEncoder::load(self.part(Part::TextEncoder)?, self.device)?;
        let (mut z_y, mut tokens, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for texts in texts.chunks(BATCH) {
            let encoded = encoder.encode(texts)?;
            for (text, &cut) in texts.iter().zip(&encoded.n_words_cut) {
                if cut > 0 {
                    warn_cut(text, cut);
                }
            }
            z_y.push(encoded.z_y);
            tokens.push(encoded.hidden);
            masks.push(encoded.mask);
            on_event(Event::Step);
        }
        let encoded = TextCondition {
            z_y: Tensor::cat(z_y, 0),
            tokens: Tensor::cat(tokens, 0),
            mask: Some(Tensor::cat(masks, 0)),
        };
        Ok(Some(Captions { texts, encoded }))
    }

    /// Runs the prior: on the leaves that are prompts, into `z_x`, and on the negative prompt for each picture, which it returns.
    fn predict(
        &mut self,
        leaves: &[Leaf],
        negated: Option<&str>,
        captions: Option<&Captions>,
        z_x: &mut [Option<Vec<f32>>],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Vec<Vec<f32>>>, RenderError> {
        let plan = self.plan;
        let recorded = plan.recorded.as_ref();
        let mut rows: Vec<(&str, RowNoise)> = Vec::new();
        let mut of_leaf = Vec::new();
        for (i, leaf) in leaves.iter().enumerate() {
            if let Origin::Prompt(prompt) = leaf.origin {
                let noise = RowNoise::seeded(leaf.seed, Stage::Prior);
                let noise = noise.recorded(recorded.filter(|_| leaf.alone), leaf.row);
                rows.push((prompt, noise));
                of_leaf.push(i);
            }
        }
        if let Some(negative) = negated {
            for picture in &self.pictures {
                let noise = RowNoise::seeded(picture.subject.seed, Stage::Negative);
                let own = recorded.filter(|_| matches!(picture.subject.origin, Origin::Prompt(_)));
                rows.push((negative, noise.recorded(own, picture.subject.row)));
            }
        }
        let (Some(captions), false) = (captions, rows.is_empty()) else {
            return Ok(None);
        };
        let (_, prior) = AnyPrior::load(self.part(Part::Prior)?, self.device)?;
        let one_pass = matches!(prior, AnyPrior::OnePass(_));
        let per_batch = if one_pass { 1 } else { plan.prior.n_steps };
        on_event(Event::Stage {
            name: "prior",
            n_steps: rows.len().div_ceil(BATCH) * per_batch,
        });
        let away = plan.negative.as_deref().unwrap_or_default();
        let mut predicted = Vec::new();
        let mut trajectories: Vec<Trajectory> = vec![Trajectory::default(); rows.len()];
        let save = self.options.save_steps;
        for (rows, trajectories) in rows.chunks_mut(BATCH).zip(trajectories.chunks_mut(BATCH)) {
            let texts: Vec<&str> = rows.iter().map(|(text, _)| *text).collect();
            let mut noise: Vec<RowNoise> = rows.iter().map(|(_, noise)| noise.clone()).collect();
            let text = captions.rows(&texts, self.device);
            let unconditional = captions.rows(&vec![away; texts.len()], self.device);
            let z = prior.sample(text, unconditional, plan.prior, &mut Rows(&mut noise), |x| {
                if save {
                    keep(trajectories, &x);
                }
                on_event(Event::Step);
            })?;
            if one_pass {
                on_event(Event::Step);
            }
            predicted.extend(rows_of(z));
        }
        let negatives = predicted.split_off(of_leaf.len());
        for ((&leaf, z), trajectory) in of_leaf.iter().zip(predicted).zip(trajectories) {
            z_x[leaf] = Some(z);
            if trajectory.steps.is_empty() || !leaves[leaf].alone {
                continue;
            }
            for (picture, kept) in self.pictures.iter().zip(&mut self.trajectories) {
                if leaves[leaf].of(picture) {
                    kept.insert("prior_steps", trajectory.clone());
                }
            }
        }
        Ok((!negatives.is_empty()).then_some(negatives))
    }

    /// Runs the vision tower on the leaves that are images, into `z_x`; and gives the zero picture's embedding where the decoder needs it, from the file
    /// beside the tower if there is one.
    fn look(
        &self,
        leaves: &[Leaf],
        against_zero: bool,
        z_x: &mut [Option<Vec<f32>>],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Vec<f32>>, RenderError> {
        let plan = self.plan;
        let images: Vec<(usize, &Path)> = leaves
            .iter()
            .enumerate()
            .filter_map(|(i, leaf)| match leaf.origin {
                Origin::Image(file) => Some((i, file.path.as_path())),
                _ => None,
            })
            .collect();
        let against_zero =
            against_zero && self.stack() == Stack::Kandinsky22 && plan.decoder.settings.guided();
        if images.is_empty() && !against_zero {
            return Ok(None);
        }
        let dir = self.part(Part::ImageEncoder)?;
        let cached = match against_zero {
            true => cached_zero_image(dir, plan.d_clip, &plan.dtype).map(|(values, _)| values),
            false => None,
        };
        if images.is_empty() && cached.is_some() {
            return Ok(cached);
        }
        on_event(Event::Stage {
            name: "vision",
            n_steps: images.len().div_ceil(BATCH),
        });
        let encoder = ImageEncoder::load(dir, self.device)?;
        for images in images.chunks(BATCH) {
            let pictures: Result<Vec<RgbImage>, ClipError> = images
                .iter()
                .map(|(_, path)| read_picture(path).map_err(ClipError::from))
                .collect();
            let encoded = rows_of(encoder.encode(&pictures?)?);
            for ((leaf, _), z) in images.iter().zip(encoded) {
                z_x[*leaf] = Some(z);
            }
            on_event(Event::Step);
        }
        Ok(match (against_zero, cached) {
            (true, None) => Some(kandinsky::zero_image(&encoder, dir, &plan.dtype)),
            (_, cached) => cached,
        })
    }

    /// One embedding for each picture.
    fn embeddings(&self, leaves: &[Leaf], z_x: &[Option<Vec<f32>>]) -> Result<Vec<Vec<f32>>, RenderError> {
        let d_clip = self.plan.d_clip;
        let of = |origin: &Origin, picture: &Planned| -> Result<Vec<f32>, RenderError> {
            if let Origin::Embedding { file, row, .. } = origin {
                return embedding(&file.path, *row, d_clip);
            }
            let at = leaves.iter().position(|l| l.origin == origin && l.of(picture));
            let z = at.and_then(|i| z_x[i].clone());
            Ok(z.expect("every prompt was predicted, every image encoded"))
        };
        self.pictures
            .iter()
            .map(|picture| match &picture.subject.origin {
                Origin::Between { from, to, at } => Ok(slerp(&of(from, picture)?, &of(to, picture)?, *at)),
                Origin::Mix(shares) => {
                    let parts = shares.iter().map(|s| Ok((of(&s.of, picture)?, s.weight)));
                    Ok(mix(&parts.collect::<Result<Vec<_>, RenderError>>()?))
                }
                origin => of(origin, picture),
            })
            .collect()
    }

    /// The generators of a stage, one for each picture.
    fn noise(&self, stage: Stage) -> Vec<RowNoise> {
        let of = |picture: &&Planned| {
            let noise = RowNoise::seeded(picture.subject.seed, stage);
            noise.recorded(self.plan.recorded.as_ref(), picture.subject.row)
        };
        self.pictures.iter().map(of).collect()
    }

    fn n_batches(&self) -> usize {
        self.pictures.len().div_ceil(self.options.batch)
    }

    fn draw_karlo(
        &mut self,
        z_x: &[Vec<f32>],
        captions: &Captions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Vec<Tensor<4>>, RenderError> {
        let (plan, batch) = (self.plan, self.options.batch);
        let Sampled {
            scheduler, settings, ..
        } = &plan.decoder;
        let (_, text_proj) = TextProj::load(self.part(Part::TextProj)?, self.device)?;
        let (config, unet) = UNet::load(self.part(Part::Decoder)?, self.device)?;
        on_event(Event::Stage {
            name: "decoder",
            n_steps: self.n_batches() * settings.n_steps,
        });
        let away = plan.negative.as_deref().unwrap_or_default();
        let mut noise = self.noise(Stage::Decoder);
        let save = self.options.save_steps;
        let mut small = Vec::new();
        for (i, noise) in noise.chunks_mut(batch).enumerate() {
            let rows = i * batch..i * batch + noise.len();
            let texts: Vec<&str> = self.pictures[rows.clone()]
                .iter()
                .map(|p| p.subject.origin.caption())
                .collect();
            let text = captions.rows(&texts, self.device);
            let away = settings
                .guided()
                .then(|| captions.rows(&vec![away; texts.len()], self.device));
            let z_x = matrix(&z_x[rows.clone()], self.device);
            let condition = karlo::condition(&text_proj, z_x, text, away);
            let kept = &mut self.trajectories[rows];
            small.push(karlo::decode(
                (&config, &unet),
                scheduler,
                texts.len(),
                condition,
                *settings,
                &mut Rows(noise),
                |x| step(kept, "decoder_steps", x, save, on_event),
            )?);
        }
        Ok(small)
    }

    fn super_resolve(
        mut self,
        small: Vec<Tensor<4>>,
        super_res: &Sampled,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let batch = self.options.batch;
        let Sampled {
            config,
            scheduler,
            settings,
        } = super_res;
        let mut noise = self.noise(Stage::SuperRes);
        let mut states = Vec::new();
        for (small, noise) in small.into_iter().zip(noise.chunks_mut(batch)) {
            states.push(SuperRes::begin(small, config, &mut Rows(noise))?);
        }
        let visits = scheduler.visits(settings.n_steps)?;
        let (first, last) = visits.split_at(visits.len() - 1);
        for (name, part, visits) in [
            ("super-resolution", Part::SuperResFirst, first),
            ("super-resolution, last", Part::SuperResLast, last),
        ] {
            if visits.is_empty() {
                continue;
            }
            let (_, unet) = UNet::load(self.part(part)?, self.device)?;
            on_event(Event::Stage {
                name,
                n_steps: self.n_batches() * visits.len(),
            });
            let save = self.options.save_steps;
            let mut advanced = Vec::new();
            for ((state, noise), kept) in states
                .into_iter()
                .zip(noise.chunks_mut(batch))
                .zip(self.trajectories.chunks_mut(batch))
            {
                let on_step = |x: &Tensor<4>| step(kept, "super_res_steps", x, save, on_event);
                advanced.push(state.advance(&unet, scheduler, visits, &mut Rows(noise), on_step)?);
            }
            states = advanced;
        }
        let mut at = 0;
        for state in states {
            for picture in to_pictures(state.finish())? {
                self.write(at, &picture, on_event)?;
                at += 1;
            }
        }
        // The decoder draws pixels: its steps are pictures already.
        self.write_steps(|x| x)
    }

    /// Where Kandinsky starts: from noise, or from the latents of a picture.
    fn start(&self, latent: [usize; 2], on_event: &mut dyn FnMut(Event)) -> Result<Start, RenderError> {
        let Some(init) = &self.plan.init else {
            return Ok(Start::Noise(latent));
        };
        on_event(Event::Stage {
            name: "picture encoder",
            n_steps: 1,
        });
        let autoencoder = Autoencoder::load(&self.plan.layout, self.device)?;
        let picture = read_picture(&init.image.path).map_err(ClipError::from)?;
        let scale = LatentSpace::read(&self.plan.layout)?.scale();
        let [h, w] = latent.map(|side| side * scale);
        let latents = autoencoder.encode(picture_tensor(&picture, w, h, self.device));
        on_event(Event::Step);
        Ok(Start::Picture {
            latents,
            strength: init.strength,
        })
    }

    fn draw_kandinsky(
        &mut self,
        z_x: &[Vec<f32>],
        away: Option<&[Vec<f32>]>,
        start: &Start,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Vec<Tensor<4>>, RenderError> {
        let (plan, batch) = (self.plan, self.options.batch);
        let Sampled {
            config,
            scheduler,
            settings,
        } = &plan.decoder;
        let n_steps = match start {
            Start::Noise(_) => settings.n_steps,
            Start::Picture { strength, .. } => {
                kandinsky::visits_of_strength(scheduler, settings.n_steps, *strength)?.len()
            }
        };
        let (_, unet) = UNet::load(self.part(Part::Decoder)?, self.device)?;
        on_event(Event::Stage {
            name: "decoder",
            n_steps: self.n_batches() * n_steps,
        });
        let mut noise = self.noise(Stage::Decoder);
        let save = self.options.save_steps;
        let mut latents = Vec::new();
        for (i, noise) in noise.chunks_mut(batch).enumerate() {
            let rows = i * batch..i * batch + noise.len();
            let kept = &mut self.trajectories[rows.clone()];
            latents.push(kandinsky::decode(
                &unet,
                config.in_channels,
                scheduler,
                matrix(&z_x[rows.clone()], self.device),
                away.map(|away| matrix(&away[rows], self.device)),
                start,
                *settings,
                &mut Rows(noise),
                |x| step(kept, "decoder_steps", x, save, on_event),
            )?);
        }
        Ok(latents)
    }

    fn decode_latents(
        self,
        latents: Vec<Tensor<4>>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let autoencoder = Autoencoder::load(&self.plan.layout, self.device)?;
        on_event(Event::Stage {
            name: autoencoder.name(),
            n_steps: self.pictures.len(),
        });
        let mut at = 0;
        for latents in latents {
            // One by one: at full size this takes more memory than the UNet.
            for latents in latents.split(1, 0) {
                for picture in to_pictures(autoencoder.decode(latents))? {
                    on_event(Event::Step);
                    self.write(at, &picture, on_event)?;
                    at += 1;
                }
            }
        }
        self.write_steps(|x| autoencoder.decode(x))
    }

    /// Writes a picture's side file, then the picture.
    fn write(
        &self,
        at: usize,
        picture: &RgbImage,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let planned = self.pictures[at];
        planned.recipe.write(&self.plan.file(planned, "json"))?;
        let path = self.plan.file(planned, "png");
        write_png(&path, picture, &planned.recipe.texts())?;
        on_event(Event::Picture(&path));
        Ok(())
    }

    /// Writes the trajectories, and each step of the decoder as a picture; `pixels` makes one of a step.
    fn write_steps(&self, pixels: impl Fn(Tensor<4>) -> Tensor<4>) -> Result<(), RenderError> {
        for (planned, trajectories) in self.pictures.iter().zip(&self.trajectories) {
            if !self.options.save_steps {
                continue;
            }
            write_trajectories(&self.plan.file(planned, "steps.safetensors"), trajectories)?;
            let Some(decoder) = trajectories.get("decoder_steps") else {
                continue;
            };
            let Ok(shape) = <[usize; 3]>::try_from(decoder.shape.as_slice()) else {
                continue;
            };
            let [channels, h, w] = shape;
            for (i, values) in decoder.steps.iter().enumerate() {
                let data = TensorData::new(values.clone(), [1, channels, h, w]);
                for picture in to_pictures(pixels(Tensor::from_data(data, (self.device, DType::F32))))? {
                    let name = format!("step{i:03}.png");
                    write_png(&self.plan.file(planned, &name), &picture, &[])?;
                }
            }
        }
        Ok(())
    }
}

impl Leaf<'_> {
    fn same(&self, other: &Self) -> bool {
        let noise =
            self.seed == other.seed && self.alone == other.alone && (self.row == other.row || !self.alone);
        // Only a prompt's embedding depends on its noise.
        self.origin == other.origin && (noise || !matches!(self.origin, Origin::Prompt(_)))
    }

    /// Whether it is an embedding of `picture`.
    fn of(&self, picture: &Planned) -> bool {
        let whole = &picture.subject.origin;
        whole.ends().into_iter().any(|origin| {
            self.same(&Leaf {
                origin,
                seed: picture.subject.seed,
                row: picture.subject.row,
                alone: std::ptr::eq(origin, whole),
            })
        })
    }
}

fn warn_cut(text: &str, n_words: usize) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let cut = words[words.len().saturating_sub(n_words)..].join(" ");
    tracing::warn!("the last {n_words} words do not fit the text tower and were cut: {cut:?} of {text:?}");
}

/// One step of a UNet: keeps it where it is wanted, and says so.
fn step(
    kept: &mut [Trajectories],
    name: &'static str,
    x: &Tensor<4>,
    save: bool,
    on_event: &mut dyn FnMut(Event),
) {
    if save {
        let mut taken: Vec<Trajectory> = kept
            .iter_mut()
            .map(|k| k.remove(name).unwrap_or_default())
            .collect();
        keep(&mut taken, x);
        for (kept, trajectory) in kept.iter_mut().zip(taken) {
            kept.insert(name, trajectory);
        }
    }
    on_event(Event::Step);
}

/// Appends row i of `x` to trajectory i.
fn keep<const D: usize>(trajectories: &mut [Trajectory], x: &Tensor<D>) {
    let shape = x.dims()[1..].to_vec();
    let values: Vec<f32> = x.to_data().iter::<f32>().collect();
    let len = shape.iter().product();
    for (trajectory, row) in trajectories.iter_mut().zip(values.chunks(len)) {
        trajectory.shape = shape.clone();
        trajectory.steps.push(row.to_vec());
    }
}

fn rows_of(x: Tensor<2>) -> Vec<Vec<f32>> {
    let width = x.dims()[1];
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks(width).map(<[f32]>::to_vec).collect()
}

fn matrix(rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), (device, DType::F32))
}

fn write_trajectories(path: &Path, trajectories: &Trajectories) -> Result<(), RenderError> {
    let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = trajectories
        .iter()
        .map(|(name, t)| {
            let shape = [&[t.steps.len()], t.shape.as_slice()].concat();
            let bytes = t.steps.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            (*name, shape, bytes)
        })
        .collect();
    let broken = |e: safetensors::SafeTensorError| WeightsError::Broken {
        path: path.into(),
        reason: e.to_string(),
    };
    let mut views = HashMap::new();
    for (name, shape, bytes) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(broken)?;
        views.insert((*name).to_string(), view);
    }
    let file = safetensors::serialize(views, None).map_err(broken)?;
    Ok(files::write_atomic(path, &file)?)
}
