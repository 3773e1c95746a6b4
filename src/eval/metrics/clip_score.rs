//! `clip-score`: CLIPScore as T2I-CompBench uses it, the plain cosine of OpenAI's B/32: not times 100 or 2.5, not cut at 0.
//!
//! It is the score of T2I-CompBench's non-spatial category. Complex prompts lose their adjectives; those of the official prompts are known.

use serde_json::json;

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::compbench::{Category, without_adjectives};
use crate::eval::image_folder;
use crate::models::clip::Processor;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::higher(
        "clip-score",
        "Cosine of image and prompt by CLIP (T2I-CompBench's CLIPScore)",
        "cosine",
    )
    .with_decimals(6)],
    source: Source::ImageFolder(&ClipScore),
};

struct ClipScore;

impl ImageMetric for ClipScore {
    fn options(&self) -> &'static [ImageOption] {
        &[ImageOption::Clip, ImageOption::Category]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let (category, of_category) = images.category()?;
        let mut texts = image_folder::prompts(&images.images)?;
        let mut whole = 0;
        if category == Some(Category::Complex) {
            for text in &mut texts {
                match without_adjectives(text) {
                    Some(stripped) => *text = stripped.to_owned(),
                    None => whole += 1,
                }
            }
        }
        // T2I-CompBench runs OpenAI's own package.
        let (cosines, mut protocol) =
            images.cosines(&images.folder, &images.images, &texts, Processor::OpenAi)?;
        protocol.extend(of_category);
        if category == Some(Category::Complex) {
            protocol.insert("texts".into(), json!("without adjectives"));
        }
        if whole > 0 {
            protocol.insert("texts_with_adjectives".into(), json!(whole));
        }
        Ok(Measured::mean(cosines, protocol))
    }
}
