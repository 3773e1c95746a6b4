//! What the frozen CLIP sees in the images that a decoder makes of predictions.

use super::distribution::add_frechet;
use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::decoded::DecodedInputs;
use crate::eval::embedding::cosines;
use crate::eval::inputs::{MetricTable, Split};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::higher(
            "picture/clip_score",
            "Cosine of the decoded image's embedding and its prompt's text embedding by the frozen CLIP",
            "cosine",
        ).titled("CLIP score of images"),
        MetricInfo::higher(
            "picture/cos/z_x_hat",
            "Cosine of the decoded image's embedding and the prediction that it was decoded from: what the decoder kept",
            "cosine",
        ),
        MetricInfo::lower(
            "picture/frechet",
            "Frechet distance between the distributions of decoded and true images' embeddings",
            "squared distance",
        ),
        MetricInfo::lower(
            "picture/frechet_relative",
            "Frechet distance between the distributions of decoded and true images' embeddings, divided by the variance of the true ones",
            "ratio",
        ).titled("Frechet distance of images"),
    ],
    source: Source::DecodedImages(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &DecodedInputs<'_>) -> Result<(), EvalError> {
    let scores = cosines(inputs.z_decoded, inputs.z_y)?;
    table.add_some(
        "picture/clip_score",
        &inputs.per_prompt(|row, _| Some(scores[row])),
    );
    let kept = cosines(inputs.z_decoded, inputs.z_x_hat)?;
    table.add_some(
        "picture/cos/z_x_hat",
        &inputs.per_prompt(|row, _| Some(kept[row])),
    );
    let splits: Vec<Split> = inputs
        .images
        .iter()
        .map(|image| inputs.splits[image.place])
        .collect();
    let mut distances = MetricTable::new(splits.len(), &splits);
    add_frechet(
        &mut distances,
        "picture/",
        std::slice::from_ref(inputs.z_decoded),
        inputs.z_x,
    )?;
    table.append(distances);
    Ok(())
}
