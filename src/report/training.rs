//! Training curves: losses over optimiser steps, one line per run; one pair of panels per kind of objective, because losses of different kinds are not
//! comparable.

use toml::Table;

use super::error::ReportError;
use super::losses::RunLosses;
use super::plot_style::{COLOURS, dot};
use super::results::Report;
use super::step_plot::{Line, Points, StepPlot, smoothed, thinned};

/// Most points of a line.
const POINTS: usize = 80;
/// Most runs of a panel for which the raw training loss is drawn behind the smoothed one.
const RAW_RUNS: usize = 12;

/// The curves of one kind of objective.
pub(super) struct ObjectiveCurves {
    /// Value of `objective.kind`.
    pub(super) name: String,
    /// Systems with their marks as SVG.
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
                let plot = StepPlot {
                    y: what,
                    lines: &lines,
                    chosen: None,
                };
                panels.push((format!("{name}: {what}"), plot.svg()?));
            }
        }
        let legend = systems
            .iter()
            .enumerate()
            .map(|(i, (labels, _))| (labels.clone(), dot(COLOURS[i % COLOURS.len()])));
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
                points: thinned(&points, POINTS),
                is_raw,
            });
        }
    }
    // Raw lines are drawn first, behind the smoothed ones.
    lines.sort_by_key(|line| !line.is_raw);
    lines
}
