//! A metric's scores of single images, in the layout of T2I-CompBench's scripts.
//!
//! `vqa_result.json` is `[{"question_id": 0, "answer": 0.5}]`, in the order of the images' indices. `mapping.json` beside it says which image a `question_id` is,
//! and the hash of its file.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::image_folder::{self, ImageFile};
use crate::files::{self, FileError};
use crate::weights::{WeightsError, read_json, write_json};

/// Scores of single images cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PerImageError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file in JSON.
    #[error(transparent)]
    Json(#[from] WeightsError),
    /// Scores of other images.
    #[error("{path}: no score of {image} as it is now: compute {metric} again")]
    Image {
        /// The file of scores.
        path: PathBuf,
        /// The image.
        image: PathBuf,
        /// The metric.
        metric: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Score {
    question_id: u64,
    /// T2I-CompBench writes some as text.
    answer: Value,
}

#[derive(Serialize, Deserialize)]
struct Place {
    image: String,
    question_id: u64,
    sha256: String,
}

/// The folder of a metric's scores, below that of its result: that of T2I-CompBench's scripts for its own metrics.
fn folder(metric: &str) -> PathBuf {
    match metric {
        "blip-vqa" => "annotation_blip".into(),
        "clip-score" => "annotation_clip".into(),
        "spatial" => "labels/annotation_obj_detection_2d".into(),
        "3-in-1" => "annotation_3_in_1".into(),
        other => format!("annotation_{other}").into(),
    }
}

/// The path of an image below the folder of images, as `mapping.json` has it.
fn name(root: &Path, image: &ImageFile) -> String {
    let below = image.path.strip_prefix(root).unwrap_or(&image.path);
    below.to_string_lossy().replace('\\', "/")
}

/// The numbers of images: the indices in their names where all have different ones, else their places.
fn ids(images: &[ImageFile]) -> Vec<u64> {
    let indices: Option<Vec<u64>> = images
        .iter()
        .map(|image| image_folder::index(&image.path))
        .collect();
    let different = |ids: &Vec<u64>| ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
    indices
        .filter(different)
        .unwrap_or_else(|| (0..images.len() as u64).collect())
}

/// Writes the scores `each` of `images`, those of the folder `root`, by `metric` below `dir`; gives the path of `vqa_result.json`.
///
/// # Errors
/// [`PerImageError`], naming the file.
pub fn write(
    dir: &Path,
    metric: &str,
    root: &Path,
    images: &[ImageFile],
    each: &[f64],
) -> Result<PathBuf, PerImageError> {
    let folder = dir.join(folder(metric));
    files::create_dir(&folder)?;
    let mut all: Vec<(u64, &ImageFile, f64)> = ids(images)
        .into_iter()
        .zip(images)
        .zip(each)
        .map(|((id, image), score)| (id, image, *score))
        .collect();
    all.sort_by_key(|(id, ..)| *id);
    let places = all.par_iter().map(|(id, image, _)| {
        Ok(Place {
            image: name(root, image),
            question_id: *id,
            sha256: files::sha256_file(&image.path)?,
        })
    });
    let places: Vec<Place> = places.collect::<Result<_, FileError>>()?;
    let scores: Vec<Score> = all
        .iter()
        .map(|(id, _, score)| Score {
            question_id: *id,
            answer: (*score).into(),
        })
        .collect();
    let path = folder.join("vqa_result.json");
    write_json(&folder.join("mapping.json"), &places)?;
    write_json(&path, &scores)?;
    Ok(path)
}

/// The scores of `images`, those of the folder `root`, by `metric`, which [`write()`] wrote below `dir`.
///
/// # Errors
/// [`PerImageError`], naming the file, and the first image that has no score or has changed since.
pub fn read(dir: &Path, metric: &str, root: &Path, images: &[ImageFile]) -> Result<Vec<f64>, PerImageError> {
    let folder = dir.join(folder(metric));
    let path = folder.join("vqa_result.json");
    let scores: Vec<Score> = read_json(&path)?;
    let scores: HashMap<u64, f64> = scores
        .into_iter()
        .filter_map(|score| {
            let number = match &score.answer {
                Value::String(text) => text.parse().ok(),
                other => other.as_f64(),
            };
            Some((score.question_id, number?))
        })
        .collect();
    let places: Vec<Place> = read_json(&folder.join("mapping.json"))?;
    let places: HashMap<(String, String), u64> = places
        .into_iter()
        .map(|place| ((place.image, place.sha256), place.question_id))
        .collect();
    let each = images.par_iter().map(|image| {
        let key = (name(root, image), files::sha256_file(&image.path)?);
        let score = places.get(&key).and_then(|id| scores.get(id));
        score.copied().ok_or_else(|| PerImageError::Image {
            path: path.clone(),
            image: image.path.clone(),
            metric: metric.to_owned(),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_as_they_were_written_while_the_images_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let images: Vec<ImageFile> = ["a cat_000011.png", "a dog_000002.png"]
            .map(|name| {
                let path = dir.path().join(name);
                std::fs::write(&path, name).expect("written");
                ImageFile { path, prompt: None }
            })
            .into();
        let out = dir.path().join("eval");
        let path = write(&out, "blip-vqa", dir.path(), &images, &[0.25, 0.5]).expect("written");
        assert!(path.ends_with("eval/annotation_blip/vqa_result.json"));
        let text: Value = read_json(&path).expect("JSON");
        assert_eq!(
            text,
            serde_json::json!([{"question_id": 2, "answer": 0.5}, {"question_id": 11, "answer": 0.25}])
        );
        let back =
            |images: &[ImageFile]| read(&out, "blip-vqa", dir.path(), images).map_err(|e| e.to_string());
        assert_eq!(back(&images), Ok(vec![0.25, 0.5]));
        // As BLIP-VQA's script writes them.
        std::fs::write(
            &path,
            r#"[{"question_id": 2, "answer": "0.5000"}, {"question_id": 11, "answer": "0.2500"}]"#,
        )
        .expect("written");
        assert_eq!(back(&images[1..]), Ok(vec![0.5]));
        std::fs::write(&images[1].path, "another image").expect("written");
        let told = back(&images).expect_err("changed");
        assert!(
            told.contains("no score of")
                && told.contains("a dog_000002.png as it is now: compute blip-vqa again"),
            "{told}"
        );
        let other = read(&out, "spatial", dir.path(), &images)
            .expect_err("not there")
            .to_string();
        assert!(other.contains("annotation_obj_detection_2d"), "{other}");
    }
}
