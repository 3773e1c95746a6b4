use image::{ImageFormat, Rgb};
use proptest::prelude::*;

use super::*;

/// Made by Pillow, with what it reads them as.
const BY_PILLOW: [(&str, &[u8], &[u8]); 3] = [
    (
        "progressive",
        include_bytes!("progressive.jpg"),
        include_bytes!("progressive.png"),
    ),
    (
        "restart markers",
        include_bytes!("restart.jpg"),
        include_bytes!("restart.png"),
    ),
    (
        "grey, progressive, restart markers",
        include_bytes!("grey.jpg"),
        include_bytes!("grey.png"),
    ),
];

fn all() -> ImageLimits {
    ImageLimits::default()
}

fn photo() -> RgbImage {
    RgbImage::from_fn(48, 40, |x, y| {
        Rgb([(x * 5) as u8, (y * 6) as u8, (x * y % 251) as u8])
    })
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    photo().write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

/// The bytes with an Exif segment that says `orientation`.
fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut segment = b"\xFF\xE1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    segment.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &segment, &jpeg[2..]].concat()
}

#[test]
fn complete_jpegs_are_what_pillow_reads() {
    for (name, jpeg, png) in BY_PILLOW {
        let here = decode(jpeg, &all()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let there = decode(png, &all()).expect("a PNG");
        let far = here
            .as_raw()
            .iter()
            .zip(there.as_raw())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(
            here.dimensions() == there.dimensions() && far <= Some(3),
            "{name}: {far:?} apart"
        );
    }
}

#[test]
fn every_orientation_becomes_upright() {
    let jpeg = encoded(ImageFormat::Jpeg);
    let stored = decode(&jpeg, &all()).expect("reads");
    let (w, h) = stored.dimensions();
    for orientation in 0..=9 {
        let found = decode(&with_exif(&jpeg, orientation), &all()).expect("reads");
        // Where a pixel of the upright image lies in the stored one (Exif 2.3, 4.6.4).
        let upright = |x: u32, y: u32| match orientation {
            2 => (w - 1 - x, y),
            3 => (w - 1 - x, h - 1 - y),
            4 => (x, h - 1 - y),
            5 => (y, x),
            6 => (y, h - 1 - x),
            7 => (w - 1 - y, h - 1 - x),
            8 => (w - 1 - y, x),
            _ => (x, y),
        };
        let size = if (5..=8).contains(&orientation) {
            (h, w)
        } else {
            (w, h)
        };
        assert_eq!(found.dimensions(), size, "orientation {orientation}");
        for (x, y, pixel) in found.enumerate_pixels() {
            let (from_x, from_y) = upright(x, y);
            assert_eq!(
                pixel,
                stored.get_pixel(from_x, from_y),
                "orientation {orientation}"
            );
        }
    }
}

#[test]
fn sixteen_bits_are_read_as_pillow_does() {
    let file = |image: DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).expect("encodes");
        decode(&bytes.into_inner(), &all())
            .expect("reads")
            .get_pixel(0, 0)
            .0
    };
    let colours = image::ImageBuffer::from_pixel(9, 9, Rgb([65535u16, 255, 32768 + 255]));
    assert_eq!(file(DynamicImage::ImageRgb16(colours)), [255, 0, 128]);
    for (value, wanted) in [(77, 77), (256, 255), (65535, 255)] {
        let grey = image::ImageBuffer::from_pixel(9, 9, image::Luma([value]));
        assert_eq!(file(DynamicImage::ImageLuma16(grey)), [wanted; 3]);
    }
}

#[test]
fn a_webp_that_was_never_written_to_its_end_is_refused() {
    let webp = encoded(ImageFormat::WebP);
    decode(&webp, &all()).expect("whole");
    let half = webp.len() / 2;
    let zeroed = [&webp[..half], &vec![0; webp.len() - half]].concat();
    let said = decode(&zeroed, &all()).expect_err("refused").to_string();
    assert!(
        said.ends_with("bytes are zero: they were never written"),
        "{said}"
    );
}

#[test]
fn what_is_no_image_is_told_by_its_first_bytes() {
    for (bytes, wanted) in [
        (&b""[..], "an empty file; JPEG, PNG and WebP are read"),
        (b"GIF89a", "a GIF; JPEG, PNG and WebP are read"),
        (
            b"\n<!DOCTYPE html><p>404",
            "an HTML page; JPEG, PNG and WebP are read",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "a git-lfs pointer (run `git lfs pull`); JPEG, PNG and WebP are read",
        ),
        (b"hello", "not an image; JPEG, PNG and WebP are read"),
    ] {
        assert_eq!(decode(bytes, &all()).expect_err("refused").to_string(), wanted);
    }
}

proptest! {
    /// Nothing of a JPEG can be missing: not its end, not a part with an end behind it, not bytes that were never written.
    #[test]
    fn a_jpeg_with_missing_bytes_is_refused(which in 0usize..4, at in 0.0f64..1.0, hole in 24usize..200) {
        let baseline = encoded(ImageFormat::Jpeg);
        let jpeg = BY_PILLOW.get(which).map_or(&baseline[..], |(_, jpeg, _)| jpeg);
        let cut = 2 + (at * (jpeg.len() - 3) as f64) as usize;
        prop_assert!(decode(&jpeg[..cut], &all()).is_err(), "cut at {cut} of {}", jpeg.len());
        let zeroed = [&jpeg[..cut], &vec![0; jpeg.len() - cut]].concat();
        prop_assert!(decode(&zeroed, &all()).is_err(), "zeroed from {cut} of {}", jpeg.len());
        if cut + hole < jpeg.len() - 2 {
            let ended = [&jpeg[..cut], &[0xFF, 0xD9]].concat();
            prop_assert!(decode(&ended, &all()).is_err(), "ended at {cut} of {}", jpeg.len());
        }
    }
}
