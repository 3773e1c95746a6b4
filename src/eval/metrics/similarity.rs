//! How near a prediction is to the true image embedding and to texts.

use super::family::{Family, Source};
use super::info::Direction::{Higher, Lower, Neither};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::embedding::{cosines, cosines_to_others, normalised_errors};
use crate::eval::evaluate::{Inputs, MetricTable};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo {
            name: "cos/z_x",
            meaning: "Cosine of the predicted and the true image embedding",
            unit: "cosine",
            better: Higher,
            decimals: 3,
        },
        MetricInfo {
            name: "nmse",
            meaning: "Squared error of the predicted image embedding, relative to the variance of true ones: 1 for predicting their mean",
            unit: "ratio",
            better: Lower,
            decimals: 3,
        },
        MetricInfo {
            name: "cos/z_y",
            meaning: "Cosine of the predicted image embedding and its own prompt's text embedding; cos/reference is what true images have",
            unit: "cosine",
            better: Neither,
            decimals: 3,
        },
        MetricInfo {
            name: "cos/reference",
            meaning: "Cosine of the true image embedding and its own prompt's text embedding: a property of the CLIP, the same for every prior",
            unit: "cosine",
            better: Neither,
            decimals: 3,
        },
        MetricInfo {
            name: "cos/other_z_y",
            meaning: "Mean cosine of the predicted image embedding and the text embeddings of other prompts",
            unit: "cosine",
            better: Lower,
            decimals: 3,
        },
    ],
    source: Source::Embeddings(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &Inputs<'_>) -> Result<(), EvalError> {
    let Inputs { z_x, z_y, .. } = *inputs;
    table.add("cos/z_x", &inputs.mean_over_seeds(|p| cosines(p, z_x))?);
    table.add("nmse", &inputs.mean_over_seeds(|p| normalised_errors(p, z_x))?);
    table.add("cos/z_y", &inputs.mean_over_seeds(|p| cosines(p, z_y))?);
    table.add("cos/reference", &cosines(z_x, z_y)?);
    table.add("cos/other_z_y", &inputs.mean_over_seeds(|p| cosines_to_others(p, z_y))?);
    Ok(())
}
