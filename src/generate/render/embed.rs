//! The first half of a wave: captions, prior and vision tower give every picture its z_x.

use std::path::Path;

use burn::prelude::*;
use image::RgbImage;

use super::trajectory::{Trajectory, keep};
use super::{Event, Wave};
use crate::generate::draws::{RowNoise, Rows, Stage};
use crate::generate::embeddings::embedding;
use crate::generate::error::RenderError;
use crate::generate::kandinsky::{self, cached_zero_image};
use crate::generate::layout::{Part, Stack};
use crate::generate::plan::Planned;
use crate::generate::prior::AnyPrior;
use crate::generate::recipe::Origin;
use crate::generate::slerp::{mix, slerp};
use crate::limits::finite;
use crate::models::clip::preprocess::read_picture;
use crate::models::clip::{ClipError, ImageEncoder, TextEncoder};
use crate::models::prior::TextCondition;

/// Captions, embeddings or pictures that a tower or a prior takes at once.
const BATCH: usize = 32;

/// An image embedding that a picture needs: one for a prompt or an image, two for an interpolation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf<'a> {
    origin: &'a Origin,
    seed: u64,
    row: usize,
    /// Whether recorded noise is its own.
    alone: bool,
}

/// Captions, encoded.
pub(super) struct Captions<'a> {
    texts: Vec<&'a str>,
    encoded: TextCondition,
}

impl Captions<'_> {
    /// One row for each of `texts`, which must be among those encoded.
    pub(super) fn rows(&self, texts: &[&str]) -> TextCondition {
        let at = |text: &&str| self.texts.iter().position(|t| t == text).expect("encoded");
        let rows: Vec<usize> = texts.iter().map(at).collect();
        self.encoded.select(&rows)
    }
}

impl<'a> Wave<'a> {
    /// The embeddings of the wave, each once.
    pub(super) fn leaves(&self) -> Vec<Leaf<'a>> {
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
    pub(super) fn captions(
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
        let mut batches = Vec::new();
        for texts in texts.chunks(BATCH) {
            let tokens = encoder.tokenizer().encode_batch(texts).map_err(ClipError::from)?;
            for (text, tokens) in texts.iter().zip(&tokens) {
                if tokens.n_words_cut > 0 {
                    warn_cut(text, tokens.n_words_cut);
                }
            }
            batches.push(encoder.encode_tokens(&tokens));
            on_event(Event::Step);
        }
        let encoded = TextCondition::cat(batches);
        Ok(Some(Captions { texts, encoded }))
    }

    /// Runs the prior: on the leaves that are prompts, into `z_x`, and on the negative prompt for each picture, which it returns.
    pub(super) fn predict(
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
            let text = captions.rows(&texts);
            let unconditional = captions.rows(&vec![away; texts.len()]);
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
    pub(super) fn look(
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
            (true, None) => Some(kandinsky::zero_image(&encoder, dir, &plan.dtype)?),
            (_, cached) => cached,
        })
    }

    /// One embedding for each picture.
    pub(super) fn embeddings(
        &self,
        leaves: &[Leaf],
        z_x: &[Option<Vec<f32>>],
    ) -> Result<Vec<Vec<f32>>, RenderError> {
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
            .map(|picture| {
                let z = match &picture.subject.origin {
                    Origin::Between { from, to, at } => slerp(&of(from, picture)?, &of(to, picture)?, *at),
                    Origin::Mix(shares) => {
                        let parts = shares.iter().map(|s| Ok((of(&s.of, picture)?, s.weight)));
                        mix(&parts.collect::<Result<Vec<_>, RenderError>>()?)
                    }
                    origin => of(origin, picture)?,
                };
                let title = || format!("the image embedding of {:?}", picture.subject.origin.title());
                finite(title, &z)?;
                Ok(z)
            })
            .collect()
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

fn rows_of(x: Tensor<2>) -> Vec<Vec<f32>> {
    let width = x.dims()[1];
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks(width).map(<[f32]>::to_vec).collect()
}
