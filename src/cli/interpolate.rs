//! `eclipse interpolate`.

use crate::device::DeviceSpec;
use crate::generate::plan::Plan;
use crate::generate::recipe::{FileRecord, MixTerm, Origin};
use clap::Args;

use super::drawing::{ModelArgs, OutArgs, SampleArgs, draw, usage};
use super::{Usage, place};

/// Arguments of `eclipse interpolate`.
#[derive(Debug, Args)]
pub struct InterpolateArgs {
    #[command(flatten)]
    models: ModelArgs,
    /// Start: a prompt, or @FILE for an image.
    #[arg(long, value_name = "TEXT or @FILE", required_unless_present = "mix")]
    from: Option<String>,
    /// End: a prompt, or @FILE for an image.
    #[arg(long, value_name = "TEXT or @FILE", required_unless_present = "mix")]
    to: Option<String>,
    /// Draw one image of a weighted sum instead: --mix 0.3=@cat.png --mix "0.7=a starry night".
    #[arg(long, value_name = "WEIGHT=TEXT or @FILE", conflicts_with_all = ["from", "to", "frames"], allow_hyphen_values = true)]
    mix: Vec<String>,
    /// Number of images, both ends included.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..))]
    frames: u16,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    out: OutArgs,
}

/// Draws images along the path between two image embeddings.
pub fn run(args: &InterpolateArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let origins = match (&args.from, &args.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (end("--from", from)?, end("--to", to)?);
            let last = f64::from(args.frames - 1);
            let frame = |i: u16| Origin::Between {
                from: Box::new(from.clone()),
                to: Box::new(to.clone()),
                at: f64::from(i) / last,
            };
            (0..args.frames).map(frame).collect()
        }
        _ => {
            let terms: anyhow::Result<Vec<MixTerm>> = args.mix.iter().map(|text| term(text)).collect();
            vec![Origin::Mix(terms?)]
        }
    };
    let request = args.sample.request("interpolate", origins, true);
    let plan = Plan::new(&request, args.models.layout()?, &args.out.options(device)).map_err(usage)?;
    draw(&plan, &args.out, device)
}

/// Extensions of image files: a prompt with such an ending is probably a file name without `@`.
const ENDINGS: [&str; 5] = [".png", ".jpg", ".jpeg", ".webp", ".gif"];

/// `@FILE` is an image, any other text a prompt; a text that looks like an image file without `@` is refused, because it would be drawn as a prompt.
fn end(option: &str, text: &str) -> anyhow::Result<Origin> {
    if let Some(path) = text.strip_prefix('@') {
        let path = place::resolved(path);
        if !path.is_file() {
            return Err(Usage(format!("{option} {text}: no such file: {}", path.display())).into());
        }
        return Ok(Origin::Image(FileRecord::new(&path)?));
    }
    let is_name = ENDINGS.iter().any(|ending| text.to_lowercase().ends_with(ending));
    if is_name || place::resolved(text).is_file() {
        return Err(Usage(format!(
            "{option} {text}: is this an image or a prompt? Write @{text} for the image; a prompt may not be the name of a file or end as one"
        ))
        .into());
    }
    if text.trim().is_empty() {
        return Err(Usage(format!(
            "{option}: expected a prompt or @FILE, found an empty text"
        ))
        .into());
    }
    Ok(Origin::Prompt(text.into()))
}

fn term(text: &str) -> anyhow::Result<MixTerm> {
    let parsed = text
        .split_once('=')
        .and_then(|(w, of)| Some((w.trim().parse::<f64>().ok()?, of)));
    match parsed {
        Some((weight, of)) if weight.is_finite() => Ok(MixTerm {
            of: end("--mix", of)?,
            weight,
        }),
        _ => Err(Usage(format!(
            "--mix: expected WEIGHT=TEXT or WEIGHT=@FILE, found {text:?}"
        ))
        .into()),
    }
}
