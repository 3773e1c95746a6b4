//! The dot plot of a report: one panel per metric, one row per system, one marker per split, with intervals.

use plotters::prelude::*;

use super::error::ReportError;
use super::metric_key::{MetricKey, split_title};
use super::plot_style::{
    Area, FONT, Hover, dot, ends, failed, padding, style_axes, svg, svg_with_values, text, tick,
};
use super::results::{Report, System};
use super::sheet::wrapped;

/// Splits in the order of the markers, with colours for colour-blind readers (Okabe and Ito).
const SPLITS: &[(&str, RGBColor)] = &[
    ("all", RGBColor(60, 60, 60)),
    ("seen", RGBColor(0, 114, 178)),
    ("unseen", RGBColor(213, 94, 0)),
    ("against", RGBColor(0, 158, 115)),
];

/// Sizes in pixels.
const PANEL_WIDTH: u32 = 270;
const ROW_HEIGHT: u32 = 34;
const HEAD: u32 = 34;
const FOOT: u32 = 34;
/// Height of an axis's unit.
const UNIT: u32 = 16;
/// Most characters of a line of a system's name, and the height of a line in pixels.
const NAME_WIDTH: usize = 21;
const NAME_LINE: i32 = 14;
/// Most rows of a small plot.
const SMALL: usize = 8;

/// The scores `keys` of `report` as SVG. Splits of one metric share a panel; at most 8 panels are drawn.
///
/// # Errors
/// [`ReportError::Draw`] if the drawing library fails.
pub(super) fn scores(report: &Report, keys: &[MetricKey]) -> Result<String, ReportError> {
    let panels = panels_of(keys);
    let systems: Vec<&System> = report.systems.iter().collect();
    let gutter = gutter(&systems);
    let columns = match panels.len() {
        n @ 0..=4 => n.max(1),
        n => n.div_ceil(2),
    };
    let bands = panels.len().div_ceil(columns).max(1);
    let band = HEAD + FOOT + UNIT + ROW_HEIGHT * report.systems.len() as u32;
    let size = (gutter + PANEL_WIDTH * columns as u32, HEAD + band * bands as u32);
    svg(size, |root| {
        root.fill(&WHITE).map_err(failed)?;
        text(root, &report.experiment, (gutter as i32 - 12, 18), 14, true)?;
        legend(root, gutter, &panels)?;
        for (i, panel) in panels.iter().enumerate() {
            let (row, column) = ((i / columns) as u32, (i % columns) as u32);
            let top = HEAD + row * band;
            let left = gutter + column * PANEL_WIDTH;
            let area = root.clone().shrink((left, top), (PANEL_WIDTH, band));
            let rows = draw_panel(&area, &systems, panel, &mut Vec::new())?;
            if column == 0 {
                names(root, &systems, &rows, gutter)?;
            }
        }
        Ok(())
    })
}

/// Each panel of [`scores`] as a separate SVG, without a legend: `(metric, SVG)`.
///
/// # Errors
/// Like [`scores`].
pub(super) fn score_panels(
    report: &Report,
    keys: &[MetricKey],
) -> Result<Vec<(String, String)>, ReportError> {
    let systems: Vec<&System> = report.systems.iter().collect();
    panels_of(keys)
        .iter()
        .map(|panel| Ok((panel.0.to_owned(), one_panel(&systems, panel)?)))
        .collect()
}

/// A small plot of one metric on one split: trained systems and the oracle, or all systems where none is trained.
///
/// # Errors
/// Like [`scores`].
pub(super) fn small(report: &Report, key: &MetricKey) -> Result<String, ReportError> {
    let shown = |system: &&System| system.convergence.is_some();
    let mut systems: Vec<&System> = report.systems.iter().filter(shown).collect();
    match systems.is_empty() {
        true => systems.extend(&report.systems),
        false => systems.extend(report.systems.iter().find(|system| system.is_oracle())),
    }
    systems.truncate(SMALL);
    one_panel(&systems, &(&key.name, vec![key]))
}

fn one_panel(systems: &[&System], panel: &(&str, Vec<&MetricKey>)) -> Result<String, ReportError> {
    let gutter = gutter(systems);
    let size = (
        gutter + PANEL_WIDTH,
        HEAD + FOOT + UNIT + ROW_HEIGHT * systems.len() as u32,
    );
    svg_with_values(size, |root, values| {
        let area = root.clone().shrink((gutter, 0), (PANEL_WIDTH, size.1));
        let rows = draw_panel(&area, systems, panel, values)?;
        names(root, systems, &rows, gutter)
    })
}

/// The splits in the panels of `keys`, each with its mark as SVG.
pub(super) fn legend_of(keys: &[MetricKey]) -> Vec<(String, String)> {
    let shown = |(i, _): &(usize, &(&str, RGBColor))| keys.iter().any(|k| split_of(k) == *i);
    let entries = SPLITS.iter().enumerate().filter(shown);
    entries
        .map(|(_, (name, colour))| (split_title(name).to_owned(), dot(*colour)))
        .collect()
}

/// Metrics in the order of `keys`, each with its splits; at most 8.
fn panels_of(keys: &[MetricKey]) -> Vec<(&str, Vec<&MetricKey>)> {
    let mut panels: Vec<(&str, Vec<&MetricKey>)> = Vec::new();
    for key in keys {
        match panels.iter_mut().find(|(name, _)| *name == key.name) {
            Some((_, splits)) => splits.push(key),
            None => panels.push((&key.name, vec![key])),
        }
    }
    panels.truncate(8);
    panels
}

/// Width of the system names, in pixels.
fn gutter(systems: &[&System]) -> u32 {
    let lines = systems.iter().flat_map(|s| wrapped(&s.title, NAME_WIDTH));
    let longest = lines.map(|line| line.chars().count()).max();
    longest.unwrap_or(0) as u32 * 7 + 24
}

/// Draws the names of systems, each in its row: on a narrow screen, long lines would make all text of the plot small.
fn names(root: &Area<'_>, systems: &[&System], rows: &[i32], gutter: u32) -> Result<(), ReportError> {
    for (system, y) in systems.iter().zip(rows) {
        let lines = wrapped(&system.title, NAME_WIDTH);
        let first = y - NAME_LINE * (lines.len() as i32 - 1) / 2;
        for (line, i) in lines.iter().zip(0..) {
            text(root, line, (gutter as i32 - 12, first + i * NAME_LINE), 13, true)?;
        }
    }
    Ok(())
}

fn split_of(key: &MetricKey) -> usize {
    SPLITS
        .iter()
        .position(|(name, _)| *name == key.split)
        .unwrap_or(0)
}

/// Draws the legend of the splits.
fn legend(root: &Area<'_>, gutter: u32, panels: &[(&str, Vec<&MetricKey>)]) -> Result<(), ReportError> {
    let mut x = gutter as i32 + 12;
    for (i, (name, colour)) in SPLITS.iter().enumerate() {
        if panels
            .iter()
            .any(|(_, keys)| keys.iter().any(|k| split_of(k) == i))
        {
            root.draw(&Circle::new((x, 18), 4, colour.filled()))
                .map_err(failed)?;
            let label = split_title(name);
            text(root, label, (x + 9, 18), 13, false)?;
            x += 40 + 7 * label.len() as i32;
        }
    }
    text(
        root,
        "95 % intervals over seeds and prompts",
        (x + 8, 18),
        12,
        false,
    )
}

/// Draws one panel and returns the height of each system's row in the whole plot.
fn draw_panel(
    area: &Area<'_>,
    systems: &[&System],
    (name, keys): &(&str, Vec<&MetricKey>),
    values: &mut Vec<Hover>,
) -> Result<Vec<i32>, ReportError> {
    let cells = || {
        systems
            .iter()
            .flat_map(|s| keys.iter().filter_map(|k| s.cells.get(*k)))
    };
    let all = cells().flat_map(|c| [c.interval.low, c.interval.value, c.interval.high]);
    let (low, high) = match ends(all) {
        (low, high) if low.is_finite() && high.is_finite() => (low, high),
        _ => (0.0, 1.0),
    };
    let pad = padding(low, high);
    let n = systems.len() as f64;
    let info = keys.first().and_then(|key| key.info());
    let caption = info.and_then(|info| info.title).unwrap_or(name);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 14))
        .margin_right(16)
        .margin_left(4)
        .x_label_area_size(FOOT - 10 + UNIT)
        .build_cartesian_2d(low - pad..high + pad, n..0.0)
        .map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    style_axes(&mut mesh);
    mesh.disable_y_mesh()
        .y_labels(0)
        .x_labels(5)
        .x_desc(info.map_or("", |info| info.unit))
        .x_label_formatter(&|v| tick(*v, high - low + 2.0 * pad))
        .draw()
        .map_err(failed)?;
    let mut shown: Vec<usize> = keys.iter().map(|k| split_of(k)).collect();
    shown.sort_unstable();
    shown.dedup();
    let mut heights = Vec::new();
    for (row, system) in systems.iter().enumerate() {
        if row > 0 {
            let rule = [(low - pad, row as f64), (high + pad, row as f64)];
            let rule = PathElement::new(rule, RGBColor(235, 235, 235).stroke_width(1));
            chart.draw_series([rule]).map_err(failed)?;
        }
        heights.push(chart.backend_coord(&(low, row as f64 + 0.5)).1);
        for key in keys {
            let Some(cell) = system.cells.get(*key) else {
                continue;
            };
            let split = split_of(key);
            let place = shown.iter().position(|s| *s == split).unwrap_or(0);
            let y = row as f64 + (place as f64 + 1.0) / (shown.len() as f64 + 1.0);
            let colour = SPLITS[split].1;
            if cell.has_interval {
                let ends = [(cell.interval.low, y), (cell.interval.high, y)];
                let line = PathElement::new(ends, colour.stroke_width(2));
                chart.draw_series([line]).map_err(failed)?;
            }
            let mark = Circle::new((cell.interval.value, y), 4, colour.filled());
            chart.draw_series([mark]).map_err(failed)?;
            let (digits, interval) = (key.decimals(), &cell.interval);
            values.push(Hover {
                at: chart.backend_coord(&(interval.value, y)),
                text: format!(
                    "{}, {}: {:.digits$} [{:.digits$}, {:.digits$}]",
                    system.title,
                    split_title(&key.split),
                    interval.value,
                    interval.low,
                    interval.high
                ),
                colour,
            });
        }
    }
    Ok(heights)
}
