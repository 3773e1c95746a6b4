//! What a world's small CLIP must be able to tell apart: otherwise no prior that is trained on it can be right.
//!
//! Two questions, of four kinds each, five in worlds with textures. *Zero-shot*: given a caption's z_y, is the true image nearer by cosine than
//! re-rendered ones that are wrong in one way? *Probe*: what does a ridge regression from true z_x read off new images?

mod embed;
mod probes;
mod sizes;
mod thresholds;
mod zero_shot;

use probes::probes;
use zero_shot::zero_shot;

pub use embed::{MeasureError, embed_scenes, embed_texts};
pub use sizes::MeasureSizes;
pub use thresholds::{Threshold, Thresholds};

use crate::data::encode::FrozenClip;
use crate::world::World;

/// Asks both questions of a world's CLIP. Everything drawn comes from `seed`, on streams that training does not use.
///
/// # Errors
/// [`MeasureError`].
pub fn measure(
    world: World,
    clip: &FrozenClip,
    sizes: MeasureSizes,
    seed: u64,
) -> Result<Thresholds, MeasureError> {
    let mut measured = zero_shot(world, clip, sizes.n_captions, seed)?;
    measured.extend(probes(world, clip, sizes, seed)?);
    Ok(Thresholds(measured))
}
