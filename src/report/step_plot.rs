//! A plot over optimiser steps: raw values as thin pale lines, smoothed ones as strong lines on them.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::error::ReportError;
use super::plot_style::{
    AXIS, Area, COLOURS, Hover, ends, failed, number, padding, style_axes, svg_with_values, tick,
};

/// Size of a panel in pixels.
const PANEL: (u32, u32) = (380, 250);
/// Weight of the previous point in a smoothed line.
pub(super) const SMOOTHING: f64 = 0.8;
/// Most values of a line that are shown on hover.
const HOVERS: usize = 30;
/// Ratio of the largest to the smallest value from which the axis is logarithmic.
const DECADE: f64 = 10.0;

/// `(step, value)`, in order.
pub(super) type Points = Vec<(f64, f64)>;

/// A line.
pub(super) struct Line {
    /// Its colour, by the number of its system.
    pub(super) system: usize,
    /// Its points.
    pub(super) points: Points,
    /// Whether it is drawn thin and pale.
    pub(super) is_raw: bool,
}

/// The plot.
pub(super) struct StepPlot<'a> {
    /// Title of the y axis, with the unit.
    pub(super) y: &'a str,
    /// The lines; later ones are drawn over earlier ones.
    pub(super) lines: &'a [Line],
    /// A step that is marked.
    pub(super) chosen: Option<usize>,
}

/// Exponential moving average with the weight [`SMOOTHING`], initialised with the first value.
pub(super) fn smoothed(points: &[(f64, f64)]) -> Points {
    let mut mean = None;
    let all = points.iter().map(|&(step, value)| {
        let next = mean.map_or(value, |mean: f64| SMOOTHING * mean + (1.0 - SMOOTHING) * value);
        mean = Some(next);
        (step, next)
    });
    all.collect()
}

/// At most about `most` evenly spaced points, with the last one.
pub(super) fn thinned(points: &[(f64, f64)], most: usize) -> Points {
    let every = points.len().div_ceil(most).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points
        .iter()
        .enumerate()
        .filter(|(i, _)| i % every == 0 || *i == last);
    kept.map(|(_, point)| *point).collect()
}

impl StepPlot<'_> {
    /// The plot as SVG. Its axis is logarithmic where all values are positive and span a decade.
    ///
    /// # Errors
    /// [`ReportError::Draw`] if the drawing library fails.
    pub(super) fn svg(&self) -> Result<String, ReportError> {
        svg_with_values(PANEL, |area, values| self.draw(area, values))
    }

    fn draw(&self, area: &Area<'_>, values: &mut Vec<Hover>) -> Result<(), ReportError> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (least, most) = ends(points().map(|(_, value)| *value));
        let log = least > 0.0 && most / least >= DECADE;
        let place = |value: f64| if log { value.log10() } else { value };
        let (low, high) = (place(least), place(most));
        let end = points().map(|(step, _)| *step).fold(1.0, f64::max);
        let pad = match log || high > low {
            true => (high - low) * 0.08,
            false if low == 0.0 => padding(low, high),
            false => low.abs() / 10.0,
        };
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
            .y_label_formatter(&|y| match (log, high - low < 0.05) {
                (true, _) => number(10f64.powf(*y)),
                (false, true) => number(*y),
                (false, false) => tick(*y, high - low + 2.0 * pad),
            })
            .x_desc("optimiser steps")
            .y_desc(self.y)
            .draw()
            .map_err(failed)?;
        if let Some(step) = self.chosen {
            let ends = [(step as f64, low - pad), (step as f64, high + pad)];
            let mark = DashedPathElement::new(ends, 4, 4, AXIS);
            chart.draw_series([mark]).map_err(failed)?;
        }
        for line in self.lines {
            let colour = COLOURS[line.system % COLOURS.len()];
            let style = match line.is_raw {
                true => colour.mix(0.25).stroke_width(1),
                false => colour.stroke_width(2),
            };
            let path: Points = line.points.iter().map(|(x, y)| (*x, place(*y))).collect();
            chart
                .draw_series([PathElement::new(path, style)])
                .map_err(failed)?;
            if !line.is_raw {
                values.extend(
                    thinned(&line.points, HOVERS)
                        .into_iter()
                        .map(|(step, value)| Hover {
                            at: chart.backend_coord(&(step, place(value))),
                            text: format!("step {step:.0}: {}", number(value)),
                            colour,
                        }),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_thinned_and_smoothed() {
        let points: Points = (1..=1000).map(|i| (f64::from(i), 1.0 / f64::from(i))).collect();
        let thin = thinned(&points, 80);
        assert!(thin.len() <= 81);
        assert_eq!((thin[0].0, thin[thin.len() - 1].0), (1.0, 1000.0));
        let level: Points = points.iter().map(|(step, _)| (*step, 2.0)).collect();
        assert_eq!(smoothed(&level), level);
        assert!(smoothed(&points)[10].1 > points[10].1, "it lags behind");
        assert_eq!(thinned(&[], 80), []);
    }

    #[test]
    fn a_plot_says_its_values_and_marks_a_step() -> Result<(), ReportError> {
        let line = |points: &[(f64, f64)]| Line {
            system: 0,
            points: points.to_vec(),
            is_raw: false,
        };
        let svg = |lines: &[Line], chosen| {
            let y = "loss";
            StepPlot { y, lines, chosen }.svg()
        };
        let decades = svg(&[line(&[(1.0, 0.01), (10.0, 1.0), (20.0, 100.0)])], None)?;
        assert_eq!(decades.matches("<title>").count(), 3);
        assert!(decades.contains("<title>step 10: 1.00</title>"), "{decades}");
        assert!(
            decades.contains("0.0100"),
            "a logarithmic axis has a tick there: {decades}"
        );
        let level = [line(&[(1.0, 0.5), (10.0, 0.5)])];
        let (without, with) = (svg(&level, None)?, svg(&level, Some(5))?);
        assert!(with.len() > without.len(), "a step is marked");
        Ok(())
    }
}
