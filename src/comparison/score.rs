//! One metric on one system's images of a prompt set, unless it is finished for the same inputs.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value, json};

use super::error::ComparisonError;
use super::folders::Folders;
use super::options::RunOptions;
use super::prompts::{PromptSet, Source};
use super::spec::{Comparison, metric_named};
use super::system::{System, absent};
use crate::eval::image_folder::{self, ImageFile};
use crate::eval::image_score::ImageScore;
use crate::eval::metrics::{ImageOption, ImageOptions, ImageSet, SharedNetworks};
use crate::files::{self, FileError};
use crate::weights::{self, read_json, write_json};

/// The images of a system that a metric sees, and where their prompts stand.
pub(super) struct Images {
    pub(super) folder: PathBuf,
    pub(super) files: Vec<ImageFile>,
    prompts: Option<PathBuf>,
}

/// The file of a metric's result.
pub(super) fn result_path(eval: &Path, metric: &str) -> PathBuf {
    eval.join(format!("{metric}.json"))
}

impl Comparison {
    /// Why a system has no images of a prompt set on this machine: none where it has them or can draw them.
    pub(super) fn without_images(
        &self,
        folders: &Folders,
        system: &System,
        set: &PromptSet,
    ) -> Option<String> {
        let no_such = |path: &Path| Some(format!("{} is not there", path.display()));
        if !system.can_be_measured() {
            return Some("published numbers only".into());
        }
        if system.pipeline.is_some() {
            let prompts = set
                .source
                .as_ref()
                .and_then(Source::file)
                .filter(|path| !path.exists());
            return system.lacking().or_else(|| no_such(prompts?));
        }
        let folder = folders.images(system, set)?;
        if folder.is_dir() { None } else { no_such(&folder) }
    }

    /// Why a metric cannot be computed of a system's images of a prompt set.
    pub(super) fn without_score(
        &self,
        folders: &Folders,
        system: &System,
        set: &PromptSet,
        metric: &str,
    ) -> Option<String> {
        let without = self.without_images(folders, system, set);
        let without = without.or_else(|| self.without_metric(metric));
        if without.is_some() || !needs_detections(metric) {
            return without;
        }
        let places = folders.detections(system, set, &self.detections_name(metric));
        match places.iter().any(|place| place.is_file()) {
            true => None,
            false => Some(format!(
                "{} is not there, what UniDet finds in the images",
                places.last().unwrap_or(&places[0]).display()
            )),
        }
    }

    /// The name of a system's file of detections.
    fn detections_name(&self, metric: &str) -> PathBuf {
        let given = self
            .metrics
            .get(metric)
            .and_then(|settings| settings.detections.clone());
        given.unwrap_or_else(|| "detections.json".into())
    }

    /// Why a metric cannot be computed on this machine.
    pub(super) fn without_metric(&self, metric: &str) -> Option<String> {
        let settings = self.metrics.get(metric).cloned().unwrap_or_default();
        if let Some(why) = settings.paths().find_map(|path| absent(path)) {
            return Some(why);
        }
        let (_, computes) = metric_named(metric)?;
        // Detections are those of a system.
        let options = ImageOptions {
            detections: Some(PathBuf::new()),
            ..settings.options()
        };
        let lacking = options.check(computes).err()?;
        Some(format!(
            "[metrics.{metric}] lacks what `eclipse eval` calls {lacking}"
        ))
    }

    /// The images of a system that are there, all of them; none while they are being drawn.
    ///
    /// # Errors
    /// [`ComparisonError`] for a folder that cannot be read, or that holds other numbers of images for its prompts.
    pub(super) fn images(
        &self,
        folders: &Folders,
        system: &System,
        set: &PromptSet,
    ) -> Result<Option<Images>, ComparisonError> {
        let Some(folder) = folders.images(system, set).filter(|folder| folder.is_dir()) else {
            return Ok(None);
        };
        let prompts = set.prompts()?;
        if system.pipeline.is_some() {
            let Some(prompts) = prompts else { return Ok(None) };
            let mut files = Vec::new();
            for (prompt, name, _) in set.images_of(&prompts) {
                files.push(ImageFile {
                    path: folder.join(format!("{name}.png")),
                    prompt: Some(prompt.clone()),
                });
            }
            let is_there = |file: &ImageFile| std::fs::metadata(&file.path).is_ok_and(|m| m.len() > 0);
            let all = files.iter().all(is_there);
            return Ok(all.then_some(Images {
                folder,
                files,
                prompts: None,
            }));
        }
        let mut files = image_folder::read(&folder, None)?;
        let mut told_by = None;
        if let Some(prompts) = prompts {
            if !files.len().is_multiple_of(prompts.len()) {
                return Err(ComparisonError::Images {
                    folder,
                    prompts: set.name.clone(),
                    n_images: files.len(),
                    n_prompts: prompts.len(),
                });
            }
            if files.iter().any(|file| file.prompt.is_none()) {
                let captions = match &set.source {
                    Some(Source::CocoCaptions { path }) => image_folder::read(&folder, Some(path)).ok(),
                    _ => None,
                };
                let path = match (&captions, &set.source) {
                    (Some(_), Some(Source::CocoCaptions { path })) => path.clone(),
                    _ => folders.prompts(set),
                };
                files = match captions {
                    Some(files) => files,
                    None => image_folder::read(&folder, Some(&path))?,
                };
                told_by = Some(path);
            }
        }
        Ok(Some(Images {
            folder,
            files,
            prompts: told_by,
        }))
    }
}

/// Computes metrics with networks that the folders of one metric share.
pub(super) struct Scorer<'a> {
    pub(super) comparison: &'a Comparison,
    pub(super) folders: &'a Folders,
    pub(super) options: &'a RunOptions,
    pub(super) shared: Rc<SharedNetworks>,
}

impl Scorer<'_> {
    /// Computes `metric` of a system's images of a prompt set and writes it, unless it is there for the same inputs; whether it was computed.
    ///
    /// # Errors
    /// [`ComparisonError`], naming the file at fault.
    pub(super) fn score(
        &self,
        metric: &str,
        system: &System,
        set: &PromptSet,
        images: &Images,
        progress: &dyn Fn(usize, usize),
    ) -> Result<bool, ComparisonError> {
        let Self {
            comparison,
            folders,
            options,
            shared,
        } = self;
        let Some((info, computes)) = metric_named(metric) else {
            return Ok(false);
        };
        let eval = &folders.eval(system, set);
        let settings = comparison.metrics.get(metric).cloned().unwrap_or_default();
        let detections = folders.detections(system, set, &comparison.detections_name(metric));
        let detections = detections
            .into_iter()
            .find(|place| needs_detections(metric) && place.is_file());
        let named = settings.paths().chain(&detections);
        let named = named.map(|path| Ok(hash(&weights::folder(path)?)?));
        let named: Vec<String> = named.collect::<Result<_, ComparisonError>>()?;
        let inputs = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "precision": options.precision(),
            "options": format!("{:?} {:?} {:?}", settings.resize, settings.infinity, settings.mend),
            "files": named,
            "images": hash_all(images.files.iter().map(|file| file.path.as_path()))?,
            "prompts": files::sha256(json!(images.files.iter().map(|file| &file.prompt).collect::<Vec<_>>()).to_string().as_bytes()),
        });
        let result = result_path(eval, metric);
        let inputs_path = eval.join(format!("{metric}.inputs.json"));
        let is_same = || read_json::<Value>(&inputs_path).is_ok_and(|known| known == inputs);
        if result.is_file() && is_same() && ImageScore::read(&result).is_ok() {
            return Ok(false);
        }
        let image_options = ImageOptions {
            prompts: images.prompts.clone(),
            batch: options.eval_batch,
            detections,
            results: Some(eval.to_path_buf()),
            // A part of a category is meant to be one.
            incomplete: set.first.is_some(),
            cache: options.cache.clone(),
            ..settings.options()
        };
        let device = options.device.clone();
        let mut image_set = ImageSet::open(
            &images.folder,
            image_options,
            device,
            options.precision(),
            progress,
        )?
        .sharing(shared.clone());
        image_set.images.clone_from(&images.files);
        // The inputs come last: what has them is whole.
        let _ = std::fs::remove_file(&inputs_path);
        let (score, _) = image_set.score(info, computes)?;
        score.write(eval)?;
        write_json(&inputs_path, &inputs)?;
        Ok(true)
    }
}

/// Whether a metric reads what a detector found.
fn needs_detections(metric: &str) -> bool {
    metric_named(metric).is_some_and(|(_, computes)| computes.options().contains(&ImageOption::Detections))
}

/// SHA-256 over the files of `path`, or of the file.
fn hash(path: &Path) -> Result<String, FileError> {
    match path.is_dir() {
        true => hash_all(files::list(path)?.iter().map(PathBuf::as_path)),
        false => files::sha256_known(path),
    }
}

/// SHA-256 over names and contents, in this order.
fn hash_all<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<String, FileError> {
    let mut all = Vec::new();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        all.push((name, files::sha256_known(path)?));
    }
    Ok(files::sha256(json!(all).to_string().as_bytes()))
}
