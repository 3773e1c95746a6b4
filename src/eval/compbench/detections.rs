//! What a detector found in images, from a JSON file.
//!
//! An array of objects, or one object a line; each is an image. The fields of detectron2's `Instances`, which UniDet's model returns, are read under their own
//! names, as `json.dump` writes them after `.tolist()`:
//!
//! ```json
//! {"image": "a dog near a car_000000.png", "pred_boxes": [[12.5, 200, 110, 300]], "pred_classes": [124], "scores": [0.93]}
//! ```
//!
//! or a list of what was found:
//!
//! ```json
//! {"image": "a dog near a car_000000.png", "image_size": [512, 512], "detections": [{"label": "dog", "box": [13, 213, 117, 320], "score": 0.93}]}
//! ```
//!
//! - `image`: the image's file name, or its path; the last part counts, or as many as tell images of one name apart.
//! - Boxes are `[x_min, y_min, x_max, y_max]`, in pixels of an image of `image_size`, `[height, width]`. Without `image_size` they are in pixels of the
//!   detector's input ([`detector_size`]).
//! - Labels are ids or names of UniDet's [`labels`] (`Unified_learned_OCIM_RS200_6x+2x`).
//! - Detections count in the order in which they are listed.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::spatial::{Detection, Mend, Mends, Rect, detector_size};
use crate::files::FileError;

/// Labels of UniDet's unified label space, by class id.
static LABELS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    include_str!("../../../datasets/t2i_compbench/unidet_labels.txt")
        .lines()
        .collect()
});

/// UniDet's 722 labels, by class id. 44 of them stand twice.
pub fn labels() -> &'static [&'static str] {
    &LABELS
}

/// Detections cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectionsError {
    /// The file cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// No such JSON.
    #[error(
        "{path} holds no detections: expected an array of images, or one image a line, each with `image` and `detections` or `pred_boxes` (NaN is no number in JSON)"
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// Place and reason.
        #[source]
        source: serde_json::Error,
    },
    /// An image's detections are not what they should be.
    #[error("{path}: image {image:?}: {reason}")]
    Image {
        /// The file.
        path: PathBuf,
        /// The image, as the file names it.
        image: String,
        /// What was expected and found.
        reason: String,
    },
    /// Images of the folder without detections.
    #[error(
        "{path}: no detections for {n} of {of} images, the first is {first}: an image in which nothing is found has an empty list"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// How many.
        n: usize,
        /// Of how many.
        of: usize,
        /// The first of them.
        first: PathBuf,
    },
}

/// What was found in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetections {
    /// The image, as the file names it.
    pub image: String,
    /// What was found, boxes in pixels of the detector's input.
    pub found: Vec<Detection>,
}

/// An image in the file.
#[derive(Deserialize)]
struct Entry {
    image: String,
    image_size: Option<[u32; 2]>,
    detections: Option<Vec<Found>>,
    pred_boxes: Option<Vec<[f64; 4]>>,
    pred_classes: Option<Vec<Label>>,
    scores: Option<Vec<f64>>,
}

/// An object in the file.
#[derive(Deserialize)]
struct Found {
    #[serde(alias = "class", alias = "pred_class")]
    label: Label,
    #[serde(rename = "box", alias = "bbox")]
    rect: [f64; 4],
    score: f64,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a label's name or its class id")]
enum Label {
    Id(i64),
    Name(String),
}

/// Reads the file image by image, and gives each to `on_image`; one image is in memory at a time.
///
/// # Errors
/// [`DetectionsError`], naming the file and the image, and the errors of `on_image`: what is wrong with an image.
pub fn read(
    path: &Path,
    mends: &Mends,
    on_image: &mut dyn FnMut(ImageDetections) -> Result<(), String>,
) -> Result<(), DetectionsError> {
    let file = std::fs::File::open(path).map_err(|source| FileError::io("read", path, source))?;
    let mut wrong = None;
    let mut each = |entry: Entry| -> Result<(), String> {
        let image = entry.image.clone();
        let result = entry.detections(mends).and_then(&mut *on_image);
        result.map_err(|reason| {
            wrong = Some((image, reason));
            // Ends the reading; the reason is told below.
            String::new()
        })
    };
    let read = stream(BufReader::new(file), &mut each);
    match (wrong, read) {
        (Some((image, reason)), _) => Err(DetectionsError::Image {
            path: path.to_path_buf(),
            image,
            reason,
        }),
        (None, Err(source)) => Err(DetectionsError::Json {
            path: path.to_path_buf(),
            source,
        }),
        (None, Ok(())) => Ok(()),
    }
}

fn stream(
    mut reader: impl BufRead,
    each: &mut dyn FnMut(Entry) -> Result<(), String>,
) -> Result<(), serde_json::Error> {
    let first = loop {
        let there = reader.fill_buf().map_err(serde_json::Error::io)?;
        let blank = there.iter().take_while(|b| b.is_ascii_whitespace()).count();
        match there.get(blank) {
            Some(byte) => break Some(*byte),
            None if there.is_empty() => break None,
            None => reader.consume(blank),
        }
    };
    if first == Some(b'[') {
        let mut json = serde_json::Deserializer::from_reader(reader);
        json.deserialize_seq(Entries(each))?;
        return json.end();
    }
    for entry in serde_json::Deserializer::from_reader(reader).into_iter::<Entry>() {
        each(entry?).map_err(serde_json::Error::custom)?;
    }
    Ok(())
}

/// Gives the entries of an array one by one.
struct Entries<'a>(&'a mut dyn FnMut(Entry) -> Result<(), String>);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of images")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            (self.0)(entry).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

impl Entry {
    /// Its detections, checked.
    fn detections(self, mends: &Mends) -> Result<ImageDetections, String> {
        let found = match (self.detections, self.pred_boxes, self.pred_classes, self.scores) {
            (Some(found), None, None, None) => found,
            (None, Some(boxes), Some(classes), Some(scores)) => {
                if boxes.len() != classes.len() || boxes.len() != scores.len() {
                    return Err(format!(
                        "expected as many `pred_classes` and `scores` as `pred_boxes`, found {}, {} and {}",
                        classes.len(),
                        scores.len(),
                        boxes.len()
                    ));
                }
                let each = boxes.into_iter().zip(classes).zip(scores);
                each.map(|((rect, label), score)| Found { label, rect, score })
                    .collect()
            }
            _ => return Err("expected `detections`, or `pred_boxes`, `pred_classes` and `scores`".into()),
        };
        let scale = match self.image_size {
            Some([height, width]) if height.min(width) > 0 => {
                let (to_width, to_height) = detector_size(width, height);
                (
                    f64::from(to_width) / f64::from(width),
                    f64::from(to_height) / f64::from(height),
                )
            }
            Some(size) => {
                return Err(format!(
                    "image_size = {size:?}: expected a height and a width of at least 1"
                ));
            }
            None => (1.0, 1.0),
        };
        let each = found.into_iter().map(|found| found.detection(scale, mends));
        Ok(ImageDetections {
            image: self.image,
            found: each.collect::<Result<_, _>>()?,
        })
    }
}

impl Found {
    fn detection(self, scale: (f64, f64), mends: &Mends) -> Result<Detection, String> {
        let label = match self.label {
            Label::Id(id) => {
                let label = usize::try_from(id).ok().and_then(|id| labels().get(id));
                let last = labels().len() - 1;
                (*label.ok_or_else(|| format!("class id {id}: expected one of UniDet's, 0 to {last}"))?)
                    .to_owned()
            }
            Label::Name(name) if labels().contains(&name.as_str()) || mends.contains(&Mend::Labels) => name,
            Label::Name(name) => {
                return Err(format!(
                    "label {name:?}: expected one of UniDet's {} labels, letter by letter; `--mend labels` accepts those of other detectors",
                    labels().len()
                ));
            }
        };
        let [x0, y0, x1, y1] = self.rect;
        if !(x0 < x1 && y0 < y1 && [x0, y0, x1, y1].iter().all(|v| v.is_finite())) {
            return Err(format!(
                "box {:?} of a {label}: expected x_min, y_min, x_max, y_max with x_min < x_max and y_min < y_max",
                self.rect
            ));
        }
        if !(0.0..=1.0).contains(&self.score) {
            return Err(format!("score {} of a {label}: expected 0 to 1", self.score));
        }
        let (across, down) = scale;
        Ok(Detection {
            label,
            rect: Rect([x0 * across, y0 * down, x1 * across, y1 * down]),
            confidence: self.score,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, mends: &Mends) -> Result<Vec<ImageDetections>, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("found.json");
        std::fs::write(&path, text).expect("written");
        let mut all = Vec::new();
        let result = read(&path, mends, &mut |image| {
            all.push(image);
            Ok(())
        });
        let told = result.map_err(|e| e.to_string().replace(&path.display().to_string(), "FILE"));
        told.map(|()| all)
    }

    #[test]
    fn both_spellings_and_both_layouts_say_the_same() {
        let dog = labels()
            .iter()
            .position(|label| *label == "dog")
            .expect("a label");
        let fields = format!(
            r#"{{"image": "a.png", "pred_boxes": [[0, 10, 20.5, 30]], "pred_classes": [{dog}], "scores": [0.5], "extra": 1}}"#
        );
        let list = r#"{"image": "a.png", "image_size": [958, 958], "detections": [{"label": "dog", "box": [0, 20, 41, 60], "score": 0.5}]}"#;
        let none = Mends::new();
        let one = read_text(&fields, &none).expect("reads");
        assert_eq!(one[0].found[0].rect, Rect([0.0, 10.0, 20.5, 30.0]));
        for text in [
            list.to_owned(),
            format!(" \n[{fields}, {list}]"),
            format!("{list}\n\n{fields}\n"),
        ] {
            let read = read_text(&text, &none).expect("reads");
            assert!(read.iter().all(|image| *image == one[0]), "{text}: {read:?}");
        }
        assert_eq!(read_text("[]", &none), Ok(vec![]));
        assert_eq!(read_text("", &none), Ok(vec![]));
    }

    #[test]
    fn detections_that_cannot_be_are_refused() {
        let none = Mends::new();
        let one = |label: &str, rect: &str, score: &str| {
            format!(
                r#"[{{"image": "a.png", "detections": [{{"label": {label}, "box": {rect}, "score": {score}}}]}}]"#
            )
        };
        let rect = "[0, 0, 9, 9]";
        let image = "FILE: image \"a.png\": ";
        for (text, expected) in [
            (
                one("722", rect, "1"),
                "class id 722: expected one of UniDet's, 0 to 721",
            ),
            (one("-1", rect, "1"), "class id -1: expected"),
            (
                one("\"sofa\"", rect, "1"),
                "label \"sofa\": expected one of UniDet's 722 labels",
            ),
            (
                one("0", "[9, 0, 0, 9]", "1"),
                "expected x_min, y_min, x_max, y_max",
            ),
            (one("0", rect, "1.5"), "expected 0 to 1"),
            (
                r#"{"image": "a.png"}"#.into(),
                "expected `detections`, or `pred_boxes`, `pred_classes` and `scores`",
            ),
            (
                r#"{"image": "a.png", "pred_boxes": [[0, 0, 1, 1]], "pred_classes": [], "scores": []}"#
                    .into(),
                "expected as many `pred_classes` and `scores` as `pred_boxes`, found 0, 0 and 1",
            ),
            (
                r#"{"image": "a.png", "image_size": [0, 5], "detections": []}"#.into(),
                "image_size = [0, 5]: expected a height and a width of at least 1",
            ),
        ] {
            let told = read_text(&text, &none).expect_err(&text);
            assert!(
                told.starts_with(image) && told.contains(expected),
                "{text}: {told}"
            );
        }
        for text in [
            one("0", "[0, 0, 9, NaN]", "1"),
            one("0", "[0, 0, 9, 1e999]", "1"),
            one("0", "[0, 0, 9]", "1"),
            one("[]", rect, "1"),
            r#"{"detections": []}"#.into(),
            r#"{"a.png": []}"#.into(),
            r#"[{"image": "a.png", "detections": []}"#.into(),
            r#"[{"image": "a.png", "detections": []}] x"#.into(),
            "1".into(),
        ] {
            let told = read_text(&text, &none).expect_err(&text);
            assert!(told.starts_with("FILE holds no detections"), "{text}: {told}");
        }
        assert!(read_text(&one("\"sofa\"", rect, "1"), &Mends::from([Mend::Labels])).is_ok());
    }
}
