//! Reading and writing Hugging Face model directories: `config.json` beside `*.safetensors` (one file, or shards with an index).
//!
//! The loader is strict: every parameter of a module must be in the checkpoint, with its shape and a floating dtype, and every tensor of
//! the checkpoint must be used. Anything else is an error that names the tensors. No model is named in here; each model declares its
//! [`Mapping`] from our field names to the published tensor names.

mod checkpoint;
mod convert;
mod load;
mod random;
mod save;
mod tensor_file;

pub use checkpoint::{Checkpoint, StoredTensor};
pub use load::{load, parameters};
pub use random::write_random;
pub use save::save;
pub use tensor_file::TensorFile;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{self, ConfigError};
use crate::files::FileError;
use crate::hub::{self, HubError};

/// How a module's parameters are called in published checkpoints.
///
/// A parameter's path, such as `.blocks.3.attention.query.weight`, is rewritten by each rule in turn (first match of the left side
/// becomes the right side), so a more specific rule comes first.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// `(ours, published)`, both usually starting with a dot.
    pub rules: &'static [(&'static str, &'static str)],
}

impl Mapping {
    /// The published name of the parameter at `path` (dotted, without a leading dot).
    pub fn published(&self, path: &str) -> String {
        let dotted = format!(".{path}");
        let name = self.rules.iter().fold(dotted, |name, (ours, published)| {
            name.replacen(ours, published, 1)
        });
        name.trim_start_matches('.').to_string()
    }
}

/// One parameter of a module as a checkpoint holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Dotted path in the module.
    pub path: String,
    /// Published tensor name.
    pub name: String,
    /// Published shape: linear weights are `[d_out, d_in]` there.
    pub shape: Vec<usize>,
    /// Whether our own shape is the transposed one.
    pub transposed: bool,
}

/// A model directory that cannot be loaded or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A repository of weights that is not in the Hugging Face cache.
    #[error(transparent)]
    Repository(#[from] HubError),
    /// The directory holds no weights under any name we know.
    #[error("no weights in {dir}: expected {}{hint}", .expected.join(" or "))]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// The file names looked for.
        expected: Vec<String>,
        /// What is there in their place.
        hint: String,
    },
    /// The file is not safetensors, or is cut short.
    #[error("{path} is not a whole safetensors or PyTorch file: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key of `config.json` or of another JSON file has a value that cannot be used, or the file does not parse.
    #[error(transparent)]
    Value(ConfigError),
    /// `config.json` or another JSON file describes something else than it should.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tensors of the checkpoint are not the parameters of the module.
    #[error("{path} does not fit {model}:{}", list(.missing, .unused, .misfits))]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The model being loaded.
        model: String,
        /// Parameters that the checkpoint lacks.
        missing: Vec<String>,
        /// Tensors that the model does not use.
        unused: Vec<String>,
        /// `(tensor, what was expected, what was found)`: another shape or dtype.
        misfits: Vec<(String, String, String)>,
    },
}

impl From<ConfigError> for WeightsError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::File(error) => Self::File(error),
            error => Self::Value(error),
        }
    }
}

/// How many names of each kind an error shows.
const SHOWN: usize = 8;

fn list(missing: &[String], unused: &[String], misfits: &[(String, String, String)]) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        text += &format!("\n  {} {title}:", lines.len());
        for line in lines.iter().take(SHOWN) {
            text += &format!("\n    {line}");
        }
        if lines.len() > SHOWN {
            text += &format!("\n    and {} more", lines.len() - SHOWN);
        }
    };
    section("missing", missing.to_vec());
    section("unused", unused.to_vec());
    let misfit = |(name, expected, found): &(_, _, _)| format!("{name}: expected {expected}, found {found}");
    section("of another shape or dtype", misfits.iter().map(misfit).collect());
    text
}

/// The model directory that `given` names: itself, or that of a repository in the Hugging Face cache, see [`hub::weights_folder`].
///
/// # Errors
/// [`WeightsError::Repository`].
pub fn folder(given: &Path) -> Result<PathBuf, WeightsError> {
    Ok(hub::weights_folder(given)?)
}

/// Reads `dir/config.json` (or another JSON file) into `T`.
///
/// # Errors
/// [`WeightsError::File`] or [`WeightsError::Value`], naming the file and the key.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, WeightsError> {
    Ok(config::read_json(path)?)
}

/// Writes `value` as indented JSON with a final newline.
///
/// # Errors
/// [`WeightsError::File`], naming the file.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), WeightsError> {
    Ok(config::write_json(path, value)?)
}
