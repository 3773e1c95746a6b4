//! Carries out a plan: wave by wave, and in a wave stage by stage, so that one network at a time is in memory.
//!
//! ```text
//! text tower -> prior -> vision tower -> (MoVQ's encoder) -> decoder -> super-resolution, first -> last | MoVQ
//! ```
//! A wave is as many pictures as are worth loading every network for; after it they stand on disk. Each file is renamed into place when it is whole,
//! the side file before its picture: where there is a picture, it can be repeated.

mod draw;
mod embed;
mod trajectory;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::RgbImage;

use self::trajectory::Trajectories;
use super::error::RenderError;
use super::layout::{Part, Stack};
use super::picture::write_png;
use super::plan::{Plan, Planned};
use super::sides::Finish;
use crate::files::{self, FileError, LockFile};

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

/// What the networks of a wave pass on.
struct Wave<'a> {
    plan: &'a Plan,
    pictures: Vec<&'a Planned>,
    device: &'a Device,
    options: RenderOptions,
    trajectories: Vec<Trajectories>,
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
        let lock = self.lock()?;
        let rendered = self.render_locked(device, options, on_event);
        lock.remove();
        rendered
    }

    /// Keeps other calls out of the folder.
    fn lock(&self) -> Result<LockFile, RenderError> {
        let path = self.out.join(".lock");
        let held = files::lock(&path).map_err(|source| FileError::Io {
            action: "lock",
            path,
            source,
        })?;
        held.map_err(|holder| RenderError::Busy {
            out: self.out.clone(),
            holder,
        })
    }

    fn render_locked(
        &self,
        device: &Device,
        options: RenderOptions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let mut left: Vec<&Planned> = Vec::new();
        for picture in &self.pictures {
            match picture.done || self.is_drawn(picture)? {
                true => on_event(Event::Skipped(&self.file(picture, "png"))),
                false => left.push(picture),
            }
        }
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

    /// Writes a picture's side file, then the picture.
    fn write(
        &self,
        at: usize,
        picture: &RgbImage,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), RenderError> {
        let planned = self.pictures[at];
        // Drawing takes minutes, and others may write there who know nothing of the lock.
        if self.plan.is_drawn(planned)? {
            on_event(Event::Skipped(&self.plan.file(planned, "png")));
            return Ok(());
        }
        planned.recipe.write(&self.plan.file(planned, "json"))?;
        let path = self.plan.file(planned, "png");
        write_png(&path, picture, &planned.recipe.texts())?;
        on_event(Event::Picture(&path));
        Ok(())
    }
}
