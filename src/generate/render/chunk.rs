//! A chunk of images on its way through the networks.

use std::ops::Range;
use std::path::Path;

use burn::prelude::*;
use image::RgbImage;

use super::event::RenderEvent;
use super::trajectory::{Trajectories, keep_step, write_steps};
use crate::generate::captions::{Captions, ImageCaptions};
use crate::generate::decode_job::{DecodeJob, DecodeOutput, NoiseSource};
use crate::generate::error::RenderError;
use crate::generate::images::write_png;
use crate::generate::parts::Part;
use crate::generate::plan::{Plan, PlannedImage};

/// How to render a plan; none of it changes the images beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenderOptions {
    /// Images that the decoder draws at once.
    pub batch: usize,
    /// Images for which every network is loaded once, and which are finished together.
    pub chunk: usize,
    /// Also write every step: the trajectories, and an image of each step of the decoder.
    pub save_steps: bool,
}

/// A chunk of images.
pub(super) struct Chunk<'a> {
    pub(super) plan: &'a Plan,
    pub(super) images: Vec<&'a PlannedImage>,
    pub(super) device: &'a Device,
    pub(super) options: RenderOptions,
    /// Of each image.
    pub(super) trajectories: Vec<Trajectories>,
}

impl<'a> Chunk<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        images: &[&'a PlannedImage],
        device: &'a Device,
        options: RenderOptions,
    ) -> Self {
        Self {
            plan,
            images: images.to_vec(),
            device,
            options,
            trajectories: vec![Trajectories::new(); images.len()],
        }
    }

    pub(super) fn render(mut self, on_event: &mut dyn FnMut(RenderEvent)) -> Result<(), RenderError> {
        let (z_x, uncond, captions) = self.embed(on_event)?;
        let (plan, device) = (self.plan, self.device);
        let captions = captions.filter(|_| plan.decoder.inputs.captions);
        let captions = captions.map(|captions: Captions| ImageCaptions {
            captions,
            of_images: self.images.iter().map(|i| i.subject.origin.caption()).collect(),
            uncond: plan.negative.as_deref().unwrap_or_default(),
        });
        let noise = |image: &&PlannedImage| NoiseSource {
            seed: image.subject.seed,
            row: image.subject.row,
            recorded: plan.recorded.clone(),
        };
        let job = DecodeJob {
            folders: plan.layout.folders(),
            device,
            batch: self.options.batch,
            z_x,
            uncond,
            captions,
            init: plan.init.as_ref(),
            noise: self.images.iter().map(noise).collect(),
            output: &mut Output {
                chunk: &mut self,
                on_event,
            },
        };
        let to_pixels = plan.decoder.decode.decode(job)?;
        if self.options.save_steps {
            for (image, trajectories) in self.images.iter().zip(&self.trajectories) {
                let file = |extension: &str| plan.file(image, extension);
                write_steps(trajectories, file, &*to_pixels, device)?;
            }
        }
        Ok(())
    }

    pub(super) fn part(&self, part: Part) -> Result<&'a Path, RenderError> {
        Ok(self.plan.layout.part(part)?)
    }
}

/// Takes what the stack gives.
struct Output<'c, 'a> {
    chunk: &'c mut Chunk<'a>,
    on_event: &'c mut dyn FnMut(RenderEvent),
}

impl DecodeOutput for Output<'_, '_> {
    fn stage(&mut self, name: &'static str, n_steps: usize) {
        (self.on_event)(RenderEvent::Stage { name, n_steps });
    }

    fn progress(&mut self) {
        (self.on_event)(RenderEvent::Step);
    }

    fn step(&mut self, rows: Range<usize>, name: &'static str, x: &Tensor<4>) {
        if self.chunk.options.save_steps {
            keep_step(&mut self.chunk.trajectories[rows], name, x);
        }
        self.progress();
    }

    /// Writes the side file, then the image.
    fn image(&mut self, row: usize, image: &RgbImage) -> Result<(), RenderError> {
        let (plan, planned) = (self.chunk.plan, self.chunk.images[row]);
        let path = plan.file(planned, "png");
        // Decoding takes minutes, and other programs do not know the lock.
        if plan.is_drawn(planned)? {
            (self.on_event)(RenderEvent::Skipped(&path));
            return Ok(());
        }
        planned.recipe.write(&plan.file(planned, "json"))?;
        let family = plan.layout.stack().about().family;
        write_png(&path, image, &planned.recipe.texts(family))?;
        (self.on_event)(RenderEvent::Image(&path));
        Ok(())
    }
}
