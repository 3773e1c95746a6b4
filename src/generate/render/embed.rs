//! The first half of a chunk: text tower, prior and vision tower give every image its z_x.

use std::path::Path;

use burn::prelude::*;
use image::RgbImage;

use super::chunk::Chunk;
use super::event::RenderEvent;
use super::trajectory::{Trajectory, keep};
use crate::generate::captions::Captions;
use crate::generate::embeddings::embedding;
use crate::generate::error::RenderError;
use crate::generate::noise_source::{BatchNoise, NoiseStage, RowNoise};
use crate::generate::parts::Part;
use crate::generate::plan::PlannedImage;
use crate::generate::prior::AnyPrior;
use crate::generate::recipe::Origin;
use crate::generate::slerp::{mix, slerp};
use crate::generate::zero_image::{cached_zero_image, zero_image};
use crate::limits::finite;
use crate::models::clip::preprocess::read_image;
use crate::models::clip::{ClipError, ImageEncoder, TextEncoder};
use crate::models::prior::TextCondition;

/// Captions, embeddings or images that a tower or a prior takes at once.
const BATCH: usize = 32;

/// An image embedding to compute: each image has one, an interpolation has one for each of its ends.
#[derive(Debug, Clone, PartialEq)]
struct EmbeddingJob<'a> {
    origin: &'a Origin,
    seed: u64,
    row: usize,
    /// Whether it is the whole origin of its image, so that recorded noise applies to it.
    is_whole: bool,
}

/// What [`Chunk::embed`] gives: z_x of each image, what guidance pushes away from for each image, captions.
type Embedded<'a> = (Vec<Vec<f32>>, Option<Vec<Vec<f32>>>, Option<Captions<'a>>);

impl<'a> Chunk<'a> {
    /// Runs text tower, prior and vision tower, each if it is needed.
    pub(super) fn embed(
        &mut self,
        on_event: &mut dyn FnMut(RenderEvent),
    ) -> Result<Embedded<'a>, RenderError> {
        let plan = self.plan;
        let uncond = plan.decoder.inputs.uncond;
        let negated = plan.negative.as_deref().filter(|_| uncond);
        let jobs = self.jobs();
        let captions = self.captions(&jobs, negated.is_some(), on_event)?;
        let mut z_x: Vec<Option<Vec<f32>>> = vec![None; jobs.len()];
        let negatives = self.predict(&jobs, negated, captions.as_ref(), &mut z_x, on_event)?;
        let zero = self.encode_images(&jobs, uncond && negated.is_none(), &mut z_x, on_event)?;
        let z_x = self.embeddings(&jobs, &z_x)?;
        let uncond = match zero {
            Some(zero) => Some(vec![zero; self.images.len()]),
            None => negatives,
        };
        Ok((z_x, uncond, captions))
    }

    /// The embeddings to compute for the chunk, each once.
    fn jobs(&self) -> Vec<EmbeddingJob<'a>> {
        let mut jobs: Vec<EmbeddingJob> = Vec::new();
        for image in &self.images {
            let ends = image.subject.origin.ends();
            for origin in &ends {
                let job = EmbeddingJob {
                    origin,
                    seed: image.subject.seed,
                    row: image.subject.row,
                    is_whole: std::ptr::eq(*origin, &image.subject.origin),
                };
                if !jobs.iter().any(|other| other.same(&job)) {
                    jobs.push(job);
                }
            }
        }
        jobs
    }

    /// Encodes every caption that the prior or the decoder reads; `None` if there is none.
    fn captions(
        &self,
        jobs: &[EmbeddingJob<'a>],
        negated: bool,
        on_event: &mut dyn FnMut(RenderEvent),
    ) -> Result<Option<Captions<'a>>, RenderError> {
        let plan = self.plan;
        let decoder_reads = plan.decoder.inputs.captions;
        let mut wanted: Vec<&str> = Vec::new();
        for job in jobs {
            if let Origin::Prompt(prompt) = job.origin {
                wanted.push(prompt);
            }
        }
        if decoder_reads {
            wanted.extend(self.images.iter().map(|p| p.subject.origin.caption()));
        }
        if !decoder_reads && !negated && wanted.is_empty() {
            return Ok(None);
        }
        wanted.push(plan.negative.as_deref().unwrap_or_default());
        let mut texts: Vec<&str> = Vec::new();
        for text in wanted {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        on_event(RenderEvent::Stage {
            name: "text",
            n_steps: texts.len().div_ceil(BATCH),
        });
        let encoder = TextEncoder::load(self.part(Part::TEXT_ENCODER)?, self.device)?;
        let mut batches = Vec::new();
        for texts in texts.chunks(BATCH) {
            let tokens = encoder.tokenizer().encode_batch(texts).map_err(ClipError::from)?;
            for (text, tokens) in texts.iter().zip(&tokens) {
                if tokens.n_words_cut > 0 {
                    warn_cut(text, tokens.n_words_cut);
                }
            }
            batches.push(encoder.encode_tokens(&tokens));
            on_event(RenderEvent::Step);
        }
        let encoded = TextCondition::cat(batches);
        Ok(Some(Captions { texts, encoded }))
    }

    /// Runs the prior: on the jobs that are prompts, into `z_x`, and on the negative prompt for each image, which it returns.
    fn predict(
        &mut self,
        jobs: &[EmbeddingJob],
        negated: Option<&str>,
        captions: Option<&Captions>,
        z_x: &mut [Option<Vec<f32>>],
        on_event: &mut dyn FnMut(RenderEvent),
    ) -> Result<Option<Vec<Vec<f32>>>, RenderError> {
        let plan = self.plan;
        let recorded = plan.recorded.as_ref();
        let mut rows: Vec<(&str, RowNoise)> = Vec::new();
        let mut of_job = Vec::new();
        for (i, job) in jobs.iter().enumerate() {
            if let Origin::Prompt(prompt) = job.origin {
                let noise = RowNoise::seeded(job.seed, NoiseStage::Prior);
                let noise = noise.recorded(recorded.filter(|_| job.is_whole), job.row);
                rows.push((prompt, noise));
                of_job.push(i);
            }
        }
        if let Some(negative) = negated {
            for image in &self.images {
                let noise = RowNoise::seeded(image.subject.seed, NoiseStage::Negative);
                let own = recorded.filter(|_| matches!(image.subject.origin, Origin::Prompt(_)));
                rows.push((negative, noise.recorded(own, image.subject.row)));
            }
        }
        let (Some(captions), false) = (captions, rows.is_empty()) else {
            return Ok(None);
        };
        let (_, prior) = AnyPrior::load(self.part(Part::PRIOR)?, self.device)?;
        let one_pass = matches!(prior, AnyPrior::OnePass(_));
        let per_batch = if one_pass { 1 } else { plan.prior.n_steps };
        on_event(RenderEvent::Stage {
            name: "prior",
            n_steps: rows.len().div_ceil(BATCH) * per_batch,
        });
        let uncond = plan.negative.as_deref().unwrap_or_default();
        let mut predicted = Vec::new();
        let mut trajectories: Vec<Trajectory> = vec![Trajectory::default(); rows.len()];
        let save = self.options.save_steps;
        for (rows, trajectories) in rows.chunks_mut(BATCH).zip(trajectories.chunks_mut(BATCH)) {
            let texts: Vec<&str> = rows.iter().map(|(text, _)| *text).collect();
            let mut noise: Vec<RowNoise> = rows.iter().map(|(_, noise)| noise.clone()).collect();
            let mut noise = BatchNoise(&mut noise);
            let text = captions.rows(&texts);
            let uncond = captions.rows(&vec![uncond; texts.len()]);
            let z = prior.sample(text, uncond, plan.prior, &mut noise, |x| {
                if save {
                    keep(trajectories, &x);
                }
                on_event(RenderEvent::Step);
            })?;
            if one_pass {
                on_event(RenderEvent::Step);
            }
            predicted.extend(rows_of(z));
        }
        let negatives = predicted.split_off(of_job.len());
        for ((&job, z), trajectory) in of_job.iter().zip(predicted).zip(trajectories) {
            z_x[job] = Some(z);
            if trajectory.steps.is_empty() || !jobs[job].is_whole {
                continue;
            }
            for (image, kept) in self.images.iter().zip(&mut self.trajectories) {
                if jobs[job].of(image) {
                    kept.insert("prior_steps", trajectory.clone());
                }
            }
        }
        Ok((!negatives.is_empty()).then_some(negatives))
    }

    /// Runs the vision tower on the jobs that are images, into `z_x`; and gives the zero image's embedding where the decoder needs it, from a file if
    /// there is one.
    fn encode_images(
        &self,
        jobs: &[EmbeddingJob],
        needs_zero: bool,
        z_x: &mut [Option<Vec<f32>>],
        on_event: &mut dyn FnMut(RenderEvent),
    ) -> Result<Option<Vec<f32>>, RenderError> {
        let plan = self.plan;
        let images: Vec<(usize, &Path)> = jobs
            .iter()
            .enumerate()
            .filter_map(|(i, job)| match job.origin {
                Origin::Image(file) => Some((i, file.path.as_path())),
                _ => None,
            })
            .collect();
        if images.is_empty() && !needs_zero {
            return Ok(None);
        }
        let dir = self.part(Part::IMAGE_ENCODER)?;
        let cached = match needs_zero {
            true => cached_zero_image(dir, plan.decoder.d_clip, &plan.dtype).map(|(values, _)| values),
            false => None,
        };
        if images.is_empty() && cached.is_some() {
            return Ok(cached);
        }
        on_event(RenderEvent::Stage {
            name: "vision",
            n_steps: images.len().div_ceil(BATCH),
        });
        let encoder = ImageEncoder::load(dir, self.device)?;
        for images in images.chunks(BATCH) {
            let pixels: Result<Vec<RgbImage>, ClipError> = images
                .iter()
                .map(|(_, path)| read_image(path).map_err(ClipError::from))
                .collect();
            let encoded = rows_of(encoder.encode(&pixels?)?);
            for ((job, _), z) in images.iter().zip(encoded) {
                z_x[*job] = Some(z);
            }
            on_event(RenderEvent::Step);
        }
        Ok(match (needs_zero, cached) {
            (true, None) => Some(zero_image(&encoder, dir, &plan.dtype)?),
            (_, cached) => cached,
        })
    }

    /// One embedding for each image.
    fn embeddings(
        &self,
        jobs: &[EmbeddingJob],
        z_x: &[Option<Vec<f32>>],
    ) -> Result<Vec<Vec<f32>>, RenderError> {
        let d_clip = self.plan.decoder.d_clip;
        let of = |origin: &Origin, image: &PlannedImage| -> Result<Vec<f32>, RenderError> {
            if let Origin::Embedding { file, row, .. } = origin {
                return embedding(&file.path, *row, d_clip);
            }
            let at = jobs.iter().position(|l| l.origin == origin && l.of(image));
            let z = at.and_then(|i| z_x[i].clone());
            Ok(z.expect("every prompt was predicted, every image encoded"))
        };
        self.images
            .iter()
            .map(|image| {
                let z = match &image.subject.origin {
                    Origin::Between { from, to, at } => slerp(&of(from, image)?, &of(to, image)?, *at),
                    Origin::Mix(terms) => {
                        let parts = terms.iter().map(|s| Ok((of(&s.of, image)?, s.weight)));
                        mix(&parts.collect::<Result<Vec<_>, RenderError>>()?)
                    }
                    origin => of(origin, image)?,
                };
                let title = || format!("the image embedding of {:?}", image.subject.origin.title());
                finite(title, &z)?;
                Ok(z)
            })
            .collect()
    }
}

impl EmbeddingJob<'_> {
    fn same(&self, other: &Self) -> bool {
        let noise = self.seed == other.seed
            && self.is_whole == other.is_whole
            && (self.row == other.row || !self.is_whole);
        // Only a prompt's embedding depends on its noise.
        self.origin == other.origin && (noise || !matches!(self.origin, Origin::Prompt(_)))
    }

    /// Whether `image` needs this embedding.
    fn of(&self, image: &PlannedImage) -> bool {
        let whole = &image.subject.origin;
        whole.ends().into_iter().any(|origin| {
            self.same(&EmbeddingJob {
                origin,
                seed: image.subject.seed,
                row: image.subject.row,
                is_whole: std::ptr::eq(origin, whole),
            })
        })
    }
}

fn warn_cut(text: &str, n_words: usize) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let cut = words[words.len().saturating_sub(n_words)..].join(" ");
    tracing::warn!("the last {n_words} words do not fit the text tower and were cut: {cut:?} of {text:?}");
}

fn rows_of(x: Tensor<2>) -> Vec<Vec<f32>> {
    let width = x.dims()[1];
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks(width).map(<[f32]>::to_vec).collect()
}
