//! `clip-score`: CLIPScore as T2I-CompBench uses it, the plain cosine of OpenAI's B/32: not times 100 or 2.5, not cut at 0.

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
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
        &[ImageOption::Clip]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        // T2I-CompBench runs OpenAI's own package.
        let (cosines, protocol) = images.prompt_cosines(&images.folder, &images.images, Processor::OpenAi)?;
        Ok(Measured::mean(cosines, protocol)?)
    }
}
