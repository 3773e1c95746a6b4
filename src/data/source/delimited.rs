//! Reads the records of a delimited text file with their offsets.
//!
//! Fields may be quoted as in RFC 4180, also over several lines. Any other quote (CC3M's captions contain some) is an ordinary
//! character, so that it never swallows the following lines.

use std::io::{BufRead, Read, Seek, SeekFrom};

/// Most bytes of a line.
const LINE: u64 = 1 << 20;
/// Most lines of a record.
const LINES: usize = 64;

/// A record of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawRecord {
    /// Byte offset of its start.
    pub(super) offset: u64,
    /// Number of its first line, from 1.
    pub(super) line: u32,
    /// Its fields, or why it is invalid.
    pub(super) fields: Result<Vec<String>, Damage>,
}

/// An invalid line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// Not UTF-8.
    NotUtf8,
    /// Longer than any record.
    TooLong,
}

/// Reads records.
pub(super) struct Records<R> {
    reader: R,
    offset: u64,
    line: u32,
    separator: char,
    /// Number of fields of a record, if known.
    n_fields: Option<usize>,
}

impl<R: BufRead + Seek> Records<R> {
    /// A reader from `offset`, which is the start of line `line`.
    pub(super) fn new(
        mut reader: R,
        separator: char,
        n_fields: Option<usize>,
        (offset, line): (u64, u32),
    ) -> std::io::Result<Self> {
        reader.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            reader,
            offset,
            line,
            separator,
            n_fields,
        })
    }

    /// Seeks to another record.
    pub(super) fn go_to(&mut self, offset: u64, line: u32) -> std::io::Result<()> {
        if offset != self.offset {
            self.reader.seek(SeekFrom::Start(offset))?;
        }
        (self.offset, self.line) = (offset, line);
        Ok(())
    }

    /// The next record that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<RawRecord>> {
        loop {
            let (offset, line) = (self.offset, self.line);
            let Some((bytes, is_whole)) = self.line()? else {
                return Ok(None);
            };
            if is_whole && bytes.trim_ascii().is_empty() {
                continue;
            }
            let record = |fields| RawRecord { offset, line, fields };
            if !is_whole {
                return Ok(Some(record(Err(Damage::TooLong))));
            }
            let Ok(text) = String::from_utf8(bytes) else {
                return Ok(Some(record(Err(Damage::NotUtf8))));
            };
            let text = if offset == 0 {
                text.trim_start_matches('\u{feff}')
            } else {
                &text
            };
            let (fields, open) = split(ended(text), self.separator);
            // In a raw tab-separated table a line with all its fields is a record; otherwise an open quote continues on the next line.
            let complete = self.separator == '\t' && self.n_fields == Some(fields.len());
            if open
                && !complete
                && let Some(joined) = self.joined(text)?
            {
                return Ok(Some(record(Ok(joined))));
            }
            return Ok(Some(record(Ok(fields))));
        }
    }

    /// A line with its end, and whether all of it was read.
    fn line(&mut self) -> std::io::Result<Option<(Vec<u8>, bool)>> {
        let mut bytes = Vec::new();
        let n = self.reader.by_ref().take(LINE).read_until(b'\n', &mut bytes)?;
        if n == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.offset += n as u64;
        let is_whole = bytes.ends_with(b"\n") || (n as u64) < LINE;
        if !is_whole {
            let mut rest = Vec::new();
            loop {
                rest.clear();
                let n = self.reader.by_ref().take(LINE).read_until(b'\n', &mut rest)?;
                self.offset += n as u64;
                if n == 0 || rest.ends_with(b"\n") {
                    break;
                }
            }
        }
        Ok(Some((bytes, is_whole)))
    }

    /// The fields of `first` together with the following lines, if they form a record; otherwise the reader's position is unchanged.
    fn joined(&mut self, first: &str) -> std::io::Result<Option<Vec<String>>> {
        let before = (self.offset, self.line);
        let mut text = first.to_owned();
        for _ in 1..LINES {
            match self.line()? {
                Some((bytes, true)) if text.len() as u64 + (bytes.len() as u64) < LINE => {
                    match std::str::from_utf8(&bytes) {
                        Ok(more) => text.push_str(more),
                        Err(_) => break,
                    }
                }
                _ => break,
            }
            let (fields, open) = split(ended(&text), self.separator);
            if !open {
                if self.n_fields.is_none_or(|n| n == fields.len()) {
                    return Ok(Some(fields));
                }
                break;
            }
        }
        self.reader.seek(SeekFrom::Start(before.0))?;
        (self.offset, self.line) = before;
        Ok(None)
    }
}

/// The line without its end.
fn ended(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Fields of a record, and whether a quote is still open at its end.
pub(super) fn split(text: &str, separator: char) -> (Vec<String>, bool) {
    let (mut fields, mut rest, mut open) = (Vec::new(), text, false);
    loop {
        let (field, after) = match quoted(rest, separator) {
            Quoted::Field(field, after) => (field, after),
            other => {
                open |= matches!(other, Quoted::Open);
                match rest.split_once(separator) {
                    Some((field, after)) => (field.to_owned(), Some(after)),
                    None => (rest.to_owned(), None),
                }
            }
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return (fields, open),
        }
    }
}

enum Quoted<'a> {
    /// The field, and the rest after the separator.
    Field(String, Option<&'a str>),
    /// The quote is not closed.
    Open,
    /// The field is not quoted.
    No,
}

fn quoted(text: &str, separator: char) -> Quoted<'_> {
    let Some(inner) = text.trim_start_matches(' ').strip_prefix('"') else {
        return Quoted::No;
    };
    let (mut field, mut rest) = (String::new(), inner);
    loop {
        let Some(at) = rest.find('"') else {
            return Quoted::Open;
        };
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('"') {
            field.push('"');
            rest = after;
            continue;
        }
        let behind = rest.trim_start_matches(' ');
        return match behind.strip_prefix(separator) {
            Some(after) => Quoted::Field(field, Some(after)),
            None if behind.is_empty() => Quoted::Field(field, None),
            None => Quoted::No,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn all(text: &str, separator: char, n_fields: Option<usize>) -> Vec<(u32, Vec<String>)> {
        let mut records = Records::new(Cursor::new(text), separator, n_fields, (0, 1)).expect("begins");
        let mut found = Vec::new();
        while let Some(record) = records.next().expect("reads") {
            found.push((record.line, record.fields.expect("a text")));
        }
        found
    }

    #[test]
    fn quotes_that_are_none_swallow_nothing() {
        let text = "\"life is good\" - poster\tu/1.jpg\n\"an open one\tu/2.jpg\n\n\"two\nlines\"\tu/3.jpg\n\"a \"\"b\"\"\"\tu/4.jpg\n";
        let field = |s: &str| s.to_owned();
        assert_eq!(
            all(text, '\t', Some(2)),
            [
                (1, vec![field("\"life is good\" - poster"), field("u/1.jpg")]),
                (2, vec![field("\"an open one"), field("u/2.jpg")]),
                (4, vec![field("two\nlines"), field("u/3.jpg")]),
                (6, vec![field("a \"b\""), field("u/4.jpg")]),
            ]
        );
        let text = "a.jpg,\"one, two\"\nb.jpg,\"never closed\nc.jpg,x\n";
        assert_eq!(all(text, ',', Some(2)).len(), 3);
    }

    proptest! {
        /// CSV output of a writer parses to the same records, from any start.
        #[test]
        fn rfc_4180_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a-z,\"\n ;|]{0,6}[a-z]", 3), 1..8), separator in prop::sample::select(vec![',', ';', '|'])
        ) {
            let mut writer = csv::WriterBuilder::new().delimiter(separator as u8).from_writer(Vec::new());
            rows.iter().for_each(|row| writer.write_record(row).expect("writes"));
            let text = String::from_utf8(writer.into_inner().expect("ends")).expect("a text");
            let found: Vec<Vec<String>> = all(&text, separator, Some(3)).into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(found, rows);
        }
    }
}
