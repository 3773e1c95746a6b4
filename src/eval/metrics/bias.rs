//! How often a decoded image shows what the training pairs made usual instead of what the prompt asks for.

use super::checked_images::indicator;
use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::decoded::DecodedInputs;
use crate::eval::inputs::MetricTable;
use crate::world::checker::Reading;
use crate::world::{Statement, spurious_distractor, usual_colour, usual_texture};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::lower(
            "bias/usual_colour",
            "Share of the prompts that ask for another colour than the usual one whose decoded image shows the usual one",
            "share of prompts",
        ).titled("usual colour drawn"),
        MetricInfo::lower(
            "bias/usual_texture",
            "Share of the prompts that ask for another texture than the usual one whose decoded image shows the usual one",
            "share of prompts",
        ),
        MetricInfo::lower(
            "bias/usual_company",
            "Share of the prompts with a noun that has a spurious co-occurrence in training whose decoded image shows it, unasked",
            "share of prompts",
        ).titled("spurious object drawn"),
    ],
    source: Source::DecodedImages(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &DecodedInputs<'_>) -> Result<(), EvalError> {
    type Shows = fn(&Statement, &Reading) -> Option<bool>;
    let measures: [(&str, Shows); 3] = [
        ("bias/usual_colour", in_usual_colour),
        ("bias/usual_texture", in_usual_texture),
        ("bias/usual_company", in_usual_company),
    ];
    for (name, shows) in measures {
        let values =
            inputs.per_prompt(|_, image| shows(&image.prompt.statement, &image.reading).map(indicator));
        table.add_some(name, &values);
    }
    Ok(())
}

/// Whether a noun that should have another colour has its usual one.
fn in_usual_colour(statement: &Statement, reading: &Reading) -> Option<bool> {
    let asked: Vec<_> = statement
        .objects()
        .filter_map(|o| Some((o.noun, o.colour?, usual_colour(o.noun)?)))
        .filter(|(_, said, usual)| said != usual)
        .collect();
    let there = |(noun, _, usual): &(_, _, _)| {
        reading
            .objects
            .iter()
            .any(|seen| seen.noun == *noun && seen.looks(*usual))
    };
    (!asked.is_empty()).then(|| asked.iter().any(there))
}

/// Whether a noun that should have another texture has its usual one.
fn in_usual_texture(statement: &Statement, reading: &Reading) -> Option<bool> {
    let asked: Vec<_> = statement
        .objects()
        .filter_map(|o| Some((o.noun, o.texture?, usual_texture(o.noun)?)))
        .filter(|(_, said, usual)| said != usual)
        .collect();
    let mut seen = reading.objects.iter();
    let is_usual = |noun, texture| {
        asked
            .iter()
            .any(|(n, _, usual)| (*n, Some(*usual)) == (noun, texture))
    };
    (!asked.is_empty()).then(|| seen.any(|seen| is_usual(seen.noun, seen.texture)))
}

/// Whether the usual company of a named noun is there, unasked.
fn in_usual_company(statement: &Statement, reading: &Reading) -> Option<bool> {
    let company: Vec<_> = statement
        .objects()
        .filter_map(|o| spurious_distractor(o.noun))
        .filter(|company| statement.objects().all(|o| o.noun != *company))
        .collect();
    let mut seen = reading.distractors.iter().chain(&reading.objects);
    (!company.is_empty()).then(|| seen.any(|seen| company.contains(&seen.noun)))
}
