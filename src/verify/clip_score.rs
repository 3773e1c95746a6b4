//! `clipscore`, `pickscore*`, `clip_preprocess`, `bootstrap`: scores of images and prompts, against T2I-CompBench, PickScore and numpy.

use std::path::Path;

use super::distances::{Failed, mean_std, scalar};
use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::eval::bootstrap::quantile;
use crate::eval::embedding::cosines;
use crate::eval::pick_score::{Choice, preference, probabilities};
use crate::eval::{Bootstrap, Embeddings};
use crate::image_file::Pixels;
use crate::models::clip::preprocess::{Preprocess, read_pixels};
use crate::models::clip::{ImageEncoder, Processor, TextEncoder, logit_scale};

/// The towers of a fixture's model, and the embeddings of the golden's images.
struct Scored {
    texts: TextEncoder,
    images: Embeddings,
    computed: Vec<Computed>,
}

/// The image files that `info` lists, paths from the fixture's folder, each with its name.
fn images(context: &Context) -> Result<Vec<(String, Pixels)>, Failed> {
    let paths: Vec<String> = context.info_as("images")?;
    let each = paths.iter().map(|path| {
        let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), read_pixels(context.root().join(path))?))
    });
    each.collect()
}

fn scored(context: &Context, processor: Processor) -> Result<Scored, Failed> {
    let dir = context.folder_named(&context.info_as::<String>("model")?)?;
    let encoder = ImageEncoder::load(&dir, context.device())?;
    let images = images(context)?;
    let mut computed = Vec::new();
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for (i, (_, image)) in images.iter().enumerate() {
        let pixels = encoder.preprocess().apply_pixels(image, processor)?;
        told.extend(mean_std(&pixels));
        if i == 0 {
            let side = encoder.config().image_size;
            let array = Array::f32([1, 3, side, side], pixels.clone());
            computed.push(Computed::new("in.pixel_values", array, Tolerance::Pixel));
        }
        rows.push(
            encoder
                .encode_pixels(pixels)
                .into_data()
                .iter::<f32>()
                .collect::<Vec<f32>>(),
        );
    }
    if context.golden().contains_key("out.pixel_values.mean_std") {
        let array = Array::f64([images.len(), 2], told);
        computed.push(Computed::new(
            "out.pixel_values.mean_std",
            array,
            Tolerance::Reach(1e-5),
        ));
    }
    Ok(Scored {
        texts: TextEncoder::load(&dir, context.device())?,
        images: Embeddings::from_rows(&rows)?,
        computed,
    })
}

impl Scored {
    fn texts(&self, prompts: &[String]) -> Result<Embeddings, Failed> {
        let z_y = self.texts.encode(prompts)?.z_y;
        let [n, d] = z_y.dims();
        Ok(Embeddings::new(n, d, z_y.into_data().iter::<f32>().collect())?)
    }

    /// Token ids; `pad` in place of the tokenizer's own padding, which no tower sees.
    fn ids(&self, prompts: &[String], pad: Option<i64>) -> Result<Computed, Failed> {
        let tokens = self.texts.tokenizer().encode_batch(prompts)?;
        let padded = tokens.iter().flat_map(|t| t.ids.iter().zip(t.mask()));
        let ids: Vec<i64> = padded
            .map(|(id, valid)| match pad {
                Some(pad) if !valid => pad,
                _ => i64::from(*id),
            })
            .collect();
        let array = Array::i64([prompts.len(), ids.len() / prompts.len().max(1)], ids);
        Ok(Computed::new("in.input_ids", array, Tolerance::Exact))
    }
}

/// The cosines of every row of `a` with every row of `b`, `[a][b]`.
fn all_cosines(a: &Embeddings, b: &Embeddings) -> Result<Vec<Vec<f64>>, Failed> {
    let each = (0..a.n()).map(|row| Ok(cosines(&a.select(&vec![row; b.n()]), b)?));
    each.collect()
}

fn matrix(name: &str, embeddings: &Embeddings) -> Computed {
    let array = Array::f32([embeddings.n(), embeddings.d()], embeddings.values().to_vec());
    Computed::new(name, array, Tolerance::Float)
}

/// CLIPScore: every image with every prompt, with the prompts of the complex category, and without their adjectives.
pub(super) fn clip_score(context: &Context) -> Outcome {
    let mut scored = scored(context, Processor::OpenAi)?;
    let prompts: Vec<String> = context.info_as("prompts")?;
    let stripped: Vec<String> = context.info_as("prompts_complex_without_adj")?;
    let mut computed = std::mem::take(&mut scored.computed);
    let all = [prompts.clone(), stripped].concat();
    computed.push(scored.ids(&all, Some(0))?);
    let texts = scored.texts(&all)?;
    computed.push(matrix("out.image_features", &scored.images));
    computed.push(matrix("out.text_features", &texts));
    let n = prompts.len();
    for (name, first) in [("out.cosine", 0), ("out.cosine_stripped", n)] {
        let each = all_cosines(
            &scored.images,
            &texts.select(&(first..first + n).collect::<Vec<_>>()),
        )?;
        let array = Array::f32(
            [scored.images.n(), n],
            each.concat().iter().map(|c| *c as f32).collect(),
        );
        computed.push(Computed::new(name, array, Tolerance::Float));
    }
    let own: Vec<usize> = (0..scored.images.n()).collect();
    let scores = cosines(&scored.images, &texts.select(&own))?;
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let array = Array::f32([scores.len()], scores.iter().map(|s| *s as f32).collect());
    computed.push(Computed::new("out.paired_scores", array, Tolerance::Float));
    computed.push(scalar("category_mean", mean, 1e-5));
    Ok(computed)
}

/// PickScore: scores, probabilities over all images and over pairs.
pub(super) fn pick_score(context: &Context) -> Outcome {
    let mut scored = scored(context, Processor::Transformers)?;
    let prompts: Vec<String> = context.info_as("prompts")?;
    let mut computed = std::mem::take(&mut scored.computed);
    computed.push(scored.ids(&prompts, None)?);
    context.set_aside("in.attention_mask");
    let texts = scored.texts(&prompts)?;
    let dir = context.folder_named(&context.info_as::<String>("model")?)?;
    let scale = logit_scale(&dir)?.ok_or("the model has no logit_scale")?.exp();
    let unit = |rows: &Embeddings| -> Result<Embeddings, Failed> {
        let each: Vec<Vec<f32>> = rows
            .rows()
            .map(|row| {
                let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                row.iter().map(|v| (f64::from(*v) / norm) as f32).collect()
            })
            .collect();
        Ok(Embeddings::from_rows(&each)?)
    };
    computed.push(matrix("out.image_embs", &unit(&scored.images)?));
    computed.push(matrix("out.text_embs", &unit(&texts)?));
    computed.push(Computed::new(
        "out.logit_scale_exp",
        Array::f32([1], vec![scale as f32]),
        Tolerance::Float,
    ));
    let mut scores = all_cosines(&texts, &scored.images)?;
    scores.iter_mut().flatten().for_each(|score| *score *= scale);
    let shape = [texts.n(), scored.images.n()];
    let flat = |table: &[Vec<f64>]| table.concat().into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    computed.push(Computed::new(
        "out.scores",
        Array::f32(shape, flat(&scores)),
        Tolerance::Scaled(scale),
    ));
    let over_all: Vec<Vec<f64>> = scores.iter().map(|row| probabilities(row)).collect();
    computed.push(Computed::new(
        "out.probs_over_all_images",
        Array::f32(shape, flat(&over_all)),
        Tolerance::Float,
    ));
    let pairs = context.whole_numbers("in.pairs_prompt_image_image")?;
    let (mut first, mut second, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for triple in pairs.chunks(3) {
        let [prompt, a, b] = [triple[0], triple[1], triple[2]].map(|i| i as usize);
        first.push(vec![scores[prompt][a]]);
        second.push(vec![scores[prompt][b]]);
        both.push(probabilities(&[scores[prompt][a], scores[prompt][b]]));
    }
    computed.push(Computed::new(
        "out.pair_probs",
        Array::f32([both.len(), 2], flat(&both)),
        Tolerance::Float,
    ));
    // Aggregates stand in `info`.
    let aggregates = context.info("aggregates")?;
    let found = preference(
        &first,
        &second,
        0.0,
        Bootstrap {
            resamples: 2,
            ..Bootstrap::default()
        },
    )?;
    for (key, value) in [
        ("win_rate_ties_half_delta0.0", found.win_rate.value),
        ("mean_probability", found.mean_probability.value),
    ] {
        let expected = aggregates.get(key).and_then(serde_json::Value::as_f64);
        if expected.is_none_or(|expected| (expected - value).abs() > 1e-5) {
            return Err(format!("info key `aggregates.{key}`: {expected:?} there, {value} computed").into());
        }
    }
    Ok(computed)
}

/// Ties and how they count.
pub(super) fn ties(context: &Context) -> Outcome {
    let mut computed = Vec::new();
    let number = |key: &str| -> Result<f64, Failed> { Ok(context.input(key)?.to_f64()[0]) };
    let labels: Vec<f64> = context.info_as("labels")?;
    for name in context.golden().keys() {
        let Some(threshold) = name.strip_prefix("accuracy_by_threshold.") else {
            continue;
        };
        let mut sum = 0.0;
        for (i, truth) in labels.iter().enumerate() {
            number(&format!("labels.{i}"))?;
            let both = [number(&format!("probs.{i}.0"))?, number(&format!("probs.{i}.1"))?];
            let truth = Choice::of(*truth, 1.0 - truth, 0.0);
            sum += Choice::of(both[0], both[1], threshold.parse()?).score(truth);
        }
        let array = Array::f64([], vec![sum / labels.len() as f64]);
        computed.push(Computed::new(name, array, Tolerance::Reach(1e-12)));
    }
    let decisions = context.info("decisions")?.as_array().map_or(0, Vec::len);
    for i in 0..decisions {
        let of = |key: &str| number(&format!("decisions.{i}.{key}"));
        let choice = Choice::of(of("prob_0")?, of("prob_1")?, of("threshold")?);
        let told = match choice {
            Choice::First => "0",
            Choice::Second => "1",
            Choice::Tie => "tie",
        };
        let expected = &context.info("decisions")?[i]["pred"];
        if expected.as_str() != Some(told) {
            return Err(format!("decision {i}: {expected} there, {told} computed").into());
        }
        for (key, label) in [
            ("score_if_label_0", Choice::First),
            ("score_if_label_1", Choice::Second),
            ("score_if_tie", Choice::Tie),
        ] {
            let array = Array::f64([], vec![choice.score(label)]);
            computed.push(Computed::new(
                format!("decisions.{i}.{key}"),
                array,
                Tolerance::Exact,
            ));
        }
    }
    Ok(computed)
}

/// Pixels of CLIP's preprocessings before they are normalised.
pub(super) fn clip_preprocess(context: &Context) -> Outcome {
    const SIDE: usize = 224;
    let index: Vec<usize> = context
        .whole_numbers("in.index")?
        .iter()
        .map(|i| *i as usize)
        .collect();
    let plain = Preprocess {
        scale: None,
        normalize: None,
        ..Preprocess::clip(SIDE as u32)
    };
    let mut computed = Vec::new();
    for (name, image) in images(context)? {
        let of = |processor| plain.apply_pixels(&image, processor);
        let (openai, hf, cleanfid) = (
            of(Processor::OpenAi)?,
            of(Processor::Transformers)?,
            of(Processor::CleanFid)?,
        );
        for (key, values) in [("openai", &openai), ("hf", &hf), ("cleanfid_clip", &cleanfid)] {
            let mut sampled = Vec::new();
            for row in (0..3).flat_map(|c| index.iter().map(move |y| (c * SIDE + y) * SIDE)) {
                sampled.extend(index.iter().map(|x| values[row + x] as u8));
            }
            let array = Array::u8([3, index.len(), index.len()], sampled);
            computed.push(Computed::new(
                format!("out.{key}_uint8.{name}"),
                array,
                Tolerance::Exact,
            ));
        }
        let differ = |a: &[f32], b: &[f32]| {
            let plane = SIDE * SIDE;
            let pixels = (0..plane).filter(|i| (0..3).any(|c| a[c * plane + i] != b[c * plane + i]));
            pixels.count() as i64
        };
        let told = vec![
            differ(&openai, &hf),
            differ(&openai, &cleanfid),
            differ(&hf, &cleanfid),
        ];
        computed.push(Computed::new(
            format!("out.pixels_that_differ.{name}"),
            Array::i64([3], told),
            Tolerance::Exact,
        ));
    }
    Ok(computed)
}

/// The percentile bootstrap, with given draws.
pub(super) fn bootstrap(context: &Context) -> Outcome {
    let (a, b) = (
        context.input("in.scores_a")?.to_f64(),
        context.input("in.scores_b")?.to_f64(),
    );
    let index: Vec<usize> = context
        .whole_numbers("in.index")?
        .iter()
        .map(|i| *i as usize)
        .collect();
    let levels: Vec<f64> = context.info_as("percentiles")?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means = |scores: &[f64]| -> Vec<f64> {
        let draws = index.chunks(scores.len());
        draws
            .map(|draw| mean(&draw.iter().map(|i| scores[*i]).collect::<Vec<_>>()))
            .collect()
    };
    let percentiles = |mut values: Vec<f64>| -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        levels
            .iter()
            .map(|level| quantile(&values, level / 100.0))
            .collect()
    };
    let (means_a, means_b) = (means(&a), means(&b));
    let difference: Vec<f64> = means_a.iter().zip(&means_b).map(|(a, b)| b - a).collect();
    let win = |(a, b): (&f64, &f64)| match b.total_cmp(a) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let wins: Vec<f64> = a.iter().zip(&b).map(win).collect();
    let own = percentiles(means_a.clone());
    let [_, stderr] = mean_std(&means_a);
    let row = |name: &str, values: Vec<f64>| {
        let array = Array::f64([values.len()], values);
        Computed::new(format!("out.{name}"), array, Tolerance::Reach(1e-12))
    };
    Ok(vec![
        scalar("mean_a", mean(&a), 1e-12),
        scalar("stderr_a", stderr, 1e-12),
        scalar("win_rate_b", mean(&wins), 1e-12),
        row(
            "basic_interval_a",
            vec![2.0 * mean(&a) - own[4], 2.0 * mean(&a) - own[0]],
        ),
        row("percentiles_a", own),
        row("percentiles_diff", percentiles(difference)),
        row("percentiles_win_rate_b", percentiles(means(&wins))),
        row("means_a", means_a),
    ])
}
