//! Which way up an image is, as Pillow's `ImageOps.exif_transpose` finds it.

use image::metadata::Orientation;

/// Exif's tag for the orientation.
const TAG: u16 = 0x0112;

/// The orientation that Exif says, else XMP; one that neither says, or that is out of 1 to 8, is upright.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let value = exif.and_then(from_exif).or_else(|| xmp.and_then(from_xmp));
    value
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// From the first directory of a TIFF structure, whatever integer type the value has. `Exif\0\0` may stand before it, even more than once.
fn from_exif(mut data: &[u8]) -> Option<u8> {
    while let Some(rest) = data.strip_prefix(b"Exif\0\0") {
        data = rest;
    }
    let little = match data.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let u16_at = |at: usize| -> Option<u16> {
        let bytes: [u8; 2] = data.get(at..at + 2)?.try_into().ok()?;
        Some(if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let u32_at = |at: usize| -> Option<u32> {
        let bytes: [u8; 4] = data.get(at..at + 4)?.try_into().ok()?;
        Some(if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let directory = u32_at(4)? as usize;
    let n = usize::from(u16_at(directory)?);
    for entry in (0..n).map(|i| directory + 2 + 12 * i) {
        if u16_at(entry)? != TAG {
            continue;
        }
        if u32_at(entry + 4)? != 1 {
            return None;
        }
        // BYTE, SHORT, LONG.
        return match u16_at(entry + 2)? {
            1 => data.get(entry + 8).copied(),
            3 => u16_at(entry + 8)?.try_into().ok(),
            4 => u32_at(entry + 8)?.try_into().ok(),
            _ => None,
        };
    }
    None
}

/// `tiff:Orientation="6"`, or `<tiff:Orientation>6`.
fn from_xmp(data: &[u8]) -> Option<u8> {
    const KEY: &[u8] = b"tiff:Orientation";
    let at = data.windows(KEY.len()).position(|w| w == KEY)? + KEY.len();
    let rest = &data[at..];
    let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
    let digit = value.first()?;
    digit.is_ascii_digit().then(|| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_exif_is_read_or_upright() {
        let tiff = |kind: u16, count: u32, value: &[u8; 4]| {
            let mut bytes = b"II*\0\x08\0\0\0\x01\0\x12\x01".to_vec();
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value);
            bytes
        };
        let found = |exif: &[u8]| of(Some(exif), None).to_exif();
        for kind in [1, 3, 4] {
            assert_eq!(found(&tiff(kind, 1, &[6, 0, 0, 0])), 6, "type {kind}");
        }
        assert_eq!(
            found(&[b"Exif\0\0Exif\0\0".to_vec(), tiff(3, 1, &[8, 0, 0, 0])].concat()),
            8
        );
        assert_eq!(
            found(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0"),
            3
        );
        for wrong in [
            tiff(3, 1, &[9, 0, 0, 0]),
            tiff(3, 2, &[6, 0, 6, 0]),
            tiff(2, 1, &[6, 0, 0, 0]),
        ] {
            assert_eq!(found(&wrong), 1);
        }
        for cut in 0..20 {
            assert_eq!(found(&tiff(3, 1, &[6, 0, 0, 0])[..cut]), 1, "cut at {cut}");
        }
        let xmp = |text: &str| of(None, Some(text.as_bytes())).to_exif();
        assert_eq!(xmp("<x tiff:Orientation=\"6\"/>"), 6);
        assert_eq!(xmp("<tiff:Orientation>8</tiff:Orientation>"), 8);
        assert_eq!(xmp("tiff:Orientation"), 1);
    }
}
