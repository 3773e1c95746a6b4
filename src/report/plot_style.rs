//! How all plots of a report look: fonts, colours, axes, ticks.

use std::fmt::Display;

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
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

pub(super) fn failed(error: impl Display) -> ReportError {
    ReportError::Draw(error.to_string())
}

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

/// Room beyond the least and the largest value of an axis; where all are equal, enough for ticks that differ.
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
