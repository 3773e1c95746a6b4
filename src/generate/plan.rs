//! From a request to a plan: every configuration read, every width and setting checked, every file looked at, before anything is loaded or computed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::decoder_plan::DecoderPlan;
use super::embedding_plan::{embedding_plan, weights_record};
use super::error::{RenderError, no_such, option};
use super::layout::PipelineLayout;
use super::noise_source::RecordedNoise;
use super::prior::PriorSettings;
use super::recipe::{FileRecord, Init, Latents, Origin, Recipe, Size, VERSION};
use super::request::{ImageRequest, LatentsChoice, OutputOptions, Subject};
use super::stacks;
use crate::weights::read_json;

/// An image, and whether it exists already.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedImage {
    /// What is asked for.
    pub subject: Subject,
    /// Everything that it depends on.
    pub recipe: Recipe,
    /// An image of the same call exists.
    pub done: bool,
}

/// A call that is ready to be rendered.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The images in order.
    pub images: Vec<PlannedImage>,
    /// The size that was asked for, where it had to be rounded up.
    pub asked: Option<Size>,
    pub(super) layout: PipelineLayout,
    pub(super) decoder: DecoderPlan,
    pub(super) prior: PriorSettings,
    pub(super) init: Option<Init>,
    pub(super) negative: Option<String>,
    pub(super) recorded: Option<Arc<RecordedNoise>>,
    pub(super) out: PathBuf,
    pub(super) dtype: String,
    overwrite: bool,
}

impl Plan {
    /// Plans `request` on the parts of `layout`.
    ///
    /// # Errors
    /// [`RenderError`]; [`RenderError::is_usage`] tells arguments from files.
    pub fn new(
        request: &ImageRequest,
        layout: PipelineLayout,
        options: &OutputOptions,
    ) -> Result<Self, RenderError> {
        let names = [("steps", "prior-steps"), ("guidance", "prior-guidance")];
        request.prior.check().map_err(|e| option(e, &names))?;
        let about = layout.stack().about();
        if request.init.is_some() && !about.starts_from_image {
            let those = stacks::each(|about| about.starts_from_image.then(|| about.name.into()));
            let reason = format!(
                "image-to-image is not possible with {}, only with {those}",
                about.name
            );
            return Err(no_such("init", reason));
        }
        let decoder = layout.stack().plan(layout.folders(), request)?;
        let towers = embedding_plan(request, &layout, &decoder, &options.dtype)?;
        let mut weights = towers.weights;
        for &part in &decoder.parts {
            weights.push(part, weights_record(&layout, part)?);
        }
        let size = decoder.size;

        // Noise and images from files.
        let init = match &request.init {
            None => None,
            Some((image, strength)) => Some(Init {
                image: FileRecord::new(image)?,
                strength: *strength,
            }),
        };
        let needs = [towers.noise, decoder.noise.clone()].concat();
        let (recorded, latents) = match &request.latents {
            None => (None, None),
            Some(LatentsChoice { path, n_images }) => {
                let recorded = RecordedNoise::read(path, &needs, *n_images)?;
                (
                    Some(Arc::new(recorded)),
                    Some((FileRecord::new(path)?, *n_images)),
                )
            }
        };

        let recipe = |subject: &Subject| Recipe {
            version: VERSION,
            program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            command: request.command.clone(),
            origin: subject.origin.clone(),
            seed: subject.seed,
            negative: request.negative.clone(),
            init: init.clone(),
            latents: latents.clone().map(|(file, n_images)| Latents {
                file,
                row: subject.row,
                n_images,
            }),
            size,
            stack: about.recorded(),
            prior: towers.prior.clone(),
            decoder: decoder.record.clone(),
            super_res: decoder.super_res.clone(),
            device: options.device.clone(),
            dtype: options.dtype.clone(),
            weights: weights.clone(),
        };
        let mut images = Vec::with_capacity(request.subjects.len());
        for subject in &request.subjects {
            let recipe = recipe(subject);
            let done = is_done(&recipe, &options.out.join(&subject.name), options.overwrite)?;
            images.push(PlannedImage {
                subject: subject.clone(),
                recipe,
                done,
            });
        }
        Ok(Self {
            images,
            asked: request.size.filter(|asked| *asked != size),
            decoder,
            prior: request.prior,
            init,
            negative: request.negative.clone(),
            recorded,
            out: options.out.clone(),
            dtype: options.dtype.clone(),
            overwrite: options.overwrite,
            layout,
        })
    }

    /// Whether `image` is on disk by now: another call may have written since this one was planned.
    ///
    /// # Errors
    /// [`RenderError::OtherCall`], [`RenderError::Occupied`]: what exists is another call's, and may not be replaced.
    pub(super) fn is_drawn(&self, image: &PlannedImage) -> Result<bool, RenderError> {
        is_done(&image.recipe, &self.out.join(&image.subject.name), self.overwrite)
    }

    /// Plans the image of a side file again, under `name`, from the folders and files that it records.
    ///
    /// # Errors
    /// Like [`Plan::new`]; [`RenderError::Changed`] where weights, a file, the device or the float type have changed.
    pub fn repeat(recipe: &Recipe, name: &str, options: &OutputOptions) -> Result<Self, RenderError> {
        for end in recipe.origin.ends() {
            if let Origin::Image(file) | Origin::Embedding { file, .. } = end {
                let now = FileRecord::new(&file.path)?.sha256;
                if now != file.sha256 {
                    return Err(RenderError::Changed {
                        key: file.path.display().to_string(),
                        then: file.sha256.clone(),
                        now,
                    });
                }
            }
        }
        let recorded = recipe.weights.iter().map(|(part, w)| (part, w.path.as_path()));
        let layout = PipelineLayout::recorded(&recipe.stack, recorded)?;
        let plan = Self::new(&ImageRequest::repeating(recipe, name), layout, options)?;
        let now = plan.images.iter().map(|p| &p.recipe);
        match now.into_iter().find_map(|now| recipe.difference(now)) {
            Some((key, then, now)) => Err(RenderError::Changed { key, then, now }),
            None => Ok(plan),
        }
    }
}

/// Whether the image at `stem` was made by `recipe`.
fn is_done(recipe: &Recipe, stem: &Path, overwrite: bool) -> Result<bool, RenderError> {
    let with = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
    let (image, side) = (with("png"), with("json"));
    // A file of zero bytes is left by a power cut.
    if std::fs::metadata(&image).map_or(true, |m| m.is_file() && m.len() == 0) {
        return Ok(false);
    }
    // A side file that cannot be read counts as none.
    let found: Option<Value> = read_json(&side).ok();
    let found: Option<Recipe> = found.and_then(|v| serde_json::from_value(v).ok());
    match found.map(|there| recipe.difference(&there)) {
        Some(None) => Ok(true),
        _ if overwrite => Ok(false),
        Some(Some((key, here, there))) => Err(RenderError::OtherCall {
            path: image,
            key,
            there,
            here,
        }),
        None => Err(RenderError::Occupied(image)),
    }
}
