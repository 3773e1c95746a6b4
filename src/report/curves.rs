//! Curves over a numeric axis: one panel per metric, one line per series, with 95 % bands.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::error::ReportError;
use super::metric_key::MetricKey;
use super::plot_style::{
    AXIS, Area, COLOURS, FONT, Hover, ends, failed, padding, style_axes, svg, svg_with_values, text, tick,
};
use super::results::Report;
use crate::eval::Interval;
use crate::experiment::report_spec::{CurveSpec, ReportSpec};

/// Colour of horizontal lines.
const LEVEL: RGBColor = RGBColor(120, 120, 120);
/// Dash and gap of horizontal lines, in pixels.
const DASHES: [(u32, u32); 5] = [(8, 4), (2, 3), (14, 4), (5, 2), (2, 7)];

/// Sizes in pixels.
const PANEL: (u32, u32) = (380, 250);
const HEAD: u32 = 34;
/// Minimum distance between two ticks of x.
const TICK_GAP: f64 = 34.0;
/// Panels side by side in one file.
const COLUMNS: usize = 3;

/// The curves of `spec` for which the runs of `report` have values.
pub(super) fn curves_of(report: &Report, spec: &ReportSpec) -> Vec<Curves> {
    let curves = spec.curves.iter();
    curves
        .filter_map(|curve| Curves::of(report, curve, spec))
        .collect()
}

/// A line of one panel: `(x, value)` by ascending x.
struct Line {
    name: usize,
    points: Vec<(f64, Interval)>,
}

/// One metric.
pub(super) struct Panel {
    key: MetricKey,
    lines: Vec<Line>,
    levels: Vec<(usize, f64)>,
}

/// The panels of one [`CurveSpec`].
pub(super) struct Curves {
    x: String,
    only: String,
    log: bool,
    /// Names of the lines.
    series: Vec<String>,
    /// Those of `series` that know the true images.
    oracles: Vec<String>,
    /// Names of the horizontal lines.
    levels: Vec<String>,
    panels: Vec<Panel>,
}

impl Curves {
    /// `None` if no finished system of `report` has a value at `x`.
    pub(super) fn of(report: &Report, spec: &CurveSpec, report_spec: &ReportSpec) -> Option<Self> {
        let mut curves = Self {
            x: spec.x.clone(),
            only: spec.only_text(),
            log: spec.log,
            series: Vec::new(),
            oracles: Vec::new(),
            levels: Vec::new(),
            panels: Vec::new(),
        };
        let systems = || {
            report
                .systems
                .iter()
                .filter(|system| spec.selects(&system.config))
        };
        let places: Vec<(Option<f64>, usize)> = systems()
            .map(|system| {
                let place = spec.point(&system.axes, &system.config);
                let (names, name) = match place.x {
                    Some(_) => (&mut curves.series, report_spec.name_of(&place.series)),
                    None => (&mut curves.levels, system.title.clone()),
                };
                if system.is_oracle() {
                    curves.oracles.push(name.clone());
                }
                let at = names.iter().position(|n| *n == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                (place.x, at)
            })
            .collect();
        let metrics = if spec.metrics.is_empty() {
            &report_spec.columns
        } else {
            &spec.metrics
        };
        for key in report.select(metrics) {
            let mut lines: Vec<Line> = Vec::new();
            let mut levels = Vec::new();
            for (system, &(x, name)) in systems().zip(&places) {
                let Some(cell) = system.cells.get(&key) else {
                    continue;
                };
                let Some(x) = x else {
                    levels.push((name, cell.interval.value));
                    continue;
                };
                let at = lines.iter().position(|l| l.name == name).unwrap_or_else(|| {
                    lines.push(Line {
                        name,
                        points: Vec::new(),
                    });
                    lines.len() - 1
                });
                lines[at].points.push((x, cell.interval));
            }
            for line in &mut lines {
                line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            if !lines.is_empty() {
                curves.panels.push(Panel { key, lines, levels });
            }
        }
        (!curves.panels.is_empty()).then_some(curves)
    }

    /// The title of the x axis.
    pub(super) fn axis(&self) -> &str {
        axis_title(&self.x)
    }

    /// The key on the x axis.
    pub(super) fn x(&self) -> &str {
        &self.x
    }

    /// The values of [`CurveSpec::only`] as text; empty if all systems are included.
    pub(super) fn only(&self) -> String {
        self.only.clone()
    }

    /// Names of lines and horizontal lines, each with its marker as SVG.
    pub(super) fn legend(&self) -> Result<Vec<(String, String)>, ReportError> {
        self.marks()
            .map(|(name, mark)| Ok((name.to_owned(), svg((30, 14), |area| mark.draw(area, (0, 7)))?)))
            .collect()
    }

    fn marks(&self) -> impl Iterator<Item = (&str, Mark)> {
        let series = self
            .series
            .iter()
            .enumerate()
            .map(|(i, n)| (n.as_str(), Mark::Series(i)));
        let levels = self
            .levels
            .iter()
            .enumerate()
            .map(|(i, n)| (n.as_str(), Mark::Level(i)));
        series.chain(levels)
    }

    /// Each panel as a separate SVG: `(metric, SVG)`.
    pub(super) fn panels(&self) -> Result<Vec<(String, String)>, ReportError> {
        let panels = self.panels.iter();
        panels
            .map(|panel| {
                Ok((
                    panel.key.called(),
                    svg_with_values(PANEL, |area, values| self.draw(area, panel, values))?,
                ))
            })
            .collect()
    }

    /// The best line at the right end of the first panel, oracles aside, as a sentence; `None` for a metric without a better direction.
    pub(super) fn best(&self) -> Option<String> {
        let panel = self.panels.first()?;
        let lines = || {
            let predicts = |line: &&Line| !self.oracles.contains(&self.series[line.name]);
            panel.lines.iter().filter(predicts)
        };
        let ends = || lines().filter_map(|line| Some((line.name, line.points.last()?)));
        let right = ends().map(|(_, (x, _))| *x).fold(f64::NEG_INFINITY, f64::max);
        let there = || ends().filter(|(_, (x, _))| *x == right);
        let best = panel
            .key
            .better()
            .best(there().map(|(_, (_, value))| value.value))?;
        let (name, _) = there().find(|(_, (_, value))| value.value == best)?;
        let digits = panel.key.decimals();
        let series = &self.series[name];
        Some(format!("Best mean at {right}: {series} with {best:.digits$}."))
    }

    /// All panels in one SVG.
    pub(super) fn sheet(&self, title: &str) -> Result<String, ReportError> {
        let columns = self.panels.len().min(COLUMNS);
        let width = PANEL.0 * columns as u32;
        let wide = |name: &str| 44 + 7 * name.chars().count() as i32;
        let (mut places, mut x, mut y) = (Vec::new(), 16 + 9 * title.chars().count() as i32, 18);
        for (name, mark) in self.marks() {
            if x + wide(name) > width as i32 {
                (x, y) = (16, y + 20);
            }
            places.push((name, mark, (x, y)));
            x += wide(name);
        }
        let head = (y + 16).max(HEAD as i32) as u32;
        let size = (width, head + PANEL.1 * self.panels.len().div_ceil(columns) as u32);
        svg(size, |root| {
            root.fill(&WHITE).map_err(failed)?;
            text(root, title, (10, 18), 14, false)?;
            for (name, mark, (x, y)) in places {
                mark.draw(root, (x, y))?;
                text(root, name, (x + 34, y), 13, false)?;
            }
            for (i, panel) in self.panels.iter().enumerate() {
                let at = ((i % columns) as u32, (i / columns) as u32);
                let area = root
                    .clone()
                    .shrink((at.0 * PANEL.0, head + at.1 * PANEL.1), PANEL);
                self.draw(&area, panel, &mut Vec::new())?;
            }
            Ok(())
        })
    }

    fn draw(&self, area: &Area<'_>, panel: &Panel, values: &mut Vec<Hover>) -> Result<(), ReportError> {
        let points = || panel.lines.iter().flat_map(|l| &l.points);
        let along = Along::new(points().map(|p| p.0), self.log);
        let all = points().flat_map(|(_, i)| [i.low, i.value, i.high]);
        let (low, high) = ends(all.chain(panel.levels.iter().map(|l| l.1)));
        let pad = padding(low, high);
        let (left, right) = along.ends();
        let mut chart = ChartBuilder::on(area)
            .caption(panel.key.called(), (FONT, 14))
            .margin_right(16)
            .margin_left(4)
            .x_label_area_size(38)
            .y_label_area_size(62)
            .build_cartesian_2d(left..right, low - pad..high + pad)
            .map_err(failed)?;
        let mut mesh = chart.configure_mesh();
        style_axes(&mut mesh);
        mesh.disable_x_mesh()
            .x_labels(0)
            .y_labels(5)
            .y_label_formatter(&|v| tick(*v, high - low + 2.0 * pad))
            .x_desc(self.axis())
            .y_desc(panel.key.info().map_or("", |info| info.unit))
            .draw()
            .map_err(failed)?;
        let (start, frame) = (area.get_pixel_range(), chart.plotting_area().get_pixel_range());
        let foot = frame.1.end - start.1.start;
        for u in along.ticks(f64::from(frame.0.end - frame.0.start)) {
            let x = chart.backend_coord(&(u, low)).0 - start.0.start;
            let dash = PathElement::new([(x, foot), (x, foot + 4)], AXIS);
            area.draw(&dash).map_err(failed)?;
            let label = along.label(u);
            let half = (3 * label.chars().count()) as i32;
            text(area, &label, (x - half, foot + 12), 11, false)?;
        }
        for &(name, value) in &panel.levels {
            let (dash, gap) = DASHES[name % DASHES.len()];
            let level = DashedPathElement::new([(left, value), (right, value)], dash, gap, LEVEL);
            chart.draw_series([level]).map_err(failed)?;
        }
        for line in &panel.lines {
            let colour = COLOURS[line.name % COLOURS.len()];
            let at = |x: f64, y: f64| (along.place(x), y);
            let band: Vec<(f64, f64)> = line
                .points
                .iter()
                .map(|(x, i)| at(*x, i.high))
                .chain(line.points.iter().rev().map(|(x, i)| at(*x, i.low)))
                .collect();
            chart
                .draw_series([Polygon::new(band, colour.mix(0.16).filled())])
                .map_err(failed)?;
            // On a logarithmic axis the distance from zero is arbitrary.
            let broken = usize::from(along.is_broken(line.points[0].0));
            let path: Vec<(f64, f64)> = line.points.iter().map(|(x, i)| at(*x, i.value)).collect();
            if broken == 1 && path.len() > 1 {
                let step = DashedPathElement::new(path[..2].to_vec(), 3, 3, colour.stroke_width(2));
                chart.draw_series([step]).map_err(failed)?;
            }
            let solid = PathElement::new(path[broken..].to_vec(), colour.stroke_width(2));
            chart.draw_series([solid]).map_err(failed)?;
            for &point in &path {
                let (x, y) = chart.backend_coord(&point);
                marker(area, line.name, (x - start.0.start, y - start.1.start))?;
            }
            let digits = panel.key.decimals();
            values.extend(line.points.iter().zip(&path).map(|((x, i), place)| Hover {
                at: chart.backend_coord(place),
                text: format!(
                    "{}, {} {x}: {:.digits$} [{:.digits$}, {:.digits$}]",
                    self.series[line.name],
                    self.axis(),
                    i.value,
                    i.low,
                    i.high
                ),
                colour,
            }));
        }
        Ok(())
    }
}

/// The title of the x axis for the configuration key `x`.
fn axis_title(x: &str) -> &str {
    match x {
        "data.n_pairs" => "training pairs",
        "train.steps" => "training steps",
        "eval.decoder_steps" => "decoder steps",
        "model.n_heads" => "attention heads",
        "objective.sampler.guidance" => "guidance scale of the prior",
        "objective.sampler.steps" => "sampling steps of the prior",
        "objective.sampler.eta" => "eta of the prior's sampler",
        "objective.tau" => "temperature tau",
        other => other,
    }
}

/// Appearance of a legend entry.
#[derive(Clone, Copy)]
enum Mark {
    Series(usize),
    Level(usize),
}

impl Mark {
    fn draw(self, area: &Area<'_>, (x, y): (i32, i32)) -> Result<(), ReportError> {
        let ends = [(x, y), (x + 28, y)];
        match self {
            Self::Series(name) => {
                let colour = COLOURS[name % COLOURS.len()];
                area.draw(&PathElement::new(ends, colour.stroke_width(2)))
                    .map_err(failed)?;
                marker(area, name, (x + 14, y))
            }
            Self::Level(name) => {
                let (dash, gap) = DASHES[name % DASHES.len()];
                area.draw(&DashedPathElement::new(ends, dash, gap, LEVEL))
                    .map_err(failed)
            }
        }
    }
}

/// The marker of series `name`: shapes and colours change together, so that either identifies the series.
fn marker(area: &Area<'_>, name: usize, (x, y): (i32, i32)) -> Result<(), ReportError> {
    let style = COLOURS[name % COLOURS.len()].filled();
    let drawn = match name % 4 {
        0 => area.draw(&Circle::new((x, y), 4, style)),
        1 => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], style)),
        2 => area.draw(&TriangleMarker::new((x, y), 6, style)),
        _ => area.draw(&Cross::new((x, y), 4, style.stroke_width(2))),
    };
    drawn.map_err(failed)
}

/// Positions along x: the value, or its decimal logarithm with zero a step to the left of the smallest other value.
struct Along {
    values: Vec<f64>,
    log: bool,
    zero: f64,
}

impl Along {
    fn new(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let positive: Vec<f64> = values.iter().filter(|v| **v > 0.0).map(|v| v.log10()).collect();
        let zero = match (positive.first(), positive.last()) {
            (Some(low), Some(high)) => low - ((high - low) / 6.0).max(0.3),
            _ => 0.0,
        };
        Self { values, log, zero }
    }

    fn place(&self, x: f64) -> f64 {
        match self.log {
            false => x,
            true if x > 0.0 => x.log10(),
            true => self.zero,
        }
    }

    fn is_broken(&self, x: f64) -> bool {
        self.log && x <= 0.0
    }

    /// The range of the axis.
    fn ends(&self) -> (f64, f64) {
        let place = |x: Option<&f64>| x.map_or(0.0, |x| self.place(*x));
        let (low, high) = (place(self.values.first()), place(self.values.last()));
        let pad = ((high - low) * 0.04).max(1e-6);
        (low - pad, high + pad)
    }

    /// Indices of the values whose labels fit on an axis of `width` pixels; the two ends always have labels.
    fn ticks(&self, width: f64) -> Vec<f64> {
        let (low, high) = self.ends();
        let pixel = |u: f64| (u - low) / (high - low) * width;
        let mut ticks: Vec<f64> = Vec::new();
        let all: Vec<f64> = self.values.iter().map(|v| self.place(*v)).collect();
        for (i, &u) in all.iter().enumerate() {
            let last = all.last().copied().unwrap_or(u);
            let clear = ticks.last().is_none_or(|t| pixel(u) - pixel(*t) >= TICK_GAP);
            let ahead = i + 1 == all.len() || pixel(last) - pixel(u) >= TICK_GAP;
            if (clear && ahead) || i + 1 == all.len() {
                ticks.push(u);
            }
        }
        ticks
    }

    fn label(&self, u: f64) -> String {
        let nearest = self.values.iter().min_by(|a, b| {
            (self.place(**a) - u)
                .abs()
                .total_cmp(&(self.place(**b) - u).abs())
        });
        nearest.map_or_else(String::new, f64::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_place_on_a_logarithmic_axis() {
        let grid = [0.0, 0.002, 0.02, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0];
        let along = Along::new(grid.into_iter(), true);
        let places: Vec<f64> = grid.iter().map(|x| along.place(*x)).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert!((along.place(0.02) - along.place(0.002) - 1.0).abs() < 1e-12);
        let (low, high) = along.ends();
        assert!(low < places[0] && places[8] < high);
        assert!(along.is_broken(0.0) && !along.is_broken(0.002));

        let labels: Vec<String> = along.ticks(300.0).into_iter().map(|u| along.label(u)).collect();
        assert_eq!(labels.first().map(String::as_str), Some("0"));
        assert_eq!(labels.last().map(String::as_str), Some("1"));
        assert!(!labels.contains(&"0.8".to_owned()), "it has no room: {labels:?}");
        let plain = Along::new(grid.into_iter(), false);
        assert_eq!(plain.place(0.4), 0.4);
        assert!(!plain.is_broken(0.0));
        assert_eq!(Along::new([0.0].into_iter(), true).ticks(300.0), [0.0]);
    }
}
