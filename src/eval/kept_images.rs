//! Images that a run keeps for the report: PNGs, and an index with their prompts and the checker's verdicts.
//!
//! ```json
//! {"version": 1, "pictures": [
//!   {"prompt": "a red cup and a blue dog", "split": "unseen", "file": "000.png", "verdict": [["object", true], ["colour", false], ["binding", false]]}
//! ]}
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::EvalError;
use crate::files;

/// Name of the index, beside its images.
const INDEX: &str = "index.json";

/// A kept image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptImage {
    /// The prompt.
    pub prompt: String,
    /// `seen`, `unseen`, or `against` for counter-bias prompts.
    pub split: String,
    /// The PNG, in the folder of the index.
    pub file: String,
    /// What the checker looked for, in the order shown, and whether all of it is there.
    pub verdict: Vec<(String, bool)>,
}

/// The images of one run, in the order of its prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptImages {
    version: u32,
    /// The images.
    #[serde(rename = "pictures")]
    pub images: Vec<KeptImage>,
}

impl KeptImages {
    /// The version that this code writes and reads.
    const VERSION: u32 = 1;

    /// An index of these images.
    pub fn new(images: Vec<KeptImage>) -> Self {
        Self {
            version: Self::VERSION,
            images,
        }
    }

    /// Reads the index in `folder`; `None` if the folder has none.
    ///
    /// # Errors
    /// [`EvalError::File`], [`EvalError::Json`] with line and column, or [`EvalError::Content`] for another version or a file name that leads out of the
    /// folder.
    pub fn read(folder: &Path) -> Result<Option<Self>, EvalError> {
        let path = folder.join(INDEX);
        if !path.is_file() {
            return Ok(None);
        }
        let index: Self =
            serde_json::from_str(&files::read_text(&path)?).map_err(|source| EvalError::Json {
                path: path.clone(),
                source,
            })?;
        let problem = if index.version != Self::VERSION {
            format!("version {}, expected {}", index.version, Self::VERSION)
        } else if let Some(odd) = index.images.iter().find(|p| !is_plain(&p.file)) {
            format!(
                "`file` is {:?}, expected the name of a file in this folder",
                odd.file
            )
        } else {
            return Ok(Some(index));
        };
        Err(EvalError::Content { path, problem })
    }

    /// Writes the index into `folder`, which holds the images.
    ///
    /// # Errors
    /// [`EvalError::File`].
    pub fn write(&self, folder: &Path) -> Result<(), EvalError> {
        let path = folder.join(INDEX);
        let text = serde_json::to_string(self).map_err(|source| EvalError::Json {
            path: path.clone(),
            source,
        })?;
        Ok(files::write_atomic(path, text.as_bytes())?)
    }
}

fn is_plain(file: &str) -> bool {
    Path::new(file).file_name().is_some_and(|name| name == file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        assert_eq!(KeptImages::read(dir.path())?, None);
        let shown = KeptImage {
            prompt: "a red cup".into(),
            split: "seen".into(),
            file: "000.png".into(),
            verdict: vec![("object".into(), true), ("colour".into(), false)],
        };
        let index = KeptImages::new(vec![shown]);
        index.write(dir.path())?;
        assert_eq!(KeptImages::read(dir.path())?, Some(index.clone()));

        let path = dir.path().join(INDEX);
        let written = files::read_text(&path)?;
        let refused = |from: &str, to: &str| {
            files::write_atomic(&path, written.replace(from, to).as_bytes()).expect("written");
            let error = KeptImages::read(dir.path()).expect_err("refused").to_string();
            error.replace(&path.display().to_string(), "FILE")
        };
        assert_eq!(
            refused("\"version\":1", "\"version\":2"),
            "FILE: version 2, expected 1"
        );
        assert_eq!(
            refused("000.png", "../000.png"),
            "FILE: `file` is \"../000.png\", expected the name of a file in this folder"
        );
        assert_eq!(refused("\"split\"", "\"part\""), "FILE is no evaluation file");
        Ok(())
    }
}
