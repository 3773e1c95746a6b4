//! `eclipse export`.

use std::path::PathBuf;

use crate::device::{DeviceSpec, Precision};
use crate::experiment::export::{ExportOptions, export};
use crate::generate::stacks;
use clap::Args;

use super::Usage;
use super::place::Existing;

/// Arguments of `eclipse export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A finished run directory, or a prior's folder with config.json and weights.
    run: Existing,
    /// Output folder, which must be absent or empty. It becomes a pipeline for diffusers, with a model card (README.md) that contains the
    /// Python code from a prompt to an image.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Data type of the prior's weights: f32, f16 or bf16.
    #[arg(long, value_name = "DTYPE", default_value_t)]
    dtype: Precision,
    /// The CLIP that the prior reads: its folder, or a pipeline with text_encoder/, tokenizer/ and image_encoder/. [default: the run's, or that of
    /// its store]
    #[arg(long, value_name = "DIR")]
    clip: Option<Existing>,
    #[arg(long, value_name = "DIR or NAME", help = decoder_help())]
    decoder: Option<String>,
    /// Write only the network and its scheduler.
    #[arg(long, conflicts_with_all = ["clip", "decoder"])]
    prior_only: bool,
}

fn decoder_help() -> String {
    let published = stacks::each(|about| {
        let (d_clip, _) = about.published?;
        Some(format!("{} for {d_clip} numbers", about.name))
    });
    format!(
        "What draws from the embeddings: a decoder's folder, or its name on the Hugging Face Hub. [default: that of the run's world, else the \
         published one that reads their width: {published}]"
    )
}

/// Writes the prior in diffusers' layout.
pub fn run(args: &ExportArgs, device: DeviceSpec) -> anyhow::Result<()> {
    super::check_output_folder("--to", &args.to)?;
    let options = ExportOptions {
        dtype: args.dtype.dtype().into(),
        clip: args.clip.as_deref(),
        decoder: args.decoder.as_deref(),
        prior_only: args.prior_only,
    };
    let exported =
        export(&args.run, &args.to, &options, &device.device()?).map_err(|error| match error.is_usage() {
            true => Usage(error.to_string()).into(),
            false => anyhow::Error::new(error),
        })?;
    for warning in &exported.warnings {
        tracing::warn!("{warning}");
    }
    let lines: Vec<String> = exported
        .files
        .iter()
        .map(|file| format!("wrote {}\n", file.display()))
        .collect();
    super::print(&lines.concat())
}
