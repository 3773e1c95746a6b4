//! The pictures of a report: prompt by prompt, one of each system, with what the checker says of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::ReportError;
use super::results::Report;
use crate::eval::Split;
use crate::eval::pictures::{PictureIndex, ShownPicture};
use crate::files;

/// Prompts of each split, at most.
const PER_SPLIT: usize = 4;
/// Bytes of all pictures: a page, which has them in base64, can be committed and sent.
const BUDGET: usize = 750_000;

/// A picture inside the page.
pub(super) struct Shown {
    /// Label of the system.
    pub(super) system: String,
    /// Its file.
    pub(super) png: Vec<u8>,
    /// What the checker looked for and whether it is there.
    pub(super) verdict: Vec<(String, bool)>,
}

impl Shown {
    /// The picture for a page: `data:image/png;base64,..`.
    pub(super) fn data(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(&self.png))
    }

    /// Whether all of it is there.
    pub(super) fn is_right(&self) -> bool {
        self.verdict.iter().all(|(_, right)| *right)
    }
}

/// A prompt and what the systems drew for it.
pub(super) struct Prompted {
    pub(super) prompt: String,
    pub(super) split: String,
    pub(super) pictures: Vec<Shown>,
}

/// All pictures of a report.
pub(super) struct Gallery {
    /// Prompts that some system drew, those of one split together.
    pub(super) prompts: Vec<Prompted>,
    /// Systems without pictures.
    pub(super) without: Vec<String>,
}

impl Gallery {
    /// The pictures that the first run of each system keeps.
    ///
    /// # Errors
    /// [`ReportError::Pictures`] or [`ReportError::Write`], naming the file.
    pub(super) fn of(report: &Report) -> Result<Self, ReportError> {
        let mut kept = Vec::new();
        let mut without = Vec::new();
        for system in &report.systems {
            let folder = system.first.pictures_dir();
            let index = PictureIndex::read(&folder).map_err(|source| ReportError::Pictures {
                dir: system.first.path().to_path_buf(),
                source,
            })?;
            match index {
                Some(index) => kept.push((system.label.as_str(), folder, index.pictures)),
                None => without.push(system.label.clone()),
            }
        }
        // Every prompt once, in the order of the first system that has it.
        let mut asked: Vec<(&str, &str)> = Vec::new();
        for picture in kept.iter().flat_map(|(_, _, pictures)| pictures) {
            let prompt = (picture.split.as_str(), picture.prompt.as_str());
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
        // Round by round, a prompt of each split, until the pictures would be too many.
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for round in 0..PER_SPLIT {
            let mut drawn = Vec::new();
            for (at, prompts) in by_split.iter().enumerate() {
                let Some(&(split, prompt)) = prompts.get(round) else {
                    continue;
                };
                let mut pictures = Vec::new();
                for (label, folder, index) in &kept {
                    let Some(picture) = index.iter().find(|p| p.split == split && p.prompt == prompt) else {
                        continue;
                    };
                    pictures.push(shown(label, &folder.join(&picture.file), picture)?);
                }
                drawn.push((
                    at,
                    Prompted {
                        prompt: prompt.to_owned(),
                        split: split.to_owned(),
                        pictures,
                    },
                ));
            }
            let size: usize = drawn
                .iter()
                .flat_map(|(_, d)| &d.pictures)
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

fn shown(system: &str, file: &std::path::Path, picture: &ShownPicture) -> Result<Shown, ReportError> {
    Ok(Shown {
        system: system.to_owned(),
        png: files::read(file)?,
        verdict: picture.verdict.clone(),
    })
}
