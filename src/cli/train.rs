//! `eclipse train`.

use std::path::PathBuf;

use clap::Args;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::experiment::{Outcome, RunDir, State, execute, sweep};

use super::{SpecArgs, Usage};

/// Arguments of `eclipse train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Specification of the run. The config.toml of a run directory is one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    spec: SpecArgs,
    /// Continue a run that was cut short.
    #[arg(long)]
    resume: bool,
    /// Run directory [default: runs/train/<name of FILE>_<hash of the configuration>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Devices that compute the parts of a step (`train.accumulate`) in turn, in the place of --device: cuda:0,cuda:1. The first keeps the prior
    /// and the optimiser. The result does not depend on how many there are.
    #[arg(
        long,
        value_name = "DEVICE,..",
        value_delimiter = ',',
        conflicts_with = "device"
    )]
    devices: Vec<DeviceSpec>,
    /// Print the complete configuration and stop.
    #[arg(long)]
    dry_run: bool,
}

/// Carries out one run.
pub fn run(args: &TrainArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let planned = sweep::single(&args.config, &args.spec.settings())?;
    if args.dry_run {
        return super::print(planned.run().config());
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs/train").join(planned.name()));
    let dir = RunDir::new(&out);
    if dir.state(planned.run())? == State::Resumable && !args.resume {
        let hint = format!(
            "{} holds this run, unfinished; continue it with --resume",
            out.display()
        );
        return Err(Usage(hint).into());
    }
    let (first, others) = match args.devices.split_first() {
        Some((first, others)) => (*first, others),
        None => (device, &[][..]),
    };
    let parts = planned.run().train().accumulate;
    if args.devices.len() > parts {
        let hint = format!(
            "{} devices for a step of {parts} part(s): set train.accumulate to a multiple of them",
            args.devices.len()
        );
        return Err(Usage(hint).into());
    }
    let others = others
        .iter()
        .map(DeviceSpec::device)
        .collect::<Result<Vec<_>, _>>()?;
    let executor = super::executor(first, true)?.beside(others);
    let names = std::iter::once(first).chain(args.devices.iter().skip(1).copied());
    let names = names.map(|d| d.to_string()).collect::<Vec<_>>().join(",");
    let outcome =
        execute::execute(&planned, &dir, "train", &names, &executor).map_err(anyhow::Error::from_boxed)?;
    match outcome {
        Outcome::Skipped => eprintln!("already finished: {}", out.display()),
        _ => eprintln!("finished: {}", out.display()),
    }
    Ok(())
}
