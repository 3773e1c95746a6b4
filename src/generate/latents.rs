//! What the UNet of a Kandinsky decoder draws in: MoVQ's latents, or squares of pixels, where a pipeline has `pixel_space` and no `movq`.

use burn::prelude::*;

use super::error::RenderError;
use super::kandinsky::latent_side;
use super::layout::{Layout, Part};
use crate::models::movq::{Movq, MovqConfig};
use crate::models::pixel_space::PixelSpace;

/// Steps and guidance where the call names none, and the side of pictures (reference: the defaults of `KandinskyV22Pipeline`).
const MOVQ_SAMPLING: (usize, f64) = (100, 4.0);
const MOVQ_SIDE: usize = 512;
/// Those of the small decoders that `eclipse pretrain` makes.
const PIXEL_SAMPLING: (usize, f64) = (4, 2.0);

/// A space of latents, as its config says.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one a call")]
pub enum LatentSpace {
    /// MoVQ's.
    Movq(MovqConfig),
    /// Squares of pixels.
    Pixels(PixelSpace),
}

/// The maps between pictures and latents.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a call")]
pub enum Autoencoder {
    /// MoVQ.
    Movq(Movq),
    /// Squares of pixels.
    Pixels(PixelSpace),
}

impl LatentSpace {
    /// The part of `layout` that holds it: MoVQ, unless only a pixel space is there.
    pub fn part(layout: &Layout) -> Part {
        match layout.part(Part::Movq) {
            Err(_) if layout.part(Part::PixelSpace).is_ok() => Part::PixelSpace,
            _ => Part::Movq,
        }
    }

    /// Reads its config.
    ///
    /// # Errors
    /// [`RenderError::Layout`] if there is none, [`RenderError::Weights`] naming file and key.
    pub fn read(layout: &Layout) -> Result<Self, RenderError> {
        let part = Self::part(layout);
        let dir = layout.part(part)?;
        Ok(match part {
            Part::PixelSpace => Self::Pixels(PixelSpace::read(dir)?),
            _ => Self::Movq(MovqConfig::read(dir)?),
        })
    }

    /// Channels of the latents.
    pub fn channels(&self) -> usize {
        match self {
            Self::Movq(config) => config.d_code(),
            Self::Pixels(space) => space.channels(),
        }
    }

    /// How many pixels, along each side, a latent stands for.
    pub fn scale(&self) -> usize {
        match self {
            Self::Movq(config) => config.scale(),
            Self::Pixels(space) => space.side(),
        }
    }

    /// Latents along a side of `pixels`.
    pub fn side(&self, pixels: usize) -> usize {
        match self {
            Self::Movq(config) => latent_side(pixels, config.scale()),
            Self::Pixels(space) => pixels.div_ceil(space.side()),
        }
    }

    /// Width and height of pictures where the call names none, for a UNet trained on latents of `sample_size`.
    pub fn own_side(&self, sample_size: usize) -> usize {
        match self {
            Self::Movq(_) => MOVQ_SIDE,
            Self::Pixels(space) => sample_size * space.side(),
        }
    }

    /// Steps and guidance where the call names none.
    pub fn own_sampling(&self) -> (usize, f64) {
        match self {
            Self::Movq(_) => MOVQ_SAMPLING,
            Self::Pixels(_) => PIXEL_SAMPLING,
        }
    }
}

impl Autoencoder {
    /// Loads the one of `layout`.
    ///
    /// # Errors
    /// [`RenderError`], naming the part, the file, the key or the tensors.
    pub fn load(layout: &Layout, device: &Device) -> Result<Self, RenderError> {
        let part = LatentSpace::part(layout);
        let dir = layout.part(part)?;
        Ok(match part {
            Part::PixelSpace => Self::Pixels(PixelSpace::read(dir)?),
            _ => Self::Movq(Movq::load(dir, device)?.1),
        })
    }

    /// Its name in progress messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Movq(_) => "MoVQ",
            Self::Pixels(_) => "pixels",
        }
    }

    /// Pictures `[batch, 3, scale h, scale w]` in -1..1 -> latents `[batch, channels, h, w]`.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Movq(movq) => movq.encode(image),
            Self::Pixels(space) => space.encode(image),
        }
    }

    /// Latents `[batch, channels, h, w]` -> pictures `[batch, 3, scale h, scale w]`, about -1..1.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Movq(movq) => movq.decode(latents),
            Self::Pixels(space) => space.decode(latents),
        }
    }
}
