//! Kandinsky 2.2: a UNet makes latents of an image embedding, MoVQ makes an image of them.
//! Reference: diffusers `KandinskyV22Pipeline`, `KandinskyV22Img2ImgPipeline`.

use std::path::Path;

use burn::prelude::*;
use serde_json::{Value, json};

use super::contract::{About, DecoderStack, Python};
use super::latent_unet::{Autoencoder, LatentSpace, LatentUNet};
use super::random::{
    self, PRIOR, RandomNetwork, RandomPipeline, RandomStack, TEXT, UNET_CONDITIONED, VISION, network,
};
use crate::generate::decoder_plan::DecoderPlan;
use crate::generate::error::RenderError;
use crate::generate::parts::{Entry, Part, PartFolders, PipelineClass, entries};
use crate::generate::request::ImageRequest;
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::movq::{self, Movq, MovqConfig};
use crate::models::prior::PriorConfig;
use crate::models::unet::UNetConfig;

/// The autoencoder.
pub const MOVQ: Part = Part::network("movq");

/// Width and height of images where a call names none (reference: the default of `KandinskyV22Pipeline`).
const SIDE: usize = 512;

/// The stack.
#[derive(Debug)]
pub struct Kandinsky22;

static ABOUT: About = About {
    name: "Kandinsky 2.2",
    family: "Kandinsky 2.2",
    sampling: Some(UNET.sampling),
    uncond: Some("the zero image"),
    size: "512, rounded up to multiples of 64",
    starts_from_image: true,
    has_super_res: false,
    published: Some((1280, "kandinsky-community/kandinsky-2-2-decoder")),
    python: Python {
        arguments: "**embeddings",
        note: "",
        works_with_stock_prior: true,
    },
};

static UNET: LatentUNet = LatentUNet {
    autoencoder: MOVQ,
    // Reference: the defaults of `KandinskyV22Pipeline`.
    sampling: (100, 4.0),
    space: |dir| Ok(Box::new(MovqConfig::read(dir)?)),
};

/// Its prior's pipeline.
pub(super) const PRIOR_PIPELINE: PipelineClass = PipelineClass {
    name: "KandinskyV22PriorPipeline",
    entries: &[
        entries::TEXT,
        entries::TOKENIZER,
        entries::PRIOR,
        entries::VISION,
        Entry::unused("image_processor", entries::PROCESSORS),
        Entry::unused("scheduler", entries::SCHEDULERS),
    ],
};

/// What `eclipse export` writes: other classes in the places of Kandinsky's.
pub(super) const EXPORTED_PRIOR_PIPELINE: PipelineClass = PipelineClass {
    name: "EclipsePriorPipeline",
    entries: &[
        entries::TEXT,
        entries::TOKENIZER,
        Entry::part("prior", Part::PRIOR, &["EclipsePrior"]),
        entries::VISION,
        Entry::unused("image_processor", entries::PROCESSORS),
        Entry::unused(
            "scheduler",
            &[
                "UnCLIPScheduler",
                "DDPMScheduler",
                "DDIMScheduler",
                "FlowMatchEulerDiscreteScheduler",
            ],
        ),
    ],
};

/// The UNet of a decoder's pipeline.
pub(super) const UNET_ENTRY: Entry = Entry::part("unet", Part::DECODER, &["UNet2DConditionModel"]);
/// The scheduler of a decoder's pipeline.
pub(super) const SCHEDULER_ENTRY: Entry =
    Entry::part("scheduler", Part::DECODER_SCHEDULER, entries::SCHEDULERS);
const MOVQ_ENTRY: Entry = Entry::part("movq", MOVQ, &["VQModel"]);
const DECODER: &[Entry] = &[entries::VISION, UNET_ENTRY, SCHEDULER_ENTRY, MOVQ_ENTRY];

/// Prior and decoder in one folder.
const COMBINED: &[Entry] = &[
    Entry::part("prior_text_encoder", Part::TEXT_ENCODER, entries::TEXT.classes),
    Entry::unused("prior_tokenizer", entries::TOKENIZER.classes),
    Entry::part("prior_prior", Part::PRIOR, entries::PRIOR.classes),
    Entry::part(
        "prior_image_encoder",
        Part::IMAGE_ENCODER,
        entries::VISION.classes,
    ),
    Entry::unused("prior_image_processor", entries::PROCESSORS),
    Entry::unused("prior_scheduler", entries::SCHEDULERS),
    UNET_ENTRY,
    SCHEDULER_ENTRY,
    MOVQ_ENTRY,
];

const fn class(name: &'static str, entries: &'static [Entry]) -> PipelineClass {
    PipelineClass { name, entries }
}

impl DecoderStack for Kandinsky22 {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn pipelines(&self) -> &'static [PipelineClass] {
        const PIPELINES: &[PipelineClass] = &[
            class("KandinskyV22Pipeline", DECODER),
            class("KandinskyV22Img2ImgPipeline", DECODER),
            PRIOR_PIPELINE,
            EXPORTED_PRIOR_PIPELINE,
            class("KandinskyV22CombinedPipeline", COMBINED),
            class("KandinskyV22Img2ImgCombinedPipeline", COMBINED),
        ];
        PIPELINES
    }

    fn decoder_parts(&self) -> &'static [Part] {
        &[Part::DECODER, MOVQ]
    }

    fn plan(&self, folders: &PartFolders, request: &ImageRequest) -> Result<DecoderPlan, RenderError> {
        UNET.plan(folders, request)
    }

    fn latent_unet(&self) -> Option<&'static LatentUNet> {
        Some(&UNET)
    }

    fn random(&self) -> Option<RandomStack> {
        Some(RandomStack {
            name: "kandinsky22",
            networks: NETWORKS,
            pipelines: RANDOM_PIPELINES,
        })
    }
}

/// Latents along a side of `pixels`, for an autoencoder that shrinks `scale` times: rounded up so that the latents are a multiple of `scale` too (512
/// pixels: 64 latents; 500: 64).
pub fn latent_side(pixels: usize, scale: usize) -> usize {
    pixels.div_ceil(scale * scale) * scale
}

impl LatentSpace for MovqConfig {
    fn channels(&self) -> usize {
        self.d_code()
    }

    fn scale(&self) -> usize {
        self.scale()
    }

    fn side(&self, pixels: usize) -> usize {
        latent_side(pixels, self.scale())
    }

    fn own_side(&self, _sample_size: usize) -> usize {
        SIDE
    }

    fn load(&self, dir: &Path, device: &Device) -> Result<Box<dyn Autoencoder>, RenderError> {
        Ok(Box::new(Movq::load(dir, device)?.1))
    }
}

impl Autoencoder for Movq {
    fn name(&self) -> &'static str {
        "MoVQ"
    }

    fn encode(&self, image: Tensor<4>) -> Tensor<4> {
        self.encode(image)
    }

    fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode(latents)
    }
}

const NETWORKS: &[RandomNetwork] = &[
    network("clip_bigg_text", TEXT, |d| {
        random::text(&ClipTextConfig::vit_bigg14(), d)
    }),
    network("clip_bigg_vision", VISION, |d| {
        random::vision(&ClipVisionConfig::vit_bigg14(), d)
    }),
    network("eclipse_kandinsky22_prior", PRIOR, |d| {
        random::one_pass(&PriorConfig::eclipse_kandinsky22(), d)
    }),
    network("kandinsky22_prior_1b", PRIOR, |d| {
        let config = PriorConfig {
            d_clip: PriorConfig::eclipse_kandinsky22().d_clip,
            ..PriorConfig::default()
        };
        random::diffusion(&config, d)
    }),
    network("kandinsky22_unet", UNET_CONDITIONED, |d| {
        random::unet(&UNetConfig::kandinsky22(), d)
    }),
    network("kandinsky22_movq", ["diffusers", "VQModel"], |d| {
        let config = MovqConfig::kandinsky22();
        random::described(&config, &Movq::init(&config, d), &movq::MAPPING)
    }),
];

const RANDOM_PIPELINES: &[RandomPipeline] = &[
    RandomPipeline {
        folder: "kandinsky22_prior",
        class: "KandinskyV22PriorPipeline",
        parts: &[
            ("prior", "eclipse_kandinsky22_prior"),
            ("text_encoder", "clip_bigg_text"),
            ("image_encoder", "clip_bigg_vision"),
        ],
        schedulers: &[("scheduler", || random::prior_scheduler(10.0))],
        preprocessor: Some("image_processor"),
    },
    RandomPipeline {
        folder: "kandinsky22_decoder",
        class: "KandinskyV22Pipeline",
        parts: &[("unet", "kandinsky22_unet"), ("movq", "kandinsky22_movq")],
        schedulers: &[("scheduler", decoder_scheduler)],
        preprocessor: None,
    },
];

fn decoder_scheduler() -> Value {
    json!({"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear",
        "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "epsilon",
        "variance_type": "learned_range", "clip_sample": true, "clip_sample_range": 2.0,
        "thresholding": true, "sample_max_value": 2.0, "dynamic_thresholding_ratio": 0.995,
        "steps_offset": 1})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up() {
        let side = |pixels| latent_side(pixels, 8);
        assert_eq!([1, 64, 65, 500, 512, 513].map(side), [8, 8, 16, 64, 64, 72]);
        assert_eq!(latent_side(5, 2), 4);
    }
}
