//! Karlo v1 alpha: an image embedding and a caption to 64 x 64 pixels, then to 256 x 256 by super-resolution.
//! Reference: diffusers `UnCLIPPipeline`.
//!
//! Functions work on one batch with one network, so that one network at a time is in memory.

use std::sync::Arc;

use burn::prelude::*;
use serde_json::Value;

use super::contract::{About, DecoderStack, Python};
use super::random::{
    self, PRIOR, RandomNetwork, RandomPipeline, RandomStack, TEXT, UNET_CONDITIONED, VISION, network,
};
use crate::diffusion::{DiffusionError, DrawNoise, Scheduler, Visit, sample_visits};
use crate::generate::decode_job::{Decode, DecodeJob, ToPixels};
use crate::generate::decoder::{DecoderSettings, denoiser};
use crate::generate::decoder_plan::{DecoderInputs, DecoderPlan, SampledUNet};
use crate::generate::error::{RenderError, conditioned, no_such, option, width};
use crate::generate::images::to_images;
use crate::generate::noise_source::{BatchNoise, NoiseStage};
use crate::generate::parts::{Entry, Part, PartFolders, PipelineClass, entries};
use crate::generate::recipe::{SamplerRecord, Size};
use crate::generate::request::{DecoderChoice, ImageRequest, SUPER_RES_STEPS};
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::{PriorConfig, TextCondition};
use crate::models::text_proj::{self, TextProj, TextProjConfig};
use crate::models::unet::{Condition, Conditioning, UNet, UNetConfig};
use crate::nn::upscale_bicubic;

/// The conditioning: a projection of embeddings and captions.
pub const TEXT_PROJ: Part = Part::network("text_proj");
/// Super-resolution, all steps but the last.
pub const SUPER_RES_FIRST: Part = Part::network("super_res_first");
/// Super-resolution, the last step.
pub const SUPER_RES_LAST: Part = Part::network("super_res_last");
/// The scheduler of super-resolution.
pub const SUPER_RES_SCHEDULER: Part = Part::config("super_res_scheduler");

/// Steps and guidance where a call names none (reference: the defaults of `UnCLIPPipeline`).
const SAMPLING: (usize, f64) = (25, 8.0);

/// The stack.
#[derive(Debug)]
pub struct Karlo;

static ABOUT: About = About {
    name: "Karlo",
    family: "Karlo",
    sampling: Some(SAMPLING),
    uncond: Some("the empty prompt"),
    size: "256, no other",
    starts_from_image: false,
    has_super_res: true,
    published: Some((768, "kakaobrain/karlo-v1-alpha-image-variations")),
    python: Python {
        arguments: "image_embeddings=embeddings.image_embeds",
        note: "The pipeline of image variations draws from the embedding alone; `eclipse generate --pipeline KARLO --prior THIS` also shows Karlo's \
               decoder the prompt, as Karlo's own pipeline does.",
        // Our module makes diffusers load this decoder, which its own releases no longer do.
        works_with_stock_prior: false,
    },
};

const UNCONDITIONED: &[&str] = &["UNet2DModel"];
const ENTRIES: &[Entry] = &[
    entries::TEXT,
    entries::TOKENIZER,
    entries::PRIOR,
    entries::VISION,
    Entry::unused("feature_extractor", entries::PROCESSORS),
    Entry::unused("prior_scheduler", entries::SCHEDULERS),
    Entry::part("text_proj", TEXT_PROJ, &["UnCLIPTextProjModel"]),
    Entry::part("decoder", Part::DECODER, &["UNet2DConditionModel"]),
    Entry::part("decoder_scheduler", Part::DECODER_SCHEDULER, entries::SCHEDULERS),
    Entry::part("super_res_first", SUPER_RES_FIRST, UNCONDITIONED),
    Entry::part("super_res_last", SUPER_RES_LAST, UNCONDITIONED),
    Entry::part("super_res_scheduler", SUPER_RES_SCHEDULER, entries::SCHEDULERS),
];

impl DecoderStack for Karlo {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn pipelines(&self) -> &'static [PipelineClass] {
        &[
            PipelineClass {
                name: "UnCLIPPipeline",
                entries: ENTRIES,
            },
            PipelineClass {
                name: "UnCLIPImageVariationPipeline",
                entries: ENTRIES,
            },
        ]
    }

    fn decoder_parts(&self) -> &'static [Part] {
        &[TEXT_PROJ, Part::DECODER, SUPER_RES_FIRST, SUPER_RES_LAST]
    }

    fn base_decoder(&self) -> &'static [Part] {
        &[TEXT_PROJ, Part::DECODER]
    }

    fn plan(&self, folders: &PartFolders, request: &ImageRequest) -> Result<DecoderPlan, RenderError> {
        let (decoder, record) = SampledUNet::decoder(folders, request.decoder, SAMPLING)?;
        let (d_clip, super_res, super_record) = super_res(folders, &decoder, request)?;
        let (small, large) = (decoder.config.sample_size, super_res.config.sample_size);
        let size = Size {
            width: large,
            height: large,
        };
        if request.size.is_some_and(|asked| asked != size) {
            let reason = format!("this {} draws {size} pixels, nothing else", ABOUT.name);
            return Err(no_such("size", reason));
        }
        let channels = decoder.config.in_channels;
        let visits = |unet: &SampledUNet| unet.scheduler.visits(unet.settings.n_steps);
        Ok(DecoderPlan {
            reader: TEXT_PROJ,
            d_clip,
            inputs: DecoderInputs {
                captions: true,
                uncond: false,
            },
            size,
            record,
            super_res: Some(super_record),
            parts: self.decoder_parts().to_vec(),
            noise: vec![
                decoder.noise(NoiseStage::Decoder, &visits(&decoder)?, channels, [small; 2]),
                super_res.noise(NoiseStage::SuperRes, &visits(&super_res)?, channels, [large; 2]),
            ],
            decode: Arc::new(Decoder { decoder, super_res }),
        })
    }

    fn random(&self) -> Option<RandomStack> {
        Some(RandomStack {
            name: "karlo",
            networks: NETWORKS,
            pipelines: PIPELINES,
        })
    }
}

/// Checks text projection and super-resolution: d_clip, the sampling of the networks and its record.
fn super_res(
    folders: &PartFolders,
    decoder: &SampledUNet,
    request: &ImageRequest,
) -> Result<(usize, SampledUNet, SamplerRecord), RenderError> {
    let unet_dir = folders.part(Part::DECODER)?;
    let proj_dir = folders.part(TEXT_PROJ)?;
    let proj = TextProjConfig::read(proj_dir)?;
    let Conditioning::Tokens { d_cross, .. } = decoder.config.conditioning else {
        return Err(conditioned(unet_dir, &decoder.config, "text tokens"));
    };
    width(
        "`cross_attention_dim`",
        (proj_dir, proj.d_cross),
        (unet_dir, d_cross),
    )?;
    let d_time = decoder.config.d_time();
    width(
        "the width of the time embedding",
        (proj_dir, proj.d_time),
        (unet_dir, d_time),
    )?;
    let (first, last) = (folders.part(SUPER_RES_FIRST)?, folders.part(SUPER_RES_LAST)?);
    let choice = DecoderChoice {
        n_steps: Some(request.super_res_steps),
        guidance: Some(1.0),
        eta: Some(1.0),
        sampler: None,
    };
    let scheduler = folders.part(SUPER_RES_SCHEDULER)?;
    let (super_res, record) = SampledUNet::read(first, scheduler, choice, (SUPER_RES_STEPS, 1.0))
        .map_err(|e| option(e, &[("steps", "super-res-steps")]))?;
    for (dir, config) in [(first, super_res.config.clone()), (last, UNetConfig::read(last)?)] {
        if config.conditioning != Conditioning::None {
            return Err(conditioned(dir, &config, "nothing"));
        }
        width(
            "the number of colour channels",
            (dir, config.in_channels / 2),
            (unet_dir, decoder.config.in_channels),
        )?;
        width(
            "`sample_size`",
            (dir, config.sample_size),
            (first, super_res.config.sample_size),
        )?;
    }
    Ok((proj.d_clip, super_res, record))
}

/// The decoder of a call.
#[derive(Debug)]
struct Decoder {
    decoder: SampledUNet,
    super_res: SampledUNet,
}

impl Decode for Decoder {
    fn decode(&self, mut job: DecodeJob<'_>) -> Result<ToPixels, RenderError> {
        let small = self.small_images(&mut job)?;
        self.large_images(small, job)?;
        // The decoder samples pixels.
        Ok(Box::new(|x| x))
    }
}

impl Decoder {
    /// The small images of each batch.
    fn small_images(&self, job: &mut DecodeJob<'_>) -> Result<Vec<Tensor<4>>, RenderError> {
        let SampledUNet {
            scheduler, settings, ..
        } = &self.decoder;
        let captions = job.captions.take().expect("the plan asks for captions");
        let (_, text_proj) = TextProj::load(job.folders.part(TEXT_PROJ)?, job.device)?;
        let (config, unet) = UNet::load(job.folders.part(Part::DECODER)?, job.device)?;
        let n_steps = job.n_batches() * settings.n_steps;
        job.output.stage("decoder", n_steps);
        let mut noise = job.noise(NoiseStage::Decoder);
        let mut small = Vec::new();
        for rows in job.batches() {
            let text = captions.rows(rows.clone());
            let uncond = settings.guided().then(|| captions.uncond(rows.len()));
            let condition = condition(&text_proj, job.z_x(rows.clone()), text, uncond);
            small.push(decode(
                (&config, &unet),
                scheduler,
                rows.len(),
                condition,
                *settings,
                &mut BatchNoise(&mut noise[rows.clone()]),
                |x| job.output.step(rows.clone(), "decoder_steps", x),
            )?);
        }
        Ok(small)
    }

    /// Enlarges the small images and hands them out.
    fn large_images(&self, small: Vec<Tensor<4>>, job: DecodeJob<'_>) -> Result<(), RenderError> {
        let SampledUNet {
            config,
            scheduler,
            settings,
        } = &self.super_res;
        let mut noise = job.noise(NoiseStage::SuperRes);
        let batches = job.batches();
        let mut states = Vec::new();
        for (small, rows) in small.into_iter().zip(&batches) {
            states.push(SuperRes::begin(
                small,
                config,
                &mut BatchNoise(&mut noise[rows.clone()]),
            )?);
        }
        let visits = scheduler.visits(settings.n_steps)?;
        let (first, last) = visits.split_at(visits.len() - 1);
        for (name, part, visits) in [
            ("super-resolution", SUPER_RES_FIRST, first),
            ("super-resolution, last", SUPER_RES_LAST, last),
        ] {
            if visits.is_empty() {
                continue;
            }
            let (_, unet) = UNet::load(job.folders.part(part)?, job.device)?;
            job.output.stage(name, batches.len() * visits.len());
            let mut advanced = Vec::new();
            for (state, rows) in states.into_iter().zip(&batches) {
                let noise = &mut BatchNoise(&mut noise[rows.clone()]);
                let on_step = |x: &Tensor<4>| job.output.step(rows.clone(), "super_res_steps", x);
                advanced.push(state.advance(&unet, scheduler, visits, noise, on_step)?);
            }
            states = advanced;
        }
        let mut row = 0;
        for state in states {
            for image in to_images(state.finish())? {
                job.output.image(row, &image)?;
                row += 1;
            }
        }
        Ok(())
    }
}

/// What the decoder reads: `z_x` `[batch, d_clip]` and the captions. With `uncond`, the captions of the unconditional half (the empty one), whose z_x is a
/// learned vector, there are `2 batch` rows, that half first.
pub fn condition(
    text_proj: &TextProj,
    z_x: Tensor<2>,
    text: TextCondition,
    uncond: Option<TextCondition>,
) -> Condition {
    let guided = uncond.is_some();
    let text = match uncond {
        Some(uncond) => TextCondition::cat(vec![uncond, text]),
        None => text,
    };
    let [rows, n_text, _] = text.tokens.dims();
    let (tokens, class) = text_proj.forward(z_x, text.z_y, text.tokens, guided);
    let n_extra = tokens.dims()[1] - n_text;
    // The tokens made of z_x come first and always count.
    let mask = text.mask.map(|mask| {
        let mask = mask.values();
        let extra = Tensor::ones([rows, n_extra], (&mask.device(), mask.dtype()));
        Tensor::cat(vec![extra, mask], 1)
    });
    Condition::Tokens { tokens, mask, class }
}

/// Draws `batch` small images `[batch, 3, h, w]`, clamped to -1..1; h and w are the decoder's `sample_size`. `condition` has twice the rows if
/// `settings` guide. `on_step(x)` sees every step.
///
/// # Errors
/// [`DiffusionError`]: noise that runs out, a number of steps the schedule cannot give.
pub fn decode(
    (config, unet): (&UNetConfig, &UNet),
    scheduler: &Scheduler,
    batch: usize,
    condition: Condition,
    settings: DecoderSettings,
    noise: &mut impl DrawNoise<4>,
    mut on_step: impl FnMut(&Tensor<4>),
) -> Result<Tensor<4>, DiffusionError> {
    let device = match &condition {
        Condition::Tokens { class, .. } => class.device(),
        Condition::Image(z_x) | Condition::NoisyImage { z_x, .. } => z_x.device(),
        Condition::None => unreachable!("Karlo's decoder reads tokens"),
    };
    let side = config.sample_size;
    let first = noise.draw([batch, config.in_channels, side, side], &device)?;
    let denoise = denoiser(unet, condition, settings);
    let visits = scheduler.visits(settings.n_steps)?;
    let x = sample_visits(
        scheduler,
        first,
        &visits,
        settings.eta,
        denoise,
        noise,
        |_, _, step| on_step(&step.x_prev),
    )?;
    Ok(x.clamp(-1.0, 1.0))
}

/// Super-resolution in progress.
#[derive(Debug, Clone)]
pub struct SuperRes {
    x: Tensor<4>,
    /// The small image at the large size.
    upscaled: Tensor<4>,
}

impl SuperRes {
    /// Starts from noise of the large size, `[batch, 3, side, side]`, beside the enlarged `small` images; `config` is either network's.
    ///
    /// # Errors
    /// [`DiffusionError`] for noise that runs out.
    pub fn begin(
        small: Tensor<4>,
        config: &UNetConfig,
        noise: &mut impl DrawNoise<4>,
    ) -> Result<Self, DiffusionError> {
        let [batch, channels, _, _] = small.dims();
        let side = config.sample_size;
        let x = noise.draw([batch, channels, side, side], &small.device())?;
        let upscaled = upscale_bicubic(small, [side, side], true);
        Ok(Self { x, upscaled })
    }

    /// Takes the steps `visits` with `unet`: all but the last are the first network's, the last is the second's.
    ///
    /// # Errors
    /// [`DiffusionError`] for noise that runs out.
    pub fn advance(
        self,
        unet: &UNet,
        scheduler: &Scheduler,
        visits: &[Visit],
        noise: &mut impl DrawNoise<4>,
        mut on_step: impl FnMut(&Tensor<4>),
    ) -> Result<Self, DiffusionError> {
        let Self { x, upscaled } = self;
        let batch = x.dims()[0];
        let denoise = |x: Tensor<4>, t: usize| {
            let upscaled = upscaled.clone();
            unet.forward(
                Self { x, upscaled }.input(),
                &vec![t as f64; batch],
                Condition::None,
            )
        };
        let x = sample_visits(scheduler, x, visits, 1.0, denoise, noise, |_, _, step| {
            on_step(&step.x_prev)
        })?;
        Ok(Self { x, upscaled })
    }

    /// What the networks read: the sample and the enlarged image, `[batch, 6, side, side]`.
    pub fn input(&self) -> Tensor<4> {
        Tensor::cat(vec![self.x.clone(), self.upscaled.clone()], 1)
    }

    /// The images, `[batch, 3, side, side]`, about -1..1.
    pub fn finish(self) -> Tensor<4> {
        self.x
    }
}

const NETWORKS: &[RandomNetwork] = &[
    network("clip_l14_text", TEXT, |d| {
        random::text(&ClipTextConfig::vit_l14(), d)
    }),
    network("clip_l14_vision", VISION, |d| {
        random::vision(&ClipVisionConfig::vit_l14(), d)
    }),
    network("eclipse_karlo_prior", PRIOR, |d| {
        random::one_pass(&PriorConfig::eclipse_karlo(), d)
    }),
    network("karlo_prior_1b", PRIOR, |d| {
        random::diffusion(&PriorConfig::default(), d)
    }),
    network("karlo_text_proj", ["unclip", "UnCLIPTextProjModel"], |d| {
        let config = TextProjConfig::karlo();
        random::described(&config, &TextProj::init(&config, d), &text_proj::MAPPING)
    }),
    network("karlo_decoder", UNET_CONDITIONED, |d| {
        random::unet(&UNetConfig::karlo_decoder(), d)
    }),
    network("karlo_super_res_first", SUPER_RES, |d| {
        random::unet(&UNetConfig::karlo_super_res(), d)
    }),
    network("karlo_super_res_last", SUPER_RES, |d| {
        random::unet(&UNetConfig::karlo_super_res(), d)
    }),
];
const SUPER_RES: [&str; 2] = ["diffusers", "UNet2DModel"];

const PIPELINES: &[RandomPipeline] = &[
    RandomPipeline {
        folder: "karlo",
        class: "UnCLIPPipeline",
        parts: &[
            ("prior", "eclipse_karlo_prior"),
            ("text_encoder", "clip_l14_text"),
            ("text_proj", "karlo_text_proj"),
            ("decoder", "karlo_decoder"),
            ("super_res_first", "karlo_super_res_first"),
            ("super_res_last", "karlo_super_res_last"),
        ],
        schedulers: &[
            ("prior_scheduler", || random::prior_scheduler(5.0)),
            ("decoder_scheduler", || {
                random::unclip("learned_range", "epsilon", 1.0)
            }),
            ("super_res_scheduler", super_res_scheduler),
        ],
        preprocessor: None,
    },
    RandomPipeline {
        folder: "karlo_image_variations",
        class: "UnCLIPImageVariationPipeline",
        parts: &[("image_encoder", "clip_l14_vision")],
        schedulers: &[],
        preprocessor: Some("feature_extractor"),
    },
];

fn super_res_scheduler() -> Value {
    random::unclip("fixed_small_log", "epsilon", 1.0)
}
