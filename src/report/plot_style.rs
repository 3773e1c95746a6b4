//! How all plots of a report look: fonts, colours, axes, ticks.

use std::fmt::Display;

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use super::error::ReportError;

/// Panels are titled in this font; rows in the same, one pixel smaller.
pub(super) const FONT: &str = "sans-serif";

/// Colours of lines that colour-blind readers can tell apart (Okabe and Ito); marks differ in shape too.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Axes and their ticks.
pub(super) const AXIS: RGBColor = RGBColor(150, 150, 150);
/// Lines of the grid.
const GRID: RGBColor = RGBColor(225, 225, 225);

/// What plots are drawn on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG of this size, drawn by `draw`.
///
/// # Errors
/// Those of `draw`, and [`ReportError::Draw`] when the drawing library refuses.
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

/// The least and the largest of `values`; infinities without any.
pub(super) fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

/// What the drawing library says, as an error of a report.
pub(super) fn failed(error: impl Display) -> ReportError {
    ReportError::Draw(error.to_string())
}

/// Writes `text` at this place, in pixels: its left end, or with `right` its right end.
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

/// Space beyond the least and the largest value of an axis; where all are equal, enough for ticks that differ.
pub(super) fn padding(low: f64, high: f64) -> f64 {
    if high - low < 1e-9 {
        (low.abs() / 10.0).max(0.05)
    } else {
        ((high - low) * 0.08).max(1e-3)
    }
}

/// A tick with as many digits as the range needs.
pub(super) fn tick(value: f64, range: f64) -> String {
    match range {
        r if r >= 20.0 => format!("{value:.0}"),
        r if r >= 2.0 => format!("{value:.1}"),
        r if r >= 0.05 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
