//! What the checker of a world finds in the images that a decoder makes of predictions.
//!
//! A metric is over the prompts that ask for it. What is not there has no colour and stands nowhere: an absent object costs its colour and the relation.

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::decoded::DecodedInputs;
use crate::eval::inputs::MetricTable;
use crate::world::Category;
use crate::world::checker::{Verdict, verdict};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::higher(
            "picture/object",
            "Share of the named objects that the checker finds in the decoded image",
            "share of objects",
        ).titled("objects drawn"),
        MetricInfo::higher(
            "picture/colour",
            "Share of the named colours that the checker finds on their objects in the decoded image",
            "share of colours",
        ).titled("colours drawn"),
        MetricInfo::higher(
            "picture/texture",
            "Share of the named textures that the checker finds on their objects in the decoded image",
            "share of textures",
        ).titled("textures drawn"),
        MetricInfo::higher(
            "picture/binding",
            "Share of the prompts with two painted objects whose decoded image shows both colours or textures on their own objects",
            "share of prompts",
        ).titled("attributes on their objects"),
        MetricInfo::higher(
            "picture/relation",
            "Share of the prompts with a relation whose decoded image shows both objects in it",
            "share of prompts",
        ).titled("relations drawn"),
        MetricInfo::higher(
            "picture/all",
            "Share of prompts whose decoded image shows everything that they ask for",
            "share of prompts",
        ).titled("images right"),
        MetricInfo::higher(
            "compbench/colour",
            "picture/all on prompts of two painted objects: the column Colour of T2I-CompBench",
            "share of prompts",
        ).titled("CompBench colour"),
        MetricInfo::higher(
            "compbench/shape",
            "picture/all on prompts about shapes: the column Shape of T2I-CompBench",
            "share of prompts",
        ).titled("CompBench shape"),
        MetricInfo::higher(
            "compbench/texture",
            "picture/all on prompts of two textured objects: the column Texture of T2I-CompBench",
            "share of prompts",
        ).titled("CompBench texture"),
        MetricInfo::higher(
            "compbench/spatial",
            "picture/all on prompts with a relation: the column Spatial of T2I-CompBench",
            "share of prompts",
        ).titled("CompBench spatial"),
    ],
    source: Source::DecodedImages(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &DecodedInputs<'_>) -> Result<(), EvalError> {
    let verdicts: Vec<Verdict> = inputs
        .images
        .iter()
        .map(|image| verdict(&image.prompt.statement, &image.reading))
        .collect();
    for (name, values) in shares(&verdicts) {
        table.add_some(
            &format!("picture/{name}"),
            &inputs.per_prompt(|row, _| values[row]),
        );
    }
    let all = |row: usize| indicator(verdicts[row].all());
    for category in Category::ALL {
        let values = inputs.per_prompt(|row, image| (image.prompt.category == category).then(|| all(row)));
        table.add_some(&format!("compbench/{}", category.name()), &values);
    }
    Ok(())
}

type Part = fn(&Verdict) -> Option<f64>;

/// The parts of a verdict that have a metric of their own: the name, and the share that is right, where the prompt asks for it.
const PARTS: [(&str, Part); 5] = [
    ("object", |v| share(v.objects.iter().map(|o| Some(o.object)))),
    ("colour", |v| share(v.objects.iter().map(|o| o.colour))),
    ("texture", |v| share(v.objects.iter().map(|o| o.texture))),
    ("binding", |v| v.binding.map(indicator)),
    ("relation", |v| v.relation.map(indicator)),
];

/// The share that shows everything.
pub(super) const ALL: &str = "all";

/// Each part of the verdicts by name, and [`ALL`]: for each image the share that is right; `None` where its prompt does not ask for the part.
pub(super) fn shares(verdicts: &[Verdict]) -> Vec<(&'static str, Vec<Option<f64>>)> {
    let all: Part = |verdict| Some(indicator(verdict.all()));
    let named = PARTS.into_iter().chain([(ALL, all)]);
    named
        .map(|(name, of)| (name, verdicts.iter().map(of).collect()))
        .collect()
}

/// What the checker looked for, in the order of the table above: whether all of it is there.
pub fn findings(verdict: &Verdict) -> Vec<(&'static str, bool)> {
    let asked = PARTS.iter().filter_map(|(name, of)| Some((*name, of(verdict)?)));
    asked.map(|(name, share)| (name, share == 1.0)).collect()
}

/// The share that is right of what is asked.
fn share(asked: impl Iterator<Item = Option<bool>>) -> Option<f64> {
    let asked: Vec<f64> = asked.flatten().map(indicator).collect();
    (!asked.is_empty()).then(|| asked.iter().sum::<f64>() / asked.len() as f64)
}

/// 1 for what is right, else 0.
pub(super) fn indicator(right: bool) -> f64 {
    f64::from(u8::from(right))
}
