//! Prompts of images from a file: lines, a column of a CSV, or COCO's captions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::captions::first_captions;
use super::file::{ImageFile, ImageFolderError};
use super::names::numbers;
use crate::files;
use crate::limits::MAX_INDEX;

/// Columns of a CSV that hold prompts, by preference: HRS-Bench's, then common names. HRS-Bench's `meta_prompt` asks a language model for the prompt.
const COLUMNS: [&str; 6] = [
    "synthetic_prompt",
    "original_prompts",
    "original_prompt",
    "prompt",
    "caption",
    "meta_prompt",
];

/// A file of prompts, and which of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptFile<'a> {
    /// A text with one prompt a line, a CSV, or COCO's captions in JSON.
    pub path: &'a Path,
    /// The column of a CSV; by default the first of those that hold prompts in known benchmarks.
    pub column: Option<&'a str>,
}

impl PromptFile<'_> {
    fn error(&self, reason: String) -> ImageFolderError {
        ImageFolderError::Content {
            path: self.path.to_path_buf(),
            reason,
        }
    }

    /// Gives the images of `folder`, which are in their order, their prompts.
    ///
    /// # Errors
    /// [`ImageFolderError`].
    pub(super) fn tell(&self, folder: &Path, images: &mut [ImageFile]) -> Result<(), ImageFolderError> {
        let has = |extension: &str| {
            self.path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(extension))
        };
        if has("json") {
            return self.captions(images);
        }
        let (prompts, is_table) = match has("csv") {
            true => (self.column()?, true),
            false => (self.lines()?, false),
        };
        let rows: Option<Vec<u64>> = images.iter().map(|image| Some(numbers(&image.path)?.0)).collect();
        match rows {
            // HRS-Bench's names begin with the row.
            Some(rows) if is_table => self.by_row(folder, images, &rows, &prompts),
            _ => self.in_order(folder, images, &prompts),
        }
    }

    fn lines(&self) -> Result<Vec<String>, ImageFolderError> {
        let text = files::read_text(self.path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    }

    fn column(&self) -> Result<Vec<String>, ImageFolderError> {
        let bytes = files::read_at_most(self.path, MAX_INDEX, "prompts in CSV")?;
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let mut table = csv::Reader::from_reader(bytes);
        let header = table.headers().map_err(|e| self.error(e.to_string()))?.clone();
        let place = |name: &str| header.iter().position(|cell| cell.trim() == name);
        let found = match self.column {
            Some(name) => place(name),
            None => COLUMNS.into_iter().find_map(place),
        };
        let found = found.ok_or_else(|| {
            let wanted = self.column.map_or_else(
                || format!("a column {}, or --prompt-column", COLUMNS.join(", ")),
                |name| format!("a column {name}"),
            );
            let there: Vec<&str> = header.iter().collect();
            self.error(format!("expected {wanted}; found {}", there.join(", ")))
        })?;
        let rows = table.records().enumerate().map(|(i, row)| {
            let row = row.map_err(|e| self.error(e.to_string()))?;
            let prompt = row.get(found).unwrap_or_default().trim();
            match prompt.is_empty() {
                true => Err(self.error(format!("row {i} has no prompt in column {}", &header[found]))),
                false => Ok(prompt.to_owned()),
            }
        });
        rows.collect()
    }

    /// One image a prompt, or as many for each.
    fn in_order(
        &self,
        folder: &Path,
        images: &mut [ImageFile],
        prompts: &[String],
    ) -> Result<(), ImageFolderError> {
        let n = images.len();
        if prompts.is_empty() || !n.is_multiple_of(prompts.len()) {
            return Err(ImageFolderError::Prompts {
                folder: folder.to_path_buf(),
                prompts: self.path.to_path_buf(),
                n_images: n,
                n_prompts: prompts.len(),
            });
        }
        let each = n / prompts.len();
        for (i, image) in images.iter_mut().enumerate() {
            image.prompt = Some(prompts[i / each].clone());
        }
        Ok(())
    }

    /// By the row, from 0, that each name begins with.
    fn by_row(
        &self,
        folder: &Path,
        images: &mut [ImageFile],
        rows: &[u64],
        prompts: &[String],
    ) -> Result<(), ImageFolderError> {
        for (image, row) in images.iter_mut().zip(rows) {
            let prompt = usize::try_from(*row).ok().and_then(|row| prompts.get(row));
            image.prompt = Some(prompt.cloned().ok_or_else(|| {
                self.error(format!(
                    "{} prompts, rows from 0, but {} is an image of row {row}",
                    prompts.len(),
                    image.path.display()
                ))
            })?);
        }
        let there: BTreeSet<u64> = rows.iter().copied().collect();
        let mut lacking = (0..prompts.len() as u64).filter(|row| !there.contains(row));
        match lacking.next() {
            None => Ok(()),
            Some(first) => Err(self.error(format!(
                "{} of its {} prompts have no image in {}, the first is row {first}, {:?}: draw them, or remove the rows",
                lacking.count() + 1,
                prompts.len(),
                folder.display(),
                prompts[first as usize]
            ))),
        }
    }

    /// The first caption of each image, by the number at the end of its name.
    fn captions(&self, images: &mut [ImageFile]) -> Result<(), ImageFolderError> {
        let first: BTreeMap<u64, String> = first_captions::<ImageFolderError>(self.path)?;
        for image in images {
            let stem = image
                .path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let caption = stem[digits..].parse().ok().and_then(|id: u64| first.get(&id));
            let caption = caption.ok_or_else(|| ImageFolderError::Caption {
                captions: self.path.to_path_buf(),
                image: image.path.clone(),
            })?;
            image.prompt = Some(caption.clone());
        }
        Ok(())
    }
}
