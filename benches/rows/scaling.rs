//! Time against one size at a time, every point in a process of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use eclipse_t2i::files::{create_dir, write_atomic};
use eclipse_t2i::workload::Work;
use plotters::prelude::*;
use serde_json::Value;

use super::measure::median;

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

/// A measured point.
struct Point {
    value: usize,
    wall: f64,
    cpu: f64,
}

/// Measures every series and writes `scaling.csv` and `scaling.svg`. `tiny`: two points of each series, with tiny networks.
pub fn run(folder: &Path, tiny: bool) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let threads: Vec<usize> = (0..)
        .map(|i| 1 << i)
        .take_while(|&n| n < cores)
        .chain([cores])
        .collect();
    let mut table = String::from("series,row,size,value,wall_s,cpu_s,cores_busy,exponent\n");
    let mut panels = Vec::new();
    let of_threads = [
        ("threads, training step", Work::Step),
        ("threads, UNet step", Work::Unet),
    ];
    let mut all: Vec<(&str, Work, &str, &[usize])> =
        SERIES.iter().map(|s| (s.name, s.row, s.size, s.values)).collect();
    all.extend(of_threads.map(|(name, row)| (name, row, "threads", threads.as_slice())));
    for (name, row, size, values) in all {
        let mut points: Vec<Point> = Vec::new();
        for &value in values.iter().take(if tiny { 2 } else { usize::MAX }) {
            let point = point(row, size, value, tiny)?;
            // d log(time) / d log(size): 1 where the time is proportional to the size, 0 where it does not depend on it.
            let exponent = points.last().map_or(String::new(), |before: &Point| {
                let slope = (point.wall / before.wall).ln() / (value as f64 / before.value as f64).ln();
                format!("{slope:.2}")
            });
            let (wall, cpu) = (point.wall, point.cpu);
            eprintln!("{name}: {value}: {wall:.3} s");
            table += &format!(
                "{name},{row},{size},{value},{wall:.4},{cpu:.4},{:.2},{exponent}\n",
                cpu / wall
            );
            points.push(point);
        }
        panels.push((name, points));
    }
    // Commas of names would be columns.
    let table = table.replace(", ", " ");
    create_dir(folder)?;
    write_atomic(folder.join("scaling.csv"), table.as_bytes())?;
    write_atomic(folder.join("scaling.svg"), draw(&panels)?.as_bytes())?;
    Ok(())
}

fn point(row: Work, size: &str, value: usize, tiny: bool) -> anyhow::Result<Point> {
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
    Ok(Point {
        value,
        wall: of("wall")?,
        cpu: of("cpu")?,
    })
}

/// One panel a series, both axes logarithmic; the thin line is a time proportional to the size (inversely, to the threads), through the last point.
fn draw(panels: &[(&str, Vec<Point>)]) -> anyhow::Result<String> {
    const FONT: &str = "sans-serif";
    const COLUMNS: usize = 3;
    let (blue, grey) = (RGBColor(0, 114, 178), RGBColor(150, 150, 150));
    let rows = panels.len().div_ceil(COLUMNS);
    let mut svg = String::new();
    {
        let size = (320 * COLUMNS as u32, 250 * rows as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        for ((name, points), panel) in panels.iter().zip(area.split_evenly((rows, COLUMNS))) {
            let (first, last) = points.first().zip(points.last()).context("a series has points")?;
            let (low, high) = (first.value as f64, last.value.max(first.value + 1) as f64);
            let of_threads = name.starts_with("threads");
            let ideal = |x: f64| {
                if of_threads {
                    first.wall * first.value as f64 / x
                } else {
                    last.wall * x / last.value as f64
                }
            };
            let measured = points.iter().map(|p| (p.value as f64, p.wall));
            let ends = [(low, ideal(low)), (high, ideal(high))];
            let times = measured.clone().chain(ends).map(|(_, y)| y);
            let (fast, slow) = times.fold((f64::MAX, 0f64), |(a, b), y| (a.min(y), b.max(y)));
            let mut chart = ChartBuilder::on(&panel)
                .caption(name, (FONT, 13))
                .margin(8)
                .x_label_area_size(32)
                .y_label_area_size(52)
                .build_cartesian_2d(
                    (low / 1.1..high * 1.1).log_scale(),
                    (fast / 1.3..slow * 1.3).log_scale(),
                )?;
            chart
                .configure_mesh()
                .label_style((FONT, 11))
                .axis_desc_style((FONT, 12))
                .light_line_style(TRANSPARENT)
                .bold_line_style(RGBColor(225, 225, 225))
                .axis_style(grey)
                .x_labels(6)
                .y_labels(5)
                .x_desc(if of_threads {
                    "threads"
                } else {
                    name.split(" of ").next().unwrap_or(name)
                })
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
