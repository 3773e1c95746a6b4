//! Making a built-in world's small models: its CLIP, and the decoder that draws from the CLIP's image embeddings.

mod clip;
mod decoder;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use clip::{MEAN_SQUARE, Pretrain, PretrainRecord, pretrain_clip};
pub use decoder::{DecoderPretrain, DecoderRecord, DecoderScores, pretrain_decoder};

use super::bars::BarsError;
use super::metrics::MetricsLog;
use crate::data::encode::EncodeError;
use crate::device::DeviceError;
use crate::diffusion::DiffusionError;
use crate::files::FileError;
use crate::generate::error::RenderError;
use crate::generate::images::ImageError;
use crate::models::clip::ClipError;
use crate::models::clip::tokenizer::TokenizerError;
use crate::train::clip::BatchError;
use crate::train::session::{Sink, TrainError};
use crate::weights::{WeightsError, read_json, write_json};

/// Steps of a point of `curve.csv`.
const CURVE_EVERY: usize = 50;
/// The metric that [`journal`] adds.
const SECONDS: &str = "seconds";
/// Steps between checkpoints.
const CHECKPOINT_EVERY: usize = 250;

/// A model could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run's folder belongs to another recipe.
    #[error("{path} holds a run of another recipe: give another --run-dir, or remove it")]
    OtherRecipe {
        /// The recipe that stands there.
        path: PathBuf,
    },
    /// Tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The CLIP that a decoder reads.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The finished model.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Measuring it.
    #[error(transparent)]
    Bars(#[from] BarsError),
    /// The finished decoder's scheduler.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// The finished decoder's folder.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// What it draws.
    #[error(transparent)]
    Picture(#[from] ImageError),
}

/// Takes `run_dir` for `wanted`, or finds it taken for the same or for what `wanted` goes on from: another world or recipe cannot go on from its
/// checkpoints.
fn claim<T: PartialEq + Serialize + DeserializeOwned>(
    run_dir: &Path,
    wanted: &T,
    goes_on_from: impl Fn(&T) -> bool,
) -> Result<(), PretrainError> {
    let path = run_dir.join("recipe.json");
    if !path.exists() {
        return Ok(write_json(&path, wanted)?);
    }
    match read_json::<T>(&path) {
        Ok(found) if found == *wanted => Ok(()),
        Ok(found) if goes_on_from(&found) => Ok(write_json(&path, wanted)?),
        _ => Err(PretrainError::OtherRecipe { path }),
    }
}

/// Writes every step's values and how long it took to `log`, and tells `progress` the number and the first value.
fn journal(mut log: MetricsLog, mut progress: impl FnMut(usize, f32) + Send + 'static) -> Sink {
    let mut last = Instant::now();
    Box::new(move |_, step: usize, values: &[(&str, f32)]| {
        progress(step, values[0].1);
        let mut values: Vec<(&str, f64)> = values
            .iter()
            .map(|&(name, value)| (name, f64::from(value)))
            .collect();
        let now = Instant::now();
        values.push((SECONDS, (now - last).as_secs_f64()));
        last = now;
        log.log(step, 0, "train", &values)
    })
}

/// Seconds that the steps in `metrics` took, in however many processes.
fn seconds(metrics: &Path) -> Result<f64, FileError> {
    let rows = MetricsLog::read(metrics)?;
    Ok(rows
        .iter()
        .filter(|row| row.name == SECONDS)
        .filter_map(|row| row.value)
        .sum())
}

/// The metrics' means over every [`CURVE_EVERY`] steps, one column a metric.
fn curve(metrics: &Path) -> Result<String, FileError> {
    let rows = MetricsLog::read(metrics)?;
    let mut names: Vec<&str> = Vec::new();
    for row in &rows {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let mut text = format!("step,{}\n", names.join(","));
    let pieces = rows.chunk_by(|a, b| (a.step - 1) / CURVE_EVERY == (b.step - 1) / CURVE_EVERY);
    for piece in pieces {
        let mean = |name: &&str| {
            let values: Vec<f64> = piece
                .iter()
                .filter(|row| row.name == **name)
                .filter_map(|row| row.value)
                .collect();
            format!("{:.4}", values.iter().sum::<f64>() / values.len() as f64)
        };
        let means: Vec<String> = names.iter().map(mean).collect();
        text += &format!("{},{}\n", piece[piece.len() - 1].step, means.join(","));
    }
    Ok(text)
}
