//! Whether a prediction finds its true image and its prompt by cosine.

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::embedding::retrieval_ranks;
use crate::eval::inputs::{Inputs, MetricTable, mean_over_seeds};

/// Ranks up to which retrieval counts.
const RECALL_AT: [usize; 3] = [1, 5, 10];

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::higher(
            "retrieval/image_r1",
            "Share of predictions that find its true image among the true images of all prompts at rank 1",
            "share of prompts",
        ),
        MetricInfo::higher(
            "retrieval/image_r5",
            "Share of predictions that find its true image among the true images of all prompts at rank 5 or better",
            "share of prompts",
        ),
        MetricInfo::higher(
            "retrieval/image_r10",
            "Share of predictions that find its true image among the true images of all prompts at rank 10 or better",
            "share of prompts",
        ),
        MetricInfo::higher(
            "retrieval/caption_r1",
            "Share of predictions that find its own prompt among the texts of all prompts at rank 1",
            "share of prompts",
        ),
        MetricInfo::higher(
            "retrieval/caption_r5",
            "Share of predictions that find its own prompt among the texts of all prompts at rank 5 or better",
            "share of prompts",
        ),
        MetricInfo::higher(
            "retrieval/caption_r10",
            "Share of predictions that find its own prompt among the texts of all prompts at rank 10 or better",
            "share of prompts",
        ),
    ],
    source: Source::Embeddings(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &Inputs<'_>) -> Result<(), EvalError> {
    for (name, gallery) in [("image", inputs.z_x), ("caption", inputs.z_y)] {
        let ranks: Vec<Vec<usize>> = inputs
            .z_x_hat
            .iter()
            .map(|p| retrieval_ranks(p, gallery))
            .collect::<Result<_, _>>()?;
        for k in RECALL_AT {
            let hit = |rank: &usize| f64::from(u8::from(*rank <= k));
            let hits: Vec<Vec<f64>> = ranks.iter().map(|r| r.iter().map(hit).collect()).collect();
            table.add(&format!("retrieval/{name}_r{k}"), &mean_over_seeds(&hits));
        }
    }
    Ok(())
}
