//! `eclipse generate`.

use std::path::PathBuf;

use crate::device::DeviceSpec;
use crate::generate::embeddings::embedding_origins;
use crate::generate::plan::Plan;
use crate::generate::recipe::{Origin, Recipe};
use crate::limits;
use clap::Args;

use super::Usage;
use super::drawing::{ModelArgs, OutArgs, SampleArgs, draw, usage};

/// Part of the trajectory that is sampled when a picture is given to start from (reference: img2img's default).
const STRENGTH: f64 = 0.3;

/// Arguments of `eclipse generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    models: ModelArgs,
    /// What to draw; may be repeated.
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// Prompts from a file, one a line, UTF-8; - is standard input.
    #[arg(long = "prompts", value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Image embeddings in place of prompts: what `eclipse prior --out FILE.safetensors` wrote.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompts", "prompt_file"])]
    embeddings: Option<PathBuf>,
    /// Pictures for each prompt.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    images: u16,
    /// Start from this picture instead of noise (Kandinsky 2.2).
    #[arg(long, value_name = "IMAGE")]
    init: Option<PathBuf>,
    /// With --init: how far from the picture, in 0..=1; this part of the steps is taken.
    #[arg(long, value_name = "X", default_value_t = STRENGTH, requires = "init", allow_negative_numbers = true)]
    strength: f64,
    /// Draw the picture of a .json file again, from the folders it names; weights and settings must still be the same.
    #[arg(
        long,
        value_name = "FILE.json",
        conflicts_with_all = ["pipeline", "prompts", "prompt_file", "embeddings", "init"])]
    repeat: Option<PathBuf>,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    out: OutArgs,
}

/// Turns prompts into pictures.
pub fn run(args: &GenerateArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let options = args.out.options(device);
    if let Some(path) = &args.repeat {
        let recipe = Recipe::read(path)?;
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let plan = Plan::repeat(&recipe, &name.unwrap_or_default(), &options).map_err(usage)?;
        return draw(&plan, &args.out, device);
    }
    let mut origins: Vec<Origin> = args.prompts.iter().cloned().map(Origin::Prompt).collect();
    if let Some(path) = &args.prompt_file {
        origins.extend(super::read_prompts(path)?.into_iter().map(Origin::Prompt));
    }
    if let Some(path) = &args.embeddings {
        origins = embedding_origins(path)?;
    }
    if origins.is_empty() {
        return Err(Usage("nothing to draw: give --prompt, --prompts or --embeddings".into()).into());
    }
    let n = usize::from(args.images);
    limits::check("pictures of a call", origins.len() * n, limits::MAX_PICTURES).map_err(Usage)?;
    let origins = origins
        .into_iter()
        .flat_map(|o| std::iter::repeat_n(o, n))
        .collect();
    let mut request = args.sample.request("generate", origins, false);
    request.init = args.init.clone().map(|image| (image, args.strength));
    let plan = Plan::new(&request, args.models.layout()?, &options).map_err(usage)?;
    draw(&plan, &args.out, device)
}
