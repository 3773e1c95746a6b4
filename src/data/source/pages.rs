//! Checks the page sizes of a parquet file before decompression: a page of a few bytes may claim 2 GiB, which the crate
//! would allocate.
//!
//! A page begins with a header in Thrift's compact protocol: `type`, `uncompressed_page_size`, `compressed_page_size` (fields 1 to 3), and more (reference:
//! parquet-format `PageHeader`).

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use parquet::file::metadata::ParquetMetaData;

use crate::limits::MAX_PAGE;

/// Nested values of a header.
const DEPTH: usize = 8;

/// Checks that every page of `path` claims at most [`MAX_PAGE`] bytes. A header that cannot be parsed is left to the page reader.
pub(super) fn check(path: &Path, metadata: &ParquetMetaData) -> Result<(), String> {
    within(path, metadata, MAX_PAGE)
}

/// [`check`] with another limit.
pub(super) fn within(path: &Path, metadata: &ParquetMetaData, most: u64) -> Result<(), String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut file = BufReader::new(file);
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let (start, length) = column.byte_range();
        let (mut at, end) = (start, start.saturating_add(length));
        while at < end {
            let Some(header) = file.seek(SeekFrom::Start(at)).ok().and_then(|_| page(&mut file)) else {
                break;
            };
            if header.unpacked > most {
                return Err(format!(
                    "a page at byte {at} claims {} bytes, and no more than {most} are unpacked: write it with smaller pages",
                    header.unpacked
                ));
            }
            at = at.saturating_add(header.length).saturating_add(header.packed);
        }
    }
    Ok(())
}

/// Content of a header.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Size of the header.
    length: u64,
    unpacked: u64,
    packed: u64,
}

/// Parses the header at the position of `file`.
fn page(file: &mut impl Read) -> Option<Header> {
    let mut thrift = Thrift { file, read: 0 };
    let (mut field, mut sizes) = (0, [0; 4]);
    while let Some((id, kind)) = thrift.field(field)? {
        field = id;
        match (id, kind) {
            (2 | 3, I32) => sizes[id as usize] = u64::try_from(thrift.signed()?).unwrap_or(u64::MAX),
            _ => thrift.skip(kind, DEPTH)?,
        }
    }
    Some(Header {
        length: thrift.read,
        unpacked: sizes[2],
        packed: sizes[3],
    })
}

/// Type code of 32-bit integers.
const I32: u8 = 5;

/// The subset of Thrift's compact protocol that headers use.
struct Thrift<'a, R> {
    file: &'a mut R,
    read: u64,
}

impl<R: Read> Thrift<'_, R> {
    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.file.read_exact(&mut byte).ok()?;
        self.read += 1;
        Some(byte[0])
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A zigzag integer.
    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Number and type of the next field, `Some(None)` at the end of a struct.
    fn field(&mut self, last: i64) -> Option<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        let id = match byte >> 4 {
            0 => self.signed()?,
            delta => last.checked_add(i64::from(delta))?,
        };
        Some(Some((id, byte & 0x0F)))
    }

    fn skip_bytes(&mut self, n: u64) -> Option<()> {
        let skipped = std::io::copy(&mut self.file.by_ref().take(n), &mut std::io::sink()).ok()?;
        self.read += skipped;
        (skipped == n).then_some(())
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // Booleans are encoded in their type.
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.unsigned().map(drop),
            7 => self.skip_bytes(8),
            8 => {
                let n = self.unsigned()?;
                self.skip_bytes(n)
            }
            9 | 10 => {
                let byte = self.byte()?;
                let n = match byte >> 4 {
                    15 => self.unsigned()?,
                    n => u64::from(n),
                };
                // Each element takes at least a byte, so a long list ends with the file.
                (0..n).try_for_each(|_| match byte & 0x0F {
                    1 | 2 => self.byte().map(drop),
                    kind => self.skip(kind, depth),
                })
            }
            12 => {
                let mut last = 0;
                while let Some((id, kind)) = self.field(last)? {
                    last = id;
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_by_hand() {
        // type 0, 300 and 5 bytes, data_page_header { 1: 3, 2: binary "ab" }, end.
        let bytes = [
            0x15, 0x00, 0x15, 0xD8, 0x04, 0x15, 0x0A, 0x2C, 0x15, 0x06, 0x18, 0x02, b'a', b'b', 0x00, 0x00,
            0xFF,
        ];
        let expected = Header {
            length: 16,
            unpacked: 300,
            packed: 5,
        };
        assert_eq!(page(&mut bytes.as_slice()), Some(expected));
        for n in 0..16 {
            assert_eq!(page(&mut &bytes[..n]), None, "cut after {n}");
        }
    }
}
