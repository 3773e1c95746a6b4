//! Lines over an axis of numbers: one panel a metric, one line a series, with 95 % bands.

use std::collections::BTreeMap;

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::super::sweep::Planned;
use super::plot::{Area, FONT, failed, padding, text, tick};
use super::spec::number;
use super::{CurveSpec, MetricKey, Report, ReportError, label_of};
use crate::config::ConfigError;
use crate::config::layers::{lookup, short};
use crate::eval::Interval;
use toml::{Table, Value};

/// Colours of lines that colour-blind readers can tell apart (Okabe and Ito); marks differ in shape too.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Level lines.
const LEVEL: RGBColor = RGBColor(120, 120, 120);
/// Dash and gap of level lines, in pixels.
const DASHES: [(u32, u32); 5] = [(8, 4), (2, 3), (14, 4), (5, 2), (2, 7)];

/// Sizes in pixels.
const PANEL: (u32, u32) = (380, 250);
const HEAD: u32 = 34;
/// Room between two ticks of x.
const TICK_GAP: f64 = 34.0;
/// Panels side by side in one file.
const COLUMNS: usize = 3;

/// Where a run stands in a curve.
struct Place {
    x: Option<f64>,
    series: String,
}

impl CurveSpec {
    /// Whether a system with this configuration may be on the curve.
    fn selects(&self, config: &Table) -> bool {
        let mut wanted = self.only.iter();
        wanted.all(|(key, value)| lookup(config, key) == Some(value))
    }
}

impl Place {
    fn of(spec: &CurveSpec, axes: &[(String, String)], config: &Table) -> Self {
        let x = own_value(config, &spec.x).and_then(number);
        let series = match &spec.series {
            Some(key) => {
                let value = || match own_value(config, key)? {
                    Value::String(text) => Some(text.clone()),
                    Value::Table(table) => table.get("kind").and_then(|k| k.as_str()).map(str::to_owned),
                    other => Some(short(other)),
                };
                let axis = axes.iter().find(|(axis, _)| axis == key).cloned();
                let named = axis.or_else(|| Some((key.clone(), value()?)));
                label_of(named.iter())
            }
            None => label_of(axes.iter().filter(|(axis, _)| *axis != spec.x)),
        };
        let kind = || {
            lookup(config, "objective.kind")
                .and_then(|k| k.as_str())
                .map(str::to_owned)
        };
        let series = if series.is_empty() {
            kind().unwrap_or_default()
        } else {
            series
        };
        Self { x, series }
    }
}

/// The value of `key`. A baseline has no size and no training, whatever its configuration says.
fn own_value<'a>(config: &'a Table, key: &str) -> Option<&'a Value> {
    let kind = lookup(config, "objective.kind").and_then(Value::as_str);
    let is_unused = kind == Some("baseline") && (key.starts_with("model.") || key.starts_with("train."));
    if is_unused { None } else { lookup(config, key) }
}

/// Fails unless each curve has numbers to lie along and at most one system at each of them.
///
/// # Errors
/// [`ConfigError::Value`], naming `origin` and the key.
pub(in crate::experiment) fn check(
    curves: &[CurveSpec],
    runs: &[Planned],
    origin: &str,
) -> Result<(), ConfigError> {
    let without_seed = |run: &Planned| {
        let mut config: Table = run
            .run()
            .config()
            .parse()
            .expect("the configuration of a resolved run is TOML");
        config.remove("seed");
        config
    };
    let configs: Vec<Table> = runs.iter().map(without_seed).collect();
    for (i, spec) in curves.iter().enumerate() {
        let bad = |key: &str, expected: &str, found: String| {
            let at = if curves.len() > 1 {
                format!("[{i}]")
            } else {
                String::new()
            };
            Err(ConfigError::Value {
                origin: origin.to_owned(),
                key: format!("report.curve{at}.{key}"),
                expected: expected.to_owned(),
                found,
            })
        };
        let mut met: BTreeMap<(String, String), String> = BTreeMap::new();
        for (run, config) in runs.iter().zip(&configs) {
            if !spec.selects(config) {
                continue;
            }
            let place = Place::of(spec, run.axes(), config);
            let Some(x) = place.x else { continue };
            if spec.log && x < 0.0 {
                return bad(
                    "log",
                    "values of 0 or above along a logarithmic axis",
                    x.to_string(),
                );
            }
            let system = config.to_string();
            let other = met.insert((place.series.clone(), x.to_string()), system.clone());
            if other.is_some_and(|other| other != system) {
                return bad(
                    "series",
                    "a key that tells apart the systems at one x, or nothing",
                    format!("two systems of {} at {} = {x}", place.series, spec.x),
                );
            }
        }
        // Values may be gone with --set or --smoke: the curve is then left out. Keys may not.
        let is_key = |key: &String| configs.iter().any(|config| lookup(config, key).is_some());
        if let Some((key, _)) = spec.only.iter().find(|(key, _)| !is_key(key)) {
            return bad("only", "keys of some run of this sweep", key.clone());
        }
        if met.is_empty() && spec.only.is_empty() {
            return bad(
                "x",
                "a key that is a number in some run of this sweep",
                spec.x.clone(),
            );
        }
    }
    Ok(())
}

/// As in `data.n_pairs = 1000`.
fn only_text(only: &[(String, Value)]) -> String {
    let pairs = only
        .iter()
        .map(|(key, value)| format!("{key} = {}", short(value)));
    pairs.collect::<Vec<_>>().join(", ")
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

/// What one [`CurveSpec`] shows of a report.
pub(super) struct Curves {
    x: String,
    only: String,
    log: bool,
    /// Names of the lines.
    series: Vec<String>,
    /// Names of the level lines.
    levels: Vec<String>,
    panels: Vec<Panel>,
}

impl Curves {
    /// `None` if no finished system of `report` has a number at `x`.
    pub(super) fn of(report: &Report, spec: &CurveSpec, columns: &[String]) -> Option<Self> {
        let mut curves = Self {
            x: spec.x.clone(),
            only: only_text(&spec.only),
            log: spec.log,
            series: Vec::new(),
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
                let place = Place::of(spec, &system.axes, &system.config);
                let (names, name) = match place.x {
                    Some(_) => (&mut curves.series, place.series),
                    None => (&mut curves.levels, system.label.clone()),
                };
                let at = names.iter().position(|n| *n == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                (place.x, at)
            })
            .collect();
        let metrics = if spec.metrics.is_empty() {
            columns
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

    /// The key along the panels.
    pub(super) fn x(&self) -> &str {
        &self.x
    }

    /// The values that all of its systems have, as text; empty where all systems are on it.
    pub(super) fn only(&self) -> String {
        self.only.clone()
    }

    /// Names of lines and level lines, each with its mark as SVG.
    pub(super) fn legend(&self) -> Result<Vec<(String, String)>, ReportError> {
        self.marks()
            .map(|(name, mark)| {
                let mut svg = String::new();
                {
                    let area = SVGBackend::with_string(&mut svg, (30, 14)).into_drawing_area();
                    mark.draw(&area, (0, 7))?;
                    area.present().map_err(failed)?;
                }
                Ok((name.to_owned(), svg))
            })
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

    /// Each panel as SVG of its own: `(metric, picture)`.
    pub(super) fn panels(&self) -> Result<Vec<(String, String)>, ReportError> {
        let mut drawn = Vec::new();
        for panel in &self.panels {
            let mut svg = String::new();
            {
                let area = SVGBackend::with_string(&mut svg, PANEL).into_drawing_area();
                self.draw(&area, panel)?;
                area.present().map_err(failed)?;
            }
            drawn.push((panel.key.title(), svg));
        }
        Ok(drawn)
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
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&WHITE).map_err(failed)?;
            text(&root, title, (10, 18), 14, false)?;
            for (name, mark, (x, y)) in places {
                mark.draw(&root, (x, y))?;
                text(&root, name, (x + 34, y), 13, false)?;
            }
            for (i, panel) in self.panels.iter().enumerate() {
                let at = ((i % columns) as u32, (i / columns) as u32);
                let area = root
                    .clone()
                    .shrink((at.0 * PANEL.0, head + at.1 * PANEL.1), PANEL);
                self.draw(&area, panel)?;
            }
            root.present().map_err(failed)?;
        }
        Ok(svg)
    }

    fn draw(&self, area: &Area<'_>, panel: &Panel) -> Result<(), ReportError> {
        let points = || panel.lines.iter().flat_map(|l| &l.points);
        let along = Along::new(points().map(|p| p.0), self.log);
        let ends = points()
            .flat_map(|(_, i)| [i.low, i.value, i.high])
            .chain(panel.levels.iter().map(|l| l.1));
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        let pad = padding(low, high);
        let (left, right) = along.ends();
        let mut chart = ChartBuilder::on(area)
            .caption(panel.key.title(), (FONT, 14))
            .margin_right(16)
            .margin_left(4)
            .x_label_area_size(38)
            .y_label_area_size(48)
            .build_cartesian_2d(left..right, low - pad..high + pad)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(5)
            .y_label_formatter(&|v| tick(*v, high - low + 2.0 * pad))
            .x_desc(&self.x)
            .label_style((FONT, 11))
            .axis_desc_style((FONT, 12))
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(RGBColor(150, 150, 150))
            .draw()
            .map_err(failed)?;
        let (start, frame) = (area.get_pixel_range(), chart.plotting_area().get_pixel_range());
        let foot = frame.1.end - start.1.start;
        for u in along.ticks(f64::from(frame.0.end - frame.0.start)) {
            let x = chart.backend_coord(&(u, low)).0 - start.0.start;
            let dash = PathElement::new([(x, foot), (x, foot + 4)], RGBColor(150, 150, 150));
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
            // A step from zero on a logarithmic axis has no true length.
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
        }
        Ok(())
    }
}

/// How an entry of the legend looks.
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

/// The mark of series `name`: shapes and colours change together, so that either tells.
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

/// Positions along x: the value, or its decimal logarithm with zero a step to the left of the least other value.
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

    /// The ends of the axis.
    fn ends(&self) -> (f64, f64) {
        let place = |x: Option<&f64>| x.map_or(0.0, |x| self.place(*x));
        let (low, high) = (place(self.values.first()), place(self.values.last()));
        let pad = ((high - low) * 0.04).max(1e-6);
        (low - pad, high + pad)
    }

    /// Places of the values that have room for a label on an axis of `width` pixels; the two ends always have.
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
