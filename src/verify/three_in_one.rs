//! `three_in_one`: the score of T2I-CompBench's complex category, against its own script.

use super::distances::scalar;
use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::eval::compbench::Category;
use crate::eval::compbench::three_in_one::Kind;

/// The kind of every prompt, the score of every image, their mean.
pub(super) fn three_in_one(context: &Context) -> Outcome {
    let prompts = Category::Complex.prompts();
    let kinds: Vec<Kind> = prompts.iter().map(|prompt| Kind::of(prompt)).collect();
    let [attributes, spatial, clip] = ["in.attribute", "in.spatial", "in.clip"].map(|name| {
        let values = context.input(name)?;
        Ok::<_, super::FixtureError>(values.to_f64())
    });
    let (attributes, spatial, clip) = (attributes?, spatial?, clip?);
    let each = attributes.len() / kinds.len();
    let total: Vec<f64> = (0..attributes.len())
        .map(|i| kinds[i / each].combine(attributes[i], spatial[i], clip[i]))
        .collect();
    let mean = total.iter().sum::<f64>() / total.len() as f64;
    let numbers = kinds.iter().map(|kind| match kind {
        Kind::Spatial => 0,
        Kind::Action => 1,
        Kind::Both => 2,
    });
    Ok(vec![
        Computed::new(
            "out.kind_of_prompt",
            Array::i64([kinds.len()], numbers.collect()),
            Tolerance::Exact,
        ),
        Computed::new("out.total", Array::f64([total.len()], total), Tolerance::Exact),
        scalar("average", mean, 1e-12),
    ])
}
