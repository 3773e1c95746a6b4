//! How near a prediction is to the true image embedding and to texts.

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::embedding::{cosines, cosines_to_others, normalised_errors};
use crate::eval::inputs::{Inputs, MetricTable};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::higher(
            "cos/z_x",
            "Cosine of the predicted and the true image embedding",
            "cosine",
        ).titled("cosine to z_x"),
        MetricInfo::lower(
            "nmse",
            "Squared error of the predicted image embedding, relative to the variance of true ones: 1 for predicting their mean",
            "ratio",
        ),
        MetricInfo::neither(
            "cos/z_y",
            "Cosine of the predicted image embedding and its own prompt's text embedding; cos/reference is what true images have",
            "cosine",
        ).titled("cosine to z_y"),
        MetricInfo::neither(
            "cos/reference",
            "Cosine of the true image embedding and its own prompt's text embedding: a property of the CLIP, the same for every prior",
            "cosine",
        ),
        MetricInfo::lower(
            "cos/other_z_y",
            "Mean cosine of the predicted image embedding and the text embeddings of other prompts",
            "cosine",
        ),
    ],
    source: Source::Embeddings(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &Inputs<'_>) -> Result<(), EvalError> {
    let Inputs { z_x, z_y, .. } = *inputs;
    table.add("cos/z_x", &inputs.mean_over_seeds(|p| cosines(p, z_x))?);
    table.add("nmse", &inputs.mean_over_seeds(|p| normalised_errors(p, z_x))?);
    table.add("cos/z_y", &inputs.mean_over_seeds(|p| cosines(p, z_y))?);
    table.add("cos/reference", &cosines(z_x, z_y)?);
    table.add(
        "cos/other_z_y",
        &inputs.mean_over_seeds(|p| cosines_to_others(p, z_y))?,
    );
    Ok(())
}
