//! `eclipse verify`.

use std::fmt::Write;
use std::path::PathBuf;

use crate::device::{DeviceSpec, Precision, Products};
use crate::files;
use crate::verify::{Arithmetic, Options, Record, Status, VerifyReport, verify};
use anyhow::Context;
use clap::Args;

/// Arguments of `eclipse verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Fixtures: folders, or zip archives of them, with a manifest.json and goldens/.
    #[arg(required = true, value_name = "FIXTURE")]
    dirs: Vec<PathBuf>,
    /// Only goldens whose name contains this text; with * or ?, goldens whose whole name matches.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write the records as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write computed tensors to this folder, under the goldens' file and tensor names.
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    #[command(flatten)]
    precision: super::PrecisionArgs,
}

/// Reproduces reference numbers on `device` and prints one row per golden.
pub fn run(args: &VerifyArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let precision = args.precision.dtype;
    // The check opens the device in f32.
    let products = match precision {
        Precision::F32 => device.check()?,
        Precision::F16 | Precision::Bf16 => Products::F32,
    };
    let options = Options {
        only: args.only.clone(),
        dump: args.dump.clone(),
        arithmetic: Arithmetic { products, precision },
    };
    let report = verify(&args.dirs, &options, &args.precision.device(device)?)?;
    for (path, reason) in &report.skipped {
        tracing::warn!("{}: skipped: {reason}", path.display());
    }
    if let Some(path) = &args.json {
        let text =
            serde_json::to_string_pretty(&report.records).context("cannot write the records as JSON")?;
        files::write_atomic(path, text.as_bytes())?;
    }
    super::print(&table(&report))?;
    if precision != Precision::F32 {
        super::print(&format!(
            "networks compute in {precision}: what is allowed is wider accordingly\n"
        ))?;
    }
    if products == Products::Tf32 {
        super::print(&format!(
            "{device} multiplies matrices of f32 in TF32: what is allowed is wider accordingly\n"
        ))?;
    }
    let failed = (report.records.iter())
        .filter(|r| !matches!(r.status, Status::Pass | Status::Skipped))
        .count();
    if failed > 0 {
        anyhow::bail!(
            "{failed} of {} goldens did not pass on {device}",
            report.records.len()
        );
    }
    Ok(())
}

/// One row per golden, with a line beneath it for details, and the totals.
fn table(report: &VerifyReport) -> String {
    let records = &report.records;
    let width = |f: fn(&Record) -> &str, head: &str| {
        records
            .iter()
            .map(|r| f(r).chars().count())
            .max()
            .unwrap_or(0)
            .max(head.len())
    };
    let golden = width(|r| &r.golden, "golden");
    let tensor = width(|r| r.tensor.as_deref().unwrap_or("-"), "worst tensor");
    let mut text = String::new();
    let mut fixture = "";
    for r in records {
        if r.fixture != fixture {
            fixture = &r.fixture;
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(
                text,
                "{gap}{fixture}\n  {:golden$}  {:tensor$}  {:>9}  {:>9}  {:>9}  verdict",
                "golden", "worst tensor", "max diff", "allowed", "reference"
            );
        }
        let number = |x: Option<f64>| {
            x.map_or(
                "-".into(),
                |x| if x == 0.0 { "0".into() } else { format!("{x:.1e}") },
            )
        };
        let _ = writeln!(
            text,
            "  {:golden$}  {:tensor$}  {:>9}  {:>9}  {:>9}  {}",
            r.golden,
            r.tensor.as_deref().unwrap_or("-"),
            number(r.max_abs_diff),
            number(r.tolerance),
            number(r.reference_noise),
            verdict(r.status),
        );
        // A partly unsupported golden has an explanation; a wholly unsupported one needs none.
        if let Some(message) = r
            .message
            .as_ref()
            .filter(|_| r.status != Status::Unsupported || r.tensor.is_some())
        {
            let _ = writeln!(text, "    {message}");
        }
    }
    let count = |status| records.iter().filter(|r| r.status == status).count();
    let skipped = match count(Status::Skipped) {
        0 => String::new(),
        n => format!(", {n} skipped"),
    };
    let _ = writeln!(
        text,
        "\n{} goldens: {} pass, {} fail, {} error, {} UNSUPPORTED{skipped}",
        records.len(),
        count(Status::Pass),
        count(Status::Fail),
        count(Status::Error),
        count(Status::Unsupported)
    );
    text
}

fn verdict(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        Status::Unsupported => "UNSUPPORTED",
        Status::Error => "ERROR",
        Status::Skipped => "skipped",
    }
}
