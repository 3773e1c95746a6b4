//! `blip_*`: T2I-CompBench's BLIP-VQA: questions, pixels, the network, scores of images.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::kind::Basic;

use super::distances::{Failed, mean_std, scalar};
use super::inception::images;
use super::{Array, Computed, Context, Fixture, Outcome, Tolerance};
use crate::eval::blip_vqa::{MAX_PHRASES, image_score, question};
use crate::eval::compbench::phrases;
use crate::models::blip::{
    AskedTokens, BlipConfig, BlipPreprocess, QuestionTokenizer, SIDE, Vqa, interpolate_positions, p_yes,
    pre_question,
};
use crate::nn::{TokenMask, to_f32};

/// An answer at the edge of its fourth digit may be rounded the other way, and the product with it.
const FOUR_DIGITS: f64 = 2e-4;

/// The questions' cleaning and ids.
pub(super) fn tokens(context: &Context) -> Outcome {
    let folders = context.folders_with("BLIP with vocab.txt", &["config.json", "vocab.txt"])?;
    let dir = &folders[0];
    let tokenizer = QuestionTokenizer::load(dir, &BlipConfig::read(dir)?.text)?;
    let (mut rows, mut cleaned) = (Vec::new(), Vec::new());
    for question in context.info_as::<Vec<String>>("questions")? {
        rows.push(tokenizer.encode(&question)?);
        cleaned.push(pre_question(&question));
    }
    if cleaned != context.info_as::<Vec<String>>("after_pre_question")? {
        return Err(format!("info key `after_pre_question`: other texts, {cleaned:?} computed").into());
    }
    let (n, longest) = (rows.len(), rows.iter().map(Vec::len).max().unwrap_or(0));
    let lengths = rows.iter().map(|row| row.len() as i64).collect();
    let padding = std::iter::repeat(&tokenizer.pad);
    let ids = rows
        .iter()
        .flat_map(|row| row.iter().chain(padding.clone()).take(longest));
    let ids = ids.map(|id| i64::from(*id)).collect();
    Ok(vec![
        Computed::new("out.length", Array::i64([n], lengths), Tolerance::Exact),
        Computed::new("out.input_ids", Array::i64([n, longest], ids), Tolerance::Exact),
    ])
}

/// Pixels of images of many sizes and modes.
pub(super) fn preprocess(context: &Context) -> Outcome {
    let index: Vec<usize> = context
        .whole_numbers("in.index")?
        .iter()
        .map(|i| *i as usize)
        .collect();
    let names: Vec<String> = context.info_as("images")?;
    let mut computed = Vec::new();
    for (path, image) in names.iter().zip(images(context, "images")?) {
        let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
        let values = BlipPreprocess::official(SIDE).apply(&image);
        let mut sampled = Vec::new();
        for row in (0..3).flat_map(|c| index.iter().map(move |y| (c * SIDE + y) * SIDE)) {
            sampled.extend(index.iter().map(|x| values[row + x]));
        }
        computed.push(Computed::new(
            format!("out.pixel_values.{name}"),
            Array::f32([3, index.len(), index.len()], sampled),
            Tolerance::Pixel,
        ));
        computed.push(Computed::new(
            format!("out.mean_std.{name}"),
            Array::f64([2], mean_std(&values).to_vec()),
            Tolerance::Reach(1e-5),
        ));
    }
    Ok(computed)
}

/// The golden's rows: questions about images.
struct Rows {
    vqa: Vqa,
    /// Of all images.
    pixels: Vec<f32>,
    /// Ids of each image's questions.
    questions: Vec<Vec<Vec<u32>>>,
    /// The image of each row, and which of its questions the row is.
    places: Vec<(usize, usize)>,
    /// Whether the row is about a phrase.
    is_phrase: Vec<bool>,
}

impl Rows {
    fn read(context: &Context) -> Result<Self, Failed> {
        let dir = context.folder_named(&context.info_as::<String>("model")?)?;
        let vqa = Vqa::load(&dir, context.device())?;
        let images = images(context, "images")?;
        let pixels = images.iter().flat_map(|image| vqa.prepare(image)).collect();
        let rows: Vec<(usize, Option<String>)> = context.info_as("rows")?;
        let (mut questions, mut places) = (vec![Vec::new(); images.len()], Vec::new());
        for (image, phrase) in &rows {
            places.push((*image, questions[*image].len()));
            let question = phrase.as_deref().map_or_else(String::new, question);
            questions[*image].push(vqa.tokenizer().encode(&question)?);
        }
        let is_phrase = rows.iter().map(|(_, phrase)| phrase.is_some()).collect();
        Ok(Self {
            vqa,
            pixels,
            questions,
            places,
            is_phrase,
        })
    }

    fn asked(&self) -> Vec<&[Vec<u32>]> {
        self.questions.iter().map(Vec::as_slice).collect()
    }

    /// The answers of each row, the whole way.
    fn yes(&self) -> Vec<f32> {
        let answers = self.vqa.yes(&self.pixels, &self.asked());
        self.places.iter().map(|(i, j)| answers[*i][*j]).collect()
    }

    /// Rows of a tensor that has one for each question of each image, `each` of them.
    fn of_questions<const D: usize, K: Basic>(&self, x: Tensor<D, K>, each: usize) -> Tensor<D, K> {
        let index = self.places.iter().map(|(i, j)| i * each + j);
        pick(x, index.collect())
    }
}

/// The network on every row.
pub(super) fn answers(context: &Context) -> Outcome {
    let rows = Rows::read(context)?;
    let (vqa, n) = (&rows.vqa, rows.places.len());
    phrases_are_official(context)?;
    let image_of_row: Vec<i64> = rows.places.iter().map(|(i, _)| *i as i64).collect();
    if image_of_row != context.whole_numbers("in.image_of_row")? {
        return Err("tensor `in.image_of_row`: other images than those of info key `rows`".into());
    }
    let AskedTokens { ids, mask, each } = vqa.tokens(&rows.asked());
    let n_text = mask.dims()[1];
    let images = vqa.encode_images(rows.pixels.clone());
    let states = vqa
        .network()
        .questions
        .forward(ids.clone(), &mask, images.clone());
    let answer_words = [vqa.tokenizer().yes, vqa.tokenizer().no];
    let logits = |states: Tensor<3>, mask: Option<&TokenMask>| vqa.logits(states, mask, Some(&answer_words));

    let mut computed = Vec::new();
    let whole = |name: &str, x: Tensor<2, Int>| {
        let array = Array::i64([n, n_text], x.into_data().iter::<i64>().collect());
        Computed::new(name, array, Tolerance::Exact)
    };
    let ids_of_rows = rows.of_questions(ids.clone(), each);
    let masks = rows.of_questions(mask.values(), each);
    computed.push(whole("in.input_ids", ids_of_rows));
    computed.push(whole("in.attention_mask", masks.clone().int()));
    let of_images = pick(images.clone(), image_of_row.iter().map(|i| *i as usize).collect());
    let d_model = of_images.dims()[2];
    let flat = |x: Tensor<3>| x.reshape([n, d_model]);
    for (name, x) in [
        ("image_embeds_mean", of_images.clone().mean_dim(1)),
        ("image_embeds_cls", of_images.narrow(1, 0, 1)),
    ] {
        computed.push(Computed::tensor(format!("out.{name}"), flat(x), Tolerance::Float));
    }
    let shown = to_f32(rows.of_questions(states.clone(), each)) * masks.unsqueeze_dim(2);
    computed.push(Computed::tensor("out.question_states", shown, Tolerance::Float));
    let yes_no = rows.of_questions(logits(states.clone(), Some(&mask)), each);
    computed.push(Computed::tensor("out.logits_yes_no", yes_no, Tolerance::Float));
    let all = "out.first_token_logits_row0";
    if context.golden().contains_key(all) {
        let first = rows.places[0].0 * each + rows.places[0].1;
        let x = vqa.logits(
            states.clone().narrow(0, first, 1),
            Some(&mask.select(&[first])),
            None,
        );
        let n_words = x.dims()[1];
        computed.push(Computed::tensor(all, x.reshape([n_words]), Tolerance::Float));
    }

    let yes = rows.yes();
    let p = |name: &str, values: Vec<f32>| Computed::new(name, Array::f32([n], values), Tolerance::Float);
    computed.push(p("out.p_yes", yes.clone()));
    // What mistakes would give.
    let variant = |name: &str, logits: Tensor<2>| {
        let name = format!("out.variant.{name}");
        p(&name, p_yes(rows.of_questions(logits, each)))
    };
    let cls = context.info("ids")?["cls"]
        .as_i64()
        .ok_or("info key `ids.cls` is no number")?;
    let cls = Tensor::full([ids.dims()[0], 1], cls, context.device());
    let with_cls = Tensor::cat(vec![cls, ids.narrow(1, 1, n_text - 1)], 1);
    let with_cls = vqa.network().questions.forward(with_cls, &mask, images);
    computed.push(variant("p_yes_cls_not_enc", logits(with_cls, Some(&mask))));
    computed.push(variant("p_yes_decoder_sees_padding", logits(states, None)));
    let dir = context.folder_named(&context.info_as::<String>("model")?)?;
    let mut config = BlipConfig::read(&dir)?;
    config.vision.layer_norm_eps = 1e-5;
    let other = Rows {
        vqa: Vqa::load_with(&dir, &config, context.device())?,
        ..Rows::read(context)?
    };
    computed.push(p("out.variant.p_yes_vit_eps_1e-5", other.yes()));

    let mut scores = Vec::new();
    for image in 0..rows.questions.len() {
        let own = rows.places.iter().zip(&rows.is_phrase).zip(&yes);
        let own = own.filter(|((place, is_phrase), _)| place.0 == image && **is_phrase);
        let own: Vec<f32> = own.map(|(_, yes)| *yes).take(MAX_PHRASES).collect();
        scores.push(image_score(&own));
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    computed.push(Computed {
        tolerance: Tolerance::Score(FOUR_DIGITS),
        ..scalar("category_mean", mean, FOUR_DIGITS)
    });
    let scores = Array::f64([scores.len()], scores);
    computed.push(Computed::new(
        "out.image_scores",
        scores,
        Tolerance::Score(FOUR_DIGITS),
    ));
    Ok(computed)
}

/// Checks that the golden's prompts have the phrases that the project knows of them.
fn phrases_are_official(context: &Context) -> Result<(), Failed> {
    let prompts: Vec<String> = context.info_as("prompts")?;
    for (prompt, mut expected) in prompts
        .iter()
        .zip(context.info_as::<Vec<Vec<String>>>("phrases")?)
    {
        let found = phrases::of(prompt);
        expected.truncate(MAX_PHRASES);
        if found.phrases != expected || !found.is_official {
            return Err(format!(
                "phrases of {prompt:?}: {expected:?} there, {:?} computed",
                found.phrases
            )
            .into());
        }
    }
    Ok(())
}

/// Position embeddings between two sizes, and the answers with them.
pub(super) fn positions(context: &Context) -> Outcome {
    let given = context.float::<3>("in.pos_embed_24x24")?;
    let patches = |x: &Tensor<3>| (x.dims()[1] - 1).isqrt();
    let fixture = Fixture::open(context.root())??;
    let rows = Rows::read(&fixture.context("blip_vqa", context.device())?)?;
    let side = patches(&rows.vqa.network().vision.positions());
    let up = interpolate_positions(given.clone(), side);
    let back = interpolate_positions(up.clone(), patches(&given));
    let rows = Rows {
        vqa: rows.vqa.with_network(|mut network| {
            network.vision = network.vision.with_positions(up.clone());
            network
        }),
        ..rows
    };
    let yes = rows.yes();
    Ok(vec![
        Computed::tensor("out.pos_embed_30x30", up, Tolerance::Float),
        Computed::tensor("out.back_24x24", back, Tolerance::Float),
        Computed::new(
            "out.p_yes_with_interpolated",
            Array::f32([yes.len()], yes),
            Tolerance::Float,
        ),
    ])
}

/// Rows of a tensor, by their numbers.
fn pick<const D: usize, K: Basic>(x: Tensor<D, K>, rows: Vec<usize>) -> Tensor<D, K> {
    let rows: Vec<i64> = rows.into_iter().map(|row| row as i64).collect();
    let n = rows.len();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), &x.device());
    x.select(0, rows)
}
