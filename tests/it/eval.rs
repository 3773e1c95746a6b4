//! The whole evaluation on a simulated stack whose answers are known: text and image embeddings are noisy views of the same scene
//! on two sides of a modality gap.

use eclipse_t2i::eval::baselines::BaselineKind;
use eclipse_t2i::eval::embedding::ModalityGap;
use eclipse_t2i::eval::forced_choice::{Candidates, Kind};
use eclipse_t2i::eval::{Bootstrap, Embeddings, EvalError, EvalFile, Inputs, Metric, Seeds, Split, evaluate};
use eclipse_t2i::noise::Noise;

const D: usize = 16;
const D_SCENE: usize = 8;
const PROMPTS: usize = 120;

/// A stack: scene -> z_x and scene -> z_y, linear, each with its own offset (the gap) and noise (what the other side omits).
struct Stack {
    to_image: Vec<f32>,
    to_text: Vec<f32>,
    noise: Noise,
}

impl Stack {
    fn new(seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let to_image = noise.normal_vec(D * D_SCENE);
        let to_text = noise.normal_vec(D * D_SCENE);
        Self {
            to_image,
            to_text,
            noise,
        }
    }

    fn scenes(&mut self, n: usize) -> Vec<Vec<f32>> {
        (0..n).map(|_| self.noise.normal_vec(D_SCENE)).collect()
    }

    fn encode(&mut self, scenes: &[Vec<f32>], text: bool) -> Result<Embeddings, EvalError> {
        let (matrix, offset, scale, sigma) = if text {
            (&self.to_text, 4.0, 3.0, 0.3)
        } else {
            (&self.to_image, -2.0, 1.0, 0.5)
        };
        let mut row = |scene: &Vec<f32>| -> Vec<f32> {
            let noise = self.noise.normal_vec(D);
            let dot = |j: usize| {
                matrix[j * D_SCENE..]
                    .iter()
                    .zip(scene)
                    .map(|(a, b)| a * b)
                    .sum::<f32>()
            };
            let sign = |j: usize| if j.is_multiple_of(2) { offset } else { 0.0 };
            (0..D)
                .map(|j| scale * (dot(j) + sign(j) + sigma * noise[j]))
                .collect()
        };
        Embeddings::from_rows(&scenes.iter().map(&mut row).collect::<Vec<_>>())
    }
}

struct Test {
    pairs: (Embeddings, Embeddings),
    z_y: Embeddings,
    candidates: Candidates,
    other_renders: Embeddings,
    splits: Vec<Split>,
}

fn stack() -> Result<Test, EvalError> {
    let mut stack = Stack::new(11);
    let training = stack.scenes(600);
    let pairs = (stack.encode(&training, true)?, stack.encode(&training, false)?);
    let scenes = stack.scenes(PROMPTS);
    let z_y = stack.encode(&scenes, true)?;
    let truth = stack.encode(&scenes, false)?;
    let other_renders = stack.encode(&scenes, false)?;
    // Wrong images: one coordinate of the scene (its "colour") or half of it (its "object") is another.
    let (mut wrong, mut labels) = (Vec::new(), Vec::new());
    for (i, scene) in scenes.iter().enumerate() {
        for (kind, range) in [(Kind::Colour, 0..1), (Kind::Object, 0..D_SCENE / 2)] {
            let mut other = scene.clone();
            other[range]
                .iter_mut()
                .for_each(|v| *v = if *v > 0.0 { *v - 2.0 } else { *v + 2.0 });
            wrong.push(other);
            labels.push((i, kind));
        }
    }
    let candidates = Candidates::new(truth, stack.encode(&wrong, false)?, labels)?;
    let splits = (0..PROMPTS)
        .map(|i| if i < 80 { Split::Seen } else { Split::Unseen })
        .collect();
    Ok(Test {
        pairs,
        z_y,
        candidates,
        other_renders,
        splits,
    })
}

impl Test {
    fn evaluate(&self, z_x_hat: &[Embeddings]) -> Result<EvalFile, EvalError> {
        let gap = ModalityGap::of(&self.pairs.0, &self.pairs.1)?;
        let (z_y, candidates, splits) = (&self.z_y, &self.candidates, self.splits.as_slice());
        evaluate(&Inputs {
            z_x_hat,
            z_y,
            z_x: candidates.truth(),
            candidates: Some(candidates),
            splits,
            gap: &gap,
        })
    }

    fn baseline(&self, kind: BaselineKind) -> Result<EvalFile, EvalError> {
        let fitted = kind.fit(&self.pairs.0, &self.pairs.1, &self.other_renders)?;
        self.evaluate(&[fitted.predict(&self.z_y)?])
    }
}

fn value(file: &EvalFile, name: &str) -> f64 {
    file.get(name, "all")
        .unwrap_or_else(|| panic!("no metric {name}"))
        .value
}

#[test]
fn baselines_come_out_in_the_order_they_must() -> Result<(), Box<dyn std::error::Error>> {
    let test = stack()?;
    let [text, shift, scaled, ridge, nearest, oracle, _] = BaselineKind::ALL.map(|kind| test.baseline(kind));
    let (text, shift, scaled, ridge, nearest, oracle) = (text?, shift?, scaled?, ridge?, nearest?, oracle?);
    // The ceiling: best on everything about the image.
    for other in [&text, &shift, &scaled, &nearest] {
        for name in ["forced_choice/all", "cos/z_x", "retrieval/image_r1"] {
            assert!(value(&oracle, name) > value(other, name), "{name}");
        }
        assert!(value(&oracle, "frechet") < value(other, "frechet") || std::ptr::eq(other, &nearest));
        assert!(value(&oracle, "nmse") < value(other, "nmse"));
        assert!(value(&ridge, "nmse") < value(other, "nmse"), "the map is linear");
    }
    assert!(value(&oracle, "forced_choice/object") > 0.95);
    // Text as prior: trivially right about the text, far from the images.
    assert!((value(&text, "cos/z_y") - 1.0).abs() < 1e-6);
    assert_eq!(value(&text, "retrieval/caption_r1"), 1.0);
    assert!(value(&text, "frechet_relative") > 1.0 && value(&text, "nmse") > 1.0);
    assert!(value(&text, "gap/position") < 0.2 && value(&oracle, "gap/position") > 0.8);
    assert!(
        (value(&text, "norm_ratio") - 1.0).abs() < 0.2,
        "scaled to the images' norm"
    );
    assert!(
        value(&shift, "norm_ratio") > 2.0,
        "the texts of this stack are longer"
    );
    assert!(value(&scaled, "frechet") < value(&shift, "frechet"));
    // What memory returns are real images: on the manifold, but of other scenes.
    assert!(value(&nearest, "frechet") < value(&text, "frechet"));
    assert!(value(&nearest, "retrieval/image_r1") < value(&ridge, "retrieval/image_r1"));
    Ok(())
}

#[test]
fn names_splits_and_values_are_complete_and_survive_the_disk() -> Result<(), Box<dyn std::error::Error>> {
    let test = stack()?;
    let mut noise = Noise::new(5);
    let mut sample = || {
        let jitter = noise.normal_vec(PROMPTS * D);
        let values = test
            .other_renders
            .values()
            .iter()
            .zip(jitter)
            .map(|(v, e)| v + 3.0 * e)
            .collect();
        Embeddings::new(PROMPTS, D, values)
    };
    let samples = [sample()?, sample()?, sample()?];
    let file = test.evaluate(&samples)?;
    let names: Vec<&str> = file
        .metrics
        .iter()
        .filter(|m| m.split == "all")
        .map(|m| m.name.as_str())
        .collect();
    let expected = "forced_choice/object forced_choice/colour forced_choice/all margin/object margin/colour margin/all \
         cos/z_x nmse cos/z_y cos/reference cos/other_z_y \
         retrieval/image_r1 retrieval/image_r5 retrieval/image_r10 \
         retrieval/caption_r1 retrieval/caption_r5 retrieval/caption_r10 \
         frechet frechet_relative norm_ratio gap/position gap/to_image_mean gap/to_text_mean diversity";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    for name in names {
        let of = |split: &str| {
            file.get(name, split)
                .unwrap_or_else(|| panic!("no {name} on {split}"))
        };
        let (all, seen, unseen) = (of("all"), of("seen"), of("unseen"));
        assert_eq!((all.n, seen.n, unseen.n), (PROMPTS, 80, 40), "{name}");
        assert!(file.get(name, "against").is_none(), "no prompts, no row");
        if let (Some(all), Some(seen), Some(unseen)) = (&all.per_prompt, &seen.per_prompt, &unseen.per_prompt)
        {
            assert_eq!(*all, [seen.as_slice(), unseen].concat(), "{name}");
        } else {
            assert!(name.starts_with("frechet"), "{name} has no values per prompt");
        }
    }
    // Three noise seeds: choices are thirds, and the prediction is not a point.
    let choices = file
        .get("forced_choice/colour", "all")
        .and_then(|m| m.per_prompt.as_ref())
        .ok_or("choices")?;
    let is_third = |c: &f64| (3.0 * c - (3.0 * c).round()).abs() < 1e-8;
    assert!(choices.iter().all(is_third) && choices.iter().any(|c| *c > 0.1 && *c < 0.9));
    assert!(value(&file, "diversity") > 0.01);
    assert!(test.evaluate(&samples[..1])?.get("diversity", "all").is_none());
    let one = value(&test.evaluate(&samples[..1])?, "frechet");
    assert!(
        (value(&file, "frechet") / one - 1.0).abs() < 0.2,
        "not pooled over seeds"
    );

    let dir = tempfile::tempdir()?;
    let path = dir.path().join("embedding.json");
    file.write(&path)?;
    assert_eq!(EvalFile::read(&path)?, file);
    Ok(())
}

#[test]
fn runs_of_several_seeds_give_intervals_and_paired_comparisons() -> Result<(), Box<dyn std::error::Error>> {
    let test = stack()?;
    let run = |seed: u64, sigma: f32| {
        let jitter = Noise::new(seed).normal_vec(PROMPTS * D);
        let values = test
            .other_renders
            .values()
            .iter()
            .zip(jitter)
            .map(|(v, e)| v + sigma * e)
            .collect();
        test.evaluate(&[Embeddings::new(PROMPTS, D, values)?])
    };
    let (good, bad) = (
        [run(0, 0.2)?, run(1, 0.2)?, run(2, 0.2)?],
        [run(3, 0.6)?, run(4, 0.6)?, run(5, 0.6)?],
    );
    let metric = |runs: &[EvalFile], name: &str| -> Result<Vec<Vec<f64>>, EvalError> {
        Metric::table(
            &runs
                .iter()
                .filter_map(|f| f.get(name, "unseen"))
                .collect::<Vec<_>>(),
        )
    };
    let bootstrap = Bootstrap::default();
    let (a, b) = (metric(&good, "cos/z_x")?, metric(&bad, "cos/z_x")?);
    assert_eq!((a.len(), a[0].len()), (3, 40));
    let interval = bootstrap.mean(&a)?;
    assert!(interval.contains(interval.value) && interval.width() < 0.2);
    assert!(bootstrap.paired_difference(&a, &b, Seeds::Paired)?.low > 0.0);
    assert!(bootstrap.win_rate(&a, &b, Seeds::Paired, 0.0)?.rate.low > 0.5);
    let distances = metric(&good, "frechet")?;
    assert_eq!((distances.len(), distances[0].len()), (3, 1), "over seeds only");
    bootstrap.mean(&distances)?;
    Ok(())
}

#[test]
fn too_few_prompts_for_the_dimensions_is_said_beside_the_number() -> Result<(), Box<dyn std::error::Error>> {
    let mut test = stack()?;
    test.splits = (0..PROMPTS)
        .map(|i| if i < 16 { Split::CounterBias } else { Split::Seen })
        .collect();
    let file = test.evaluate(std::slice::from_ref(&test.other_renders))?;
    let note = |split: &str| file.get("frechet", split).and_then(|m| m.note.clone());
    assert_eq!(note("all"), None);
    assert_eq!(
        note("against").as_deref(),
        Some("16 prompts for 16 dimensions: biased upwards; compare only at the same number of prompts")
    );
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_are_named() -> Result<(), Box<dyn std::error::Error>> {
    let mut test = stack()?;
    let short = test.other_renders.select(&[0, 1, 2]);
    let message = |r: Result<EvalFile, EvalError>| r.expect_err("refused").to_string();
    assert_eq!(
        message(test.evaluate(&[test.other_renders.clone(), short.clone()])),
        "z_x_hat of noise seed 1: expected [120, 16] like the true images, found [3, 16]"
    );
    assert_eq!(
        message(test.evaluate(&[])),
        "noise seeds to evaluate: expected at least 1, found 0"
    );
    test.z_y = short;
    let renders = [test.other_renders.clone()];
    assert_eq!(
        message(test.evaluate(&renders)),
        "z_y: expected [120, 16] like the true images, found [3, 16]"
    );
    test.z_y = test.other_renders.clone();
    test.splits.pop();
    assert_eq!(
        message(test.evaluate(&renders)),
        "splits: expected 120, one a prompt, found 119"
    );
    Ok(())
}
