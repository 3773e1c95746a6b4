//! Images from tensors, and PNG files with text chunks that say how they were made.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::assert_shape;
use image::{Rgb, RgbImage};

use crate::files::{self, FileError};
use crate::limits;

/// Width of the gaps between and around the images of a [`grid`], in pixels.
const GAP: u32 = 4;
/// Colour of the gaps.
const PAPER: Rgb<u8> = Rgb([255; 3]);
/// PNG's keyword for the program that wrote a file.
const SOFTWARE: &str = "Software";

/// An image that cannot be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The network gave values that are not finite.
    #[error("image {row} of its batch has {n} values that are not finite: another dtype or device may help")]
    NotFinite {
        /// Its row in the batch.
        row: usize,
        /// How many of its values.
        n: usize,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Texts that PNG cannot hold.
    #[error("cannot write {path} as PNG")]
    Encode {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: png::EncodingError,
    },
    /// A file that is not a whole PNG.
    #[error("{path} is no whole PNG")]
    Decode {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: png::DecodingError,
    },
}

/// `x`: `[batch, 3, h, w]`, nominally -1..1 -> 8 bits a channel. Clamped, and halves rounded to even, as the reference does.
///
/// # Errors
/// [`ImageError::NotFinite`]: a black image would hide an overflow.
pub fn to_images(x: Tensor<4>) -> Result<Vec<RgbImage>, ImageError> {
    assert_shape!(x, [_, 3, _, _]);
    let [_, channels, h, w] = x.dims();
    let x = x.permute([0, 2, 3, 1]);
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    let image = |(row, values): (usize, &[f32])| {
        if let Some(limits::Odd { n, .. }) = limits::not_finite(values.iter().copied()) {
            return Err(ImageError::NotFinite { row, n });
        }
        let level = |v: &f32| ((v * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let pixels = values.iter().map(level).collect();
        Ok(RgbImage::from_raw(w as u32, h as u32, pixels).expect("a value for every channel of every pixel"))
    };
    values
        .chunks_exact(channels * h * w)
        .enumerate()
        .map(image)
        .collect()
}

/// Writes `image` to `path` with `texts`, pairs of a keyword (1 to 79 Latin-1 characters) and any text, after one that names this program and its
/// version. Plain ASCII goes to `tEXt` chunks, which every reader knows, anything else to UTF-8 `iTXt` chunks. The file appears whole or not at all.
///
/// # Errors
/// [`ImageError::Encode`] for a keyword that PNG does not allow, [`ImageError::File`] when the disk refuses.
pub fn write_png(path: &Path, image: &RgbImage, texts: &[(String, String)]) -> Result<(), ImageError> {
    let bytes = encode_png(image, texts).map_err(|source| ImageError::Encode {
        path: path.into(),
        source,
    })?;
    Ok(files::write_atomic(path, &bytes)?)
}

/// The bytes that [`write_png`] writes.
///
/// # Errors
/// When PNG does not allow a keyword.
pub fn encode_png(image: &RgbImage, texts: &[(String, String)]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let version = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let software = (SOFTWARE.to_string(), version.to_string());
    for (keyword, text) in std::iter::once(&software).chain(texts) {
        let is_plain = text
            .chars()
            .all(|c| c.is_ascii_graphic() || c == ' ' || c == '\n');
        match is_plain {
            true => encoder.add_text_chunk(keyword.clone(), text.clone()),
            false => encoder.add_itxt_chunk(keyword.clone(), text.clone()),
        }?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The texts of a PNG file that stand before its pixels, sorted by keyword.
///
/// # Errors
/// [`ImageError::File`], or [`ImageError::Decode`] for a file that is not a whole PNG.
pub fn read_png_texts(path: &Path) -> Result<Vec<(String, String)>, ImageError> {
    let bytes = files::read(path)?;
    let fail = |source| ImageError::Decode {
        path: path.into(),
        source,
    };
    let reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .map_err(fail)?;
    let info = reader.info();
    let mut texts = Vec::new();
    for chunk in &info.uncompressed_latin1_text {
        texts.push((chunk.keyword.clone(), chunk.text.clone()));
    }
    for chunk in &info.compressed_latin1_text {
        texts.push((chunk.keyword.clone(), chunk.get_text().map_err(fail)?));
    }
    for chunk in &info.utf8_text {
        texts.push((chunk.keyword.clone(), chunk.get_text().map_err(fail)?));
    }
    texts.sort();
    Ok(texts)
}

/// A contact sheet: `images` row by row in so many `columns`, in cells of the largest image's size.
///
/// # Panics
/// If there are no images or no columns.
pub fn grid(images: &[RgbImage], columns: usize) -> RgbImage {
    assert!(!images.is_empty() && columns > 0, "a sheet has images");
    let columns = columns.min(images.len());
    let side = |size: fn(&RgbImage) -> u32| images.iter().map(size).max().unwrap_or(0) + GAP;
    let (cell_w, cell_h) = (side(RgbImage::width), side(RgbImage::height));
    let rows = images.len().div_ceil(columns);
    let mut sheet = RgbImage::from_pixel(GAP + cell_w * columns as u32, GAP + cell_h * rows as u32, PAPER);
    for (i, image) in images.iter().enumerate() {
        let (x, y) = (
            (i % columns) as u32 * cell_w + GAP,
            (i / columns) as u32 * cell_h + GAP,
        );
        image::imageops::replace(&mut sheet, image, i64::from(x), i64::from(y));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        let device = DeviceSpec::default().device().expect("the default device exists");
        Tensor::from_data(TensorData::new(values, shape), &device)
    }

    #[test]
    fn levels_are_clamped_and_rounded_to_even() {
        // The reference's (numpy's) results; 127.5 and 0.5 are exact halves.
        let level = |k: f32| k / 255.0 * 2.0 - 1.0;
        let values = vec![
            -1.5,
            -1.0,
            0.0,
            1.0,
            2.0,
            level(0.4),
            level(0.6),
            level(7.0),
            level(254.4),
            level(254.6),
            -0.25,
            0.75,
        ];
        let images = to_images(tensor(values, [1, 3, 2, 2])).expect("finite");
        let pixel = |x, y| images[0].get_pixel(x, y).0;
        assert_eq!(images[0].dimensions(), (2, 2));
        assert_eq!(
            [pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1)],
            [[0, 255, 254], [0, 0, 255], [128, 1, 96], [255, 7, 223]]
        );
    }

    #[test]
    fn a_value_that_is_not_finite_is_named() {
        let mut values = vec![0.0; 2 * 3 * 4];
        (values[12], values[20]) = (f32::NAN, f32::INFINITY);
        let error = to_images(tensor(values, [2, 3, 2, 2])).expect_err("refused");
        let message =
            "image 1 of its batch has 2 values that are not finite: another dtype or device may help";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn texts_and_pixels_survive_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("one.png");
        let image = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8 * 50, y as u8 * 80, 7]));
        let texts = [
            ("negative", "blurry"),
            ("prompt", "кот, 猫 and a naïve café\n🦊 \"quoted\""),
            ("seed", "18446744073709551615"),
            ("weights", ""),
        ]
        .map(|(keyword, text)| (keyword.to_string(), text.to_string()));
        write_png(&path, &image, &texts).expect("written");
        assert_eq!(image::open(&path).expect("an image").into_rgb8(), image);
        let software = (
            "Software".to_string(),
            format!("eclipse-t2i {}", env!("CARGO_PKG_VERSION")),
        );
        assert_eq!(
            read_png_texts(&path).expect("read"),
            [&[software], texts.as_slice()].concat()
        );
        let bytes = std::fs::read(&path).expect("a file");
        let count = |name: &[u8]| bytes.windows(4).filter(|w| *w == name).count();
        assert_eq!(
            (count(b"tEXt"), count(b"iTXt")),
            (4, 1),
            "ASCII is written for every reader"
        );

        std::fs::write(&path, &bytes[..60]).expect("written");
        let error = read_png_texts(&path).expect_err("cut short");
        assert_eq!(error.to_string(), format!("{} is no whole PNG", path.display()));
    }

    #[test]
    fn a_keyword_that_png_does_not_allow_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("one.png");
        std::fs::write(&path, "old").expect("written");
        for keyword in [String::new(), "k".repeat(80), "ключ".to_string()] {
            let error =
                write_png(&path, &RgbImage::new(1, 1), &[(keyword, "text".into())]).expect_err("refused");
            assert_eq!(
                error.to_string(),
                format!("cannot write {} as PNG", path.display())
            );
        }
        assert_eq!(std::fs::read(&path).expect("the old file"), b"old");
    }

    #[test]
    fn a_sheet_holds_every_image_at_its_place() {
        let solid = |w, h, level| RgbImage::from_pixel(w, h, Rgb([level; 3]));
        let sheet = grid(&[solid(2, 3, 1), solid(4, 2, 2), solid(1, 1, 3)], 2);
        // Two columns of 4 and two rows of 3, with gaps of 4 around them.
        assert_eq!(sheet.dimensions(), (20, 18));
        let at = |x, y| sheet.get_pixel(x, y).0[0];
        assert_eq!(
            [at(4, 4), at(5, 6), at(12, 4), at(15, 5), at(4, 11)],
            [1, 1, 2, 2, 3]
        );
        let paper = sheet.pixels().filter(|p| p.0 == [255; 3]).count();
        assert_eq!(paper, 20 * 18 - 6 - 8 - 1);
        assert_eq!(grid(&[solid(2, 3, 1)], 5).dimensions(), (10, 11));
    }
}
