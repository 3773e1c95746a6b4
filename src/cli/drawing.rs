//! Options, call and progress shared by `generate`, `vary` and `interpolate`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::device::DeviceSpec;
use crate::diffusion::Sampler;
use crate::generate::error::RenderError;
use crate::generate::images::{grid, write_png};
use crate::generate::layout::PipelineLayout;
use crate::generate::plan::Plan;
use crate::generate::prior::PriorSettings;
use crate::generate::recipe::{Origin, Size, slug};
use crate::generate::render::RenderOptions;
use crate::generate::request::{
    DecoderChoice, ImageRequest, LatentsChoice, OutputOptions, SUPER_RES_STEPS, Subject,
};
use crate::generate::stacks;
use crate::limits::{MAX_AREA, MAX_SIDE};
use crate::models::clip::preprocess::read_image;
use clap::Args;

use super::place::{Existing, Prior};
use super::progress::Stages;
use super::{PrecisionArgs, Usage, check_output, check_output_folder};

/// Images per batch, and images per loading of the networks, on a GPU: drawing an image takes about as long as loading.
const GPU: (usize, usize) = (4, 64);
/// The same on a CPU, where larger batches are not faster and full-size images take minutes each.
const CPU: (usize, usize) = (1, 4);

/// Width and height.
#[derive(Debug, Clone, Copy)]
pub struct SizeArg(Size);

impl FromStr for SizeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected pixels such as 512 or 768x512 (width x height), found {text}");
        let side = |text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(wrong()),
            Ok(n) => Ok(n),
        };
        let (width, height) = text.split_once('x').unwrap_or((text, text));
        let size = Size {
            width: side(width)?,
            height: side(height)?,
        };
        if size.width.max(size.height) > MAX_SIDE || size.width * size.height > MAX_AREA {
            return Err(format!(
                "expected at most {MAX_SIDE} pixels a side and {MAX_AREA} (2048 x 2048) together, found {size}"
            ));
        }
        Ok(Self(size))
    }
}

fn pipeline_help() -> String {
    let names = stacks::each(|about| Some(about.name.into()));
    format!(
        "The decoder: a pipeline (a folder with model_index.json), or a folder of pipelines, one of the prior and one of the decoder. Known are {names}"
    )
}

fn negative_help() -> String {
    let mut uncond: Vec<&str> = stacks::ALL
        .iter()
        .filter_map(|stack| stack.about().uncond)
        .collect();
    uncond.dedup();
    let of = |what: &&str| {
        let names = stacks::each(|about| (about.uncond == Some(what)).then(|| about.name.into()));
        format!("{what} ({names})")
    };
    let uncond: Vec<String> = uncond.iter().map(of).collect();
    format!(
        "What guidance pushes away from, in place of {}",
        uncond.join(" or ")
    )
}

fn steps_help() -> String {
    let own = stacks::each(|about| Some(format!("{} for {}", about.sampling?.0, about.name)));
    format!("Steps of the decoder. [default: {own}; the paper: 50 with --scheduler ddim --guidance 7.5]")
}

fn guidance_help() -> String {
    let own = stacks::each(|about| Some(format!("{} for {}", about.sampling?.1, about.name)));
    format!("Guidance scale of the decoder; up to 1 is none. [default: {own}]")
}

fn super_res_help() -> String {
    let those = stacks::each(|about| about.has_super_res.then(|| about.name.into()));
    format!("Steps of super-resolution ({those})")
}

fn size_help() -> String {
    let sizes: Vec<String> = stacks::ALL
        .iter()
        .map(|stack| format!("{}: {}", stack.about().name, stack.about().size))
        .collect();
    format!(
        "Size in pixels, 512 or 768x512 (width x height). [default: {}]",
        sizes.join("; ")
    )
}

/// The model folders.
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[arg(long, value_name = "DIR", help = pipeline_help())]
    pipeline: Option<Existing>,
    /// Another prior: an ECLIPSE prior's folder, a run trained here, or a pipeline with prior/. [default: the pipeline's]
    #[arg(long, value_name = "DIR")]
    prior: Option<Prior>,
    /// Folder of text_encoder/, tokenizer/ and image_encoder/. [default: the prior's pipeline, else the pipeline]
    #[arg(long, value_name = "DIR")]
    clip: Option<Existing>,
}

/// Sampling options.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Seed of the first image; each further image adds 1. An image's noise does not depend on the other images.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[arg(long, value_name = "TEXT", help = negative_help())]
    negative: Option<String>,
    #[arg(long, value_name = "N", help = steps_help())]
    steps: Option<usize>,
    #[arg(long, value_name = "X", allow_negative_numbers = true, help = guidance_help())]
    guidance: Option<f64>,
    /// Sampler of the decoder, on the pipeline's own noise schedule: ddpm, ddim or unclip. [default: the pipeline's]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<Sampler>,
    /// Factor on the noise that the decoder adds in each step. [default: 1, and 0 for ddim]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    decoder_eta: Option<f64>,
    /// Steps of a diffusion prior.
    #[arg(long, value_name = "N", default_value_t = PriorSettings::default().n_steps)]
    prior_steps: usize,
    /// Guidance scale of a diffusion prior; up to 1 is none.
    #[arg(long, value_name = "X", default_value_t = PriorSettings::default().guidance, allow_negative_numbers = true)]
    prior_guidance: f64,
    /// Factor on the noise that a diffusion prior adds in each step; 0 adds none.
    #[arg(long, value_name = "X", default_value_t = PriorSettings::default().eta, allow_negative_numbers = true)]
    eta: f64,
    #[arg(long, value_name = "N", default_value_t = SUPER_RES_STEPS, help = super_res_help())]
    super_res_steps: usize,
    #[arg(long, value_name = "SIZE", help = size_help())]
    size: Option<SizeArg>,
    /// Noise from a safetensors file, one row per image: every sample (noise.000, noise.001, ..), or initial latents by name (prior,
    /// decoder, super_res).
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,
}

/// Output options.
#[derive(Debug, Args)]
pub struct OutArgs {
    /// Output folder of the images: NNNNNN-prompt.png, each with a .json that records how it was made. Finished images of the same call
    /// are kept.
    #[arg(long, value_name = "DIR", default_value = "pictures")]
    out: PathBuf,
    /// Replace images of other calls.
    #[arg(long)]
    overwrite: bool,
    /// Also write every step: trajectories (.steps.safetensors) and an image of each decoder step.
    #[arg(long)]
    save_steps: bool,
    /// Also write a contact sheet of the call's images.
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Batch size of the decoder. [default: 1 on a CPU, else 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
}

impl ModelArgs {
    /// Whether any of them is given.
    pub fn is_given(&self) -> bool {
        self.pipeline.is_some() || self.prior.is_some() || self.clip.is_some()
    }

    /// The model folders of the pipeline.
    pub fn layout(&self) -> anyhow::Result<PipelineLayout> {
        let Some(pipeline) = &self.pipeline else {
            return Err(Usage("which decoder? give --pipeline DIR".into()).into());
        };
        Ok(PipelineLayout::open(
            pipeline,
            self.prior.as_deref(),
            self.clip.as_deref(),
        )?)
    }
}

impl SampleArgs {
    /// The call that draws `origins`, each with its own seed or all with the same.
    pub fn request(&self, command: &str, origins: Vec<Origin>, one_seed: bool) -> ImageRequest {
        let n_images = origins.len();
        let subject = |(row, origin): (usize, Origin)| Subject {
            name: format!("{row:06}-{}", slug(&origin.title())),
            seed: match one_seed {
                true => self.seed,
                false => self.seed.wrapping_add(row as u64),
            },
            origin,
            row,
        };
        ImageRequest {
            command: command.into(),
            subjects: origins.into_iter().enumerate().map(subject).collect(),
            negative: self.negative.clone(),
            init: None,
            latents: self.latents.clone().map(|path| LatentsChoice { path, n_images }),
            size: self.size.map(|s| s.0),
            prior: PriorSettings {
                n_steps: self.prior_steps,
                guidance: self.prior_guidance,
                eta: self.eta,
            },
            decoder: DecoderChoice {
                n_steps: self.steps,
                guidance: self.guidance,
                eta: self.decoder_eta,
                sampler: self.scheduler,
            },
            super_res_steps: self.super_res_steps,
        }
    }
}

impl OutArgs {
    /// Options of the plan.
    pub fn options(&self, device: DeviceSpec) -> OutputOptions {
        OutputOptions {
            out: self.out.clone(),
            overwrite: self.overwrite,
            device: device.to_string(),
            dtype: self.precision.dtype.to_string(),
        }
    }
}

/// The error of a command: [`Usage`] if the user can correct an argument.
pub fn usage(error: RenderError) -> anyhow::Error {
    match error.is_usage() {
        true => Usage(error.to_string()).into(),
        false => error.into(),
    }
}

/// Renders `plan`.
pub fn draw(plan: &Plan, out: &OutArgs, device: DeviceSpec) -> anyhow::Result<()> {
    check_output_folder("--out", &out.out)?;
    if let Some(sheet) = &out.sheet {
        check_output("--sheet", sheet)?;
    }
    if let (Some(asked), Some(first)) = (plan.asked, plan.images.first()) {
        tracing::warn!(
            "{asked} pixels were rounded up to {}: the decoder draws whole multiples only",
            first.recipe.size
        );
    }
    let (batch, chunk) = if device.is_cpu() { CPU } else { GPU };
    let batch = out.batch.map_or(batch, usize::from);
    let options = RenderOptions {
        batch,
        chunk: chunk.max(batch),
        save_steps: out.save_steps,
    };
    let mut stages = Stages::new();
    let (mut drawn, mut kept) = (0, 0);
    let result = plan.render(&out.precision.device(device)?, options, &mut |event| {
        let (n_drawn, n_kept) = stages.show(&event);
        drawn += n_drawn;
        kept += n_kept;
    });
    stages.finish();
    result?;
    if let Some(path) = &out.sheet {
        let names = plan.images.iter().map(|p| format!("{}.png", p.subject.name));
        let images: Result<Vec<_>, _> = names.map(|name| read_image(out.out.join(name))).collect();
        let images = images?;
        let columns = (images.len() as f64).sqrt().ceil() as usize;
        write_png(path, &grid(&images, columns), &[])?;
    }
    let here = match kept {
        0 => String::new(),
        n => format!(", {n} were there already"),
    };
    super::print(&format!(
        "drew {drawn} pictures in {}{here}\n",
        Path::display(&out.out)
    ))
}
