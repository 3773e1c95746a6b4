//! `blip-vqa`: T2I-CompBench's score of colours, shapes and textures, see [`crate::eval::blip_vqa`].

use std::collections::BTreeMap;

use image::RgbImage;
use serde_json::json;

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::blip_vqa::{MAX_PHRASES, image_score, question};
use crate::eval::compbench::phrases::{self, Phrases};
use crate::eval::features::Features;
use crate::eval::image_folder;
use crate::files;
use crate::models::blip::{SIDE, VISION_NORM_EPS, Vqa};
use crate::weights::Checkpoint;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::higher(
        "blip-vqa",
        "Whether the image shows what its prompt names, by BLIP (T2I-CompBench's BLIP-VQA)",
        "probability",
    )
    .with_decimals(4)],
    source: Source::ImageFolder(&BlipVqa),
};

struct BlipVqa;

impl ImageMetric for BlipVqa {
    fn options(&self) -> &'static [ImageOption] {
        &[ImageOption::Blip, ImageOption::Category]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let (_, of_category) = images.category()?;
        let prompts = image_folder::prompts(&images.images)?;
        let asked: Vec<Phrases> = prompts.iter().map(|prompt| phrases::of(prompt)).collect();
        if let Some(i) = asked.iter().position(|asked| asked.phrases.is_empty()) {
            return Err(ImageMetricError::NoPhrase {
                image: images.images[i].path.clone(),
                prompt: prompts[i].clone(),
            });
        }
        let dir = images.blip_dir();
        let vqa = images.blip()?;
        let sha256 = Checkpoint::open(dir)?.sha256()?;
        let questions: Vec<Vec<String>> = asked
            .iter()
            .map(|asked| asked.phrases.iter().map(|phrase| question(phrase)).collect())
            .collect();
        let tokens = questions.iter().map(|questions| vqa.encode(questions));
        let network = Answers {
            tokens: tokens.collect::<Result<_, _>>()?,
            questions: questions.iter().map(|questions| questions.join("\n")).collect(),
            identity: format!(
                "blip-vqa {sha256} {:?} {VISION_NORM_EPS} {}",
                vqa.preprocess(),
                images.precision
            ),
            vqa: &vqa,
        };
        let answers = images.features(&network)?;
        let scored = answers.rows().zip(&questions);
        let each: Vec<f64> = scored
            .map(|(row, questions)| image_score(&row[..questions.len()]))
            .collect();
        let n_official = asked.iter().filter(|asked| asked.is_official).count();
        let source = match n_official {
            0 => "rules".to_owned(),
            n if n == asked.len() => "official".to_owned(),
            n => format!("official for {n} images, rules for {}", asked.len() - n),
        };
        let mut protocol = BTreeMap::from([
            ("weights_sha256".to_owned(), json!(sha256)),
            (
                "prompts_sha256".to_owned(),
                json!(files::sha256(prompts.join("\n").as_bytes())),
            ),
            ("phrases".to_owned(), json!(source)),
            ("image_size".to_owned(), json!(SIDE)),
            ("vision_norm_eps".to_owned(), json!(VISION_NORM_EPS)),
        ]);
        protocol.extend(of_category);
        Ok(Measured::mean(each, protocol))
    }
}

/// The probabilities of "yes" to the questions about each image of a call, and 1 for those that a prompt has not.
struct Answers<'a> {
    vqa: &'a Vqa,
    /// For each image.
    tokens: Vec<Vec<Vec<u32>>>,
    /// For each image, a line each.
    questions: Vec<String>,
    identity: String,
}

impl Features for Answers<'_> {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn d(&self) -> usize {
        MAX_PHRASES
    }

    fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String> {
        Ok(self.vqa.prepare(image))
    }

    fn asked(&self, i: usize) -> &str {
        &self.questions[i]
    }

    fn forward(&self, prepared: Vec<f32>, n: usize) -> Vec<f32> {
        self.forward_images(prepared, &(0..n).collect::<Vec<_>>())
    }

    fn forward_images(&self, prepared: Vec<f32>, which: &[usize]) -> Vec<f32> {
        let tokens: Vec<&[Vec<u32>]> = which.iter().map(|i| self.tokens[*i].as_slice()).collect();
        let answers = self.vqa.yes(&prepared, &tokens);
        let missing = std::iter::repeat(1.0);
        answers
            .into_iter()
            .flat_map(|of_one| of_one.into_iter().chain(missing.clone()).take(MAX_PHRASES))
            .collect()
    }
}
