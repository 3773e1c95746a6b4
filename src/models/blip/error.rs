//! What can be wrong with a folder of BLIP or with what is asked.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::files::FileError;
use crate::weights::WeightsError;

/// A BLIP that cannot be loaded, or a question that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum BlipError {
    /// Configuration or weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key of `preprocessor_config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No vocabulary in the folder.
    #[error("{0}: no vocabulary here: expected tokenizer.json or vocab.txt (of bert-base-uncased)")]
    NoVocabulary(PathBuf),
    /// A vocabulary that is not BLIP's.
    #[error("{path}: {reason}")]
    Vocabulary {
        /// Its file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A question could not be tokenized.
    #[error("cannot tokenize {question:?}: {reason}")]
    Question {
        /// The question.
        question: String,
        /// The library's reason.
        reason: String,
    },
}
