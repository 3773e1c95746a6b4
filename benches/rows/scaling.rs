//! Time against one size at a time, every point in a process of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use eclipse_t2i::files::{create_dir, write_atomic};
use eclipse_t2i::workload::Work;
use plotters::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::measure::median;

/// The measured points, beside their plot.
const TABLE: &str = "scaling.csv";

/// Values of a size, and the row that they are measured with.
struct Series {
    name: &'static str,
    row: Work,
    /// The option of this program, or `threads`.
    size: &'static str,
    values: &'static [usize],
}

const SERIES: &[Series] = &[
    Series {
        name: "batch of a training step",
        row: Work::Step,
        size: "batch",
        values: &[1, 2, 4, 8, 16, 32, 64, 128],
    },
    Series {
        name: "tokens a caption, training step",
        row: Work::Step,
        size: "tokens",
        values: &[3, 6, 14, 30, 77],
    },
    Series {
        name: "width of the prior, training step",
        row: Work::Step,
        size: "width",
        values: &[128, 256, 512, 1024],
    },
    Series {
        name: "side of the latents, UNet step",
        row: Work::Unet,
        size: "side",
        values: &[8, 16, 32, 64],
    },
    Series {
        name: "batch of CLIP's text tower",
        row: Work::TextL14,
        size: "batch",
        values: &[1, 2, 4, 8, 16, 32],
    },
];

/// A measured point, a row of `scaling.csv`. Seconds a call.
#[derive(Serialize, Deserialize)]
struct Point {
    series: String,
    row: String,
    size: String,
    value: usize,
    wall_s: f64,
    cpu_s: f64,
    cores_busy: f64,
    /// d log(time) / d log(size) from the point before: 1 where the time is proportional to the size, 0 where it does not depend on it.
    exponent: Option<f64>,
}

/// Measures every series, writes `scaling.csv` and draws it. `tiny`: two points of each series, with tiny networks.
pub fn run(folder: &Path, tiny: bool) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let threads: Vec<usize> = (0..)
        .map(|i| 1 << i)
        .take_while(|&n| n < cores)
        .chain([cores])
        .collect();
    let of_threads = [
        ("threads, training step", Work::Step),
        ("threads, UNet step", Work::Unet),
    ];
    let mut all: Vec<(&str, Work, &str, &[usize])> =
        SERIES.iter().map(|s| (s.name, s.row, s.size, s.values)).collect();
    all.extend(of_threads.map(|(name, row)| (name, row, "threads", threads.as_slice())));
    let mut table = csv::Writer::from_writer(Vec::new());
    for (name, row, size, values) in all {
        let mut before: Option<Point> = None;
        for &value in values.iter().take(if tiny { 2 } else { usize::MAX }) {
            let [wall, cpu] = seconds(row, size, value, tiny)?;
            let exponent =
                |before: &Point| (wall / before.wall_s).ln() / (value as f64 / before.value as f64).ln();
            eprintln!("{name}: {value}: {wall:.3} s");
            let point = Point {
                series: name.to_owned(),
                row: row.to_string(),
                size: size.to_owned(),
                value,
                wall_s: round(wall, 1e4),
                cpu_s: round(cpu, 1e4),
                cores_busy: round(cpu / wall, 1e2),
                exponent: before.as_ref().map(|before| round(exponent(before), 1e2)),
            };
            table.serialize(&point)?;
            before = Some(point);
        }
    }
    create_dir(folder)?;
    write_atomic(folder.join(TABLE), &table.into_inner()?)?;
    draw(folder)
}

fn round(value: f64, unit: f64) -> f64 {
    (value * unit).round() / unit
}

/// Draws `scaling.svg` from the `scaling.csv` of the folder.
pub fn draw(folder: &Path) -> anyhow::Result<()> {
    let points: Vec<Point> = csv::Reader::from_path(folder.join(TABLE))?
        .deserialize()
        .collect::<Result<_, _>>()
        .with_context(|| folder.join(TABLE).display().to_string())?;
    let panels: Vec<&[Point]> = points.chunk_by(|a, b| a.series == b.series).collect();
    write_atomic(folder.join("scaling.svg"), svg(&panels)?.as_bytes())?;
    Ok(())
}

/// Wall and CPU seconds of a call, medians, in a process of its own.
fn seconds(row: Work, size: &str, value: usize, tiny: bool) -> anyhow::Result<[f64; 2]> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(row.to_string());
    if size == "threads" {
        command.env("RAYON_NUM_THREADS", value.to_string());
    } else {
        command.args([format!("--{size}"), value.to_string()]);
    }
    if tiny {
        command.arg("--test");
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!(
            "{row} with {size} {value}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let line: Value = serde_json::from_slice(&output.stdout)?;
    let of = |key: &str| -> anyhow::Result<f64> {
        let values = line[key]
            .as_array()
            .with_context(|| format!("no list {key} in {line}"))?;
        Ok(median(values.iter().filter_map(Value::as_f64).collect()))
    };
    Ok([of("wall")?, of("cpu")?])
}

/// One panel a series, both axes logarithmic; the thin line is a time proportional to the size through the last point, or inversely to the threads
/// through the first.
fn svg(panels: &[&[Point]]) -> anyhow::Result<String> {
    const FONT: &str = "sans-serif";
    const COLUMNS: usize = 3;
    let (blue, grey) = (RGBColor(0, 114, 178), RGBColor(150, 150, 150));
    let rows = panels.len().div_ceil(COLUMNS);
    let mut svg = String::new();
    {
        let size = (320 * COLUMNS as u32, 250 * rows as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (points, panel) in panels.iter().zip(area.split_evenly((rows, COLUMNS))) {
            let (first, last) = points.first().zip(points.last()).context("a series has points")?;
            let (low, high) = (first.value as f64, last.value.max(first.value + 1) as f64);
            let ideal = |x: f64| match first.size.as_str() {
                "threads" => first.wall_s * first.value as f64 / x,
                _ => last.wall_s * x / last.value as f64,
            };
            let measured = points.iter().map(|p| (p.value as f64, p.wall_s));
            let ends = [(low, ideal(low)), (high, ideal(high))];
            let times = measured.clone().chain(ends).map(|(_, y)| y);
            let (fast, slow) = times.fold((f64::MAX, 0f64), |(a, b), y| (a.min(y), b.max(y)));
            let values = points.iter().map(|p| p.value as f64).collect();
            let mut chart = ChartBuilder::on(&panel)
                .caption(&first.series, (FONT, 15))
                .margin(8)
                .x_label_area_size(36)
                .y_label_area_size(56)
                .build_cartesian_2d(
                    (low / 1.1..high * 1.1).log_scale().with_key_points(values),
                    (fast / 1.3..slow * 1.3)
                        .log_scale()
                        .with_key_points(ticks(fast, slow)),
                )?;
            chart
                .configure_mesh()
                .label_style((FONT, 12))
                .axis_desc_style((FONT, 13))
                .light_line_style(TRANSPARENT)
                .bold_line_style(RGBColor(225, 225, 225))
                .axis_style(grey)
                .x_label_formatter(&|x| x.to_string())
                .y_label_formatter(&|y| y.to_string())
                .x_desc(&first.size)
                .y_desc("seconds a call")
                .draw()?;
            chart.draw_series(LineSeries::new(ends, grey))?;
            chart.draw_series(LineSeries::new(measured.clone(), blue.stroke_width(2)))?;
            chart.draw_series(measured.map(|at| Circle::new(at, 3, blue.filled())))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// 1, 2 and 5 times the powers of ten of a range, and those next to it.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| (digit, decade)));
    // Divided, because .1 has no exact value: 2 * .1 would be labelled .2 with sixteen digits.
    ticks
        .map(|(digit, decade)| {
            if decade < 0 {
                digit / 10f64.powi(-decade)
            } else {
                digit * 10f64.powi(decade)
            }
        })
        .filter(|&tick| tick > low / 1.3 && tick < high * 1.3)
        .collect()
}
