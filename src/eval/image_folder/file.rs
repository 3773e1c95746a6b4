//! An image of a folder, and why a folder cannot be used.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::files::FileError;

/// An image, and what it was asked to show, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The file.
    pub path: PathBuf,
    /// The prompt.
    pub prompt: Option<String>,
}

/// A folder of images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageFolderError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of captions of another form.
    #[error(transparent)]
    Captions(#[from] ConfigError),
    /// Nothing to score.
    #[error("{folder}: no image in this folder (.png, .jpg, .jpeg or .webp; or T2I-CompBench's samples/, or GenEval's 00000/samples/){}", there(.others))]
    Empty {
        /// The folder.
        folder: PathBuf,
        /// Sub-folders that have images, with how many.
        others: Vec<(PathBuf, usize)>,
    },
    /// Images of a kind that is not read: a score of the rest would be that of another set.
    #[error(
        "{path}: an image of a format that is not read (and {more} more): expected .png, .jpg, .jpeg or .webp; convert or remove it"
    )]
    Format {
        /// The first.
        path: PathBuf,
        /// How many more.
        more: usize,
    },
    /// Two files for one image.
    #[error("{first} and {second}: two images of one number: remove one of them")]
    Twice {
        /// The first by name.
        first: PathBuf,
        /// The second.
        second: PathBuf,
    },
    /// Images and prompts do not fit.
    #[error(
        "{prompts}: {n_prompts} prompts for the {n_images} images of {folder}: expected as many images as prompts, or the same number of images for each"
    )]
    Prompts {
        /// The folder.
        folder: PathBuf,
        /// The file of prompts.
        prompts: PathBuf,
        /// Images.
        n_images: usize,
        /// Prompts.
        n_prompts: usize,
    },
    /// A file of captions lacks an image's.
    #[error(
        "{captions}: no caption for {image}: expected the number at the end of its name among the images"
    )]
    Caption {
        /// The file of captions.
        captions: PathBuf,
        /// The image.
        image: PathBuf,
    },
    /// A file that tells prompts cannot be read.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
}

/// Where there are images, if not in the folder itself.
fn there(others: &[(PathBuf, usize)]) -> String {
    let Some((first, images)) = others.first() else {
        return String::new();
    };
    let more = match others.len() {
        1 => String::new(),
        n => format!(", and in {} more", n - 1),
    };
    format!(
        "; found images in its folder {} ({images}){more}: name the folder that is meant",
        first.display()
    )
}
