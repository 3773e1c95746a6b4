//! Training heads: linear maps that say what an embedding or a patch shows.

use std::ops::Range;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, softplus};

use super::targets::FactTargets;
use crate::objective::normalize;
use crate::testbed::cells::{self, CellTargets, cross_entropy};
use crate::testbed::facts::n_facts;
use crate::world::World;

/// The heads; not part of the finished model.
#[derive(Module, Debug)]
pub struct Heads {
    /// Facts from z_x, `[d_clip, n_facts]`.
    pub(super) image_facts: Linear,
    /// Facts from z_y, `[d_clip, n_facts]`.
    pub(super) caption_facts: Linear,
    /// Noun or ground, from a patch, `[d_model, 1 + n_nouns]`.
    pub(super) patch_noun: Linear,
    /// Colour, own colouring or ground, from a patch, `[d_model, 2 + N_COLOURS]`.
    pub(super) patch_colour: Linear,
    /// Texture or ground, from a patch, in worlds with textures, `[d_model, 1 + n_textures]`.
    pub(super) patch_texture: Option<Linear>,
}

impl Heads {
    /// Heads with Burn's own (lazy) initial values.
    pub fn new(world: World, d_clip: usize, d_model: usize, device: &Device) -> Self {
        let linear = |d_in, d_out| LinearConfig::new(d_in, d_out).init(device);
        Self {
            image_facts: linear(d_clip, n_facts(world)),
            caption_facts: linear(d_clip, n_facts(world)),
            patch_noun: linear(d_model, cells::n_nouns(world)),
            patch_colour: linear(d_model, cells::N_COLOURS),
            patch_texture: cells::n_textures(world).map(|n| linear(d_model, n)),
        }
    }

    /// The loss of reading images' facts from z_x, `[1]`.
    pub fn image(&self, z_x: Tensor<2>, targets: &FactTargets) -> Tensor<1> {
        facts_loss(&self.image_facts, z_x, targets)
    }

    /// The loss of reading captions' facts from z_y, `[1]`.
    pub fn caption(&self, z_y: Tensor<2>, targets: &FactTargets) -> Tensor<1> {
        facts_loss(&self.caption_facts, z_y, targets)
    }

    /// The loss of reading what covers each patch from hidden states `[batch, 1 + n_patches, d_model]`, class token first: `[1]`.
    pub fn patches(&self, hidden: Tensor<3>, targets: &CellTargets) -> Tensor<1> {
        let [n, seq, d_model] = hidden.dims();
        let patches = hidden.slice([0..n, 1..seq]).reshape([n * (seq - 1), d_model]);
        let loss = cross_entropy(&self.patch_noun, patches.clone(), &targets.noun)
            + cross_entropy(&self.patch_colour, patches.clone(), &targets.colour);
        match (&self.patch_texture, &targets.texture) {
            (Some(head), Some(target)) => loss + cross_entropy(head, patches, target),
            _ => loss,
        }
    }
}

/// Cosine geometry: z is scaled to root mean square 1 first, so that the head reads directions, as every later use of z does.
fn facts_loss(head: &Linear, z: Tensor<2>, targets: &FactTargets) -> Tensor<1> {
    let [rows, d_clip] = z.dims();
    let logits = head.forward(normalize(z).mul_scalar((d_clip as f64).sqrt()));
    let numbers = targets.numbers;
    let binary =
        (softplus(logits.clone(), 1.0) - logits.clone() * targets.holds.clone()) * targets.weight.clone();
    let choice = |block: Range<usize>, target: &Tensor<2>| {
        let n_options = target.dims()[1];
        let block = logits.clone().slice([0..rows, block]);
        let options = block.reshape([rows * numbers.n_nouns(), n_options]);
        (log_softmax(options, 1) * target.clone()).sum().neg()
    };
    let colours = choice(numbers.block_of_colours(), &targets.colour);
    let sides = choice(numbers.block_of_sides(), &targets.side);
    let all = binary.sum() + colours + sides;
    match &targets.texture {
        Some(texture) => all + choice(numbers.block_of_textures(), texture),
        None => all,
    }
}
