//! Prompt files: one prompt per line, UTF-8, empty lines skipped.

use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// A prompt file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The file cannot be read, or is not UTF-8.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file contains no prompt.
    #[error("{0} holds no prompt: expected one a line")]
    Empty(PathBuf),
}

/// The prompts of `path`, trimmed, without a leading byte-order mark.
///
/// # Errors
/// [`PromptError`], naming the file.
pub fn read_prompts(path: &Path) -> Result<Vec<String>, PromptError> {
    prompts_of(&files::read_text(path)?, path)
}

/// The prompts of a file's text; errors name it `path`.
///
/// # Errors
/// [`PromptError::Empty`].
pub fn prompts_of(text: &str, path: &Path) -> Result<Vec<String>, PromptError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let prompts: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(String::from)
        .collect();
    if prompts.is_empty() {
        return Err(PromptError::Empty(path.to_path_buf()));
    }
    Ok(prompts)
}
