//! `eclipse vary`.

use std::path::PathBuf;

use crate::device::DeviceSpec;
use crate::generate::plan::Plan;
use crate::generate::recipe::{FileRecord, Origin};
use clap::Args;

use super::drawing::{ModelArgs, OutArgs, SampleArgs, draw, usage};

/// Arguments of `eclipse vary`.
#[derive(Debug, Args)]
pub struct VaryArgs {
    #[command(flatten)]
    models: ModelArgs,
    /// The image to vary; may be repeated.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    /// Variations of each image.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    variations: u16,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    out: OutArgs,
}

/// Draws images with the image embeddings of others.
pub fn run(args: &VaryArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let mut origins = Vec::new();
    for image in &args.images {
        let origin = Origin::Image(FileRecord::new(image)?);
        origins.extend(std::iter::repeat_n(origin, usize::from(args.variations)));
    }
    let request = args.sample.request("vary", origins, false);
    let plan = Plan::new(&request, args.models.layout()?, &args.out.options(device)).map_err(usage)?;
    draw(&plan, &args.out, device)
}
