//! What there is to do, for `--dry-run` and lists.

use serde::Serialize;

use super::error::ComparisonError;
use super::folders::Folders;
use super::score::result_path;
use super::spec::Comparison;
use crate::eval::image_folder;

/// One system on one prompt set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Work {
    /// The system.
    pub system: String,
    /// The prompt set.
    pub prompts: String,
    /// Images that it has.
    pub images: usize,
    /// Images that it will have; none for folders made elsewhere.
    pub of: Option<usize>,
    /// Metrics with a result.
    pub scored: Vec<String>,
    /// Metrics without one.
    pub left: Vec<String>,
    /// Why its images, or else some metrics, cannot be had on this machine.
    pub missing: Vec<String>,
}

impl Comparison {
    /// The work of every system that can be measured on every prompt set.
    ///
    /// # Errors
    /// [`ComparisonError`] for prompts that cannot be read.
    pub fn survey(&self, folders: &Folders) -> Result<Vec<Work>, ComparisonError> {
        let mut all = Vec::new();
        for (system, set) in self.pairs().filter(|(system, _)| system.can_be_measured()) {
            let folder = folders.images(system, set).unwrap_or_default();
            let prompts = set.prompts()?.filter(|_| system.pipeline.is_some());
            let is_there = |name: &String| folder.join(format!("{name}.png")).is_file();
            let images = match &prompts {
                Some(prompts) => set
                    .images_of(prompts)
                    .filter(|(_, name, _)| is_there(name))
                    .count(),
                None => image_folder::read(&folder, None).map_or(0, |images| images.len()),
            };
            let eval = folders.eval(system, set);
            let metrics = self.metrics_of(system, set).into_iter().map(str::to_owned);
            let (scored, left): (Vec<String>, Vec<String>) =
                metrics.partition(|metric| result_path(&eval, metric).is_file());
            let why = |metric: &String| self.without_score(folders, system, set, metric);
            let mut missing: Vec<String> = left.iter().filter_map(why).collect();
            missing.dedup();
            if let Some(why) = self.without_images(folders, system, set) {
                missing = vec![why];
            }
            all.push(Work {
                system: system.name.clone(),
                prompts: set.name.clone(),
                images,
                of: prompts.map(|prompts| prompts.len() * set.images),
                scored,
                left,
                missing,
            });
        }
        Ok(all)
    }
}
