//! `spatial`: T2I-CompBench's score of positions, see [`crate::eval::compbench::spatial`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::compbench::detections::{self, DetectionsError, labels};
use crate::eval::compbench::objects::{Objects, objects};
use crate::eval::compbench::spatial::{Mend, score};
use crate::eval::image_folder::{self, ImageFile};
use crate::files;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::higher(
        "spatial",
        "T2I-CompBench's spatial score from detections (UniDet)",
        "0 to 1",
    )
    .with_decimals(4)],
    source: Source::ImageFolder(&Spatial),
};

struct Spatial;

impl ImageMetric for Spatial {
    fn options(&self) -> &'static [ImageOption] {
        &[ImageOption::Detections, ImageOption::Category, ImageOption::Mends]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let (category, mut protocol) = images.category()?;
        let prompts = image_folder::prompts(&images.images)?;
        let path = images.options.detections.as_deref().unwrap_or(Path::new(""));
        let mends = &images.options.mends;
        let mut named: HashMap<&str, Objects> = HashMap::new();
        for prompt in &prompts {
            named
                .entry(prompt)
                .or_insert_with(|| objects(prompt, category, mends));
        }
        let places = Places::of(&images.images);
        let mut scores: Vec<Option<f64>> = vec![None; prompts.len()];
        detections::read(path, mends, &mut |image| {
            let i = places.find(&image.image, &images.folder)?;
            let names = named[prompts[i].as_str()].names.as_ref();
            let names = names.map(|[first, second]| [first.as_str(), second.as_str()]);
            match scores[i].replace(score(&prompts[i], names, &image.found, mends)) {
                None => Ok(()),
                Some(_) => Err("it stands twice in this file".into()),
            }
        })?;
        let missing = scores.iter().filter(|score| score.is_none()).count();
        if let Some(first) = scores.iter().position(Option::is_none) {
            return Err(DetectionsError::Missing {
                path: path.to_path_buf(),
                n: missing,
                of: scores.len(),
                first: images.images[first].path.clone(),
            }
            .into());
        }
        let names: Vec<&str> = mends.iter().map(|mend: &Mend| mend.name()).collect();
        protocol.insert("mended".into(), json!(names));
        // Which two objects are looked for is part of the score.
        let by_words = named.values().filter(|objects| !objects.official).count();
        protocol.insert(
            "prompts_with_official_objects".into(),
            json!(named.len() - by_words),
        );
        protocol.insert("prompts_with_objects_by_words".into(), json!(by_words));
        protocol.insert(
            "labels_sha256".into(),
            json!(files::sha256(labels().join("\n").as_bytes())),
        );
        protocol.insert("detections_path".into(), json!(path));
        Ok(Measured::mean(scores.into_iter().flatten().collect(), protocol))
    }
}

/// Images by the last part of their path.
struct Places<'a>(HashMap<&'a OsStr, Vec<(usize, &'a PathBuf)>>);

impl<'a> Places<'a> {
    fn of(images: &'a [ImageFile]) -> Self {
        let mut places: HashMap<&OsStr, Vec<_>> = HashMap::new();
        for (i, image) in images.iter().enumerate() {
            let name = image.path.file_name().unwrap_or_default();
            places.entry(name).or_default().push((i, &image.path));
        }
        Self(places)
    }

    /// The image that a file of detections calls `image`.
    fn find(&self, image: &str, folder: &Path) -> Result<usize, String> {
        let path = Path::new(image);
        let name = path.file_name().unwrap_or_default();
        match self.0.get(name).map_or(&[][..], Vec::as_slice) {
            [] => Err(format!("there is no such image in {}", folder.display())),
            [(i, _)] => Ok(*i),
            several => {
                let mut fit = several.iter().filter(|(_, own)| own.ends_with(path));
                match (fit.next(), fit.next()) {
                    (Some((i, _)), None) => Ok(*i),
                    _ => Err(format!(
                        "{} images in {} have this name: expected the path of one, as in {}",
                        several.len(),
                        folder.display(),
                        several[0].1.display()
                    )),
                }
            }
        }
    }
}
