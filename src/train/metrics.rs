//! `metrics.jsonl`: one value a line, appended while training.
//!
//! A killed process may leave half a line at the end. A resumed run removes this line and every line of a step after its checkpoint, so that no step is
//! recorded twice. Readers skip damaged lines.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricRow {
    /// Optimiser step, from 1.
    pub step: usize,
    /// Pass over the pairs, from 0.
    pub epoch: usize,
    /// `train` or `valid`.
    pub split: String,
    /// Name of the metric, such as `loss/cls`.
    pub name: String,
    /// The value; `null` when it was not finite.
    pub value: Option<f64>,
}

/// The writer.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens `path` for appending after `step` (0: from the start). Removes lines of later steps and a truncated last line.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read or written.
    pub fn open_after(path: impl Into<PathBuf>, step: usize) -> Result<Self, FileError> {
        let path = path.into();
        let mut kept = String::new();
        let before = text(&path)?;
        for (line, row) in parse(&before) {
            if row.step <= step {
                // The line's own text: formatting a parsed number again may change its last digit.
                kept.push_str(line);
                kept.push('\n');
            }
        }
        files::write_atomic(&path, kept.as_bytes())?;
        let file = File::options()
            .append(true)
            .open(&path)
            .map_err(|e| denied(&path, e))?;
        Ok(Self { path, file })
    }

    /// Appends the values of one step with a single write.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn log(
        &mut self,
        step: usize,
        epoch: usize,
        split: &str,
        values: &[(&str, f64)],
    ) -> Result<(), FileError> {
        let rows = values.iter().map(|&(name, value)| {
            let value = value.is_finite().then_some(value);
            line(&MetricRow {
                step,
                epoch,
                split: split.to_owned(),
                name: name.to_owned(),
                value,
            })
        });
        let text: String = rows.collect();
        self.file
            .write_all(text.as_bytes())
            .map_err(|e| denied(&self.path, e))
    }

    /// Every complete line of `path`; none when the file does not exist.
    ///
    /// # Errors
    /// [`FileError`] when it exists and cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<MetricRow>, FileError> {
        Ok(parse(&text(path.as_ref())?).map(|(_, row)| row).collect())
    }
}

/// The file's text; empty if the file does not exist.
fn text(path: &Path) -> Result<String, FileError> {
    match files::read(path) {
        Err(FileError::Missing(_)) => Ok(String::new()),
        bytes => Ok(String::from_utf8_lossy(&bytes?).into_owned()),
    }
}

/// Complete lines that are rows.
fn parse(text: &str) -> impl Iterator<Item = (&str, MetricRow)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .filter_map(|line| Some((line, serde_json::from_str(line).ok()?)))
}

fn line(row: &MetricRow) -> String {
    let mut text = serde_json::to_string(row).expect("a row of numbers and text is JSON");
    text.push('\n');
    text
}

fn denied(path: &Path, source: std::io::Error) -> FileError {
    FileError::Io {
        action: "write",
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_log_resumes_at_its_checkpoint() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let path = temp.path().join("metrics.jsonl");
        let mut log = MetricsLog::open_after(&path, 0).expect("writable");
        for step in 1..=5 {
            log.log(
                step,
                0,
                "train",
                &[("loss", step as f64), ("grad_norm", f64::NAN)],
            )
            .expect("writable");
        }
        drop(log);
        let mut torn = std::fs::read(&path).expect("readable");
        torn.truncate(torn.len() - 7);
        std::fs::write(&path, &torn).expect("written");
        let mut damaged = torn.clone();
        damaged[20] = 0xFF;
        let other = temp.path().join("damaged.jsonl");
        std::fs::write(&other, damaged).expect("written");
        assert_eq!(
            MetricsLog::read(&other).expect("readable").len(),
            8,
            "one line is lost"
        );
        assert_eq!(
            MetricsLog::read(&path).expect("readable").len(),
            9,
            "half a line is no line"
        );
        let mut log = MetricsLog::open_after(&path, 3).expect("writable");
        log.log(4, 0, "train", &[("loss", 40.0)]).expect("writable");
        let rows = MetricsLog::read(&path).expect("readable");
        let steps: Vec<_> = rows.iter().map(|r| (r.step, r.value)).collect();
        let nan = None;
        assert_eq!(
            steps,
            [
                (1, Some(1.0)),
                (1, nan),
                (2, Some(2.0)),
                (2, nan),
                (3, Some(3.0)),
                (3, nan),
                (4, Some(40.0))
            ]
        );
    }
}
