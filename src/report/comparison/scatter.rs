//! The scatter plot of a comparison: parameters against the mean of some columns.

use plotters::prelude::*;

use crate::comparison::{Point, Results};
use crate::report::error::ReportError;
use crate::report::plot_style::{AXIS, COLOURS, ends, failed, padding, style_axes, svg, text, tick};

/// Size in pixels.
const SIZE: (u32, u32) = (720, 440);
/// Distance of two labels, and width of a letter.
const LINE: i32 = 14;
const LETTER: i32 = 7;
/// Axes and text; the page's dark mode replaces this colour.
const INK: RGBColor = RGBColor(60, 60, 60);

/// The plot: hollow marks are published, filled ones measured, those of one system are joined. With `alone` it has a background and a legend.
///
/// # Errors
/// [`ReportError::Draw`] if the drawing library fails.
pub(super) fn plot(results: &Results, alone: bool) -> Result<String, ReportError> {
    let points = results.points();
    let label = results
        .comparison
        .scatter
        .as_ref()
        .map_or("", |scatter| scatter.label.as_str());
    let billions = |point: &Point| point.parameters / 1e3;
    let span = |values: &mut dyn Iterator<Item = f64>| match ends(values) {
        (low, high) if low.is_finite() && high.is_finite() => (low, high),
        _ => (0.0, 1.0),
    };
    let (x_low, x_high) = span(&mut points.iter().map(billions));
    let (y_low, y_high) = span(&mut points.iter().map(|point| point.mean));
    let (x_pad, y_pad) = (padding(x_low, x_high), padding(y_low, y_high));
    svg(SIZE, |root| {
        if alone {
            root.fill(&WHITE).map_err(failed)?;
        }
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .margin_top(if alone { 34 } else { 12 })
            .margin_right(40)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(
                (x_low - x_pad).max(0.0)..x_high + 2.0 * x_pad,
                y_low - y_pad..y_high + y_pad,
            )
            .map_err(failed)?;
        let mut mesh = chart.configure_mesh();
        style_axes(&mut mesh);
        mesh.x_desc("parameters of prior and decoder, billions")
            .y_desc(label)
            .x_label_formatter(&|v| tick(*v, x_high - x_low + 2.0 * x_pad))
            .y_label_formatter(&|v| tick(*v, y_high - y_low + 2.0 * y_pad))
            .draw()
            .map_err(failed)?;
        let mut labels: Vec<((i32, i32), String)> = Vec::new();
        let rows = &results.rows;
        for (i, row) in rows.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let own: Vec<&Point> = points.iter().filter(|p| p.label == row.system.label).collect();
            let at = |point: &Point| (billions(point), point.mean);
            if let [a, b] = own[..] {
                let line = PathElement::new([at(a), at(b)], AXIS.stroke_width(1));
                chart.draw_series([line]).map_err(failed)?;
            }
            for point in &own {
                let style = match point.is_measured {
                    true => colour.filled(),
                    false => colour.stroke_width(2),
                };
                chart
                    .draw_series([Circle::new(at(point), 5, style)])
                    .map_err(failed)?;
            }
            // A filled mark is the one with the label.
            labels.extend(
                own.last()
                    .map(|point| (chart.backend_coord(&at(point)), point.label.clone())),
            );
        }
        for ((x, y), label) in spread(labels) {
            let end = x + 10 + LETTER * label.chars().count() as i32;
            let right = end > SIZE.0 as i32;
            text(root, &label, (if right { x - 9 } else { x + 9 }, y), 12, right)?;
        }
        if alone {
            root.draw(&Circle::new((80, 18), 5, INK.stroke_width(2)))
                .map_err(failed)?;
            text(root, "published", (90, 18), 13, false)?;
            root.draw(&Circle::new((180, 18), 5, INK.filled()))
                .map_err(failed)?;
            text(root, "measured", (190, 18), 13, false)?;
        }
        Ok(())
    })
}

/// Moves labels down until none overlaps another.
fn spread(mut labels: Vec<((i32, i32), String)>) -> Vec<((i32, i32), String)> {
    labels.sort_by_key(|((_, y), _)| *y);
    let mut placed: Vec<((i32, i32), String)> = Vec::new();
    for ((x, mut y), label) in labels {
        let width = |label: &str| LETTER * label.chars().count() as i32;
        let meets = |(other_x, _): &(i32, i32), other: &str| {
            x < other_x + width(other) && *other_x < x + width(&label)
        };
        for (at, other) in &placed {
            if meets(at, other) && (y - at.1).abs() < LINE {
                y = at.1 + LINE;
            }
        }
        placed.push(((x, y), label));
    }
    placed
}

/// A mark for legends.
pub(super) fn mark(is_measured: bool) -> String {
    let fill = if is_measured { "currentColor" } else { "none" };
    format!(
        "<svg width=\"14\" height=\"14\"><circle cx=\"7\" cy=\"7\" r=\"5\" fill=\"{fill}\" stroke=\"currentColor\" stroke-width=\"2\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_overlap() {
        let label = |x: i32, y: i32| ((x, y), "a system".to_owned());
        let placed = spread(vec![
            label(10, 100),
            label(12, 103),
            label(500, 101),
            label(15, 90),
        ]);
        let heights: Vec<i32> = placed.iter().map(|((_, y), _)| *y).collect();
        assert_eq!(heights, [90, 104, 101, 118]);
    }
}
