//! The small decoders of the built-in worlds, which `eclipse pretrain` makes: Kandinsky 2.2's UNet in small, which draws squares of pixels where
//! Kandinsky draws the latents of MoVQ.

use std::path::Path;

use burn::prelude::*;
use serde_json::json;

use super::contract::{About, Bundle, DecoderStack, Python, PythonModule};
use super::kandinsky22::{EXPORTED_PRIOR_PIPELINE, PRIOR_PIPELINE, SCHEDULER_ENTRY, UNET_ENTRY};
use super::latent_unet::{Autoencoder, LatentSpace, LatentUNet};
use crate::diffusion::SchedulerConfig;
use crate::generate::decoder_plan::DecoderPlan;
use crate::generate::error::RenderError;
use crate::generate::parts::{Entry, Part, PartFolders, PipelineClass, entries};
use crate::generate::request::ImageRequest;
use crate::models::pixel_space::PixelSpace;

/// The map between squares of pixels and channels.
pub const PIXEL_SPACE: Part = Part::config("pixel_space");

/// The stack.
#[derive(Debug)]
pub struct Pixels;

static ABOUT: About = About {
    name: "small decoders of pixels",
    family: "Kandinsky 2.2",
    sampling: Some(UNET.sampling),
    uncond: Some("the zero image"),
    size: "that of their training",
    starts_from_image: true,
    has_super_res: false,
    published: None,
    python: Python {
        arguments: "**embeddings",
        note: "",
        works_with_stock_prior: true,
    },
};

static UNET: LatentUNet = LatentUNet {
    autoencoder: PIXEL_SPACE,
    sampling: (4, 2.0),
    space: |dir| Ok(Box::new(PixelSpace::read(dir)?)),
};

// The decoder's folder may have a vision tower's folder, with the embedding of the zero image and without weights.
const DECODER: &[Entry] = &[
    entries::VISION,
    UNET_ENTRY,
    SCHEDULER_ENTRY,
    Entry::part("pixel_space", PIXEL_SPACE, &["PixelSpace"]),
];

const fn decoder(name: &'static str) -> PipelineClass {
    PipelineClass {
        name,
        entries: DECODER,
    }
}

/// Python of an export.
const PIPELINE_MODULE: PythonModule = PythonModule {
    name: "eclipse_decoder_pipeline",
    class: "EclipseDecoderPipeline",
    text: include_str!("python/eclipse_decoder_pipeline.py"),
};
const PIXEL_SPACE_MODULE: PythonModule = PythonModule {
    name: "pixel_space",
    class: "PixelSpace",
    text: include_str!("python/pixel_space.py"),
};

impl DecoderStack for Pixels {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn pipelines(&self) -> &'static [PipelineClass] {
        const PIPELINES: &[PipelineClass] = &[
            decoder(PIPELINE_MODULE.class),
            decoder("KandinskyV22Pipeline"),
            decoder("KandinskyV22Img2ImgPipeline"),
            PRIOR_PIPELINE,
            EXPORTED_PRIOR_PIPELINE,
        ];
        PIPELINES
    }

    fn decoder_parts(&self) -> &'static [Part] {
        &[Part::DECODER, PIXEL_SPACE]
    }

    fn plan(&self, folders: &PartFolders, request: &ImageRequest) -> Result<DecoderPlan, RenderError> {
        UNET.plan(folders, request)
    }

    fn bundle(&self, folders: &PartFolders) -> Result<Option<Bundle>, RenderError> {
        let unet = folders.part(Part::DECODER)?;
        let scheduler = folders.part(Part::DECODER_SCHEDULER)?;
        let space = folders.part(PIXEL_SPACE)?;
        let beside = |name: &str| unet.with_file_name(name);
        let (n_steps, guidance) = UNET.sampling;
        let index = json!({
            "_class_name": [PIPELINE_MODULE.name, PIPELINE_MODULE.class],
            "guidance_scale": guidance,
            "num_inference_steps": n_steps,
            "pixel_space": [PIXEL_SPACE_MODULE.name, PIXEL_SPACE_MODULE.class],
            "scheduler": ["diffusers", SchedulerConfig::read(scheduler)?.to_json()["_class_name"]],
            "unet": ["diffusers", "UNet2DConditionModel"],
        });
        Ok(Some(Bundle {
            folders: vec![
                (unet.into(), "unet"),
                (scheduler.into(), "scheduler"),
                (space.into(), "pixel_space"),
                (beside("image_normalizer"), "image_normalizer"),
                (beside("image_noising_scheduler"), "image_noising_scheduler"),
            ],
            modules: vec![("pixel_space", PIXEL_SPACE_MODULE), (".", PIPELINE_MODULE)],
            index: index.as_object().cloned().unwrap_or_default(),
        }))
    }

    fn latent_unet(&self) -> Option<&'static LatentUNet> {
        Some(&UNET)
    }
}

impl LatentSpace for PixelSpace {
    fn channels(&self) -> usize {
        self.channels()
    }

    fn scale(&self) -> usize {
        self.side()
    }

    fn side(&self, pixels: usize) -> usize {
        pixels.div_ceil(self.side())
    }

    fn own_side(&self, sample_size: usize) -> usize {
        sample_size * self.side()
    }

    fn load(&self, _dir: &Path, _device: &Device) -> Result<Box<dyn Autoencoder>, RenderError> {
        Ok(Box::new(*self))
    }
}

impl Autoencoder for PixelSpace {
    fn name(&self) -> &'static str {
        "pixels"
    }

    fn encode(&self, image: Tensor<4>) -> Tensor<4> {
        self.encode(image)
    }

    fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode(latents)
    }
}
