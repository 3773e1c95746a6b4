//! CC3M's `caption TAB url` and CC12M's `url TAB caption`, as published without a header, with the pictures in a folder.
//!
//! Millions of lines: only where every ten-thousandth begins is kept in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::caption::usable;
use super::{
    Item, Items, Picture, Reader, Record, Reject, RejectReason, SourceError, UNIT, inside, names_and_sizes,
};
use crate::files::FileError;

/// What pictures are called where the line does not say.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// What the columns of a header are called, where somebody has put one.
const HEADERS: [&str; 10] = [
    "caption",
    "text",
    "title",
    "url",
    "image_url",
    "image",
    "file",
    "file_name",
    "filename",
    "path",
];
/// Lines by which it is told which column is the caption.
const SAMPLE: usize = 100;

/// The table.
pub(super) struct Table {
    path: PathBuf,
    images: PathBuf,
    /// Whether the caption comes first.
    caption_first: bool,
    /// Lines before the first record: 0, or a header.
    n_before: usize,
    n_lines: usize,
    /// Where each unit's first line begins.
    starts: Vec<u64>,
}

impl Table {
    pub(super) fn open(path: &Path, images: PathBuf) -> Result<Self, SourceError> {
        let fail = |source| FileError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        };
        let mut reader = open(path)?;
        let (mut n_lines, mut at, mut starts, mut votes) = (0, 0, Vec::new(), 0i64);
        let mut n_before = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line).map_err(fail)?;
            if n == 0 {
                break;
            }
            if at == 0 && is_header(&line) {
                (n_before, at) = (1, n as u64);
                continue;
            }
            if n_lines % UNIT == 0 {
                starts.push(at);
            }
            if n_lines < SAMPLE {
                let text = String::from_utf8_lossy(&line);
                if let Some((a, b)) = text.trim_end().split_once('\t') {
                    votes += i64::from(names_a_picture(b)) - i64::from(names_a_picture(a));
                }
            }
            at += n as u64;
            n_lines += 1;
        }
        if votes == 0 && n_lines > 0 {
            let reason =
                "expected lines of a caption and a picture's URL or path, parted by a tab, in either order";
            return Err(SourceError::content(path, reason));
        }
        Ok(Self {
            path: path.to_path_buf(),
            images,
            caption_first: votes > 0,
            n_before,
            n_lines,
            starts,
        })
    }

    fn place(&self, number: usize) -> String {
        format!("{} line {}", self.path.display(), self.n_before + number + 1)
    }

    fn item(&self, number: usize, line: &[u8]) -> Item {
        let place = self.place(number);
        let reject = |(reason, detail): (RejectReason, String)| {
            Reject::item(number.to_string(), &place, reason, detail)
        };
        let Ok(line) = std::str::from_utf8(line) else {
            return reject((RejectReason::NotUtf8, "a line in another encoding".into()));
        };
        let Some((a, b)) = line.trim_end_matches(['\n', '\r']).split_once('\t') else {
            return reject((RejectReason::BadRecord, "no tab".into()));
        };
        let (caption, name) = if self.caption_first { (a, b) } else { (b, a) };
        let captions = match usable([(None, caption)]) {
            Ok(captions) => captions,
            Err(why) => return reject(why),
        };
        match self.file(number, name.trim()) {
            Ok(file) => Item::Record(Record {
                id: number.to_string(),
                place,
                captions: captions.captions,
                dropped: captions.dropped,
                picture: Picture::File(file),
            }),
            Err(why) => reject(why),
        }
    }

    /// The picture of a line: the path it names, else the last part of its URL, else a file of the line's number, as img2dataset writes them.
    fn file(&self, number: usize, name: &str) -> Result<PathBuf, (RejectReason, String)> {
        let mut tried = Vec::new();
        if name.contains("://") {
            let bare = name.split(['?', '#']).next().unwrap_or(name);
            tried.extend(
                bare.rsplit('/')
                    .next()
                    .and_then(|last| inside(&self.images, last)),
            );
        } else {
            match inside(&self.images, name) {
                Some(file) => tried.push(file),
                None => {
                    let detail = format!("{name:?} leads out of {}", self.images.display());
                    return Err((RejectReason::UnsafePath, detail));
                }
            }
        }
        let numbered = format!("{number:09}");
        for folder in [
            self.images.clone(),
            self.images.join(format!("{:05}", number / UNIT)),
        ] {
            tried.extend(EXTENSIONS.map(|e| folder.join(format!("{numbered}.{e}"))));
        }
        let found = tried.iter().find(|file| file.is_file());
        found.cloned().ok_or_else(|| {
            let detail = format!("no {name} and no {numbered}.jpg in {}", self.images.display());
            (RejectReason::NoPicture, detail)
        })
    }
}

fn is_header(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line)
        .trim_start_matches('\u{feff}')
        .to_lowercase();
    let named = |column: &str| HEADERS.contains(&column.trim().trim_matches('"'));
    line.split_once('\t').is_some_and(|(a, b)| named(a) && named(b))
}

fn names_a_picture(column: &str) -> bool {
    let bare = column.split(['?', '#']).next().unwrap_or(column).to_lowercase();
    let named = EXTENSIONS.iter().any(|e| bare.ends_with(&format!(".{e}")));
    column.contains("://") || (named && !column.trim().contains(' '))
}

fn open(path: &Path) -> Result<BufReader<File>, SourceError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => FileError::Missing(path.to_path_buf()),
        _ => FileError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        },
    })?;
    Ok(BufReader::new(file))
}

impl Reader for Table {
    fn n_units(&self) -> usize {
        self.starts.len()
    }

    fn unit_name(&self, unit: usize) -> String {
        format!("{}, lines from {}", self.path.display(), unit * UNIT + 1)
    }

    fn n_records(&self) -> Option<usize> {
        Some(self.n_lines)
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let mut reader = open(&self.path)?;
        let start = self.starts.get(unit).copied().unwrap_or(u64::MAX);
        reader
            .seek(SeekFrom::Start(start))
            .map_err(|source| FileError::Io {
                action: "read",
                path: self.path.clone(),
                source,
            })?;
        let lines = reader.split(b'\n').take(UNIT).enumerate();
        Ok(Box::new(lines.map(move |(i, line)| {
            let number = unit * UNIT + i;
            match line {
                Ok(line) => self.item(number, &line),
                Err(e) => Reject::item(number.to_string(), self.place(number), RejectReason::Truncated, e),
            }
        })))
    }

    fn identity(&self) -> Result<String, SourceError> {
        names_and_sizes(std::slice::from_ref(&self.path))
    }
}
