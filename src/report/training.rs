//! Training curves: losses over optimiser steps, one line per run; one pair of panels per kind of objective, because losses of different kinds are not
//! comparable.

use plotters::prelude::*;
use toml::Table;

use super::error::ReportError;
use super::losses::RunLosses;
use super::plot_style::{Area, COLOURS, ends, failed, hex, padding, style_axes, svg, tick};
use super::results::Report;

/// Size of a panel in pixels.
const PANEL: (u32, u32) = (380, 250);
/// Most points of a line.
const POINTS: usize = 80;
/// Weight of the previous point in a smoothed line.
const SMOOTHING: f64 = 0.8;
/// Most runs of a panel for which the raw training loss is drawn behind the smoothed one.
const RAW_RUNS: usize = 12;

/// A line of a panel.
struct Line {
    system: usize,
    points: Vec<(f64, f64)>,
    is_raw: bool,
}

/// The curves of one kind of objective.
pub(super) struct ObjectiveCurves {
    /// Value of `objective.kind`.
    pub(super) name: String,
    /// Systems with their colours.
    pub(super) legend: Vec<(String, String)>,
    /// `(name, SVG)`.
    pub(super) panels: Vec<(String, String)>,
}

/// The curves of all trained systems, by kind of objective.
///
/// # Errors
/// [`ReportError::Draw`] if the drawing library fails.
pub(super) fn kinds(report: &Report) -> Result<Vec<ObjectiveCurves>, ReportError> {
    let mut names: Vec<&str> = Vec::new();
    for name in report
        .systems
        .iter()
        .filter(|s| !s.losses.is_empty())
        .map(|s| kind(&s.config))
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut kinds = Vec::new();
    for name in names {
        // Systems that differ only in their sampler share their priors.
        let mut systems: Vec<(String, &[RunLosses])> = Vec::new();
        for system in report.systems.iter().filter(|s| kind(&s.config) == name) {
            match systems.iter_mut().find(|(_, losses)| *losses == system.losses) {
                Some((labels, _)) => *labels += &format!("; {}", system.label),
                None => systems.push((system.label.clone(), &system.losses)),
            }
        }
        let held_out = lines(&systems, |losses| vec![(losses.held_out.clone(), false)]);
        let few = systems.iter().map(|(_, losses)| losses.len()).sum::<usize>() <= RAW_RUNS;
        let training = lines(&systems, |losses| {
            let raw = few.then(|| (losses.training.clone(), true));
            let all = raw.into_iter();
            all.chain([(smoothed(&losses.training), false)]).collect()
        });
        let mut panels = Vec::new();
        for (what, lines) in [("held-out loss", held_out), ("training loss", training)] {
            if !lines.is_empty() {
                panels.push((format!("{name}: {what}"), panel(what, &lines)?));
            }
        }
        let legend = systems
            .iter()
            .enumerate()
            .map(|(i, (labels, _))| (labels.clone(), hex(COLOURS[i % COLOURS.len()])));
        kinds.push(ObjectiveCurves {
            name: name.to_owned(),
            legend: legend.collect(),
            panels,
        });
    }
    Ok(kinds)
}

fn kind(config: &Table) -> &str {
    let kind = config
        .get("objective")
        .and_then(|objective| objective.get("kind"));
    kind.and_then(toml::Value::as_str).unwrap_or("objective")
}

type Points = Vec<(f64, f64)>;

/// Lines of every run of `systems` with at least two points.
fn lines(
    systems: &[(String, &[RunLosses])],
    of_run: impl Fn(&RunLosses) -> Vec<(Points, bool)>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (system, runs) in systems.iter().map(|(_, losses)| losses).enumerate() {
        for (points, is_raw) in runs.iter().flat_map(&of_run).filter(|(p, _)| p.len() > 1) {
            lines.push(Line {
                system,
                points: thinned(&points),
                is_raw,
            });
        }
    }
    // Raw lines are drawn first, behind the smoothed ones.
    lines.sort_by_key(|line| !line.is_raw);
    lines
}

/// Exponential moving average, initialised with the first value.
fn smoothed(points: &[(f64, f64)]) -> Points {
    let mut mean = None;
    let all = points.iter().map(|&(step, loss)| {
        let next = mean.map_or(loss, |mean: f64| SMOOTHING * mean + (1.0 - SMOOTHING) * loss);
        mean = Some(next);
        (step, next)
    });
    all.collect()
}

/// A subsample of evenly spaced points, with the last point.
fn thinned(points: &[(f64, f64)]) -> Points {
    let every = points.len().div_ceil(POINTS);
    let last = points.len() - 1;
    let kept = points
        .iter()
        .enumerate()
        .filter(|(i, _)| i % every == 0 || *i == last);
    kept.map(|(_, point)| *point).collect()
}

/// A panel as SVG; losses on a logarithmic axis where all are positive.
fn panel(what: &str, lines: &[Line]) -> Result<String, ReportError> {
    svg(PANEL, |area| draw(area, what, lines))
}

fn draw(area: &Area<'_>, what: &str, lines: &[Line]) -> Result<(), ReportError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let log = points().all(|(_, loss)| *loss > 0.0);
    let place = |loss: f64| if log { loss.log10() } else { loss };
    let (low, high) = ends(points().map(|(_, loss)| place(*loss)));
    let end = points().map(|(step, _)| *step).fold(1.0, f64::max);
    let pad = padding(low, high);
    let mut chart = ChartBuilder::on(area)
        .margin_right(16)
        .margin_left(4)
        .margin_top(8)
        .x_label_area_size(38)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, low - pad..high + pad)
        .map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    style_axes(&mut mesh);
    mesh.disable_x_mesh()
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|y| match log {
            true => format!("{:.3}", 10f64.powf(*y)),
            false => tick(*y, high - low + 2.0 * pad),
        })
        .x_desc("optimiser steps")
        .y_desc(what)
        .draw()
        .map_err(failed)?;
    for line in lines {
        let colour = COLOURS[line.system % COLOURS.len()];
        let style = match line.is_raw {
            true => colour.mix(0.25).stroke_width(1),
            false => colour.stroke_width(2),
        };
        let path: Points = line.points.iter().map(|(x, y)| (*x, place(*y))).collect();
        chart
            .draw_series([PathElement::new(path, style)])
            .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_thinned_and_smoothed() {
        let points: Points = (1..=1000).map(|i| (f64::from(i), 1.0 / f64::from(i))).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS + 1);
        assert_eq!((thin[0].0, thin[thin.len() - 1].0), (1.0, 1000.0));
        let level: Points = points.iter().map(|(step, _)| (*step, 2.0)).collect();
        assert_eq!(smoothed(&level), level);
        assert!(smoothed(&points)[10].1 > points[10].1, "it lags behind");
    }
}
