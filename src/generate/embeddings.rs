//! Files of image embeddings, as `eclipse prior` writes them.

use std::path::Path;

use super::error::RenderError;
use super::recipe::{FileRecord, Origin};
use crate::limits;
use crate::weights::Checkpoint;

/// Row `row` of the image embeddings in `path` (`z_x_hat`, as `eclipse prior` writes them).
///
/// # Errors
/// [`RenderError::Embeddings`] for another width or a row that does not exist; [`RenderError::Weights`] where the file does not load.
pub(super) fn embedding(path: &Path, row: usize, d_clip: usize) -> Result<Vec<f32>, RenderError> {
    let (rows, d, values) = embeddings(path)?;
    let wrong = |reason| RenderError::Embeddings {
        path: path.into(),
        reason,
    };
    if d != d_clip {
        return Err(wrong(format!(
            "`{EMBEDDINGS}`: expected rows of width {d_clip}, which the decoder reads, found {d}"
        )));
    }
    if row >= rows {
        return Err(wrong(format!(
            "`{EMBEDDINGS}`: expected row {row}, found {rows} rows"
        )));
    }
    let values = values[row * d..(row + 1) * d].to_vec();
    match limits::not_finite(values.iter().copied()) {
        None => Ok(values),
        Some(limits::Odd { n, .. }) => Err(wrong(format!(
            "`{EMBEDDINGS}`: expected finite numbers, found {n} others in row {row}"
        ))),
    }
}

/// The tensor that `eclipse prior` writes.
const EMBEDDINGS: &str = "z_x_hat";

fn embeddings(path: &Path) -> Result<(usize, usize, Vec<f32>), RenderError> {
    let file = Checkpoint::open(path)?;
    let shape = file.tensors().get(EMBEDDINGS).map(|t| t.shape.clone());
    match shape.as_deref() {
        Some([rows, d]) => Ok((*rows, *d, file.read(EMBEDDINGS)?.iter::<f32>().collect())),
        found => Err(RenderError::Embeddings {
            path: path.into(),
            reason: format!(
                "`{EMBEDDINGS}`: expected [rows, width], found {}",
                found.map_or("no such tensor".into(), |s| format!("{s:?}"))
            ),
        }),
    }
}

/// The rows of a file that `eclipse prior` wrote, each with its prompt where the file says so.
///
/// # Errors
/// [`RenderError`], naming the file.
pub fn embedding_origins(path: &Path) -> Result<Vec<Origin>, RenderError> {
    let (rows, _, _) = embeddings(path)?;
    let prompts = Checkpoint::open(path)?.metadata().get("prompts").cloned();
    let prompts: Vec<String> = prompts
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let file = FileRecord::new(path)?;
    let origin = |row| Origin::Embedding {
        file: file.clone(),
        row,
        prompt: prompts.get(row).cloned(),
    };
    Ok((0..rows).map(origin).collect())
}
