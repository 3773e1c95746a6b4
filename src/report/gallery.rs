//! The images of a report by prompt, one per system, with the checker's verdict.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::ReportError;
use super::results::Report;
use crate::eval::Split;
use crate::eval::kept_images::{KeptImage, KeptImages};
use crate::files;

/// Most prompts of each split.
const PER_SPLIT: usize = 4;
/// Most bytes of all images: the page contains them as base64, and must remain small enough to commit.
const BUDGET: usize = 750_000;

/// An image in the page.
pub(super) struct GalleryImage {
    /// Label of the system.
    pub(super) system: String,
    /// Its file.
    pub(super) png: Vec<u8>,
    /// Facts that the checker looked for, and whether it found them.
    pub(super) verdict: Vec<(String, bool)>,
}

impl GalleryImage {
    /// The image `kept` in `folder`.
    ///
    /// # Errors
    /// [`ReportError::Write`], naming the file.
    pub(super) fn read(system: &str, folder: &Path, kept: &KeptImage) -> Result<Self, ReportError> {
        Ok(Self {
            system: system.to_owned(),
            png: files::read(folder.join(&kept.file))?,
            verdict: kept.verdict.clone(),
        })
    }

    /// The image for a page: `data:image/png;base64,..`.
    pub(super) fn data(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(&self.png))
    }

    /// Whether all of these facts hold.
    pub(super) fn is_right(&self) -> bool {
        self.verdict.iter().all(|(_, right)| *right)
    }
}

/// A prompt and the systems' images for it.
pub(super) struct GalleryRow {
    pub(super) prompt: String,
    pub(super) split: String,
    pub(super) images: Vec<GalleryImage>,
}

/// All images of a report.
pub(super) struct Gallery {
    /// Prompts that some system drew, grouped by split.
    pub(super) prompts: Vec<GalleryRow>,
    /// Systems without images.
    pub(super) without: Vec<String>,
}

impl Gallery {
    /// No images.
    pub(super) fn empty() -> Self {
        Self {
            prompts: Vec::new(),
            without: Vec::new(),
        }
    }

    /// The images kept by the first run of each system.
    ///
    /// # Errors
    /// [`ReportError::Images`] or [`ReportError::Write`], naming the file.
    pub(super) fn of(report: &Report) -> Result<Self, ReportError> {
        let mut kept = Vec::new();
        let mut without = Vec::new();
        for system in &report.systems {
            let Some(first) = system.runs.first() else {
                continue;
            };
            let folder = first.dir.images_dir();
            let index = KeptImages::read(&folder).map_err(|source| ReportError::Images {
                dir: first.dir.path().to_path_buf(),
                source,
            })?;
            match index {
                Some(index) => kept.push((system.label.as_str(), folder, index.images)),
                None => without.push(system.label.clone()),
            }
        }
        // Every prompt once, in the order of the first system that has it.
        let mut asked: Vec<(&str, &str)> = Vec::new();
        for image in kept.iter().flat_map(|(_, _, images)| images) {
            let prompt = (image.split.as_str(), image.prompt.as_str());
            if !asked.contains(&prompt) {
                asked.push(prompt);
            }
        }
        let known = Split::ALL.map(Split::name);
        let rank = |split: &str| {
            known
                .iter()
                .position(|name| *name == split)
                .unwrap_or(known.len())
        };
        let mut splits: Vec<&str> = asked.iter().map(|(split, _)| *split).collect();
        splits.sort_by_key(|split| (rank(split), *split));
        splits.dedup();
        let of_split = |split: &str| {
            asked
                .iter()
                .filter(move |(s, _)| *s == split)
                .copied()
                .collect::<Vec<_>>()
        };
        let by_split: Vec<Vec<(&str, &str)>> = splits.iter().map(|split| of_split(split)).collect();
        // One prompt of each split in turn, up to the size limit.
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for round in 0..PER_SPLIT {
            let mut drawn = Vec::new();
            for (at, prompts) in by_split.iter().enumerate() {
                let Some(&(split, prompt)) = prompts.get(round) else {
                    continue;
                };
                let mut images = Vec::new();
                for (label, folder, index) in &kept {
                    let Some(image) = index.iter().find(|p| p.split == split && p.prompt == prompt) else {
                        continue;
                    };
                    images.push(GalleryImage::read(label, folder, image)?);
                }
                drawn.push((
                    at,
                    GalleryRow {
                        prompt: prompt.to_owned(),
                        split: split.to_owned(),
                        images,
                    },
                ));
            }
            let size: usize = drawn
                .iter()
                .flat_map(|(_, d)| &d.images)
                .map(|p| p.png.len())
                .sum();
            if round > 0 && bytes + size > BUDGET {
                break;
            }
            bytes += size;
            chosen.extend(drawn);
        }
        chosen.sort_by_key(|(at, _)| *at);
        Ok(Self {
            prompts: chosen.into_iter().map(|(_, prompted)| prompted).collect(),
            without,
        })
    }
}
