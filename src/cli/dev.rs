//! `eclipse dev`: for those who work on this program.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eclipse_t2i::device::{DeviceSpec, Precision};
use eclipse_t2i::generate::random_stack::{self, RandomStackError};
use eclipse_t2i::noise::Noise;

use super::Usage;

/// Arguments of `eclipse dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    command: DevCommand,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Write a full-size network or stack of random numbers in the published layout, to measure with.
    RandomCheckpoint(RandomArgs),
    /// Compute something known on a device; a process of its own, because a driver may end it.
    CheckDevice,
}

#[derive(Debug, Args)]
struct RandomArgs {
    /// A stack (karlo, kandinsky22) or a network (kandinsky22_unet, clip_bigg_text, ..).
    name: String,
    /// Where it goes.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What its files hold.
    #[arg(long, value_name = "DTYPE", default_value_t = Precision::F16)]
    dtype: Precision,
    /// The tokenizer to copy into a stack.
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Leave CLIP's vision tower out.
    #[arg(long)]
    no_vision: bool,
    /// Seed of the values.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &DevArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let args = match &args.command {
        DevCommand::RandomCheckpoint(args) => args,
        DevCommand::CheckDevice => return Ok(device.check()?),
    };
    let written = random_stack::write(
        &args.name,
        &args.to,
        args.dtype.dtype().into(),
        args.tokenizer.as_deref(),
        !args.no_vision,
        &device.device()?,
        &mut Noise::new(args.seed),
    )
    .map_err(|error| match error {
        RandomStackError::Unknown { .. } | RandomStackError::NoTokenizer(_) => {
            Usage(error.to_string()).into()
        }
        other => anyhow::Error::new(other),
    })?;
    let lines: Vec<String> = written
        .iter()
        .map(|dir| format!("wrote {}\n", dir.display()))
        .collect();
    super::print(&lines.concat())
}
