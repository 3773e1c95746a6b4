//! `eclipse sweep`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::device::DeviceSpec;
use crate::experiment::mlflow::Tracker;
use crate::experiment::sweep_runner::{Event, SweepOptions, run_path, sweep};
use crate::experiment::{Outcome, Runner, SweepSpec, Trial, own_words};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::Destination;
use super::output::{link, program};
use super::progress::Runs;
use super::report::{check_publish, show};
use super::stop::{self, Stopped};
use super::{SpecArgs, Usage, check_output_folder, comparison};

/// Small priors use little more than one core, so two runs in parallel suit a CPU.
const CPU_JOBS: usize = 2;

/// Arguments of `eclipse sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Name of a folder in experiments/, or the path of a sweep file.
    experiment: String,
    #[command(flatten)]
    spec: SpecArgs,
    /// Runs in parallel. [default: 2 on a CPU device, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Tiny runs, kept apart from the real ones, to check that everything works.
    #[arg(long)]
    smoke: bool,
    #[command(flatten)]
    destination: Destination,
    /// List the runs, check everything that can be checked without training, and stop.
    #[arg(long)]
    dry_run: bool,
}

/// Expands the sweep, executes unfinished trials, writes the report.
pub fn run(args: &SweepArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let experiment = super::experiment(&args.experiment);
    if let Some(path) = comparison::find(&experiment)? {
        if args.jobs.is_some() {
            return Err(
                Usage("--jobs: a comparison draws one system after the other; leave it out".into()).into(),
            );
        }
        let settings = args.spec.settings();
        return comparison::run(
            &path,
            &settings,
            args.smoke,
            args.dry_run,
            &args.destination,
            device,
        );
    }
    let server = super::mlflow_server()?;
    let spec = SweepSpec::read(&experiment, &args.spec.settings(), args.smoke)?;
    let trials = spec.expand()?;
    check_publish(&spec, &None, &args.destination)?;
    let runs = args.destination.runs.join(spec.name());
    if args.dry_run {
        list(&trials, &runs, args.destination.json)?;
        check_output_folder("--runs", &args.destination.runs)?;
        let runner = super::prior_runner(device, &Arc::default())?;
        return trials
            .iter()
            .try_for_each(|trial| runner.check(trial.run()))
            .map_err(anyhow::Error::from_boxed);
    }
    let training = Arc::new(Runs::new());
    let stop = stop::on_signals()?;
    let tracker = server.map(Tracker::new);
    let runner = super::prior_runner(device, &training)?
        .tracked_by(tracker.clone())
        .stopped_by(stop.clone())
        .sharing_priors(args.destination.runs.join(".priors"));
    let options = SweepOptions {
        runs: runs.clone(),
        experiment: spec.name(),
        device: device.to_string(),
        jobs: args
            .jobs
            .map_or(if device.is_cpu() { CPU_JOBS } else { 1 }, usize::from),
        stop,
        tracker: tracker.clone(),
    };
    super::note(format!(
        "{} runs, {} at a time, in {}; Ctrl-C saves and stops, the same command continues",
        trials.len(),
        options.jobs,
        runs.display()
    ));
    let bar = training.add(ProgressBar::new(trials.len() as u64));
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} runs are finished after {elapsed}",
    )?);
    bar.enable_steady_tick(Duration::from_millis(500));
    let outcomes = sweep(&trials, &options, &runner, &|event| match event {
        Event::Begin { .. } => bar.tick(),
        Event::End {
            trial,
            outcome,
            finished,
            total,
        } => {
            bar.set_position(finished as u64);
            training.end(&run_path(&runs, trial));
            training.say(&format!(
                "[{finished:>3}/{total}] {:<24} {}",
                describe(outcome),
                trial.name()
            ));
            if let Outcome::Failed(failure) = outcome {
                training.say(&format!("failed: {}: {}", trial.name(), chain(failure.as_ref())));
            }
        }
    });
    bar.finish_and_clear();
    tracker.iter().for_each(Tracker::close);
    let left = outcomes.iter().filter(|o| !o.is_done()).count();
    if outcomes.iter().any(|o| matches!(o, Outcome::Stopped)) {
        let what = format!(
            "stopped; {} of {} runs are finished",
            trials.len() - left,
            trials.len()
        );
        return Err(Stopped::new(what, None).into());
    }
    let dirs: Vec<PathBuf> = trials.iter().map(|trial| run_path(&runs, trial)).collect();
    let reported = show(&spec, &runs, &dirs, &None, &args.destination);
    if left > 0 {
        anyhow::bail!(
            "{left} of {} runs are not finished; the same command continues them",
            trials.len()
        );
    }
    let page = reported?;
    let world = trials
        .iter()
        .find(|trial| own_words::can_draw(trial.run()))
        .map(|trial| trial.run().world());
    if let Some(world) = world {
        let program = program();
        super::note(format!(
            "draw your own words: {program} draw \"{}\" --run {}",
            own_words::example(world),
            runs.display()
        ));
        super::note(format!("or type them on a page: {program} serve"));
    }
    super::note(format!("the report, a page for a browser: {}", link(&page)));
    Ok(())
}

fn list(trials: &[Trial], runs: &Path, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let rows = trials
            .iter()
            .map(|p| json!({"run": p.name(), "axes": p.axes(), "dir": run_path(runs, p)}));
        return super::print_json(&rows.collect());
    }
    super::print(
        &trials
            .iter()
            .map(|p| format!("{}\n", p.name()))
            .collect::<String>(),
    )
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { resumed: false, took } => format!("done in {:.1} s", took.as_secs_f64()),
        Outcome::Done { resumed: true, took } => format!("resumed, done in {:.1} s", took.as_secs_f64()),
        Outcome::Skipped => "was finished".into(),
        Outcome::Busy { pid } => format!("busy in process {pid}"),
        Outcome::Stopped => "stopped".into(),
        Outcome::Failed(_) => "FAILED".into(),
    }
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
