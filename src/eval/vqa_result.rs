//! Results image by image, as T2I-CompBench's scripts write and read them: `vqa_result.json`, `[{"question_id": 0, "answer": "0.9226"}, ..]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::image_folder::ImageFile;
use crate::files;
use crate::weights::{WeightsError, read_json, write_json};

/// The result of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageAnswer {
    /// Its place by the numbers at the ends of the images' names.
    pub question_id: usize,
    /// The score.
    pub answer: String,
    /// The name of its file. The benchmark has no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// The places of `images` in the benchmark's order: by the numbers at the ends of their names, as far as each has its own; else as they are.
pub fn order(images: &[ImageFile]) -> Vec<usize> {
    let number = |image: &ImageFile| -> Option<u64> {
        let stem = image.path.file_stem()?.to_str()?;
        let start = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        stem[start..].parse().ok()
    };
    let mut order: Vec<usize> = (0..images.len()).collect();
    let numbers: Option<Vec<u64>> = images.iter().map(number).collect();
    if let Some(numbers) = numbers
        && numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len()
    {
        order.sort_by_key(|i| numbers[*i]);
    }
    order
}

/// Writes `dir/vqa_result.json` with the scores of `images`; gives its path.
///
/// # Errors
/// [`WeightsError`], naming the file.
pub fn write(dir: &Path, images: &[ImageFile], answers: &[String]) -> Result<PathBuf, WeightsError> {
    let rows: Vec<ImageAnswer> = order(images)
        .into_iter()
        .enumerate()
        .map(|(question_id, i)| ImageAnswer {
            question_id,
            answer: answers[i].clone(),
            image: images[i]
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        })
        .collect();
    files::create_dir(dir)?;
    let path = dir.join("vqa_result.json");
    write_json(&path, &rows)?;
    Ok(path)
}

/// Reads such a file.
///
/// # Errors
/// [`WeightsError`], naming the file.
pub fn read(path: &Path) -> Result<Vec<ImageAnswer>, WeightsError> {
    read_json(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_decide_the_order_where_each_image_has_one() {
        let of = |names: &[&str]| {
            let images: Vec<ImageFile> = names
                .iter()
                .map(|name| ImageFile {
                    path: name.into(),
                    prompt: None,
                })
                .collect();
            order(&images)
        };
        assert_eq!(
            of(&["a cat_10.png", "b dog_9.png", "c cow_000002.png"]),
            [2, 1, 0]
        );
        assert_eq!(of(&["0/0.png", "1/0.png", "2/1.png"]), [0, 1, 2]);
        assert_eq!(of(&["b.png", "a_1.png"]), [0, 1]);
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let image = |name: &str| ImageFile {
            path: name.into(),
            prompt: None,
        };
        let images = [image("x/a_2.png"), image("x/b_1.png")];
        let path = write(
            &dir.path().join("new"),
            &images,
            &["0.5000".into(), "1.0000".into()],
        )
        .expect("written");
        let rows = read(&path).expect("readable");
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.question_id, row.answer.as_str(), row.image.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [(0, "1.0000", Some("b_1.png")), (1, "0.5000", Some("a_2.png"))]
        );
    }
}
