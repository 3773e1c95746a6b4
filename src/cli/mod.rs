//! The `eclipse` program: one file per command, each an args struct, one library call, and printing.
//!
//! Not part of the library's interface: it is here, and not in `src/main.rs`, so that unit tests can run whole commands.

#![allow(missing_docs, unreachable_pub, reason = "the commands are the program's own")]

mod dev;
mod devices;
mod draw;
mod drawing;
mod encode;
mod eval;
mod export;
mod generate;
mod help;
mod inspect;
mod interpolate;
mod list;
pub mod place;
mod pretrain;
mod prior;
mod progress;
mod report;
mod stop;
mod sweep;
mod train;
mod vary;
mod verify;

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::data::prompts;
use crate::data::source::SourceError;
use crate::device::{DeviceError, DeviceSpec, Precision};
use crate::experiment::executor::Progress;
use crate::experiment::{PriorExecutor, Setting, SpecError};
use crate::world::World;
use anyhow::Context;
use burn::tensor::Device;
use clap::{ArgAction, Args, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use help::command;

/// The package's version, and the commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ECLIPSE_COMMIT"), ")");

/// Train, sample, evaluate and sweep text-to-image priors (ECLIPSE, Projection, Diffusion-Baseline).
#[derive(Debug, Parser)]
#[command(name = "eclipse", version = VERSION, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What computes: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1; `eclipse devices` lists what this build has.
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<DeviceSpec>,
    /// The project's root, with experiments/, datasets/ and runs/. [default: ECLIPSE_HOME, else the nearest one above this folder]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Say more; twice: still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carry out an experiment: every run that is not finished, then the report.
    Sweep(sweep::SweepArgs),
    /// Carry out one run.
    Train(train::TrainArgs),
    /// List experiments, or runs: what there is, and how far it is.
    List(list::ListArgs),
    /// Encode pictures and captions with a CLIP into a store to train on.
    Encode(encode::EncodeArgs),
    /// Make one store of the parts that several machines have encoded.
    Merge(encode::MergeArgs),
    /// Make tables, plots and the page again, from run directories only.
    Report(report::ReportArgs),
    /// Say what a model directory, a safetensors file or a run directory holds.
    Inspect(inspect::InspectArgs),
    /// Turn prompts into image embeddings with any prior.
    Prior(prior::PriorArgs),
    /// Write a trained prior as a folder that diffusers loads.
    Export(export::ExportArgs),
    /// Draw your own words with priors that were trained in a built-in world.
    Draw(draw::DrawArgs),
    /// Draw prompts with Karlo or Kandinsky 2.2.
    Generate(generate::GenerateArgs),
    /// Draw pictures like other pictures.
    Vary(vary::VaryArgs),
    /// Draw pictures on the way from one picture or prompt to another.
    Interpolate(interpolate::InterpolateArgs),
    /// Score images (FID, KID, CLIPScore, PickScore), or how far a world's checker can be trusted.
    Eval(eval::EvalArgs),
    /// Reproduce reference numbers on this machine and device.
    Verify(verify::VerifyArgs),
    /// Make a built-in world's small CLIP or decoder again, and measure what it can do.
    Pretrain(pretrain::PretrainArgs),
    /// List the devices that this build can compute on.
    Devices(devices::DevicesArgs),
    /// Print completions for a shell: bash, zsh, fish, elvish, powershell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff.
    Man,
    /// For those who work on this program.
    #[command(hide = true)]
    Dev(dev::DevArgs),
}

/// The whole program: parse, dispatch, exit code (0 success, 1 failure, 2 usage, 3 files of a source that cannot be read).
pub fn main() -> ExitCode {
    if let Err(error) = place::enter_root() {
        note(format!("error: {error}"));
        return ExitCode::from(2);
    }
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(cli.filter())
        .with_writer(std::io::stderr)
        // Without a reader there is nobody to tell; the default panics then.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format!("error: {error:#}{}", place::remedy(&error)));
            ExitCode::from(exit_code(&error))
        }
    }
}

impl Cli {
    /// What is logged: what -v or -q says, else RUST_LOG, else warnings.
    pub fn filter(&self) -> EnvFilter {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (_, 1) => "warn,eclipse_t2i=info",
            (_, 2..) => "info,eclipse_t2i=debug",
            _ => return EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        };
        EnvFilter::new(level)
    }

    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let device = self.device.unwrap_or_default();
        match self.command {
            Command::Sweep(args) => sweep::run(&args, device),
            Command::Train(args) => train::run(&args, device),
            Command::List(args) => list::run(&args),
            Command::Encode(args) => encode::run(&args, device),
            Command::Merge(args) => encode::merge(&args),
            Command::Report(args) => report::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Prior(args) => prior::run(&args, device),
            Command::Export(args) => export::run(&args, device),
            Command::Draw(args) => draw::run(&args, device),
            Command::Generate(args) => generate::run(&args, device),
            Command::Vary(args) => vary::run(&args, device),
            Command::Interpolate(args) => interpolate::run(&args, device),
            Command::Eval(args) => eval::run(&args, device),
            Command::Verify(args) => verify::run(&args, device),
            Command::Pretrain(args) => pretrain::run(&args, device),
            Command::Devices(args) => devices::run(&args),
            Command::Completions { shell } => help::completions(shell),
            Command::Man => help::man(),
            Command::Dev(args) => dev::run(&args, device),
        }
    }
}

/// Options of commands that read a specification.
#[derive(Debug, Args)]
struct SpecArgs {
    /// Set a key over everything else; may be repeated. One that names an axis replaces it: seed=3, seed=[0,1].
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// Short for --set seed=N.
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
}

impl SpecArgs {
    fn settings(&self) -> Vec<Setting> {
        let seed = self.seed.map(|n| Setting {
            key: "seed".into(),
            value: i64::from(n).into(),
        });
        // Keys that are paths are relative to the caller's folder, as all that is typed.
        const PATHS: [&str; 4] = ["clip", "decoder", "data.store", "data.validation"];
        let given = self.settings.iter().cloned().map(|mut setting| {
            if let (true, Some(path)) = (PATHS.contains(&setting.key.as_str()), setting.value.as_str()) {
                setting.value = place::resolved(path).display().to_string().into();
            }
            setting
        });
        given.chain(seed).collect()
    }
}

/// Options of commands that only run networks.
#[derive(Debug, Args)]
struct PrecisionArgs {
    /// What networks compute in, whatever their files hold: f32, f16 or bf16. Half precision halves the memory; between networks everything
    /// stays f32.
    #[arg(long, value_name = "DTYPE", default_value_t)]
    dtype: Precision,
}

impl PrecisionArgs {
    fn device(&self, device: DeviceSpec) -> Result<Device, DeviceError> {
        device.device_in(self.dtype)
    }
}

/// An argument that makes no sense; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

/// A part of what was to be read is lost; the exit code is 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// The program's exit code after `error`: 1 for a failure, 2 for the caller's mistake, 3 where files of a source cannot be read, 130 where it was
/// asked to stop.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error {
        _ if is_usage(error) => 2,
        _ if error.chain().any(|e| e.is::<Unreadable>()) => 3,
        _ if error.chain().any(|e| e.is::<stop::Stopped>()) => 130,
        _ => 1,
    }
}

/// Refuses a file that could not be written later: before the work, not after it.
fn check_output(option: &str, path: &std::path::Path) -> Result<(), Usage> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    let refuse = |reason: String| Err(Usage(format!("{option} {}: {reason}", path.display())));
    if path.is_dir() {
        return refuse("is a folder, expected the name of a file".into());
    }
    if !parent.is_dir() {
        return refuse(format!("no such folder: {}", parent.display()));
    }
    match tempfile::Builder::new().prefix(".tmp-").tempfile_in(parent) {
        Ok(_) => Ok(()),
        Err(e) => refuse(format!("cannot write in {}: {}", parent.display(), e.kind())),
    }
}

/// Refuses a folder that could not be made or written to later: before the work, not after it. Makes nothing.
fn check_output_folder(option: &str, path: &std::path::Path) -> Result<(), Usage> {
    let refuse = |reason: String| Err(Usage(format!("{option} {}: {reason}", path.display())));
    if path.exists() && !path.is_dir() {
        return refuse("is a file, expected a folder".into());
    }
    // The nearest folder that is there is where the first missing one would be made.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(there) = absolute.ancestors().find(|folder| folder.exists()) else {
        return refuse("no such folder, and none above it".into());
    };
    if !there.is_dir() {
        return refuse(format!("{} is a file, expected a folder", there.display()));
    }
    match tempfile::Builder::new().prefix(".tmp-").tempfile_in(there) {
        Ok(_) => Ok(()),
        Err(e) => refuse(format!("cannot write in {}: {}", there.display(), e.kind())),
    }
}

/// Whether `error` is the caller's to fix in arguments or specification, rather than a failure.
fn is_usage(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|e| e.is::<SpecError>() || e.is::<DeviceError>() || e.is::<Usage>() || is_wrong_world(e))
}

/// Whether a source that is no file, such as a built-in world, makes no sense: it is all argument.
fn is_wrong_world(error: &(dyn std::error::Error + 'static)) -> bool {
    let place = error.downcast_ref::<SourceError>();
    matches!(place, Some(SourceError::Place { place, .. }) if crate::data::source::with_scheme(place).is_some())
}

/// An experiment's name, or its path where that exists, seen from the caller's folder.
fn experiment(given: &str) -> String {
    let path = place::resolved(given);
    match path.exists() {
        true => path.display().to_string(),
        false => given.to_owned(),
    }
}

/// The world of this name, as an argument's value.
fn world_named(name: &str) -> Result<World, String> {
    World::named(name).ok_or_else(|| format!("expected one of {}", World::ALL.map(World::name).join(", ")))
}

/// What carries runs out, and shows how far they are in `runs`.
fn executor(device: DeviceSpec, runs: &Arc<progress::Runs>) -> anyhow::Result<PriorExecutor> {
    let runs = runs.clone();
    let on_step = move |run: &std::path::Path, progress: Progress<'_>| runs.show(run, progress);
    Ok(PriorExecutor::new(device.device()?, Box::new(on_step)))
}

/// The prompts of a file, or of standard input for `-`.
fn read_prompts(path: &std::path::Path) -> anyhow::Result<Vec<String>> {
    if !place::is_stdio(path) {
        return Ok(prompts::read_prompts(path)?);
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read prompts from standard input")?;
    Ok(prompts::prompts_of(&text, path)?)
}

/// Writes text to stdout.
fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(printable(text).as_bytes())
}

/// Writes data to stdout as it is. A reader that closed the pipe has seen enough.
fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr, whoever reads it: a closed pipe, a full device or a terminal that is gone do not end the work.
pub fn note(line: impl std::fmt::Display) {
    // In one piece, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{}\n", printable(&line.to_string())).as_bytes());
}

/// `text` with its control characters escaped, but for line ends and tabs: names of files are other people's text, and must not command a terminal.
fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let commands = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(commands) {
        false => text.into(),
        true => text
            .chars()
            .map(|c| match commands(c) {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            })
            .collect::<String>()
            .into(),
    }
}

/// Writes `value` to stdout as indented JSON.
fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{value:#}\n"))
}
