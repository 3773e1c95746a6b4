//! The first half of a plan: how each image gets its image embedding from towers and prior.

use std::path::Path;

use super::decoder_plan::{DecoderPlan, n_draws};
use super::embeddings::embedding;
use super::error::{RenderError, width};
use super::layout::PipelineLayout;
use super::noise_source::{NoiseNeed, NoiseStage};
use super::parts::Part;
use super::prior::{PriorSettings, check_text, scheduler_of};
use super::recipe::{Origin, PriorRecord, WeightsByPart, WeightsRecord, absolute};
use super::request::{ImageRequest, Subject};
use super::zero_image::cached_zero_image;
use crate::diffusion::{FlowConfig, Scheduler};
use crate::files;
use crate::hub::repository_of;
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::PriorConfig;
use crate::weights::Checkpoint;

/// The towers and the prior that a call needs.
pub(super) struct EmbeddingPlan {
    /// Their weights.
    pub(super) weights: WeightsByPart,
    /// The prior's sampling, where it is used.
    pub(super) prior: Option<PriorRecord>,
    /// The noise of the prior, where noise from a file can take its place.
    pub(super) noise: Vec<NoiseNeed>,
}

/// Checks that towers and prior give the z_x that `decoder` reads.
pub(super) fn embedding_plan(
    request: &ImageRequest,
    layout: &PipelineLayout,
    decoder: &DecoderPlan,
    dtype: &str,
) -> Result<EmbeddingPlan, RenderError> {
    let (reader, d_clip) = (layout.part(decoder.reader)?, decoder.d_clip);
    let inputs = decoder.inputs;
    let ends = || request.subjects.iter().flat_map(|s| s.origin.ends());
    let negated = request.negative.is_some() && inputs.uncond;
    let needs_prior = ends().any(|o| matches!(o, Origin::Prompt(_))) || negated;
    let needs_zero = request.negative.is_none() && inputs.uncond;
    let (mut prior, mut noise) = (None, Vec::new());
    let (mut text_weights, mut image_weights, mut prior_weights) = (None, None, None);

    if inputs.captions || needs_prior {
        let dir = layout.part(Part::TEXT_ENCODER)?;
        let text = ClipTextConfig::read(dir)?;
        if inputs.captions {
            // Such a decoder reads texts in the width of image embeddings.
            let what = "d_clip";
            width(what, (dir, text.projection_dim), (reader, d_clip))?;
            width(what, (dir, text.hidden_size), (reader, d_clip))?;
        }
        if needs_prior {
            let prior_dir = layout.part(Part::PRIOR)?;
            check_text(&text, &PriorConfig::read(prior_dir)?, prior_dir)?;
        }
        text_weights = Some(weights_record(layout, Part::TEXT_ENCODER)?);
    }
    if needs_prior {
        let dir = layout.part(Part::PRIOR)?;
        let config = PriorConfig::read(dir)?;
        let d_out = config.d_out.unwrap_or(config.d_clip);
        width("the width of image embeddings", (dir, d_out), (reader, d_clip))?;
        prior_weights = Some(weights_record(layout, Part::PRIOR)?);
        let (record, n_draws) = prior_record(dir, &config, request.prior)?;
        let need = |stage| NoiseNeed {
            stage,
            n_draws,
            row: vec![config.d_clip],
        };
        let is_prompt = |s: &Subject| matches!(s.origin, Origin::Prompt(_));
        if request.subjects.iter().all(is_prompt) {
            noise.push(need(NoiseStage::Prior));
            noise.extend(negated.then(|| need(NoiseStage::Negative)));
        }
        prior = Some(record);
    }
    let mut needs_vision = ends().any(|o| matches!(o, Origin::Image(_)));
    if needs_zero {
        let dir = layout.part(Part::IMAGE_ENCODER)?;
        match cached_zero_image(dir, d_clip, dtype) {
            Some((_, sampled_sha256)) => {
                let path = absolute(dir);
                // The tower may be absent where its embedding is known.
                let sha256 = Checkpoint::open(dir).ok().and_then(|tower| tower.sha256().ok());
                let record = WeightsRecord {
                    repository: repository_of(&path),
                    path,
                    sampled_sha256,
                    sha256,
                };
                image_weights = Some(record);
            }
            None => needs_vision = true,
        }
    }
    if needs_vision {
        let dir = layout.part(Part::IMAGE_ENCODER)?;
        let d_vision = ClipVisionConfig::read(dir)?.projection_dim;
        width("the width of image embeddings", (dir, d_vision), (reader, d_clip))?;
        image_weights = Some(weights_record(layout, Part::IMAGE_ENCODER)?);
    }
    for origin in ends() {
        if let Origin::Embedding { file, row, .. } = origin {
            embedding(&file.path, *row, d_clip)?;
        }
    }
    let mut weights = WeightsByPart::default();
    for (part, record) in [
        (Part::TEXT_ENCODER, text_weights),
        (Part::IMAGE_ENCODER, image_weights),
        (Part::PRIOR, prior_weights),
    ] {
        if let Some(record) = record {
            weights.push(part, record);
        }
    }
    Ok(EmbeddingPlan {
        weights,
        prior,
        noise,
    })
}

/// The sampling of the prior in `dir`, as side files record it, and how often it draws noise.
fn prior_record(
    dir: &Path,
    config: &PriorConfig,
    settings: PriorSettings,
) -> Result<(PriorRecord, usize), RenderError> {
    if !config.has_time() {
        return Ok((PriorRecord::OnePass, 1));
    }
    let folder = scheduler_of(dir)?;
    if let Some(flow) = FlowConfig::read_if_flow(&folder)? {
        let scheduler = flow.to_json();
        return Ok((PriorRecord::Diffusion { settings, scheduler }, 1));
    }
    let scheduler = Scheduler::read(folder)?;
    let visits = scheduler.visits(settings.n_steps)?;
    let n_draws = n_draws(&scheduler, &visits, settings.eta);
    let scheduler = scheduler.config().to_json();
    Ok((PriorRecord::Diffusion { settings, scheduler }, n_draws))
}

/// The weights of a part, as side files record them.
pub(super) fn weights_record(layout: &PipelineLayout, part: Part) -> Result<WeightsRecord, RenderError> {
    let path = layout.part(part)?;
    let (sampled_sha256, sha256) = match part.has_weights() {
        false => (files::sha256_file(path.join("config.json"))?, None),
        true => {
            let checkpoint = Checkpoint::open(path)?;
            (checkpoint.fingerprint(), Some(checkpoint.sha256()?))
        }
    };
    let path = absolute(path);
    Ok(WeightsRecord {
        repository: repository_of(&path),
        path,
        sampled_sha256,
        sha256,
    })
}
