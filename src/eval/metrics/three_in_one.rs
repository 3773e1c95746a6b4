//! `3-in-1`: T2I-CompBench's score of the complex category, from the results of its three parts, see [`crate::eval::compbench::three_in_one`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::compbench::Category;
use crate::eval::compbench::three_in_one::Kind;
use crate::eval::image_folder;
use crate::eval::image_score::ImageScore;
use crate::eval::per_image;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::higher(
        "3-in-1",
        "T2I-CompBench's score of complex prompts: the mean of blip-vqa, spatial and clip-score, or of two of them, as the prompt asks",
        "0 to 1",
    )
    .with_decimals(4)],
    source: Source::ImageFolder(&ThreeInOne),
};

/// The metrics that it is made of.
const PARTS: [&str; 3] = ["blip-vqa", "spatial", "clip-score"];

struct ThreeInOne;

impl ImageMetric for ThreeInOne {
    fn options(&self) -> &'static [ImageOption] {
        &[ImageOption::Category]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let (category, mut protocol) = images.category()?;
        let results = images.results();
        if category != Some(Category::Complex) {
            return Err(ImageMetricError::Part {
                path: images.folder.clone(),
                reason: format!(
                    "expected images of complex prompts for 3-in-1, found {}; --category complex, if they are",
                    category.map_or("prompts of no category", Category::name)
                ),
            });
        }
        let prompts = image_folder::prompts(&images.images)?;
        let mut parts = Vec::new();
        for metric in PARTS {
            parts.push(part(images, &results, metric)?);
            let told = protocol_of(&results, metric, &protocol)?;
            protocol.insert(metric.to_owned(), told);
        }
        let each = prompts.iter().enumerate();
        let each = each.map(|(i, prompt)| Kind::of(prompt).combine(parts[0][i], parts[1][i], parts[2][i]));
        Ok(Measured::mean(each.collect(), protocol))
    }
}

/// The scores of the images by one of the parts.
fn part(images: &ImageSet<'_>, results: &Path, metric: &str) -> Result<Vec<f64>, ImageMetricError> {
    let path = result(results, metric);
    if !path.is_file() {
        return Err(ImageMetricError::Part {
            path,
            reason: format!(
                "no such result: expected those of {}; name them before 3-in-1, or compute them first",
                PARTS.join(", ")
            ),
        });
    }
    Ok(per_image::read(results, metric, &images.folder, &images.images)?)
}

/// The protocol of a part, without what only says where things lay, and without what 3-in-1 says itself (`own`), which must be the same.
fn protocol_of(
    results: &Path,
    metric: &str,
    own: &BTreeMap<String, Value>,
) -> Result<Value, ImageMetricError> {
    let path = result(results, metric);
    let score = ImageScore::read(&path)?;
    let shared = ["category", "category_prompts", "images_per_prompt"];
    for key in shared {
        let (there, here) = (score.protocol.get(key), own.get(key));
        if there != here {
            let told = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
            return Err(ImageMetricError::Part {
                path,
                reason: format!(
                    "`{key}` is {} there, {} here: compute {metric} again",
                    told(there),
                    told(here)
                ),
            });
        }
    }
    let kept = score
        .protocol
        .into_iter()
        .filter(|(key, _)| !key.ends_with("_path") && !shared.contains(&key.as_str()));
    Ok(json!(kept.collect::<Map<String, Value>>()))
}

fn result(results: &Path, metric: &str) -> PathBuf {
    results.join(format!("{metric}.json"))
}
