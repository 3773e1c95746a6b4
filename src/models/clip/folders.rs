//! Where published folders hold what belongs to a CLIP tower.

use std::path::{Path, PathBuf};

/// Folders of the towers in a pipeline: text, vision.
pub const TOWERS: [&str; 2] = ["text_encoder", "image_encoder"];
/// Folders that may hold a tower's tokenizer, from the tower's own.
pub const TOKENIZERS: [&str; 3] = [".", "../tokenizer", "../prior_tokenizer"];
/// Folders that may hold a tower's `preprocessor_config.json`, from the tower's own.
pub const PROCESSORS: [&str; 4] = [
    ".",
    "../feature_extractor",
    "../image_processor",
    "../prior_image_processor",
];
/// The file of a preprocessing.
pub const PROCESSOR: &str = "preprocessor_config.json";

/// The first of `folders`, from the tower's folder `tower`, for which `holds`; else where it was looked for.
///
/// # Errors
/// The folders, if none of them holds it.
pub fn find(tower: &Path, folders: &[&str], holds: impl Fn(&Path) -> bool) -> Result<PathBuf, Vec<PathBuf>> {
    let looked: Vec<PathBuf> = folders
        .iter()
        .map(|folder| match *folder {
            "." => tower.to_path_buf(),
            folder => tower.join(folder),
        })
        .collect();
    match looked.iter().find(|folder| holds(folder)) {
        Some(found) => Ok(found.clone()),
        None => Err(looked),
    }
}
