//! The folders of a comparison.

use std::path::{Path, PathBuf};

use super::prompts::PromptSet;
use super::system::System;

/// Where a comparison keeps what it makes:
///
/// ```text
/// SYSTEM/PROMPT SET/samples/   its images, {prompt}_{index}.png, each with a side file; T2I-CompBench's scorers read this folder too
/// SYSTEM/PROMPT SET/eval/      METRIC.json, METRIC.inputs.json and, for means over images, their scores in T2I-CompBench's layout
/// SYSTEM/PROMPT SET/detections.json   what UniDet found in the images, for the spatial score; made elsewhere
/// prompts/PROMPT SET.txt       the prompts, one a line
/// ```
#[derive(Debug, Clone)]
pub struct Folders(PathBuf);

impl Folders {
    /// In the folder `runs` of the comparison.
    pub fn new(runs: impl Into<PathBuf>) -> Self {
        Self(runs.into())
    }

    /// The folder of the comparison.
    pub fn runs(&self) -> &Path {
        &self.0
    }

    fn of(&self, system: &System, prompts: &PromptSet) -> PathBuf {
        self.0.join(&system.name).join(&prompts.name)
    }

    /// The scores of a system on a prompt set.
    pub fn eval(&self, system: &System, prompts: &PromptSet) -> PathBuf {
        self.of(system, prompts).join("eval")
    }

    /// The prompts of a set as a text.
    pub fn prompts(&self, prompts: &PromptSet) -> PathBuf {
        self.0.join("prompts").join(format!("{}.txt", prompts.name))
    }

    /// Where a detector's findings in the images of a system may be, by the name of their file: beside the scores, with the images, or above them.
    pub fn detections(&self, system: &System, prompts: &PromptSet, name: &Path) -> Vec<PathBuf> {
        let mut places = vec![self.of(system, prompts).join(name)];
        if let Some(images) = self.images(system, prompts).filter(|_| system.images.is_some()) {
            places.push(images.join(name));
            places.extend(images.parent().map(|above| above.join(name)));
        }
        places
    }

    /// The images of a system: those drawn here, or the folder of those made elsewhere; none for published numbers.
    pub fn images(&self, system: &System, prompts: &PromptSet) -> Option<PathBuf> {
        if system.pipeline.is_some() {
            return Some(self.of(system, prompts).join("samples"));
        }
        let name = Path::new(&prompts.name);
        let own = system.folders.get(&prompts.name).map_or(name, PathBuf::as_path);
        let folder = system.images.as_ref()?.join(own);
        let samples = folder.join("samples");
        Some(if samples.is_dir() { samples } else { folder })
    }
}
