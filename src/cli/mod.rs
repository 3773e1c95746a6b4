//! The `eclipse` program: one file per command, with its arguments, one library call, and printing.
//!
//! Not part of the library's interface: it is here instead of `src/main.rs` so that unit tests can run whole commands.

#![allow(
    missing_docs,
    unreachable_pub,
    rustdoc::invalid_html_tags,
    reason = "the commands are the program's own"
)]

mod args;
mod comparison;
mod dev;
mod devices;
mod draw;
mod drawing;
mod encode;
mod eval;
mod export;
mod fetch;
mod generate;
mod help;
mod inspect;
mod interpolate;
mod list;
mod measure;
mod output;
mod params;
mod place;
mod pretrain;
mod prior;
mod progress;
mod report;
mod schema;
mod serve;
mod stop;
mod sweep;
#[cfg(test)]
mod tests;
mod train;
mod usage;
mod vary;
mod verify;
mod warm;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::device::DeviceSpec;

use self::args::{
    PrecisionArgs, SpecArgs, experiment, mlflow_server, prior_runner, read_prompts, world_named,
};
use self::output::{note, print, print_bytes, print_json};
use self::usage::{Unreadable, Usage, check_output, check_output_folder, exit_code};

/// The package's version and commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ECLIPSE_COMMIT"), ")");
/// What is logged by default. CubeCL's warnings about a bundle say what `eclipse warm` says itself, or nothing that matters (an archive is read only).
const WARNINGS: &str = "warn,turso_core=error,cubecl_environment::bundle=error";

/// Train, sample, evaluate and sweep text-to-image priors (ECLIPSE, Projection, Diffusion-Baseline).
#[derive(Debug, Parser)]
#[command(name = "eclipse", version = VERSION, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Device: flex, ndarray, wgpu, vulkan, metal, cuda or cuda:1; `eclipse devices` lists those of this build.
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<DeviceSpec>,
    /// The project's root, with experiments/, datasets/ and runs/. [default: ECLIPSE_HOME, else the nearest one above this folder]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// More log messages; may be given twice.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Only errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an experiment: every unfinished run, then the report.
    Sweep(sweep::SweepArgs),
    /// Run one training.
    Train(train::TrainArgs),
    /// List experiments, or runs and their progress.
    List(list::ListArgs),
    /// Encode images and captions with a CLIP into a store of training data.
    Encode(encode::EncodeArgs),
    /// Merge parts encoded by several machines into one store.
    Merge(encode::MergeArgs),
    /// Write tables, plots and the page again, from run directories only.
    Report(report::ReportArgs),
    /// Print the JSON Schema of a kind of file, for completion and checks in editors.
    Schema(schema::SchemaArgs),
    /// Describe a model directory, a safetensors file, a run directory, a store or a source.
    Inspect(inspect::InspectArgs),
    /// Download published weights to the Hugging Face cache, after naming size and licence.
    Fetch(fetch::FetchArgs),
    /// Predict image embeddings of prompts with any prior.
    Prior(prior::PriorArgs),
    /// Write a trained prior as a folder that diffusers loads.
    Export(export::ExportArgs),
    /// Draw your own words with priors trained in a built-in world.
    Draw(draw::DrawArgs),
    /// Serve a page on this machine that draws prompts with the priors at hand, side by side.
    Serve(serve::ServeArgs),
    #[command(about = generate::about())]
    Generate(generate::GenerateArgs),
    /// Draw variations of images.
    Vary(vary::VaryArgs),
    /// Draw images between two images or prompts.
    Interpolate(interpolate::InterpolateArgs),
    /// Score images (FID, KID, CLIPScore, PickScore), or measure the reliability of a world's checker.
    Eval(eval::EvalArgs),
    /// Count the parameters of a pipeline, or of the published ones: by the paper's accounting, and in full.
    Params(params::ParamsArgs),
    /// Reproduce reference numbers on this machine and device.
    Verify(verify::VerifyArgs),
    /// Train a built-in world's small CLIP or decoder again, and measure its quality.
    Pretrain(pretrain::PretrainArgs),
    /// Compile and tune a GPU's kernels for a run in advance, and save or load them.
    Warm(warm::WarmArgs),
    /// List the devices of this build.
    Devices(devices::DevicesArgs),
    /// Print completions for a shell: bash, zsh, fish, elvish, powershell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff.
    Man,
    /// Commands for developers.
    #[command(hide = true)]
    Dev(dev::DevArgs),
}

/// The program's command line: the derived one, with grouped help, and negative numbers as values of options.
pub fn command() -> clap::Command {
    help::grouped(Cli::command())
}

/// The whole program: parse, dispatch, exit code (0 success, 1 failure, 2 usage, 3 files of a source that cannot be read).
pub fn main() -> ExitCode {
    crate::device::keep_freed_memory();
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
        // By default, a failed write is reported on stderr, which panics if stderr is closed.
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
    /// The log filter: -v or -q, else RUST_LOG, else warnings.
    pub fn filter(&self) -> EnvFilter {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (_, 1) => "warn,eclipse_t2i=info",
            (_, 2..) => "info,eclipse_t2i=debug",
            _ => return EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(WARNINGS)),
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
            Command::Schema(args) => schema::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Fetch(args) => fetch::run(&args),
            Command::Prior(args) => prior::run(&args, device),
            Command::Export(args) => export::run(&args, device),
            Command::Draw(args) => draw::run(&args, device),
            Command::Serve(args) => serve::run(&args, device),
            Command::Generate(args) => generate::run(&args, device),
            Command::Vary(args) => vary::run(&args, device),
            Command::Interpolate(args) => interpolate::run(&args, device),
            Command::Eval(args) => eval::run(&args, device),
            Command::Params(args) => params::run(&args, device),
            Command::Verify(args) => verify::run(&args, device),
            Command::Pretrain(args) => pretrain::run(&args, device),
            Command::Warm(args) => warm::run(&args, device),
            Command::Devices(args) => devices::run(&args),
            Command::Completions { shell } => help::completions(shell, command()),
            Command::Man => help::man(command()),
            Command::Dev(args) => dev::run(&args, device),
        }
    }
}
