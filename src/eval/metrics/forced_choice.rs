//! Forced choice: is the prediction nearer to the true image than to images that are wrong in one way?

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::forced_choice::{Kind, Outcomes, forced_choice};
use crate::eval::inputs::{Inputs, MetricTable};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::higher(
            "forced_choice/object",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another noun",
            "share of prompts",
        ).titled("objects right"),
        MetricInfo::higher(
            "forced_choice/colour",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another colour",
            "share of prompts",
        ).titled("colours right"),
        MetricInfo::higher(
            "forced_choice/texture",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another texture",
            "share of prompts",
        ).titled("textures right"),
        MetricInfo::higher(
            "forced_choice/binding",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with the colours or textures of its two objects swapped",
            "share of prompts",
        ).titled("binding right"),
        MetricInfo::higher(
            "forced_choice/relation",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another relation between its two objects",
            "share of prompts",
        ).titled("relations right"),
        MetricInfo::higher(
            "forced_choice/bystander",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with something that the prompt does not mention, more or less",
            "share of prompts",
        ),
        MetricInfo::higher(
            "forced_choice/all",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with one thing wrong of any kind",
            "share of prompts",
        ).titled("embeddings right"),
        MetricInfo::higher(
            "margin/object",
            "Cosine of the prediction and the true image minus the largest to an image with another noun",
            "cosine difference",
        ),
        MetricInfo::higher(
            "margin/colour",
            "Cosine of the prediction and the true image minus the largest to an image with another colour",
            "cosine difference",
        ),
        MetricInfo::higher(
            "margin/texture",
            "Cosine of the prediction and the true image minus the largest to an image with another texture",
            "cosine difference",
        ),
        MetricInfo::higher(
            "margin/binding",
            "Cosine of the prediction and the true image minus the largest to an image with the colours or textures of its two objects swapped",
            "cosine difference",
        ),
        MetricInfo::higher(
            "margin/relation",
            "Cosine of the prediction and the true image minus the largest to an image with another relation between its two objects",
            "cosine difference",
        ),
        MetricInfo::higher(
            "margin/bystander",
            "Cosine of the prediction and the true image minus the largest to an image with something that the prompt does not mention, more or less",
            "cosine difference",
        ),
        MetricInfo::higher(
            "margin/all",
            "Cosine of the prediction and the true image minus the largest to an image with one thing wrong of any kind",
            "cosine difference",
        ),
    ],
    source: Source::Embeddings(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &Inputs<'_>) -> Result<(), EvalError> {
    let Some(candidates) = inputs.candidates else {
        return Ok(());
    };
    let outcomes = inputs
        .z_x_hat
        .iter()
        .map(|p| forced_choice(p, candidates))
        .collect::<Result<Vec<_>, _>>()?;
    let names = Kind::ALL
        .map(|k| (Some(k), k.name()))
        .into_iter()
        .chain([(None, "all")]);
    let margins: Vec<(&str, Vec<Vec<Option<f64>>>)> = names
        .map(|(kind, name)| {
            let of = |o: &Outcomes| kind.map_or_else(|| o.margins_all(), |k| o.margins(k));
            (name, outcomes.iter().map(of).collect())
        })
        .collect();
    let right = |margin: f64| f64::from(u8::from(margin > 0.0));
    for (name, margins) in &margins {
        table.add_some(&format!("forced_choice/{name}"), &mean_of_asked(margins, right));
    }
    for (name, margins) in &margins {
        table.add_some(
            &format!("margin/{name}"),
            &mean_of_asked(margins, |margin| margin),
        );
    }
    Ok(())
}

/// Per prompt, the mean over noise seeds of `score(margin)`, where there is a margin; whether there is does not depend on the seed.
fn mean_of_asked(margins: &[Vec<Option<f64>>], score: impl Fn(f64) -> f64) -> Vec<Option<f64>> {
    let mean = |i: usize| {
        let scores: Option<Vec<f64>> = margins.iter().map(|m| m[i].map(&score)).collect();
        scores.map(|s| s.iter().sum::<f64>() / s.len() as f64)
    };
    (0..margins[0].len()).map(mean).collect()
}
