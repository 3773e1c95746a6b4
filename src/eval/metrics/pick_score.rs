//! `pick-score`: PickScore, see [`crate::eval::pick_score`].

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::Bootstrap;
use crate::eval::image_folder::{self, ImageFile};
use crate::eval::pick_score::preference;
use crate::models::clip::{Processor, logit_scale};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::higher("pick-score", "PickScore: what people would choose", "logit").with_decimals(6),
    ],
    source: Source::ImageFolder(&PickScore),
};

struct PickScore;

impl ImageMetric for PickScore {
    fn options(&self) -> &'static [ImageOption] {
        &[ImageOption::Clip, ImageOption::Other, ImageOption::Tie]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let dir = images.clip_dir();
        let scale = logit_scale(dir)?.ok_or_else(|| ImageMetricError::NoLogitScale(dir.to_path_buf()))?;
        type Scores = (Vec<f64>, BTreeMap<String, Value>);
        let scored = |folder: &Path, files: &[ImageFile]| -> Result<Scores, ImageMetricError> {
            // PickScore's processor is that of transformers.
            let prompts = image_folder::prompts(files)?;
            let (cosines, protocol) = images.cosines(folder, files, &prompts, Processor::Transformers)?;
            Ok((cosines.into_iter().map(|c| scale.exp() * c).collect(), protocol))
        };
        let (own, protocol) = scored(&images.folder, &images.images)?;
        let mut measured = Measured::mean(own.clone(), protocol);
        if let Some(folder) = &images.options.other {
            let files = image_folder::read_with(folder, images.options.prompt_file())?;
            // Each system's images of a prompt, as many for both.
            image_folder::meetings(&images.images, &files)?;
            let (others, _) = scored(folder, &files)?;
            let table = |files, scores| {
                image_folder::by_prompt(files, scores)
                    .into_values()
                    .collect::<Vec<_>>()
            };
            let (first, second) = (table(&images.images, own), table(&files, others));
            let found = preference(&first, &second, images.options.tie, Bootstrap::default())?;
            let also = &mut measured.also;
            for (name, interval) in [
                ("win rate", found.win_rate),
                ("mean probability", found.mean_probability),
            ] {
                also.insert(format!("{name} against the other"), interval.value);
                also.insert(format!("{name} against the other, low"), interval.low);
                also.insert(format!("{name} against the other, high"), interval.high);
            }
            also.insert("ties".into(), found.n_ties as f64);
            measured.protocol.insert("against_path".into(), json!(folder));
        }
        Ok(measured)
    }
}
