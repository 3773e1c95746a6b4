//! Renders a plan: chunk by chunk, and in a chunk network by network, so that one network at a time is in memory.
//!
//! ```text
//! text tower -> prior -> vision tower -> the networks of the stack
//! ```
//! A chunk is as many images as are worth loading every network for; after it they are on disk. Each file is renamed into place when it is whole,
//! the side file before its image: every image on disk can be repeated.

mod chunk;
mod embed;
mod event;
mod trajectory;

use std::path::PathBuf;

use burn::prelude::*;

use self::chunk::Chunk;
use super::error::RenderError;
use super::plan::{Plan, PlannedImage};
use crate::files::{self, FileError, LockFile};

pub use self::chunk::RenderOptions;
pub use self::event::RenderEvent;

impl Plan {
    /// Renders the images that are not on disk. `on_event` receives progress.
    ///
    /// # Errors
    /// [`RenderError`]; images that were finished before stay.
    pub fn render(
        &self,
        device: &Device,
        options: RenderOptions,
        on_event: &mut dyn FnMut(RenderEvent),
    ) -> Result<(), RenderError> {
        self.render_until(device, options, on_event, &|| false).map(drop)
    }

    /// Like [`Plan::render`], until `is_stopped` says so between two chunks; whether all images are there.
    ///
    /// # Errors
    /// Like [`Plan::render`].
    pub fn render_until(
        &self,
        device: &Device,
        options: RenderOptions,
        on_event: &mut dyn FnMut(RenderEvent),
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<bool, RenderError> {
        files::create_dir(&self.out)?;
        let lock = self.lock()?;
        let rendered = self.render_locked(device, options, on_event, is_stopped);
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
        on_event: &mut dyn FnMut(RenderEvent),
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<bool, RenderError> {
        let mut left: Vec<&PlannedImage> = Vec::new();
        for image in &self.images {
            match image.done || self.is_drawn(image)? {
                true => on_event(RenderEvent::Skipped(&self.file(image, "png"))),
                false => left.push(image),
            }
        }
        for images in left.chunks(options.chunk.max(1)) {
            if is_stopped() {
                return Ok(false);
            }
            Chunk::new(self, images, device, options).render(on_event)?;
        }
        Ok(true)
    }

    /// A file of an image.
    fn file(&self, image: &PlannedImage, extension: &str) -> PathBuf {
        self.out.join(format!("{}.{extension}", image.subject.name))
    }
}
