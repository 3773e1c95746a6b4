//! `eclipse dev measure`: how long a workload takes on a device. `benches/gpu.sh` calls it.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::Usage;
use crate::device::{DeviceSpec, kernels};
use crate::workload::{Sizes, Work};

/// Arguments of `eclipse dev measure`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    #[arg(help = format!("A training step, a network or a product: {}", Work::names().join(", ")))]
    work: Work,
    /// Captions, images or latents at once. [default: that of `cargo bench --bench rows`]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Tokens of each caption. [default: that of `cargo bench --bench rows`]
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Repetitions; the median counts.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Stop repeating after this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Networks of a few layers, to try the measurement out.
    #[arg(long)]
    tiny: bool,
    #[command(flatten)]
    precision: super::PrecisionArgs,
}

impl MeasureArgs {
    fn sizes(&self) -> Result<Sizes, Usage> {
        let default = if self.tiny {
            self.work.tiny()
        } else {
            self.work.published()
        };
        let sizes = Sizes {
            batch: self.batch.unwrap_or(default.batch),
            tokens: self.tokens.unwrap_or(default.tokens),
            ..default
        };
        self.work
            .check(sizes)
            .map_err(|error| Usage(format!("--{error}")))?;
        Ok(sizes)
    }
}

/// Measures and prints one line of JSON.
pub fn run(args: &MeasureArgs, spec: DeviceSpec) -> anyhow::Result<()> {
    let sizes = args.sizes()?;
    let dtype = args.precision.dtype;
    let device = args.work.device(spec, dtype)?;
    let mut call = args.work.prepare(sizes, args.tiny, dtype, &device);
    let mut timed = || {
        let start = Instant::now();
        call(false);
        device.sync().map_err(|e| anyhow::anyhow!("{spec}: {e:?}"))?;
        anyhow::Ok(start.elapsed())
    };
    let first = timed()?;
    let watch = kernels::Launches::watch();
    // Some kernels are tuned in the second call, with the buffers that the first one left.
    timed()?;
    let launches = watch.total();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < usize::from(args.repeat)
        && (times.is_empty() || start.elapsed() < Duration::from_secs(args.seconds))
    {
        times.push(timed()?.as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    super::print_json(&json!({
        "work": args.work.to_string(),
        "device": spec.to_string(),
        "dtype": args.precision.dtype.to_string(),
        "batch": sizes.batch,
        "tokens": sizes.tokens,
        "tiny": args.tiny,
        "first_s": first.as_secs_f64(),
        "ms": median * 1e3,
        "fastest_ms": times[0] * 1e3,
        "repeated": times.len(),
        "per_second": sizes.batch as f64 / median,
        "launches": launches,
    }))
}
