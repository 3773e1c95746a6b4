//! `clip_text*` and `clip_vision`: both towers, by the fixture's own checkpoints.

use burn::prelude::*;

use super::{Computed, Context, Outcome, Tolerance};
use crate::models::clip::{ClipText, ImageEncoder};
use crate::nn::Activation;
use crate::weights::Checkpoint;

/// `clip_text` with the fixture's config; its variants use the same weights with another activation and pooling rule, which their `info`
/// names.
pub(super) fn text(context: &Context) -> Outcome {
    let dir = context.folder_named("text_encoder")?;
    let (mut config, _) = ClipText::load(&dir, context.device())?;
    config.hidden_act = context.info_as::<Activation>("hidden_act")?;
    config.eos_token_id = context.info_as("eos_token_id")?;
    let tower = ClipText::from_checkpoint(&config, &Checkpoint::open(&dir)?, &[], context.device())?;

    let ids: Tensor<2, Int> = context.int("in.input_ids")?;
    let mask: Tensor<2, Int> = context.int("in.attention_mask")?;
    let plain = tower.forward(ids.clone(), None);
    let masked = tower.forward(ids, Some(mask.float()));
    let padded_0 = tower.forward(context.int("in.input_ids_pad0")?, None);
    Ok(vec![
        Computed::tensor("out.embeddings", plain.embeddings, Tolerance::Float),
        Computed::tensor(
            "out.penultimate_hidden_state",
            plain.penultimate_hidden_state,
            Tolerance::Float,
        ),
        Computed::tensor("out.last_hidden_state", plain.last_hidden_state, Tolerance::Float),
        Computed::tensor("out.pooled", plain.pooled, Tolerance::Float),
        Computed::tensor("out.text_embeds", plain.z_y, Tolerance::Float),
        Computed::tensor("out.text_embeds_attention_mask", masked.z_y, Tolerance::Float),
        Computed::tensor("out.text_embeds_pad0", padded_0.z_y, Tolerance::Float),
    ])
}

/// The vision tower on preprocessed images and on the all-zero one.
pub(super) fn vision(context: &Context) -> Outcome {
    let encoder = ImageEncoder::load(&context.folder_named("image_encoder")?, context.device())?;
    let output = encoder.tower().forward(context.float("in.pixel_values")?);
    Ok(vec![
        Computed::tensor(
            "out.last_hidden_state",
            output.last_hidden_state,
            Tolerance::Float,
        ),
        Computed::tensor("out.image_embeds", output.z_x, Tolerance::Float),
        Computed::tensor("out.zero_image_embeds", encoder.zero_image(), Tolerance::Float),
    ])
}
