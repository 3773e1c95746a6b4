//! `eclipse eval`.

mod checker;
mod images;

use crate::device::DeviceSpec;
use clap::{Args, ValueEnum};

use super::Usage;

const EXAMPLES: &str = "\
Examples:
  eclipse eval fid kid --images drawn/ --reference coco/ --inception pt_inception-2015-12-05-6726825d.pth
  eclipse eval clip-score --images samples/ --clip clip-vit-base-patch32
  eclipse eval pick-score --images ours/ --against theirs/ --prompts prompts.txt --clip PickScore_v1
  eclipse eval checker --world shapes";

/// Arguments of `eclipse eval`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// What to measure; several at once.
    #[arg(required = true, value_enum, value_name = "METRIC")]
    metrics: Vec<MetricName>,
    #[command(flatten)]
    images: images::ImageArgs,
    #[command(flatten)]
    checker: checker::CheckerArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricName {
    /// Frechet inception distance to a reference; lower is better.
    Fid,
    /// Kernel inception distance to a reference; lower is better.
    Kid,
    /// Frechet distance of CLIP's image embeddings to a reference (clean-fid's); lower is better.
    ClipFid,
    /// Cosine of image and prompt by CLIP (T2I-CompBench's CLIPScore); higher is better.
    ClipScore,
    /// PickScore: what people would choose; higher is better. With --against also how often.
    PickScore,
    /// How well a built-in world's checker reads pictures: true renders, damaged ones, wrong ones.
    Checker,
}

/// Measures, prints and keeps.
pub fn run(args: &EvalArgs, device: DeviceSpec) -> anyhow::Result<()> {
    if !args.metrics.contains(&MetricName::Checker) {
        return images::run(&args.images, &args.metrics, args.json, device);
    }
    match args.metrics.len() {
        1 => checker::run(&args.checker, args.json),
        _ => Err(
            Usage("checker: expected no other metric beside it, it scores no images of yours".into()).into(),
        ),
    }
}
