//! `pipeline_*`: from prompt to image embedding, with the prior and scheduler of the fixture's own pipelines.
//!
//! Pictures need the decoders: outputs that only they give are declared unsupported, and the golden says so.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde::Deserialize;

use super::{Computed, Context, Outcome, Tolerance};
use crate::diffusion::Replay;
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::models::clip::preprocess::read_picture;
use crate::models::clip::{ImageEncoder, TextEncoder};
use crate::models::prior::TextCondition;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What only a decoder computes.
const DECODED: [&str; 4] = [
    "out.decoder_steps",
    "out.super_res_steps",
    "out.image",
    "out.latents",
];

/// The call that the golden recorded.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Arguments {
    prompt: Vec<String>,
    negative_prompt: Option<Vec<String>>,
    num_inference_steps: Option<usize>,
    guidance_scale: Option<f64>,
    prior_num_inference_steps: Option<usize>,
    prior_guidance_scale: Option<f64>,
    decoder_guidance_scale: Option<f64>,
}

impl Arguments {
    /// Karlo encodes an unconditional half, first, when the prior's or the decoder's scale asks for guidance.
    fn karlo_guides(&self) -> bool {
        [self.prior_guidance_scale, self.decoder_guidance_scale]
            .iter()
            .flatten()
            .any(|&scale| scale > 1.0)
    }

    fn settings(&self, eta: f64) -> PriorSettings {
        let plain = PriorSettings::default();
        PriorSettings {
            n_steps: self
                .prior_num_inference_steps
                .or(self.num_inference_steps)
                .unwrap_or(plain.n_steps),
            guidance: self
                .prior_guidance_scale
                .or(self.guidance_scale)
                .unwrap_or(plain.guidance),
            eta,
        }
    }
}

/// What a run of the prior gave.
struct Predicted {
    z_x: Tensor<2>,
    z_y: Tensor<2>,
    /// What guidance pushes away from.
    away: Tensor<2>,
    /// `[steps, batch, d_clip]`; absent for a prior without time.
    steps: Option<Tensor<3>>,
}

/// Encodes the prompts (negative ones appended, as Kandinsky 2.2 does) and runs the prior in `prior_dir`.
fn predict(
    context: &Context,
    text_dir: &Path,
    prior_dir: &Path,
    args: &Arguments,
) -> Result<Predicted, Failure> {
    let encoder = TextEncoder::load(text_dir, context.device())?;
    let (_, prior) = AnyPrior::load(prior_dir, context.device())?;
    let encode = |texts: &[String]| -> Result<TextCondition, Failure> {
        let text = encoder.encode(texts)?;
        Ok(TextCondition {
            z_y: text.z_y,
            tokens: text.hidden,
            mask: Some(text.mask),
        })
    };
    let mut prompts = args.prompt.clone();
    let mut away = vec![String::new(); prompts.len()];
    if let Some(negative) = &args.negative_prompt {
        prompts.extend(negative.clone());
        // Then guidance pushes both halves away from the negative prompt.
        away = [negative.clone(), negative.clone()].concat();
    }
    let (text, unconditional) = (encode(&prompts)?, encode(&away)?);
    let (z_y, away) = (text.z_y.clone(), unconditional.z_y.clone());
    // Embeddings come first; a decoder's noise has pictures' rank.
    let mut noise = Vec::new();
    for name in context.noise_names() {
        match context.golden()[name].shape.len() {
            2 => noise.push(context.float::<2>(name)?),
            _ => context.set_aside(name),
        }
    }
    let eta = context.info_as("noise_scale_from_001")?;
    let (mut replay, mut steps) = (Replay::new(noise), Vec::new());
    let z_x = prior.sample(text, unconditional, args.settings(eta), &mut replay, |x| {
        steps.push(x)
    })?;
    if replay.left() > 0 {
        return Err(format!("{} recorded draws were not used", replay.left()).into());
    }
    let steps = (!steps.is_empty()).then(|| Tensor::stack(steps, 0));
    Ok(Predicted {
        z_x,
        z_y,
        away,
        steps,
    })
}

/// Tensors of the golden that `out` does not hold and only a decoder computes.
fn leave_decoded(context: &Context) {
    for name in DECODED {
        if context.golden().contains_key(name) {
            context.unsupported(name);
        }
    }
}

/// What was computed, for each name that the golden has.
fn computed(context: &Context, tensors: Vec<(&str, Tensor<2>)>, steps: Option<Tensor<3>>) -> Vec<Computed> {
    let has = |name: &str| context.golden().contains_key(name);
    let mut out: Vec<Computed> = tensors
        .into_iter()
        .filter(|(name, _)| has(name))
        .map(|(name, tensor)| Computed::tensor(name, tensor, Tolerance::Float))
        .collect();
    if let (Some(steps), true) = (steps, has("out.prior_steps")) {
        out.push(Computed::tensor("out.prior_steps", steps, Tolerance::Float));
    }
    out
}

fn karlo_with(context: &Context, prior_dir: &Path) -> Outcome {
    let args: Arguments = context.info_as("args")?;
    let predicted = predict(context, &context.folder_named("text_encoder")?, prior_dir, &args)?;
    leave_decoded(context);
    let z_y = match args.karlo_guides() {
        true => Tensor::cat(vec![predicted.away, predicted.z_y], 0),
        false => predicted.z_y,
    };
    let tensors = vec![
        ("out.image_embeddings", predicted.z_x),
        ("out.prompt_embeds", z_y),
    ];
    Ok(computed(context, tensors, predicted.steps))
}

/// Karlo: its own diffusion prior.
pub(super) fn karlo(context: &Context) -> Outcome {
    karlo_with(context, &context.folder_named("prior")?)
}

/// Karlo with an ECLIPSE prior.
pub(super) fn karlo_eclipse(context: &Context) -> Outcome {
    karlo_with(context, &context.folder_named("eclipse_prior")?)
}

/// Karlo's image variation: the embedding of the picture, and of the empty prompt.
pub(super) fn karlo_image_variation(context: &Context) -> Outcome {
    let encoder = ImageEncoder::load(&context.folder_named("image_encoder")?, context.device())?;
    let picture: PathBuf = context.info_as("image")?;
    let z_x = encoder.encode(&[read_picture(context.root().join(picture))?])?;
    let args: Arguments = context.info_as("args")?;
    let halves = if args.karlo_guides() {
        vec!["", ""]
    } else {
        vec![""]
    };
    let text =
        TextEncoder::load(&context.folder_named("text_encoder")?, context.device())?.encode(&halves)?;
    for name in context.noise_names() {
        context.set_aside(name);
    }
    leave_decoded(context);
    Ok(computed(
        context,
        vec![("out.image_embeddings", z_x), ("out.prompt_embeds", text.z_y)],
        None,
    ))
}

fn kandinsky22_with(context: &Context, prior_dir: &Path) -> Outcome {
    let args: Arguments = context.info_as("args")?;
    let predicted = predict(context, &context.folder_named("text_encoder")?, prior_dir, &args)?;
    let n = args.prompt.len();
    let (z_x, negative) = match args.negative_prompt {
        // The second half of the batch is the negative embedding.
        Some(_) => (
            predicted.z_x.clone().narrow(0, 0, n),
            predicted.z_x.narrow(0, n, n),
        ),
        None => {
            let encoder = ImageEncoder::load(&context.folder_named("image_encoder")?, context.device())?;
            (predicted.z_x, encoder.zero_image().repeat_dim(0, n))
        }
    };
    Ok(computed(
        context,
        vec![("out.image_embeds", z_x), ("out.negative_image_embeds", negative)],
        predicted.steps,
    ))
}

/// Kandinsky 2.2: its own diffusion prior.
pub(super) fn kandinsky22(context: &Context) -> Outcome {
    kandinsky22_with(context, &context.folder_named("prior")?)
}

/// Kandinsky 2.2 with an ECLIPSE prior.
pub(super) fn kandinsky22_eclipse(context: &Context) -> Outcome {
    kandinsky22_with(context, &context.folder_named("eclipse_prior")?)
}
