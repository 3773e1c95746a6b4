//! A worked example: a stack that paints an image in one colour, which the first three numbers of its embedding mix.

use std::sync::Arc;

use image::{Rgb, RgbImage};
use serde::Deserialize;

use super::contract::{About, DecoderStack, Python};
use crate::generate::decode_job::{Decode, DecodeJob, ToPixels};
use crate::generate::decoder_plan::{DecoderInputs, DecoderPlan};
use crate::generate::error::RenderError;
use crate::generate::parts::{Entry, Part, PartFolders, PipelineClass, entries};
use crate::generate::recipe::{SamplerRecord, Size};
use crate::generate::request::ImageRequest;
use crate::weights::read_json;

/// The only part of its decoder; it has no weights.
const PALETTE: Part = Part::config("palette");

/// What its `model_index.json` may hold.
const PIPELINES: &[PipelineClass] = &[PipelineClass {
    name: "FlatColourPipeline",
    entries: &[
        entries::TEXT,
        entries::PRIOR,
        Entry::part("palette", PALETTE, &["Palette"]),
    ],
}];

static ABOUT: About = About {
    name: "flat colours",
    family: "flat colours",
    sampling: None,
    uncond: None,
    size: "that of the palette",
    starts_from_image: false,
    has_super_res: false,
    published: None,
    python: Python {
        arguments: "colour=embeddings.image_embeds[:3]",
        note: "Every image has one colour.",
        works_with_stock_prior: true,
    },
};

/// The stack.
#[derive(Debug)]
pub struct FlatColour;

/// `palette/config.json`.
#[derive(Debug, Deserialize)]
struct Palette {
    d_clip: usize,
    side: usize,
}

impl DecoderStack for FlatColour {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn pipelines(&self) -> &'static [PipelineClass] {
        PIPELINES
    }

    fn decoder_parts(&self) -> &'static [Part] {
        &[PALETTE]
    }

    fn plan(&self, folders: &PartFolders, _request: &ImageRequest) -> Result<DecoderPlan, RenderError> {
        let palette: Palette = read_json(&folders.part(PALETTE)?.join("config.json"))?;
        Ok(DecoderPlan {
            reader: PALETTE,
            d_clip: palette.d_clip,
            inputs: DecoderInputs::default(),
            size: Size {
                width: palette.side,
                height: palette.side,
            },
            record: SamplerRecord::one_pass(),
            super_res: None,
            parts: vec![PALETTE],
            noise: Vec::new(),
            decode: Arc::new(palette),
        })
    }
}

impl Decode for Palette {
    fn decode(&self, job: DecodeJob<'_>) -> Result<ToPixels, RenderError> {
        job.output.stage("palette", job.z_x.len());
        let side = self.side as u32;
        for (row, z_x) in job.z_x.iter().enumerate() {
            let colour = [0, 1, 2].map(|i| ((z_x[i] * 0.5 + 0.5) * 255.0) as u8);
            job.output.progress();
            job.output
                .image(row, &RgbImage::from_pixel(side, side, Rgb(colour)))?;
        }
        Ok(Box::new(|x| x))
    }
}
