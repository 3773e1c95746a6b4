//! `toy-brightness`: how bright images are. The worked example of CONTRIBUTING.md.

use std::collections::BTreeMap;

use image::RgbImage;

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::features::Features;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::higher(
        "toy-brightness",
        "Mean brightness of the images",
        "share of white",
    )
    .with_decimals(2)],
    source: Source::ImageFolder(&Brightness),
};

struct Brightness;

impl ImageMetric for Brightness {
    fn options(&self) -> &'static [ImageOption] {
        &[]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let features = images.features(self)?;
        let each = features.values().iter().map(|v| f64::from(*v)).collect();
        Ok(Measured::mean(each, BTreeMap::new()))
    }
}

/// A feature of one number: the mean over pixels and channels.
impl Features for Brightness {
    fn identity(&self) -> String {
        "toy-brightness".into()
    }

    fn d(&self) -> usize {
        1
    }

    fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String> {
        let values = image.as_raw();
        let sum: f32 = values.iter().map(|v| f32::from(*v)).sum();
        Ok(vec![sum / (255.0 * values.len() as f32)])
    }

    fn forward(&self, prepared: Vec<f32>, _: usize) -> Vec<f32> {
        prepared
    }
}
