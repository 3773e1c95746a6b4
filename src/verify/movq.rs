//! `movq`: latents to images, as they are and by their nearest codes; images to latents and back.

use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::models::movq::Movq;

pub(super) fn run(context: &Context) -> Outcome {
    let (_, movq) = Movq::load(&context.folder_named("movq")?, context.device())?;
    let latents = context.float::<4>("in.latents")?;
    let decoded = movq.decode(latents.clone());
    let decoded_quantized = movq.decode(movq.quantize(latents).0);
    let encoded = movq.encode(context.float("in.image")?);
    // In half precision, of the reference's latents: rounding decides between codes that are as near.
    let latents = match context.is_f32() {
        true => encoded.clone(),
        false => context.float("out.encoded")?,
    };
    let (quantized, indices) = movq.quantize(latents);
    let recon = movq.decode(quantized.clone());
    let indices: Vec<i64> = indices.into_data().iter::<i64>().collect();
    let indices = Array::i64([indices.len()], indices);
    Ok(vec![
        Computed::tensor("out.decoded", decoded, Tolerance::Float),
        Computed::tensor("out.decoded_quantized", decoded_quantized, Tolerance::Float),
        Computed::tensor("out.encoded", encoded, Tolerance::Float),
        Computed::tensor("out.quantized", quantized, Tolerance::Float),
        Computed::new("out.indices", indices, Tolerance::Exact),
        Computed::tensor("out.recon", recon, Tolerance::Float),
    ])
}
