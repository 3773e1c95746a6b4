//! `text_proj`: what Karlo's decoder reads, with and without guidance.

use super::{Computed, Context, Outcome, Tolerance};
use crate::models::text_proj::TextProj;

pub(super) fn run(context: &Context) -> Outcome {
    let (_, text_proj) = TextProj::load(&context.folder_named("text_proj")?, context.device())?;
    let z_x = context.float::<2>("in.image_embeddings")?;
    let z_y = context.float::<2>("in.prompt_embeds")?;
    let tokens = context.float::<3>("in.text_encoder_hidden_states")?;
    // The second half is the conditional one.
    let (batch, rows) = (z_x.dims()[0], z_y.dims()[0]);
    let (z_y_half, tokens_half) = (
        z_y.clone().narrow(0, batch, rows - batch),
        tokens.clone().narrow(0, batch, rows - batch),
    );
    let (hidden_cfg, time_cfg) = text_proj.forward(z_x.clone(), z_y, tokens, true);
    let (hidden_plain, time_plain) = text_proj.forward(z_x, z_y_half, tokens_half, false);
    Ok(vec![
        Computed::tensor("out.hidden_cfg", hidden_cfg, Tolerance::Float),
        Computed::tensor("out.time_cfg", time_cfg, Tolerance::Float),
        Computed::tensor("out.hidden_plain", hidden_plain, Tolerance::Float),
        Computed::tensor("out.time_plain", time_plain, Tolerance::Float),
    ])
}
