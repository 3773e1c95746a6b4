//! Images of a report as one SVG with names: a row per prompt, a column per system.

use maud::{Markup, html};

use super::error::ReportError;
use super::gallery::{Gallery, GalleryImage, GalleryRow};
use super::metric_key::split_title;
use super::results::Report;
use crate::experiment::report_spec::ReportSpec;

/// Sizes in pixels: an image, the gap between two, the frame around one, the column of prompts, a line of text.
const SIDE: usize = 104;
const GAP: usize = 14;
const FRAME: usize = 3;
const PROMPTS: usize = 196;
const LINE: usize = 17;
/// Most characters of a line of a prompt, and of a system's name.
const PROMPT_WIDTH: usize = 24;
const NAME_WIDTH: usize = 15;
/// The frame of a correct image; others have none.
const RIGHT: &str = "#00843D";

/// The sheet and its description.
pub(super) struct Sheet<'a> {
    /// `(label, name for readers)`.
    systems: Vec<(&'a str, &'a str)>,
    rows: Vec<&'a GalleryRow>,
}

impl<'a> Sheet<'a> {
    /// The sheet of the first [`ReportSpec::sheet`] prompts of each split; `None` if there are no images.
    pub(super) fn of(gallery: &'a Gallery, report: &'a Report, spec: &'a ReportSpec) -> Option<Self> {
        let mut rows: Vec<&GalleryRow> = Vec::new();
        for asked in &gallery.prompts {
            if rows.iter().filter(|row| row.split == asked.split).count() < spec.sheet {
                rows.push(asked);
            }
        }
        let mut labels: Vec<&str> = Vec::new();
        for shown in rows.iter().flat_map(|row| &row.images) {
            if !labels.contains(&shown.system.as_str()) {
                labels.push(&shown.system);
            }
        }
        if !spec.sheet_systems.is_empty() {
            let wanted = spec.sheet_systems.iter().map(String::as_str);
            labels = wanted.filter(|label| labels.contains(label)).collect();
        }
        let systems: Vec<_> = labels
            .into_iter()
            .map(|label| (label, report.title_of(label)))
            .collect();
        (!systems.is_empty()).then_some(Self { systems, rows })
    }

    /// The sheet as SVG, with the images embedded.
    ///
    /// # Errors
    /// [`ReportError::Sheet`] if an image cannot be decoded.
    pub(super) fn svg(&self) -> Result<String, ReportError> {
        let names: Vec<Vec<String>> = self
            .systems
            .iter()
            .map(|(_, name)| wrapped(name, NAME_WIDTH))
            .collect();
        let head = LINE * names.iter().map(Vec::len).max().unwrap_or(1) + GAP;
        let (width, height) = (
            PROMPTS + self.systems.len() * (SIDE + GAP),
            head + self.rows.len() * (SIDE + GAP),
        );
        let column = |i: usize| PROMPTS + i * (SIDE + GAP);
        let mut cells = Vec::new();
        for (r, row) in self.rows.iter().enumerate() {
            let top = head + r * (SIDE + GAP);
            for (c, (label, name)) in self.systems.iter().enumerate() {
                let Some(shown) = row.images.iter().find(|shown| shown.system == *label) else {
                    continue;
                };
                image::load_from_memory(&shown.png).map_err(ReportError::Sheet)?;
                cells.push(cell(shown, &format!("{name}: {}", row.prompt), (column(c), top)));
            }
        }
        let drawn = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox=(format!("0 0 {width} {height}"))
                font-family="system-ui, sans-serif" font-size="13" {
                rect width=(width) height=(height) fill="#FFFFFF" {}
                @for (c, lines) in names.iter().enumerate() {
                    (text(lines, (column(c) + SIDE / 2, head - GAP / 2 - LINE * lines.len() + LINE - 4), true))
                }
                @for (r, row) in self.rows.iter().enumerate() {
                    @let top = head + r * (SIDE + GAP);
                    (text(&wrapped(&row.prompt, PROMPT_WIDTH), (GAP, top + LINE), false))
                    text x=(GAP) y=(top + SIDE - 4) font-size="11" fill="#5F6368" { (split_title(&row.split)) }
                }
                @for cell in &cells { (cell) }
            }
        };
        Ok(drawn.into_string() + "\n")
    }

    /// Description of columns and rows.
    pub(super) fn markdown(&self, file: &str) -> String {
        let mut text = format!(
            "\n## Images\n\n![Images by prompt and system]({file})\n\nA frame marks an image in which the checker finds all that the prompt asks for:\n\n"
        );
        for row in &self.rows {
            let right = row.images.iter().filter(|shown| shown.is_right());
            let named = |shown: &&GalleryImage| {
                self.systems
                    .iter()
                    .find(|(label, _)| *label == shown.system)
                    .map(|(_, name)| *name)
            };
            let right: Vec<&str> = right.filter_map(|shown| named(&shown)).collect();
            let right = match right.as_slice() {
                [] => "none".to_owned(),
                some => some.join(", "),
            };
            text.push_str(&format!(
                "- {}, \"{}\": {right}\n",
                split_title(&row.split),
                row.prompt
            ));
        }
        text
    }
}

/// An image at `(left, top)`, with a frame if it is correct.
fn cell(shown: &GalleryImage, title: &str, (left, top): (usize, usize)) -> Markup {
    html! {
        image x=(left) y=(top) width=(SIDE) height=(SIDE) href=(shown.data()) style="image-rendering: pixelated" { title { (title) } }
        @if shown.is_right() {
            rect x=(left - FRAME) y=(top - FRAME) width=(SIDE + 2 * FRAME) height=(SIDE + 2 * FRAME)
                fill="none" stroke=(RIGHT) stroke-width=(FRAME) rx="3" {}
        }
    }
}

/// Lines of text from `(x, y)` down; `x` is their left end, or with `centred` their centre.
fn text(lines: &[String], (x, y): (usize, usize), centred: bool) -> Markup {
    html! {
        text x=(x) y=(y) fill="#1D1D1F" text-anchor=(if centred { "middle" } else { "start" }) {
            @for (i, line) in lines.iter().enumerate() { tspan x=(x) dy=(if i == 0 { 0 } else { LINE }) { (line) } }
        }
    }
}

/// `text` in lines of at most `width` characters, broken between words and after underscores; longer words stay whole.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let words = text
        .split_inclusive(' ')
        .flat_map(|word| word.split_inclusive('_'));
    for word in words {
        match lines.last_mut() {
            Some(line) if (line.clone() + word).trim_end().chars().count() <= width => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;
    use crate::report::Report;

    #[test]
    fn rows_are_prompts_columns_systems_and_frames_what_is_right() -> Result<(), ReportError> {
        let shown = |system: &str, right: bool| {
            let mut png = std::io::Cursor::new(Vec::new());
            let image = RgbImage::from_pixel(3, 5, Rgb([9, 9, 9]));
            image
                .write_to(&mut png, ImageFormat::Png)
                .map_err(ReportError::Sheet)?;
            Ok::<_, ReportError>(GalleryImage {
                system: system.into(),
                png: png.into_inner(),
                verdict: vec![("a cat".into(), true), ("red".into(), right)],
            })
        };
        let asked = |prompt: &str, split: &str, images: Vec<GalleryImage>| GalleryRow {
            prompt: prompt.into(),
            split: split.into(),
            images,
        };
        let gallery = Gallery {
            prompts: vec![
                asked("a red cat", "seen", vec![shown("a", true)?, shown("b", false)?]),
                asked("too many", "seen", vec![shown("a", true)?]),
                asked("a red & green dog", "against", vec![shown("b", false)?]),
            ],
            without: vec![],
        };
        let report = Report {
            experiment: "x".into(),
            systems: vec![],
            metrics: vec![],
            missing: Vec::<PathBuf>::new(),
            made: String::new(),
            preferences: vec![],
            reference: String::new(),
            provenance: vec![],
            protocols: vec![],
        };
        let spec = |sheet: usize, systems: &[&str]| ReportSpec {
            sheet,
            sheet_systems: systems.iter().map(|s| (*s).to_owned()).collect(),
            ..ReportSpec::default()
        };
        assert!(Sheet::of(&gallery, &report, &spec(0, &[])).is_none());
        let all = spec(1, &[]);
        let sheet = Sheet::of(&gallery, &report, &all).expect("images");
        let rows = "- seen, \"a red cat\": a\n- counter-bias, \"a red & green dog\": none\n";
        assert!(
            sheet.markdown("x.svg").ends_with(rows),
            "{}",
            sheet.markdown("x.svg")
        );
        let svg = sheet.svg()?;
        let count = |what: &str| svg.matches(what).count();
        assert_eq!(
            (count("<image "), count(RIGHT), count("</text>")),
            (3, 1, 2 + 2 * 2)
        );
        assert!(
            svg.contains("a red &amp; green dog") && svg.contains("counter-bias"),
            "{svg}"
        );
        let one = spec(1, &["b", "absent"]);
        let svg = Sheet::of(&gallery, &report, &one).expect("images").svg()?;
        assert_eq!(
            (svg.matches("<image ").count(), svg.matches(RIGHT).count()),
            (2, 0)
        );
        Ok(())
    }

    #[test]
    fn long_names_are_wrapped() {
        assert_eq!(wrapped("a red cat and a dog", 9), ["a red cat", "and a dog"]);
        assert_eq!(wrapped("nearest_caption_of", 8), ["nearest_", "caption_", "of"]);
    }
}
