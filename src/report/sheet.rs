//! Images of a report as one PNG, for places that cannot show the page: a row per prompt, a column per system.

use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};

use super::error::ReportError;
use super::gallery::{Gallery, GalleryImage, GalleryRow};
use crate::generate::images::grid;

/// Factor by which images are enlarged.
const SCALE: u32 = 2;
/// Width of the frame around a correct image; other images have none.
const FRAME: u32 = 4;
const RIGHT: Rgb<u8> = Rgb([0, 132, 61]);
const NOT: Rgb<u8> = Rgb([255, 255, 255]);

/// The sheet and its description.
pub(super) struct Sheet<'a> {
    systems: Vec<&'a str>,
    rows: Vec<&'a GalleryRow>,
}

impl<'a> Sheet<'a> {
    /// The sheet of the first `per_split` prompts of each split; `None` if there are no images.
    pub(super) fn of(gallery: &'a Gallery, per_split: usize) -> Option<Self> {
        let mut rows: Vec<&GalleryRow> = Vec::new();
        for asked in &gallery.prompts {
            if rows.iter().filter(|row| row.split == asked.split).count() < per_split {
                rows.push(asked);
            }
        }
        let mut systems: Vec<&str> = Vec::new();
        for shown in rows.iter().flat_map(|row| &row.images) {
            if !systems.contains(&shown.system.as_str()) {
                systems.push(&shown.system);
            }
        }
        (!systems.is_empty()).then_some(Self { systems, rows })
    }

    /// # Errors
    /// [`ReportError::Sheet`] if an image cannot be decoded.
    pub(super) fn png(&self) -> Result<Vec<u8>, ReportError> {
        let mut cells = Vec::new();
        for row in &self.rows {
            for system in &self.systems {
                let shown = row.images.iter().find(|shown| shown.system == *system);
                cells.push(shown.map(framed).transpose()?.unwrap_or_default());
            }
        }
        let mut png = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, PngFilter::Adaptive);
        grid(&cells, self.systems.len())
            .write_with_encoder(encoder)
            .map_err(ReportError::Sheet)?;
        Ok(png)
    }

    /// Description of columns and rows.
    pub(super) fn markdown(&self, file: &str) -> String {
        let mut text = format!(
            "\n## Images\n\n![a row a prompt, a column a system]({file})\n\nColumns: {}. Framed: the checker finds all that the prompt asks for. Rows:\n\n",
            self.systems.join(", ")
        );
        for row in &self.rows {
            let right = row.images.iter().filter(|shown| shown.is_right());
            let right: Vec<&str> = right.map(|shown| shown.system.as_str()).collect();
            let right = match right.as_slice() {
                [] => "nobody".to_owned(),
                some => some.join(", "),
            };
            text.push_str(&format!("- {}, \"{}\": {right}\n", row.split, row.prompt));
        }
        text
    }
}

/// The enlarged image, with its frame.
fn framed(shown: &GalleryImage) -> Result<RgbImage, ReportError> {
    let image = image::load_from_memory_with_format(&shown.png, ImageFormat::Png)
        .map_err(ReportError::Sheet)?
        .to_rgb8();
    let (width, height) = (image.width() * SCALE, image.height() * SCALE);
    let frame = if shown.is_right() { RIGHT } else { NOT };
    let mut cell = RgbImage::from_pixel(width + 2 * FRAME, height + 2 * FRAME, frame);
    let larger = resize(&image, width, height, FilterType::Nearest);
    image::imageops::replace(&mut cell, &larger, i64::from(FRAME), i64::from(FRAME));
    Ok(cell)
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::*;

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
                asked("a red dog", "unseen", vec![shown("b", false)?]),
            ],
            without: vec![],
        };
        assert!(Sheet::of(&gallery, 0).is_none());
        let sheet = Sheet::of(&gallery, 1).expect("images");
        let rows = "- seen, \"a red cat\": a\n- unseen, \"a red dog\": nobody\n";
        assert!(
            sheet.markdown("x.png").ends_with(rows),
            "{}",
            sheet.markdown("x.png")
        );

        let png = image::load_from_memory(&sheet.png()?)
            .map_err(ReportError::Sheet)?
            .to_rgb8();
        let (width, height) = (3 * SCALE + 2 * FRAME, 5 * SCALE + 2 * FRAME);
        let gap = (png.width() - 2 * width) / 3;
        assert_eq!(png.dimensions(), (3 * gap + 2 * width, 3 * gap + 2 * height));
        let at = |column: u32, row: u32, inset: u32| {
            let corner = |i: u32, side: u32| gap + i * (side + gap) + inset;
            png.get_pixel(corner(column, width), corner(row, height)).0
        };
        assert_eq!((at(0, 0, 0), at(0, 0, FRAME)), (RIGHT.0, [9, 9, 9]));
        assert_eq!((at(1, 0, 0), at(1, 0, FRAME)), (NOT.0, [9, 9, 9]));
        assert_eq!(at(1, 1, FRAME), [9, 9, 9]);
        assert_ne!(at(0, 1, FRAME), [9, 9, 9], "nobody drew there");
        Ok(())
    }
}
