//! The files in `eval/` of a run: scores of its predictions, or a metric of images that it drew.

use std::path::Path;

use serde_json::Value;

use super::EvalError;
use super::image_score::ImageScore;
use super::results::{EvalFile, Metric};
use crate::files;

/// A file `eval/*.json`.
#[derive(Debug, Clone, PartialEq)]
pub enum ScoreFile {
    /// What an evaluation of predictions wrote.
    Predictions(EvalFile),
    /// What `eclipse eval METRIC --images DIR` wrote.
    Images(ImageScore),
}

impl ScoreFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Like [`EvalFile::read`].
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let of_images = serde_json::from_str(&files::read_text(path)?)
            .is_ok_and(|content: Value| content.get("metric").is_some());
        if !of_images {
            return EvalFile::read(path).map(Self::Predictions);
        }
        let score = ImageScore::read(path).map_err(|error| EvalError::Content {
            path: path.to_path_buf(),
            problem: error.to_string(),
        })?;
        let ends = score.interval.unwrap_or_default();
        match ends.into_iter().chain([score.value]).all(f64::is_finite) {
            true => Ok(Self::Images(score)),
            false => Err(EvalError::Content {
                path: path.to_path_buf(),
                problem: format!("metric {} holds a number that is not finite", score.metric),
            }),
        }
    }

    /// Its metrics; one of images is over all prompts.
    pub fn into_metrics(self) -> Vec<Metric> {
        match self {
            Self::Predictions(file) => file.metrics,
            Self::Images(score) => vec![Metric::scalar(score.metric, "all", score.value, score.n)],
        }
    }
}
