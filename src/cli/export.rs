//! `eclipse export`.

use std::path::PathBuf;

use clap::Args;
use eclipse_t2i::device::{DeviceSpec, Precision};
use eclipse_t2i::experiment::export::export;

use super::Usage;

/// Arguments of `eclipse export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A finished run directory, or a prior's folder with config.json and weights.
    run: PathBuf,
    /// Where it goes: a folder that does not exist, or is empty. Gets prior/, scheduler/ if the prior has time, and README.md, a model card.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What the weights are stored in: f32, f16 or bf16.
    #[arg(long, value_name = "DTYPE", default_value_t)]
    dtype: Precision,
}

/// Writes the prior in diffusers' layout.
pub fn run(args: &ExportArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let exported = export(&args.run, &args.to, args.dtype.dtype().into(), &device.device()?).map_err(
        |error| match error.is_usage() {
            true => Usage(error.to_string()).into(),
            false => anyhow::Error::new(error),
        },
    )?;
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
