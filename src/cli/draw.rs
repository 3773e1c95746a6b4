//! `eclipse draw`.

use std::path::PathBuf;

use crate::device::DeviceSpec;
use crate::experiment::own_words::{self, DrawError, Words, newest, priors_at};
use crate::generate::images::{encode_png, grid, write_png};
use clap::Args;

use super::place::{Existing, is_stdio};
use super::{Usage, check_output};

/// Arguments of `eclipse draw`.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// Prompt, such as "a red car on the left of a blue dog"; several prompts are drawn below each other.
    #[arg(required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    /// A finished run, or a folder of runs, which contributes one row per system; may be repeated. [default: the experiment of the newest
    /// finished run]
    #[arg(long = "run", value_name = "DIR")]
    runs: Vec<Existing>,
    /// Images per prompt and prior.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=64))]
    images: u16,
    /// Seed of the first image; each further image adds 1.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Factor by which images are enlarged.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    zoom: u8,
    /// The output sheet, with a row per prompt and prior; - is standard output.
    #[arg(long, value_name = "FILE.png", default_value = "draw.png")]
    out: PathBuf,
}

/// Draws one sheet of images and lists its rows.
pub fn run(args: &DrawArgs, device: DeviceSpec) -> anyhow::Result<()> {
    if !is_stdio(&args.out) {
        check_output("--out", &args.out)?;
    }
    let places = match args.runs.is_empty() {
        true => vec![newest("runs".as_ref()).map_err(usage)?],
        false => args.runs.iter().map(|run| run.to_path_buf()).collect(),
    };
    let mut priors = Vec::new();
    for place in &places {
        priors.extend(priors_at(place).map_err(usage)?);
    }
    let words = Words {
        prompts: &args.prompts,
        n_images: args.images.into(),
        seed: args.seed,
        zoom: args.zoom.into(),
    };
    let rows = own_words::draw(&priors, &words, &device.device()?).map_err(usage)?;
    let images: Vec<_> = rows.iter().flat_map(|row| row.images.iter().cloned()).collect();
    let texts = [
        ("prompt".to_string(), args.prompts.join("; ")),
        ("seed".to_string(), args.seed.to_string()),
    ];
    let sheet = grid(&images, args.images.into());
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let right = match row.n_right {
            Some(n) => format!(", {n} of {} right", args.images),
            None => String::new(),
        };
        text += &format!(
            "row {}: {}: \"{}\"{right} ({})\n",
            i + 1,
            row.label,
            row.prompt,
            row.dir.display()
        );
    }
    if is_stdio(&args.out) {
        super::note(text.trim_end());
        return super::print_bytes(&encode_png(&sheet, &texts)?);
    }
    write_png(&args.out, &sheet, &texts)?;
    let right = match rows.iter().any(|row| row.n_right.is_some()) {
        true => "; an image is right when the checker finds all that the prompt asks for",
        false => "",
    };
    super::print(&format!(
        "{text}wrote {}: a row for each prompt and prior, a column for each seed{right}\n",
        args.out.display()
    ))
}

/// Marks errors that the user can correct.
fn usage(error: DrawError) -> anyhow::Error {
    match error.is_usage() {
        true => Usage(error.to_string()).into(),
        false => error.into(),
    }
}
