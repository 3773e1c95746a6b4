//! The work that decides how long training, encoding and drawing take, one row each, at the published sizes with random weights.
//!
//! `cargo bench --bench rows`, with `-- step unet` for some rows and `--batch`, `--tokens`, `--width`, `--side` for other sizes. Each row prints one line
//! of JSON: wall and CPU seconds of every call, without the start of the process and the first call, and the process's peak memory.
//! `benches/compare_pytorch.py` runs it beside PyTorch; `--scaling DIR` varies one size at a time and draws the times.

mod measure;
mod operations;
mod scaling;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use eclipse_t2i::device::{DeviceSpec, Precision, keep_freed_memory};
use eclipse_t2i::workload::{Sizes, Work};

use measure::measured;

#[derive(Debug, Parser)]
#[command(about = "Times of the rows of benches/RESULTS.md", bin_name = "rows")]
struct Args {
    #[arg(help = format!("Rows; all but bigG/14's if none is named: {}", Work::names().join(", ")))]
    rows: Vec<Work>,
    /// Device; the build's first if none is named
    #[arg(long)]
    device: Option<DeviceSpec>,
    /// Precision of the networks: f32, f16 or bf16
    #[arg(long, default_value = "f32")]
    dtype: Precision,
    /// Captions, images or latents of a call
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of a caption
    #[arg(long)]
    tokens: Option<usize>,
    /// Width of the prior's blocks, a multiple of 32; of a square matrix
    #[arg(long)]
    width: Option<usize>,
    /// Side of a UNet's input or of MoVQ's latents
    #[arg(long)]
    side: Option<usize>,
    /// Calls that are timed
    #[arg(long, default_value_t = 3)]
    calls: usize,
    /// Every row once, with tiny networks: does it run?
    #[arg(long)]
    test: bool,
    /// Time against batch, tokens, width, side and threads: writes scaling.csv and scaling.svg
    #[arg(long, value_name = "DIR")]
    scaling: Option<PathBuf>,
    /// Draw scaling.svg again from the scaling.csv of the folder that --scaling names
    #[arg(long, requires = "scaling")]
    redraw: bool,
    /// Single operations, Burn's beside this program's
    #[arg(long)]
    operations: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // As the program does.
    keep_freed_memory();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rows: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(folder) = &args.scaling {
        return if args.redraw {
            scaling::draw(folder)
        } else {
            scaling::run(folder, args.test)
        };
    }
    let spec = args.device.unwrap_or(DeviceSpec::available()[0]);
    let calls = if args.test { 1 } else { args.calls.max(1) };
    if args.operations {
        print!("{}", operations::table(&spec.device()?, calls, args.test)?);
        return Ok(());
    }
    for row in rows(args) {
        let default = if args.test { row.tiny() } else { row.published() };
        let sizes = Sizes {
            batch: args.batch.unwrap_or(default.batch),
            tokens: args.tokens.unwrap_or(default.tokens),
            width: args.width.unwrap_or(default.width),
            side: args.side.unwrap_or(default.side),
        };
        row.check(sizes)?;
        let device = row.device(spec, args.dtype)?;
        let mut line = measured(row.prepare(sizes, args.test, args.dtype, &device), calls, &device)?;
        line["row"] = row.to_string().into();
        line["device"] = spec.to_string().into();
        line["dtype"] = args.dtype.to_string().into();
        println!("{line}");
    }
    Ok(())
}

/// The rows that are named, or all. In f32 the towers of bigG/14 need several GB of memory and minutes on a CPU: they are measured if they are named.
fn rows(args: &Args) -> Vec<Work> {
    if !args.rows.is_empty() {
        return args.rows.clone();
    }
    let is_large = |row: &Work| matches!(row, Work::TextBigg14 | Work::VisionBigg14);
    let all = Work::ALL.into_iter().map(|(row, _)| row);
    all.filter(|row| args.test || !is_large(row)).collect()
}
