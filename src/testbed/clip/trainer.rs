//! The network and the criterion of a small CLIP's training.

use burn::module::Module;
use burn::prelude::*;

use super::batch::ClipBatch;
use super::heads::Heads;
use super::recipe::ClipRecipe;
use super::start;
use crate::models::clip::Clip;
use crate::noise::{Noise, Stream};
use crate::objective::clip::truth_contrastive;
use crate::train::micro_batches::{Batch, Values};
use crate::train::trainer::{Criterion, Trainer, UpdateOptions};
use crate::world::World;

/// A small CLIP in training.
pub type ClipTrainer = Trainer<ClipNetwork, ClipCriterion>;

/// CLIP and its training heads.
#[derive(Module, Debug)]
pub struct ClipNetwork {
    /// The model that is published.
    pub clip: Clip,
    /// Training aids, which are dropped in the end.
    pub heads: Heads,
}

/// The sum of a contrastive loss that knows which captions are true, and the losses of the heads.
#[derive(Debug, Clone, Copy)]
pub struct ClipCriterion;

impl Batch for ClipBatch {
    fn device(&self) -> Device {
        self.pixels.device()
    }

    fn n_examples(&self) -> usize {
        self.pixels.dims()[0]
    }
}

impl Criterion<ClipNetwork> for ClipCriterion {
    type Batch = ClipBatch;

    fn values(&self, network: &ClipNetwork, batch: ClipBatch) -> Values {
        let ClipNetwork { clip, heads } = network;
        let vision = clip.vision.forward(batch.pixels.clone());
        let z_y = clip.text.forward(batch.ids.clone(), None).z_y;
        let contrastive = truth_contrastive(vision.z_x.clone(), z_y.clone(), &batch.truth, clip.scale());
        let image = heads.image(vision.z_x, &batch.image_facts);
        let caption = heads.caption(z_y, &batch.caption_facts);
        let patch = heads.patches(vision.penultimate_hidden_state, &batch.patches);
        let total = contrastive.clone() + image.clone() + caption.clone() + patch.clone();
        vec![
            ("loss", total),
            ("loss/contrastive", contrastive),
            ("loss/picture", image),
            ("loss/caption", caption),
            ("loss/patch", patch),
            ("logit_scale", clip.scale()),
        ]
    }
}

impl ClipRecipe {
    /// The trainer of a new model on `device` (with autodiff), with initial weights drawn from the recipe's seed.
    pub fn trainer(&self, world: World, n_vocab: usize, device: &Device) -> ClipTrainer {
        let new = || ClipNetwork {
            clip: self.model(world, n_vocab).init(device),
            heads: Heads::new(world, self.d_clip, self.d_model, device),
        };
        let grid = self.image_size / self.patch_size;
        let mut noise = Noise::of(self.seed, Stream::PretrainWeights);
        let update = UpdateOptions {
            grad_clip: Some(self.grad_clip),
            ..UpdateOptions::default()
        };
        Trainer::new(
            start::start_values(new(), grid, &mut noise),
            ClipCriterion,
            update,
            new,
        )
    }
}
