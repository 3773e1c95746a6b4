//! `eclipse dev`: commands for developers.

use std::path::PathBuf;

use crate::device::{DeviceSpec, Precision, Products};
use crate::generate::prior::AnyPrior;
use crate::generate::random_stack::{self, RandomStackError};
use crate::limits;
use crate::models::prior::TextCondition;
use crate::noise::Noise;
use crate::weights::{Checkpoint, TensorFile};
use burn::prelude::*;
use clap::{Args, Subcommand};

use super::Usage;

/// Arguments of `eclipse dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    command: DevCommand,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Write a full-size network or stack with random weights in the published layout, for measurements.
    RandomCheckpoint(RandomArgs),
    /// Check a device with a known computation, in a separate process because a driver may end it.
    CheckDevice,
    /// Measure the time of a step or of a network's forward pass, with random weights.
    Measure(super::measure::MeasureArgs),
    /// Run a prior's network once on tensors from a file, to compare with other implementations.
    Forward(ForwardArgs),
}

#[derive(Debug, Args)]
struct ForwardArgs {
    /// The prior's folder.
    #[arg(long, value_name = "DIR")]
    prior: PathBuf,
    /// A safetensors file: noise, z_y [n, d_clip], tokens [n, n_text, d_clip], mask [n, n_text] of 0 and 1; t [n] for a time-conditioned prior.
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// Output file with `predicted` [n, d_clip], the network's raw output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct RandomArgs {
    #[arg(help = name_help())]
    name: String,
    /// Output folder.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Data type of the weights.
    #[arg(long, value_name = "DTYPE", default_value_t = Precision::F16)]
    dtype: Precision,
    /// The tokenizer to copy into a stack.
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Omit CLIP's vision tower.
    #[arg(long)]
    no_vision: bool,
    /// Seed of the weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

fn name_help() -> String {
    let (stacks, networks) = (random_stack::stacks(), random_stack::components());
    format!(
        "A stack ({}) or a network ({})",
        stacks.join(", "),
        networks.join(", ")
    )
}

/// Runs the command.
pub fn run(args: &DevArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let args = match &args.command {
        DevCommand::RandomCheckpoint(args) => args,
        DevCommand::CheckDevice => {
            return super::print(match device.check()? {
                Products::F32 => "",
                Products::Tf32 => "multiplies matrices of f32 in TF32",
            });
        }
        DevCommand::Measure(args) => return super::measure::run(args, device),
        DevCommand::Forward(args) => return forward(args, device),
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

fn forward(args: &ForwardArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let device = device.device()?;
    let (_, prior) = AnyPrior::load(&args.prior, &device)?;
    let inputs = Checkpoint::open(&args.inputs)?;
    let text = TextCondition {
        z_y: Tensor::from_data(inputs.read("z_y")?, &device),
        tokens: Tensor::from_data(inputs.read("tokens")?, &device),
        mask: Some(Tensor::<2>::from_data(inputs.read("mask")?, &device).into()),
    }
    .without_padding();
    let noise = Tensor::from_data(inputs.read("noise")?, &device);
    let predicted = match prior {
        AnyPrior::OnePass(prior) => prior.forward(noise, text),
        AnyPrior::Diffusion(prior, _) | AnyPrior::Flow(prior, _) => {
            let t: Vec<f64> = inputs.read("t")?.iter::<f64>().collect();
            prior.forward(noise, &t, text)
        }
    };
    let data = predicted.into_data();
    let values: Vec<f32> = data.iter::<f32>().collect();
    limits::finite(|| "the prediction".into(), &values)?;
    TensorFile::new()
        .with("predicted", &data.shape().to_vec(), &values)
        .write(&args.out)?;
    Ok(())
}
