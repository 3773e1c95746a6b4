//! `eclipse warm`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::device::{DeviceSpec, kernels};
use crate::experiment::{
    PriorRunner, RunDir, Setting, SweepSpec, TrainingProgress, Trial, sweep, sweep_runner,
};
use clap::Args;

use super::progress::Runs;
use super::{SpecArgs, Usage, check_output, stop};

/// Arguments of `eclipse warm`.
#[derive(Debug, Args)]
pub struct WarmArgs {
    /// Specification of a run, as for `eclipse train`.
    #[arg(long, value_name = "FILE", conflicts_with = "experiment")]
    config: Option<PathBuf>,
    /// All runs of an experiment, as for `eclipse sweep`, with one seed.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["config", "load"])]
    experiment: Option<String>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Steps of training. Captions of other lengths need other kernels, so that some appear after the first step.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    steps: u32,
    /// First add the kernels of this file, written by --save on a machine with the same device.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// Afterwards save all kernels kept on this machine as one file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl WarmArgs {
    /// The runs, with few steps and one draw of the noise: the kernels depend on sizes, not on how often they run.
    fn trials(&self) -> anyhow::Result<Vec<Trial>> {
        let mut settings = self.spec.settings();
        let mut set = |key: &str, value: u32| {
            settings.push(Setting {
                key: key.to_owned(),
                value: i64::from(value).into(),
            });
        };
        for key in ["train.steps", "train.checkpoint_every"] {
            set(key, self.steps);
        }
        set("train.log_every", 1);
        set("eval.n_noise", 1);
        if self.experiment.is_some() && !self.spec.settings().iter().any(|s| s.key == "seed") {
            set("seed", 0);
        }
        if let Some(config) = &self.config {
            return Ok(vec![sweep::single(config, &settings)?]);
        }
        match &self.experiment {
            Some(name) => Ok(SweepSpec::read(&super::experiment(name), &settings, false)?.expand()?),
            None => Ok(vec![]),
        }
    }
}

/// Compiles and tunes the kernels of runs.
pub fn run(args: &WarmArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let trials = args.trials()?;
    if device.is_cpu() {
        if let Some(file) = args.load.as_ref().or(args.save.as_ref()) {
            let hint = format!(
                "{}: `{device}` has no kernels; name a GPU with --device",
                file.display()
            );
            return Err(Usage(hint).into());
        }
        super::note(format!(
            "`{device}` compiles and tunes no kernels at run time: nothing to do"
        ));
        return Ok(());
    }
    if let Some(file) = &args.save {
        check_output("--save", file)?;
    }
    let name = device.to_string();
    if let Some(file) = &args.load {
        let n = kernels::load(file, &name)?;
        super::note(format!("{}: {n} new entries", file.display()));
    }
    let stop = stop::on_signals()?;
    for (i, trial) in trials.iter().enumerate() {
        let took = warm(trial, device, &stop)?;
        super::note(format!(
            "[{}/{}] {}: {took}; {}",
            i + 1,
            trials.len(),
            trial.name(),
            kept()
        ));
    }
    if let Some(file) = kernels::file() {
        super::note(format!("kept in {}", file.display()));
    }
    if let Some(file) = &args.save {
        kernels::save(file, &name)?;
        super::note(format!("saved: {}", file.display()));
    }
    Ok(())
}

/// Carries out a short run in a temporary folder.
fn warm(trial: &Trial, device: DeviceSpec, stop: &crate::train::stop::Stop) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let (start, first) = (Instant::now(), Arc::<OnceLock<Duration>>::default());
    let runs = Arc::new(Runs::new());
    let launches = {
        let runs = runs.clone();
        kernels::Launches::watch_new(move |kernel, n| {
            runs.say(&format!(
                "{:6.1} s  kernel {n}: {kernel}",
                start.elapsed().as_secs_f64()
            ));
        })
    };
    let on_step = {
        let (first, runs) = (first.clone(), runs.clone());
        move |run: &Path, progress: TrainingProgress<'_>| {
            first.get_or_init(|| start.elapsed());
            runs.show(run, progress);
        }
    };
    let runner = PriorRunner::new(device.device()?, Arc::new(on_step)).stopped_by(stop.clone());
    let dir = folder.path().join("run");
    let outcome = sweep_runner::execute(
        trial,
        &RunDir::new(&dir),
        "warm",
        &device.to_string(),
        &runner,
        None,
    );
    runs.end(&dir);
    outcome.map_err(|failure| stop::training_error(failure, None))?;
    let first = first.get().map_or_else(
        || "no training".to_owned(),
        |at| format!("first step after {:.1} s", at.as_secs_f64()),
    );
    Ok(format!(
        "{first}, all after {:.1} s, {} launches of {} kernels",
        start.elapsed().as_secs_f64(),
        launches.total(),
        launches.kernels()
    ))
}

/// What is kept, by kind.
fn kept() -> String {
    let kept = kernels::kept();
    let of = |tuned: bool| -> usize {
        let rows = kept.iter().filter(|(name, _)| name.contains("tune") == tuned);
        rows.map(|(_, n)| n).sum()
    };
    format!(
        "{} tuning results and {} other entries are kept",
        of(true),
        of(false)
    )
}
