//! `eclipse train`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::device::DeviceSpec;
use crate::experiment::mlflow::Tracker;
use crate::experiment::resolve::elsewhere;
use crate::experiment::{Outcome, RunDir, Runner, State, sweep, sweep_runner};
use crate::train::session::Strategy;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::progress::Runs;
use super::{SpecArgs, Usage, check_output_folder, stop};

/// Arguments of `eclipse train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Specification of the run. The config.toml of a run directory is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Mistaken positional arguments, which the error turns into --config or --set.
    #[arg(hide = true)]
    words: Vec<String>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Resume an interrupted run.
    #[arg(long)]
    resume: bool,
    /// Run directory [default: runs/train/<name of FILE>_<hash of the configuration>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Devices that share each step, instead of --device: cuda:0,cuda:1. The first holds the prior. `train.accumulate`, the number of micro-batches,
    /// must be a multiple of their number.
    #[arg(
        long,
        value_name = "DEVICE,..",
        value_delimiter = ',',
        conflicts_with = "device"
    )]
    devices: Vec<DeviceSpec>,
    /// How --devices share a step: parts gives them micro-batches in turn and adds gradients in order, bit for bit the result of one device;
    /// multi-device is burn-train's, one worker per device, equal up to rounding; ddp is burn-train's distributed data parallel, on CUDA only.
    #[arg(long, value_parser = strategies(), default_value = "parts", requires = "devices")]
    strategy: Strategy,
    /// Print the complete configuration, check everything that can be checked without training, and stop.
    #[arg(long)]
    dry_run: bool,
}

/// The names of all strategies.
fn strategies() -> impl TypedValueParser<Value = Strategy> {
    PossibleValuesParser::new(Strategy::ALL.map(Strategy::name)).map(|name| {
        let strategy = Strategy::ALL.into_iter().find(|strategy| strategy.name() == name);
        strategy.expect("a possible value")
    })
}

/// The correct spelling of a mistaken argument.
fn remedy(word: &str) -> String {
    if let Some((key, value)) = word.split_once('=') {
        let key = match key.contains('.') {
            true => key.to_owned(),
            false => elsewhere(key).unwrap_or_else(|| key.to_owned()),
        };
        return format!("{word}: keys are set with --set: --set {key}={value}");
    }
    if Path::new("experiments").join(word).join("sweep.toml").is_file() {
        return format!(
            "{word} is an experiment: `eclipse sweep {word}` carries out all of its runs; `eclipse train --config FILE` is for one run"
        );
    }
    format!("{word}: the run's specification is named with --config: --config {word}")
}

/// Executes one run.
pub fn run(args: &TrainArgs, device: DeviceSpec) -> anyhow::Result<()> {
    if let Some(word) = args.words.first() {
        return Err(Usage(remedy(word)).into());
    }
    let Some(config) = &args.config else {
        return Err(Usage("which run? give --config FILE, a specification such as experiments/objectives/base.toml; `eclipse sweep NAME` carries out an experiment".into()).into());
    };
    let server = super::mlflow_server()?;
    let trial = sweep::single(config, &args.spec.settings())?;
    if args.dry_run {
        super::print(trial.run().config())?;
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs/train").join(trial.name()));
    let dir = RunDir::new(&out);
    if dir.state(trial.run())? == State::Resumable && !args.resume {
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
    let (n, parts) = (args.devices.len(), trial.run().train().accumulate);
    if n > parts || (args.strategy != Strategy::Parts && parts % n != 0) {
        let hint =
            format!("{n} devices for a step of {parts} part(s): set train.accumulate to a multiple of them");
        return Err(Usage(hint).into());
    }
    if let (Strategy::Ddp, Some(other)) = (
        args.strategy,
        args.devices.iter().find(|d| !d.exchanges_gradients()),
    ) {
        let hint = format!(
            "--strategy ddp needs CUDA devices, and `{other}` is none; parts and multi-device run on all"
        );
        return Err(Usage(hint).into());
    }
    if args.dry_run {
        check_output_folder("--out", &out)?;
        let runner = super::prior_runner(first, &Arc::default())?;
        return runner.check(trial.run()).map_err(anyhow::Error::from_boxed);
    }
    let others = others
        .iter()
        .map(DeviceSpec::device)
        .collect::<Result<Vec<_>, _>>()?;
    let runs = Arc::new(Runs::new());
    let tracker = server.map(Tracker::new);
    let runner = super::prior_runner(first, &runs)?
        .tracked_by(tracker.clone())
        .stopped_by(stop::on_signals()?)
        .beside(others, args.strategy);
    let names = std::iter::once(first).chain(args.devices.iter().skip(1).copied());
    let mut names = names.map(|d| d.to_string()).collect::<Vec<_>>().join(",");
    if args.strategy != Strategy::Parts {
        names += &format!(" ({})", args.strategy.name());
    }
    let outcome = sweep_runner::execute(&trial, &dir, "train", &names, &runner, tracker.as_ref());
    runs.end(&out);
    tracker.iter().for_each(Tracker::close);
    match outcome.map_err(|failure| stop::training_error(failure, Some("--resume")))? {
        Outcome::Skipped => super::note(format!("already finished: {}", out.display())),
        _ => super::note(format!("finished: {}", out.display())),
    }
    Ok(())
}
