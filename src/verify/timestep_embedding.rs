//! `timestep_embedding`: the sinusoids that tell a network the timestep.

use super::{Computed, Context, Outcome, Tolerance};
use crate::nn::timestep_embedding;

pub(super) fn run(context: &Context) -> Outcome {
    let t: Vec<f64> = context
        .whole_numbers("t")?
        .into_iter()
        .map(|t| t as f64)
        .collect();
    let mut out = Vec::new();
    for name in context.golden().keys() {
        if let Some(dim) = name.strip_prefix("dim") {
            let embedding = timestep_embedding(&t, dim.parse()?, context.device());
            out.push(Computed::tensor(name, embedding, Tolerance::Scaled(1.0)));
        }
    }
    Ok(out)
}
