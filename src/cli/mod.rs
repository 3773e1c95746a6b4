//! The `eclipse` program: one file per command, each an args struct, one library call, and printing.
//!
//! Not part of the library's interface: it is here, and not in `src/main.rs`, so that unit tests can run whole commands.

#![allow(
    missing_docs,
    unreachable_pub,
    rustdoc::invalid_html_tags,
    reason = "the commands are the program's own"
)]

mod args;
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
mod output;
mod place;
mod pretrain;
mod prior;
mod progress;
mod report;
mod stop;
mod sweep;
#[cfg(test)]
mod tests;
mod train;
mod usage;
mod vary;
mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::device::DeviceSpec;

use self::args::{PrecisionArgs, SpecArgs, experiment, prior_runner, read_prompts, world_named};
use self::output::{note, print, print_bytes, print_json};
use self::usage::{Unreadable, Usage, check_output, check_output_folder, exit_code};

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
    /// Encode images and captions with a CLIP into a store to train on.
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
    #[command(about = generate::about())]
    Generate(generate::GenerateArgs),
    /// Draw images like other images.
    Vary(vary::VaryArgs),
    /// Draw images on the way from one image or prompt to another.
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

/// The program's command line: as it is derived, with grouped help, and negative numbers as values of options.
fn command() -> clap::Command {
    help::grouped(Cli::command())
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
            Command::Completions { shell } => help::completions(shell, command()),
            Command::Man => help::man(command()),
            Command::Dev(args) => dev::run(&args, device),
        }
    }
}
