//! Style of all plots of a report: fonts, colours, axes, ticks.

use std::fmt::Display;

use maud::html;
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use super::error::ReportError;

/// Font of panel titles; row labels are one pixel smaller.
pub(super) const FONT: &str = "sans-serif";

/// Line colours for colour-blind readers (Okabe and Ito); markers differ in shape too.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Colour of axes and ticks.
pub(super) const AXIS: RGBColor = RGBColor(150, 150, 150);
/// Colour of the grid.
const GRID: RGBColor = RGBColor(225, 225, 225);

/// The drawing area type.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG of this size, drawn by `draw`.
///
/// # Errors
/// Those of `draw`, and [`ReportError::Draw`] if the drawing library fails.
pub(super) fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), ReportError>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A value that a plot shows when the pointer is on its place.
pub(super) struct Hover {
    /// Its place in the plot, in pixels.
    pub(super) at: (i32, i32),
    /// What is shown.
    pub(super) text: String,
    /// Colour of what is there.
    pub(super) colour: RGBColor,
}

/// Radius of the place of a [`Hover`], in pixels.
const HOVER: u32 = 7;

/// Like [`svg`], with values that are shown on hover, without a script.
///
/// # Errors
/// Those of [`svg`].
pub(super) fn svg_with_values(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>, &mut Vec<Hover>) -> Result<(), ReportError>,
) -> Result<String, ReportError> {
    let mut values = Vec::new();
    let svg = svg(size, |area| draw(area, &mut values))?;
    let places = html! {
        @for Hover { at: (x, y), text, colour } in &values {
            circle.hover cx=(x) cy=(y) r=(HOVER) fill=(hex(*colour)) fill-opacity="0" { title { (text) } }
        }
    };
    Ok(match svg.rfind("</svg>") {
        Some(end) => format!("{}{}{}", &svg[..end], places.into_string(), &svg[end..]),
        None => svg,
    })
}

/// A file of its own that follows the reader's choice of a light or a dark page: pages do so by their own style.
pub(super) fn themed(svg: &str) -> String {
    const STYLE: &str = "<style>@media (prefers-color-scheme: dark) { \
rect[fill=\"#FFFFFF\"] { fill: #17181a } text { fill: #e8e8ea } text[fill=\"#5F6368\"] { fill: #a3a8ae } \
[stroke=\"#E1E1E1\"], [stroke=\"#EBEBEB\"] { stroke: #3a3d42 } [fill=\"#3C3C3C\"] { fill: #e8e8ea } [stroke=\"#3C3C3C\"] { stroke: #e8e8ea } }</style>";
    match svg
        .find("<svg")
        .and_then(|at| svg[at..].find('>').map(|end| at + end + 1))
    {
        Some(at) => format!("{}{STYLE}{}", &svg[..at], &svg[at..]),
        None => svg.to_owned(),
    }
}

/// Fonts and lines of the axes of a panel.
pub(super) fn style_axes<X: Ranged, Y: Ranged>(mesh: &mut MeshStyle<'_, '_, X, Y, SVGBackend<'_>>) {
    mesh.label_style((FONT, 11))
        .axis_desc_style((FONT, 12))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(AXIS);
}

/// `colour` as in `#0072B2`.
pub(super) fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// A legend's mark: a dot of `colour`, as SVG.
pub(super) fn dot(colour: RGBColor) -> String {
    format!(
        "<svg width=\"12\" height=\"12\"><circle cx=\"6\" cy=\"6\" r=\"4\" fill=\"{}\"/></svg>",
        hex(colour)
    )
}

/// The minimum and maximum of `values`; infinities if there are none.
pub(super) fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

/// An error of the drawing library as a report error.
pub(super) fn failed(error: impl Display) -> ReportError {
    ReportError::Draw(error.to_string())
}

/// Draws `text` at this position, in pixels: its left end, or with `right` its right end.
pub(super) fn text(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    right: bool,
) -> Result<(), ReportError> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let side = if right { HPos::Right } else { HPos::Left };
    let style = (FONT, size)
        .into_font()
        .color(&BLACK)
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(failed)
}

/// Margin beyond the minimum and maximum of an axis; for equal values, enough for distinct ticks.
pub(super) fn padding(low: f64, high: f64) -> f64 {
    if high - low < 1e-9 {
        (low.abs() / 10.0).max(0.05)
    } else {
        ((high - low) * 0.08).max(1e-3)
    }
}

/// `value` with the digits that a reader needs, whatever its size.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        a if a >= 100.0 => format!("{value:.0}"),
        a if a >= 1.0 => format!("{value:.2}"),
        a if a >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// A tick label with as many digits as the range needs.
pub(super) fn tick(value: f64, range: f64) -> String {
    match range {
        r if r >= 20.0 => format!("{value:.0}"),
        r if r >= 2.0 => format!("{value:.1}"),
        r if r >= 0.05 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
