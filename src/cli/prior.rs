//! `eclipse prior`.

use std::path::{Path, PathBuf};

use crate::device::DeviceSpec;
use crate::files;
use crate::generate::prior::PriorSettings;
use crate::generate::prior_pipeline::{Predictions, PriorPipeline, PriorRequest};
use crate::limits;
use crate::noise::Noise;
use crate::weights::TensorFile;
use clap::Args;
use npyz::WriterBuilder;

use super::Usage;
use super::place::{Existing, Prior, is_stdio};

/// Arguments of `eclipse prior`.
#[derive(Debug, Args)]
pub struct PriorArgs {
    /// The prior: a folder with config.json and weights, published or trained here, a run, or a pipeline with prior/.
    #[arg(long, value_name = "DIR")]
    prior: Prior,
    /// The text tower of its training: a CLIP folder, or a pipeline with text_encoder/ and tokenizer/.
    #[arg(long, value_name = "DIR")]
    text: Existing,
    /// Prompts, one per line, UTF-8; - is standard input.
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Output file: .safetensors (z_x_hat, z_y and the prompts), .npy (z_x_hat alone), or - for .npy on standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seed of the noise.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Steps of a diffusion prior.
    #[arg(long, value_name = "N", default_value_t = PriorSettings::default().n_steps)]
    steps: usize,
    /// Factor on the noise that a diffusion prior adds in each step; 0 adds none.
    #[arg(long, value_name = "X", default_value_t = PriorSettings::default().eta, allow_negative_numbers = true)]
    eta: f64,
    /// Guidance scale of a diffusion prior; up to 1 is none.
    #[arg(long, value_name = "X", default_value_t = PriorSettings::default().guidance, allow_negative_numbers = true)]
    guidance: f64,
    /// Negative prompt for guidance, instead of the empty prompt.
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,
    /// Sample this many candidates per prompt and keep the one nearest to the text embedding.
    #[arg(long, value_name = "N", default_value_t = 1)]
    best_of: usize,
    #[command(flatten)]
    precision: super::PrecisionArgs,
}

/// Predicts the image embeddings of a prompt file.
pub fn run(args: &PriorArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let format = Format::of(&args.out)?;
    let settings = PriorSettings {
        n_steps: args.steps,
        guidance: args.guidance,
        eta: args.eta,
    };
    settings.check().map_err(|e| Usage(e.to_string()))?;
    if args.best_of == 0 {
        return Err(Usage("best-of must be at least 1, found 0".into()).into());
    }
    limits::check("best-of", args.best_of, limits::MAX_BEST_OF).map_err(Usage)?;
    if !is_stdio(&args.out) {
        super::check_output("--out", &args.out)?;
    }
    let prompts = super::read_prompts(&args.prompts)?;
    let pipeline = PriorPipeline::load(&args.prior.network(), &args.text, &args.precision.device(device)?)?;
    let request = PriorRequest {
        prompts,
        negative: args.negative.clone(),
        settings,
        best_of: args.best_of,
    };
    let predictions = pipeline.predict(&request, &mut Noise::new(args.seed))?;
    for (prompt, cut) in request.prompts.iter().zip(&predictions.n_words_cut) {
        if *cut > 0 {
            tracing::warn!("the last {cut} words do not fit the text tower and were cut: {prompt:?}");
        }
    }
    match format {
        Format::Safetensors => {
            let precision = format!("{device} {}", args.precision.dtype);
            write_safetensors(&args.out, &request.prompts, &predictions, &precision)?;
        }
        Format::Npy if is_stdio(&args.out) => return super::print_bytes(&npy(&predictions)?),
        Format::Npy => files::write_atomic(&args.out, &npy(&predictions)?)?,
    }
    super::print(&format!(
        "wrote {} embeddings of width {} to {}\n",
        request.prompts.len(),
        predictions.d_clip,
        args.out.display()
    ))
}

enum Format {
    Safetensors,
    Npy,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Usage> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            _ if is_stdio(path) => Ok(Self::Npy),
            _ => Err(Usage(format!(
                "--out {}: expected a name that ends in .safetensors or .npy, or -",
                path.display()
            ))),
        }
    }
}

fn write_safetensors(
    path: &Path,
    prompts: &[String],
    predictions: &Predictions,
    precision: &str,
) -> anyhow::Result<()> {
    let shape = [prompts.len(), predictions.d_clip];
    TensorFile::new()
        .with("z_x_hat", &shape, &predictions.z_x_hat)
        .with("z_y", &shape, &predictions.z_y)
        .with_metadata("prompts", serde_json::to_string(prompts)?)
        .with_metadata("precision", precision)
        .write(path)?;
    Ok(())
}

/// NumPy's format: little-endian f32.
fn npy(predictions: &Predictions) -> anyhow::Result<Vec<u8>> {
    let (n, d) = (predictions.z_x_hat.len() / predictions.d_clip, predictions.d_clip);
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype();
    let mut writer = options
        .shape(&[n as u64, d as u64])
        .writer(&mut bytes)
        .begin_nd()?;
    writer.extend(predictions.z_x_hat.iter().copied())?;
    writer.finish()?;
    Ok(bytes)
}
