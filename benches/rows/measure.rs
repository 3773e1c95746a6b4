//! Times and memory of a piece of work.

use std::time::Instant;

use anyhow::Context;
use burn::prelude::*;
use eclipse_t2i::workload::Call;
use serde_json::{Value, json};

/// Wall and CPU seconds of each of `calls` calls after a first one, which may be smaller, and the process's peak memory.
pub fn measured(mut call: Call, calls: usize, device: &Device) -> anyhow::Result<Value> {
    let mut once = |first: bool| timed(device, || call(first));
    once(true)?;
    let times = (0..calls)
        .map(|_| once(false))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (wall, cpu): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
    Ok(json!({
        "wall": wall,
        "cpu": cpu,
        "peak_bytes": peak_bytes()?,
        "threads": rayon::current_num_threads(),
    }))
}

/// Wall and CPU seconds of `work`.
pub fn timed(device: &Device, work: impl FnOnce()) -> anyhow::Result<(f64, f64)> {
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    work();
    device
        .sync()
        .map_err(|e| anyhow::anyhow!("the device failed: {e:?}"))?;
    Ok((wall.elapsed().as_secs_f64(), cpu_seconds() - cpu))
}

/// The middle of `values`.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// Seconds that all threads of this process have computed.
fn cpu_seconds() -> f64 {
    // SAFETY: `getrusage` writes the structure, for which all zeros are a valid value.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The most memory that was resident at once; none on systems without `/proc`.
fn peak_bytes() -> anyhow::Result<Option<u64>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Ok(None);
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kib: u64 = kib
        .context("/proc/self/status has no VmHWM in kB")?
        .trim()
        .parse()?;
    Ok(Some(kib * 1024))
}
