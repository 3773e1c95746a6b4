//! Texts compressed by gzip.

use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::{FileError, read};
use crate::limits::MAX_TEXT;

/// `text` as gzip writes it, without name and time: the same text gives the same bytes.
///
/// # Panics
/// Never: nothing is written but memory.
pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    written.expect("memory takes every byte")
}

/// The text of a file that gzip wrote.
///
/// # Errors
/// Like [`read()`], [`FileError::TooLarge`] for a text of more than [`MAX_TEXT`] bytes, [`FileError::Io`] for damaged data or text that is not UTF-8.
pub fn read_gzip(path: impl AsRef<Path>) -> Result<String, FileError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let mut text = String::new();
    let n = GzDecoder::new(&bytes[..])
        .take(MAX_TEXT + 1)
        .read_to_string(&mut text)
        .map_err(|e| FileError::io("unpack", path, e))?;
    match n as u64 > MAX_TEXT {
        true => Err(FileError::TooLarge {
            path: path.to_path_buf(),
            most: MAX_TEXT,
            what: "a text",
        }),
        false => Ok(text),
    }
}
