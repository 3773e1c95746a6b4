//! `spatial2d`: T2I-CompBench's spatial score, against its own script: positions of two boxes, images of the simple and of the complex kind.

use std::path::Path;

use serde::Deserialize;

use super::distances::Failed;
use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::eval::compbench::Category;
use crate::eval::compbench::detections::labels;
use crate::eval::compbench::objects::objects;
use crate::eval::compbench::spatial::{Detection, Mends, RELATIONS, Rect, Relation, score};
use crate::eval::image_folder;

/// Both sides compute in f64 with the same operations; reading decimals may be off by the last digit.
const ROUNDING: Tolerance = Tolerance::Reach(1e-12);

#[derive(Deserialize)]
struct Position {
    locality: Option<String>,
    box1: [f64; 4],
    box2: [f64; 4],
}

#[derive(Deserialize)]
struct Case {
    prompt: String,
    locality: Option<String>,
    obj1: Option<String>,
    obj2: Option<String>,
    detections: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    label: String,
    #[serde(rename = "box")]
    rect: [f64; 4],
    score: f64,
}

/// A key of the golden that holds what was computed, compared as a whole.
fn same<T: PartialEq + std::fmt::Debug>(key: &str, expected: &T, computed: &T) -> Result<(), Failed> {
    match expected == computed {
        true => Ok(()),
        false => Err(format!("{key}: {expected:?} there, {computed:?} computed").into()),
    }
}

fn number(name: String, value: f64, tolerance: Tolerance) -> Computed {
    Computed::new(name, Array::f64([], vec![value]), tolerance)
}

/// Every position, every image, both means.
pub(super) fn spatial(context: &Context) -> Outcome {
    let none = Mends::new();
    let known: Vec<String> = labels().iter().map(|label| (*label).to_owned()).collect();
    same("labels", &context.info_as("labels")?, &known)?;
    let words = RELATIONS.map(|(words, _)| words.to_owned()).to_vec();
    same(
        "relation_words_in_matching_order",
        &context.info_as("relation_words_in_matching_order")?,
        &words,
    )?;
    // What was found in an image is an input.
    let inputs = [".box1.", ".box2.", ".detections."];
    let golden = context
        .golden()
        .keys()
        .filter(|name| inputs.iter().any(|part| name.contains(part)));
    golden.for_each(|name| context.set_aside(name));

    let mut computed = Vec::new();
    let positions: Vec<Position> = context.info_as("determine_position")?;
    for (i, position) in positions.iter().enumerate() {
        let relation = position
            .locality
            .as_deref()
            .and_then(|words| Relation::of(words, &none));
        let score = relation.map_or(0.0, |(_, relation)| {
            relation.score(&Rect(position.box1), &Rect(position.box2), &none)
        });
        computed.push(number(format!("determine_position.{i}.score"), score, ROUNDING));
    }
    for (key, average, category) in [
        ("cases", "average_text", None),
        ("complex_cases", "complex_average_text", Some(Category::Complex)),
    ] {
        let cases: Vec<Case> = context.info_as(key)?;
        let mut sum = 0.0;
        for (i, case) in cases.iter().enumerate() {
            let words = Relation::of(&case.prompt, &none).map(|(words, _)| words.to_owned());
            same(&format!("{key}.{i}.locality"), &case.locality, &words)?;
            let expected = case
                .obj1
                .clone()
                .zip(case.obj2.clone())
                .map(|(first, second)| [first, second]);
            let named = objects(&case.prompt, category, &none).names;
            same(
                &format!("{key}.{i}: objects of {:?}", case.prompt),
                &expected,
                &named,
            )?;
            let found: Vec<Detection> = case.detections.iter().map(Found::detection).collect();
            let named = named
                .as_ref()
                .map(|[first, second]| [first.as_str(), second.as_str()]);
            let score = score(&case.prompt, named, &found, &none);
            sum += score;
            computed.push(number(format!("{key}.{i}.score"), score, ROUNDING));
            let id = format!("{key}.{i}.question_id");
            if context.golden().contains_key(&id) {
                let file = format!("{}_{i:06}.png", case.prompt);
                let index = image_folder::index(Path::new(&file)).ok_or("no index in the file's name")?;
                computed.push(number(id, index as f64, Tolerance::Exact));
            }
        }
        let told: String = context.info_as(average)?;
        let expected: f64 = told.trim_start_matches("score avg:").parse()?;
        let mean = sum / cases.len() as f64;
        if (expected - mean).abs() > 1e-12 {
            return Err(format!("{average}: {expected} there, {mean} computed").into());
        }
    }
    Ok(computed)
}

impl Found {
    fn detection(&self) -> Detection {
        Detection {
            label: self.label.clone(),
            rect: Rect(self.rect),
            confidence: self.score,
        }
    }
}
