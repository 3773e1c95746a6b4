//! `pipeline_*`: from prompt to image, through the stages that `generate` calls, with the fixture's own parts and the noise it recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Array, Computed, Context, Fixture, FixtureError, Outcome, Tolerance};
use crate::diffusion::{Replay, Scheduler, SchedulerConfig, SchedulerKind};
use crate::generate::decoder::DecoderSettings;
use crate::generate::layout::PipelineLayout;
use crate::generate::parts::Part;
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::generate::slerp::{mix, slerp};
use crate::generate::stacks::kandinsky22::{MOVQ, latent_side};
use crate::generate::stacks::karlo::{self, SuperRes};
use crate::generate::stacks::latent_unet::{self, Start, image_tensor};
use crate::models::clip::preprocess::read_image;
use crate::models::clip::{ImageEncoder, TextEncoder};
use crate::models::movq::Movq;
use crate::models::prior::TextCondition;
use crate::models::text_proj::TextProj;
use crate::models::unet::{UNet, UNetConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

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
    decoder_num_inference_steps: Option<usize>,
    decoder_guidance_scale: Option<f64>,
    super_res_num_inference_steps: Option<usize>,
    height: usize,
    width: usize,
    strength: f64,
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

    fn decoder(&self, eta: f64) -> Result<DecoderSettings, Failure> {
        let missing = |key: &str| format!("info key `args`: no `{key}`");
        Ok(DecoderSettings {
            n_steps: self
                .decoder_num_inference_steps
                .or(self.num_inference_steps)
                .ok_or_else(|| missing("num_inference_steps"))?,
            guidance: self
                .decoder_guidance_scale
                .or(self.guidance_scale)
                .ok_or_else(|| missing("guidance_scale"))?,
            eta,
            noise_level: 0,
        })
    }
}

/// What a run of the prior gave.
struct Predicted {
    z_x: Tensor<2>,
    text: TextCondition,
    /// What guidance pushes away from.
    uncond: TextCondition,
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
    let encode = |texts: &[String]| -> Result<TextCondition, Failure> { Ok(encoder.encode(texts)?) };
    let mut prompts = args.prompt.clone();
    let mut uncond = vec![String::new(); prompts.len()];
    if let Some(negative) = &args.negative_prompt {
        prompts.extend(negative.clone());
        // Then guidance pushes both halves away from the negative prompt.
        uncond = [negative.clone(), negative.clone()].concat();
    }
    let (text, unconditional) = (encode(&prompts)?, encode(&uncond)?);
    // Embeddings come first; a decoder's noise has images' rank.
    let mut noise = Vec::new();
    for name in context.noise_names() {
        match context.golden()[name].shape.len() {
            2 => noise.push(context.float::<2>(name)?),
            // The decoder reads these, where its outputs are in the golden.
            _ => context.set_aside(name),
        }
    }
    let eta = context.info_as("noise_scale_from_001")?;
    let (mut replay, mut steps) = (Replay::new(noise), Vec::new());
    let z_x = prior.sample(
        text.clone(),
        unconditional.clone(),
        args.settings(eta),
        &mut replay,
        |x| steps.push(x),
    )?;
    if replay.left() > 0 {
        return Err(format!("{} recorded draws were not used", replay.left()).into());
    }
    let steps = (!steps.is_empty()).then(|| Tensor::stack(steps, 0));
    Ok(Predicted {
        z_x,
        text,
        uncond: unconditional,
        steps,
    })
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

/// The recorded draws of images.
fn replay(context: &Context) -> Result<Replay<4>, FixtureError> {
    let names = context.noise_names().into_iter();
    let of_images = names.filter(|name| context.golden()[*name].shape.len() == 4);
    let draws: Result<Vec<_>, _> = of_images.map(|name| context.float::<4>(name)).collect();
    Ok(Replay::new(draws?))
}

fn all_drawn(noise: &Replay<4>) -> Result<(), Failure> {
    match noise.left() {
        0 => Ok(()),
        left => Err(format!("{left} recorded draws were not used").into()),
    }
}

/// An image as the reference returns it: `[batch, h, w, 3]` in 0..1.
fn image(x: Tensor<4>) -> Tensor<4> {
    (x * 0.5 + 0.5).clamp(0.0, 1.0).permute([0, 2, 3, 1])
}

fn push<const D: usize>(out: &mut Vec<Computed>, context: &Context, name: &str, tensor: Tensor<D>) {
    if context.golden().contains_key(name) {
        out.push(Computed::tensor(name, tensor, Tolerance::Float));
    }
}

/// Karlo's decoder and super-resolution.
fn karlo_images(
    context: &Context,
    layout: &PipelineLayout,
    args: &Arguments,
    z_x: Tensor<2>,
    text: TextCondition,
    uncond: TextCondition,
) -> Outcome {
    let device = context.device();
    let settings = args.decoder(1.0)?;
    let mut noise = replay(context)?;
    let mut out = Vec::new();
    let batch = z_x.dims()[0];

    let (_, text_proj) = TextProj::load(layout.part(karlo::TEXT_PROJ)?, device)?;
    let uncond = settings.guided().then_some(uncond);
    let condition = karlo::condition(&text_proj, z_x, text, uncond);
    let (config, unet) = UNet::load(layout.part(Part::DECODER)?, device)?;
    let scheduler = Scheduler::read(layout.part(Part::DECODER_SCHEDULER)?)?;
    let mut steps = Vec::new();
    let small = karlo::decode(
        (&config, &unet),
        &scheduler,
        batch,
        condition,
        settings,
        &mut noise,
        |x| steps.push(x.clone()),
    )?;
    push::<5>(&mut out, context, "out.decoder_steps", Tensor::stack(steps, 0));

    let scheduler = Scheduler::read(layout.part(karlo::SUPER_RES_SCHEDULER)?)?;
    let n_steps = args.super_res_num_inference_steps.unwrap_or(7);
    let visits = scheduler.visits(n_steps)?;
    let (first, last) = visits.split_at(n_steps - 1);
    let dir = layout.part(karlo::SUPER_RES_FIRST)?;
    let mut state = SuperRes::begin(small, &UNetConfig::read(dir)?, &mut noise)?;
    push(&mut out, context, "out.super_res_input", state.input());
    let mut steps = Vec::new();
    for (part, visits) in [(karlo::SUPER_RES_FIRST, first), (karlo::SUPER_RES_LAST, last)] {
        let (_, unet) = UNet::load(layout.part(part)?, device)?;
        state = state.advance(&unet, &scheduler, visits, &mut noise, |x| steps.push(x.clone()))?;
    }
    push::<5>(&mut out, context, "out.super_res_steps", Tensor::stack(steps, 0));
    push(&mut out, context, "out.image", image(state.finish()));
    all_drawn(&noise)?;
    Ok(out)
}

/// Whether the golden has what only a decoder computes.
fn has_images(context: &Context) -> bool {
    context.golden().contains_key("out.image")
}

fn karlo_with(context: &Context, prior: Option<&Path>) -> Outcome {
    let args: Arguments = context.info_as("args")?;
    let layout = PipelineLayout::open(context.root(), prior, None)?;
    let (text_dir, prior_dir) = (layout.part(Part::TEXT_ENCODER)?, layout.part(Part::PRIOR)?);
    let Predicted {
        z_x,
        text,
        uncond,
        steps,
    } = predict(context, text_dir, prior_dir, &args)?;
    let z_y = match args.karlo_guides() {
        true => Tensor::cat(vec![uncond.z_y.clone(), text.z_y.clone()], 0),
        false => text.z_y.clone(),
    };
    let tensors = vec![("out.image_embeddings", z_x.clone()), ("out.prompt_embeds", z_y)];
    let mut out = computed(context, tensors, steps);
    if has_images(context) {
        out.extend(karlo_images(context, &layout, &args, z_x, text, uncond)?);
    }
    Ok(out)
}

/// Karlo: its own diffusion prior.
pub(super) fn karlo(context: &Context) -> Outcome {
    karlo_with(context, None)
}

/// Karlo with an ECLIPSE prior.
pub(super) fn karlo_eclipse(context: &Context) -> Outcome {
    karlo_with(context, Some(&context.folder_named("eclipse_prior")?))
}

/// Karlo's image variation: the embedding of the image, and the empty prompt.
pub(super) fn karlo_image_variation(context: &Context) -> Outcome {
    let layout = PipelineLayout::open(context.root(), None, None)?;
    let encoder = ImageEncoder::load(layout.part(Part::IMAGE_ENCODER)?, context.device())?;
    let image: PathBuf = context.info_as("image")?;
    let z_x = encoder.encode(&[read_image(context.root().join(image))?])?;
    let args: Arguments = context.info_as("args")?;
    let text = TextEncoder::load(layout.part(Part::TEXT_ENCODER)?, context.device())?.encode(&[""])?;
    let z_y = match args.karlo_guides() {
        true => text.z_y.clone().repeat_dim(0, 2),
        false => text.z_y.clone(),
    };
    let tensors = vec![("out.image_embeddings", z_x.clone()), ("out.prompt_embeds", z_y)];
    let mut out = computed(context, tensors, None);
    out.extend(karlo_images(context, &layout, &args, z_x, text.clone(), text)?);
    Ok(out)
}

fn kandinsky22_with(context: &Context, prior: Option<&Path>) -> Outcome {
    let args: Arguments = context.info_as("args")?;
    let layout = PipelineLayout::open(context.root(), prior, None)?;
    let (text_dir, prior_dir) = (layout.part(Part::TEXT_ENCODER)?, layout.part(Part::PRIOR)?);
    let predicted = predict(context, text_dir, prior_dir, &args)?;
    let n = args.prompt.len();
    let (z_x, negative) = match args.negative_prompt {
        // The second half of the batch is the negative embedding.
        Some(_) => (
            predicted.z_x.clone().narrow(0, 0, n),
            predicted.z_x.narrow(0, n, n),
        ),
        None => {
            let encoder = ImageEncoder::load(layout.part(Part::IMAGE_ENCODER)?, context.device())?;
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
    kandinsky22_with(context, None)
}

/// Kandinsky 2.2 with an ECLIPSE prior.
pub(super) fn kandinsky22_eclipse(context: &Context) -> Outcome {
    kandinsky22_with(context, Some(&context.folder_named("eclipse_prior")?))
}

/// The sampler that the golden recorded; its class may have to be guessed from the keys that only DDIM has.
fn recorded_scheduler(context: &Context) -> Result<Scheduler, Failure> {
    let mut config: Value = context.info("scheduler")?.clone();
    if config.get("_class_name").is_none() {
        let ddim = config.get("set_alpha_to_one").is_some();
        config["_class_name"] = json!(if ddim { "DDIMScheduler" } else { "DDPMScheduler" });
    }
    Ok(Scheduler::new(SchedulerConfig::from_json(
        &config,
        context.path(),
    )?))
}

/// Image embeddings and those that guidance pushes away from: the golden's own, or the outputs of the golden that it names.
fn recorded_embeddings(context: &Context) -> Result<(Tensor<2>, Tensor<2>), Failure> {
    let names = ["image_embeds", "negative_image_embeds"];
    if context.golden().contains_key("in.image_embeds") {
        let [z_x, uncond] = names.map(|name| context.float::<2>(&format!("in.{name}")));
        return Ok((z_x?, uncond?));
    }
    let other: String = context.info_as("embeds_from")?;
    let fixture = Fixture::open(context.root())??;
    let other = fixture.context(&other, context.device())?;
    let [z_x, uncond] = names.map(|name| other.float::<2>(&format!("out.{name}")));
    Ok((z_x?, uncond?))
}

/// Kandinsky 2.2's decoder and MoVQ, from recorded embeddings.
pub(super) fn kandinsky22_decoder(context: &Context) -> Outcome {
    let args: Arguments = context.info_as("args")?;
    let layout = PipelineLayout::open(context.root(), None, None)?;
    let device = context.device();
    let (z_x, uncond) = recorded_embeddings(context)?;
    let scheduler = recorded_scheduler(context)?;
    let (config, unet) = UNet::load(layout.part(Part::DECODER)?, device)?;
    let (movq_config, movq) = Movq::load(layout.part(MOVQ)?, device)?;
    let eta: f64 = context.info_as("noise_scale_from_001").unwrap_or(1.0);
    let eta = match scheduler.config().kind {
        SchedulerKind::Ddim { .. } => 0.0,
        _ => eta,
    };
    let start = match context.info_as::<PathBuf>("image") {
        Ok(file) => {
            let image = read_image(context.root().join(file))?;
            Start::Image {
                latents: movq.encode(image_tensor(&image, args.width, args.height, device)),
                strength: args.strength,
            }
        }
        Err(_) => Start::Noise([args.height, args.width].map(|s| latent_side(s, movq_config.scale()))),
    };
    let mut noise = replay(context)?;
    let mut steps = Vec::new();
    let latents = latent_unet::decode(
        &unet,
        config.in_channels,
        &scheduler,
        z_x,
        Some(uncond),
        &start,
        args.decoder(eta)?,
        &mut noise,
        |x| steps.push(x.clone()),
    )?;
    all_drawn(&noise)?;
    let decoded = movq.decode(latents.clone());
    let mut out = Vec::new();
    push::<5>(&mut out, context, "out.decoder_steps", Tensor::stack(steps, 0));
    push(&mut out, context, "out.latents", latents);
    push(&mut out, context, "out.decoded", decoded.clone());
    push(&mut out, context, "out.image", image(decoded));
    Ok(out)
}

/// `size_rounding`: height and width of latents, for an autoencoder that shrinks `scale_factor` times, Kandinsky's 8 if the golden does not say.
pub(super) fn size_rounding(context: &Context) -> Outcome {
    let scale: usize = context.info_as("scale_factor").unwrap_or(8);
    let shape = context.input("hw_in")?.shape.clone();
    let sides = context.whole_numbers("hw_in")?;
    let latents = sides.iter().map(|&s| latent_side(s as usize, scale) as i64);
    let array = Array::i64(shape, latents.collect());
    Ok(vec![Computed::new("latent_hw", array, Tolerance::Exact)])
}

/// `k22_init_picture`: images as image-to-image encodes them.
pub(super) fn init_picture(context: &Context) -> Outcome {
    let files: BTreeMap<String, PathBuf> = context.info_as("files")?;
    let (width, height) = (context.info_as("width")?, context.info_as("height")?);
    let mut out = Vec::new();
    for (name, file) in files {
        let image = read_image(context.root().join(file))?;
        let pixels = image_tensor(&image, width, height, context.device());
        let name = format!("out.pixels.{name}");
        out.push(Computed::tensor(name, pixels, Tolerance::Pixel));
    }
    Ok(out)
}

/// `karlo_decode`: Karlo's decoder and super-resolution, from recorded embeddings; the unconditional half comes first where there is one.
pub(super) fn karlo_decode(context: &Context) -> Outcome {
    let args: Arguments = context.info_as("args")?;
    let layout = PipelineLayout::open(context.root(), None, None)?;
    let z_x = context.float::<2>("in.image_embeddings")?;
    let batch = z_x.dims()[0];
    let z_y = context.float::<2>("in.prompt_embeds")?;
    let tokens = context.float::<3>("in.tokens")?;
    let mask = context.int::<2>("in.mask")?.float();
    let half = |first: usize| TextCondition {
        z_y: z_y.clone().narrow(0, first, batch),
        tokens: tokens.clone().narrow(0, first, batch),
        mask: Some(mask.clone().narrow(0, first, batch).into()),
    };
    // Without guidance there is one half, and the other is not read.
    let text = half(z_y.dims()[0] - batch);
    karlo_images(context, &layout, &args, z_x, text, half(0))
}

/// `interpolation`: between image embeddings.
pub(super) fn interpolation(context: &Context) -> Outcome {
    let rows = |name: &str| -> Result<Vec<Vec<f32>>, FixtureError> {
        let array = context.input(name)?;
        let values: Vec<f32> = array.to_f64().into_iter().map(|x| x as f32).collect();
        let width = array.shape.last().copied().unwrap_or(1);
        Ok(values.chunks(width).map(<[f32]>::to_vec).collect())
    };
    let embeds = rows("in.embeds")?;
    let d_clip = embeds[0].len();
    let weights = context.input("in.weights")?.to_f64();
    let at = context.input("in.at")?.to_f64();
    let circle: Vec<f32> = at
        .iter()
        .flat_map(|&at| slerp(&embeds[0], &embeds[1], at))
        .collect();
    let shares: Vec<(Vec<f32>, f64)> = embeds.into_iter().zip(weights).collect();
    let row = |values: Vec<f32>, n: usize| Array::f32([n, d_clip], values);
    Ok(vec![
        Computed::new("out.slerp", row(circle, at.len()), Tolerance::Scaled(1.0)),
        Computed::new("out.weighted", row(mix(&shares), 1), Tolerance::Scaled(1.0)),
    ])
}
