//! The rows of the table against what is computed, and the measures of decoded images.

use std::collections::BTreeSet;

use super::*;
use crate::eval::embedding::ModalityGap;
use crate::eval::forced_choice::{Candidates, Kind};
use crate::eval::{CheckedImage, Embeddings, Split};
use crate::noise::Noise;
use crate::world::checker::Checker;
use crate::world::{World, realise};

const D: usize = 8;

fn rows(seed: u64, n: usize) -> Embeddings {
    Embeddings::new(n, D, Noise::new(seed).normal_vec(n * D)).expect("finite")
}

/// Every 17th test prompt with the image of the prompt `shift` places further.
fn read(world: World, shift: usize) -> (Vec<Split>, Vec<CheckedImage>) {
    let (checker, mut noise) = (Checker::new(world), Noise::new(4));
    let prompts = world.test_prompts();
    let splits = prompts.iter().map(|p| p.split).collect();
    let drawn = (0..prompts.len()).step_by(17).map(|place| {
        let shown = &prompts[(place + shift) % prompts.len()].statement;
        CheckedImage {
            place,
            prompt: prompts[place].clone(),
            reading: checker.read(&realise(shown, noise.rng()).render()),
        }
    });
    (splits, drawn.collect())
}

fn score(world: World, shift: usize) -> EvalFile {
    let (splits, drawn) = read(world, shift);
    let n = drawn.len();
    let [z_x_hat, z_decoded, z_y, z_x] = std::array::from_fn(|i| rows(i as u64, n));
    evaluate_images(&DecodedInputs {
        splits: &splits,
        images: &drawn,
        z_x_hat: &z_x_hat,
        z_decoded: &z_decoded,
        z_y: &z_y,
        z_x: &z_x,
    })
    .expect("all is there")
}

/// The right images score one everywhere; those of other prompts hardly anything.
#[test]
fn true_images_score_one() {
    let value = |file: &EvalFile, name: &str| file.get(name, "all").expect("it is measured").value;
    for world in World::ALL {
        let (right, wrong) = (score(world, 0), score(world, 5));
        let has_textures = !world.textures().is_empty();
        let parts = ["object", "colour", "texture", "binding", "relation"].into_iter();
        let parts = parts.filter(|name| has_textures || *name != "texture");
        let names = parts.map(|name| format!("picture/{name}"));
        let columns = world.categories().map(|c| format!("compbench/{}", c.name()));
        // There are few shapes: some are there by chance.
        let by_chance = |name: &str| match (world, name) {
            (World::Shapes, "picture/object") => 0.7,
            _ => 0.4,
        };
        for name in names.chain(columns).chain(["picture/all".to_owned()]) {
            // Two shapes that are alike in all else and touch are sometimes read as one.
            let ceiling = if world == World::Shapes { 0.8 } else { 1.0 };
            let found = value(&right, &name);
            assert!(found >= ceiling, "{world} {name}: {found}");
            assert!(
                value(&wrong, &name) < by_chance(&name),
                "{world} {name}: {}",
                value(&wrong, &name)
            );
        }
        assert_eq!(right.get("picture/texture", "all").is_some(), has_textures);
        assert_eq!(right.get("bias/usual_texture", "all").is_some(), has_textures);
        assert_eq!(value(&right, "bias/usual_colour"), 0.0);
        assert!(value(&right, "bias/usual_company") < 0.4);
    }
    let right = score(World::Emoji, 0);
    // Values are under the places of the prompts, so that runs that drew the same may be paired.
    let places = right.get("picture/all", "all").and_then(|m| m.prompts.clone());
    assert_eq!(places.map(|p| p[..3].to_vec()), Some(vec![0, 17, 34]));
    assert!(
        right.get("picture/relation", "against").is_none(),
        "no such prompt"
    );
    assert!(right.get("picture/frechet_relative", "unseen").is_some());
}

#[test]
fn rows_must_fit() {
    let (splits, drawn) = read(World::Emoji, 0);
    let (fits, short) = (rows(0, drawn.len()), rows(1, 3));
    let with = |z_x_hat, z_y| {
        let inputs = DecodedInputs {
            splits: &splits,
            images: &drawn,
            z_x_hat,
            z_decoded: &fits,
            z_y,
            z_x: &fits,
        };
        evaluate_images(&inputs).expect_err("refused").to_string()
    };
    let n = drawn.len();
    assert_eq!(
        with(&short, &fits),
        format!("z_x_hat: expected {n} rows, one an image, found 3")
    );
    assert!(with(&fits, &short).starts_with("z_y"), "{}", with(&fits, &short));
}

#[test]
fn every_metric_has_one_row_of_its_own() {
    let mut names = BTreeSet::new();
    for row in all() {
        assert!(names.insert(row.name), "{} twice", row.name);
        assert!(!row.meaning.is_empty() && !row.unit.is_empty(), "{}", row.name);
        assert!(!row.meaning.ends_with('.'), "{}: {}", row.name, row.meaning);
        if !row.name.ends_with('*') {
            assert_eq!(info(row.name), Some(row), "a row before it takes its name");
        }
    }
    let direction = |name: &str| info(name).map(|row| row.better);
    assert_eq!(direction("held_out/loss/anything"), Some(MetricDirection::Lower));
    assert_eq!(direction("held_out/anything"), Some(MetricDirection::Neither));
    assert_eq!(direction("no/such"), None);
}

/// Rows and computations name the same metrics.
#[test]
fn what_is_computed_has_rows_and_rows_are_computed() -> Result<(), EvalError> {
    let n = 40;
    let [z_x, z_y, first, second] = std::array::from_fn(|i| rows(i as u64, n));
    let labels = (0..n).map(|i| (i, Kind::ALL[i % Kind::ALL.len()])).collect();
    let candidates = Candidates::new(z_x.clone(), rows(9, n), labels)?;
    let gap = ModalityGap::of(&z_y, &z_x)?;
    let inputs = Inputs {
        z_x_hat: &[first, second],
        z_y: &z_y,
        z_x: &z_x,
        candidates: Some(&candidates),
        splits: &[],
        gap: &gap,
    };
    let shapes = score(World::Shapes, 0).metrics;
    let images = score(World::Emoji, 0).metrics.into_iter().chain(shapes);
    let computed = evaluate(&inputs)?.metrics.into_iter().chain(images);
    let computed: BTreeSet<String> = computed.map(|metric| metric.name).collect();
    let of_priors =
        |family: &&Family| matches!(family.source, Source::Embeddings(_) | Source::DecodedImages(_));
    let known = FAMILIES.iter().filter(of_priors).flat_map(|family| family.rows);
    let known: BTreeSet<String> = known.map(|row| row.name.to_owned()).collect();
    assert_eq!(computed, known);
    Ok(())
}

#[test]
fn the_guide_shows_the_example_as_it_is() {
    let guide = include_str!("../../../CONTRIBUTING.md");
    let file = include_str!("toy_brightness.rs");
    assert!(
        guide.contains(&format!("```rust\n{file}```")),
        "src/eval/metrics/toy_brightness.rs"
    );
    assert!(include_str!("mod.rs").contains("    toy_brightness,\n"));
    assert!(
        guide.contains("```rust\n    toy_brightness,\n```"),
        "the line of the list"
    );
}
