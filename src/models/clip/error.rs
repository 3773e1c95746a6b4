//! What can be wrong with a tokenizer.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::files::FileError;

/// A tokenizer could not be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key of a JSON file has a value that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder holds no tokenizer.
    #[error("{0}: no tokenizer here: expected tokenizer.json, or vocab.json and merges.txt")]
    Absent(PathBuf),
    /// A file holds something else than it should.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A special token is not in the vocabulary.
    #[error("{path}: {role} token {token:?} is not in the vocabulary")]
    UnknownSpecial {
        /// The folder.
        path: PathBuf,
        /// Start, end, or padding.
        role: &'static str,
        /// The token.
        token: String,
    },
    /// No room for the start and end tokens.
    #[error("a text length of {0} leaves no room: the start and end tokens alone are 2")]
    TooShort(usize),
    /// A text could not be encoded.
    #[error("cannot tokenize {text:?}: {reason}")]
    Encode {
        /// The text.
        text: String,
        /// The library's reason.
        reason: String,
    },
}
