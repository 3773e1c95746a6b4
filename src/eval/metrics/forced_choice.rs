//! Forced choice: is the prediction nearer to the true image than to images that are wrong in one way?

use super::family::{Family, Source};
use super::info::{Direction, MetricInfo};
use crate::eval::EvalError;
use crate::eval::evaluate::{Inputs, MetricTable};
use crate::eval::forced_choice::{Kind, Outcomes, forced_choice};

pub(super) const FAMILY: Family = Family {
    rows: &[
        choice(
            "forced_choice/object",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another noun",
        ),
        choice(
            "forced_choice/colour",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another colour",
        ),
        choice(
            "forced_choice/texture",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another texture",
        ),
        choice(
            "forced_choice/binding",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with the colours or textures of its two objects swapped",
        ),
        choice(
            "forced_choice/relation",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with another relation between its two objects",
        ),
        choice(
            "forced_choice/bystander",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with something that the prompt does not mention, more or less",
        ),
        choice(
            "forced_choice/all",
            "Share of prompts whose prediction is nearer, by cosine, to the true image than to every image with one thing wrong of any kind",
        ),
        margin(
            "margin/object",
            "Cosine of the prediction and the true image minus the largest to an image with another noun",
        ),
        margin(
            "margin/colour",
            "Cosine of the prediction and the true image minus the largest to an image with another colour",
        ),
        margin(
            "margin/texture",
            "Cosine of the prediction and the true image minus the largest to an image with another texture",
        ),
        margin(
            "margin/binding",
            "Cosine of the prediction and the true image minus the largest to an image with the colours or textures of its two objects swapped",
        ),
        margin(
            "margin/relation",
            "Cosine of the prediction and the true image minus the largest to an image with another relation between its two objects",
        ),
        margin(
            "margin/bystander",
            "Cosine of the prediction and the true image minus the largest to an image with something that the prompt does not mention, more or less",
        ),
        margin(
            "margin/all",
            "Cosine of the prediction and the true image minus the largest to an image with one thing wrong of any kind",
        ),
    ],
    source: Source::Embeddings(add),
};

const fn choice(name: &'static str, meaning: &'static str) -> MetricInfo {
    MetricInfo {
        name,
        meaning,
        unit: "share of prompts",
        better: Direction::Higher,
        decimals: 3,
    }
}

const fn margin(name: &'static str, meaning: &'static str) -> MetricInfo {
    MetricInfo {
        unit: "cosine difference",
        ..choice(name, meaning)
    }
}

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
            let of =
                |o: &Outcomes| kind.map_or_else(|| o.margins_all(), |k| o.margins(k));
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
