//! Parquet in Hugging Face's layout: a column `image` of `{bytes, path}`, of bytes or of a path, and one or several captions.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

use super::caption::usable;
use super::columns::{self, Columns, Found};
use super::item::{Fault, Item, Record, RecordImage, Reject, RejectReason, SourceError};
use super::pages;
use super::place::{PARQUET, Splits, files_at, not_a};
use super::reader::{Files, Items, Kind, Reader, SourceOptions, inside, names_and_sizes, threaded};
use crate::files::FileError;
use crate::files::guarded as quiet;

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: PARQUET,
    scheme: None,
    extensions: &["parquet"],
    files: Files::Many,
    open: |place, options| Ok(Box::new(Parquet::open(place, options)?)),
};

/// Names of id columns.
const IDS: [&str; 4] = ["id", "key", "image_id", "__key__"];
/// Columns of the log that img2dataset writes beside its images; none of them is an image.
const LOG: [&str; 3] = ["url", "key", "status"];

/// The files, one per unit.
pub(super) struct Parquet {
    files: Vec<PathBuf>,
    /// Base folder of paths.
    images: PathBuf,
    columns: Columns,
    n_rows: Option<usize>,
    faults: Vec<(usize, Fault)>,
    notes: Vec<String>,
}

impl Parquet {
    pub(super) fn open(place: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let path = Path::new(place);
        let (mut files, mut notes) = (files_at(place, "parquet")?, Vec::new());
        let root = if path.is_dir() { path } else { Path::new("") };
        if let Some(chosen) = Splits::of(root, &files, options.split.as_deref()) {
            (files, notes) = chosen?;
        }
        let (mut n_rows, mut faults, mut first_wrong) = (0, Vec::new(), None);
        for (unit, file) in files.iter().enumerate() {
            match checked(file, &options.columns) {
                Ok(n) => n_rows += n,
                Err(wrong) => {
                    let fault = Fault::new(file, wrong.reason());
                    first_wrong.get_or_insert(wrong);
                    faults.push((unit, fault));
                }
            }
        }
        if faults.len() == files.len()
            && let Some(wrong) = first_wrong
        {
            return Err(wrong);
        }
        let folder = if path.is_dir() {
            Some(path)
        } else {
            path.parent().filter(|p| !p.as_os_str().is_empty())
        };
        let images = options.images.clone();
        Ok(Self {
            images: images.unwrap_or_else(|| folder.unwrap_or(Path::new(".")).to_path_buf()),
            n_rows: faults.is_empty().then_some(n_rows),
            files,
            columns: options.columns.clone(),
            faults,
            notes,
        })
    }
}

/// Refuses files with unsupported compression.
fn checked(file: &Path, columns: &Columns) -> Result<usize, SourceError> {
    if let Some(wrong) = not_a(PARQUET, file) {
        return Err(SourceError::content(file, wrong));
    }
    let reader = open(file)?;
    let names = names(&reader);
    let found = columns::find(names.iter().map(String::as_str), columns)
        .map_err(|e| SourceError::content(file, e))?;
    for (what, is_there) in [
        ("image", !found.image.is_empty()),
        ("caption", found.has_caption()),
    ] {
        if !is_there {
            return Err(SourceError::content(file, columns::missing(what, &names)));
        }
    }
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            let name = match column.compression() {
                Compression::LZ4 | Compression::LZ4_RAW => "LZ4",
                Compression::BROTLI(_) => "Brotli",
                Compression::LZO => "LZO",
                _ => continue,
            };
            let reason =
                format!("is compressed by {name}, which is not read: write it with snappy, zstd or gzip");
            return Err(SourceError::content(file, reason));
        }
    }
    guarded(|| pages::check(file, reader.metadata()))
        .and_then(|checked| checked)
        .map_err(|e| SourceError::content(file, e))?;
    Ok(usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0))
}

fn names(reader: &SerializedFileReader<File>) -> Vec<String> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let fields = schema.root_schema().get_fields().iter();
    fields.map(|f| f.name().to_owned()).collect()
}

/// Whether a file is the log of an image downloader, without an image in it.
pub(super) fn is_log(file: &Path) -> bool {
    open(file).is_ok_and(|reader| {
        let names = names(&reader);
        LOG.iter().all(|wanted| names.iter().any(|name| name == wanted))
    })
}

pub(super) fn open(path: &Path) -> Result<SerializedFileReader<File>, SourceError> {
    let file = File::open(path).map_err(|source| FileError::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    guarded(|| SerializedFileReader::new(file))
        .and_then(|reader| reader.map_err(|e| e.to_string()))
        .map_err(|e| SourceError::content(path, e))
}

/// Reports the crate's panic as an error.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    quiet(read).ok_or_else(|| "the file is damaged".to_owned())
}

/// Calls `each` with every row of `path`, or with the error that ends the file; `each` returns whether to continue.
pub(super) fn rows(path: &Path, mut each: impl FnMut(usize, Result<Row, String>) -> bool) {
    let reader = match open(path) {
        Ok(reader) => reader,
        Err(e) => {
            each(0, Err(e.to_string()));
            return;
        }
    };
    let mut number = 0;
    let read = guarded(|| {
        for row in RowIter::from_file_into(Box::new(reader)) {
            let failed = row.is_err();
            if !each(number, row.map_err(|e| e.to_string())) || failed {
                return;
            }
            number += 1;
        }
    });
    if let Err(damaged) = read {
        each(number, Err(damaged));
    }
}

impl Reader for Parquet {
    fn n_units(&self) -> usize {
        self.files.len()
    }

    fn unit_name(&self, unit: usize) -> String {
        self.files[unit].display().to_string()
    }

    fn n_records(&self) -> Option<usize> {
        self.n_rows
    }

    fn faults(&self) -> Vec<(usize, Fault)> {
        self.faults.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let (path, images, columns) = (
            self.files[unit].clone(),
            self.images.clone(),
            self.columns.clone(),
        );
        let found = {
            let names = names(&open(&path)?);
            columns::find(names.iter().map(String::as_str), &columns)
                .map_err(|e| SourceError::content(&path, e))?
        };
        Ok(threaded(&self.files[unit], move |tell| {
            rows(&path, |number, row| {
                let place = format!("{} row {number}", path.display());
                match row {
                    Ok(row) => tell(item(number, place, &row, &found, &images)),
                    Err(e) => tell(Item::Fault(Fault::new(&path, format!("row {number}: {e}")))),
                }
            });
        }))
    }

    fn files(&self, unit: usize) -> Vec<PathBuf> {
        vec![self.files[unit].clone()]
    }

    fn identity(&self) -> Result<String, SourceError> {
        names_and_sizes(&self.files)
    }
}

fn item(number: usize, place: String, row: &Row, found: &Found, images: &Path) -> Item {
    let id = match column(row, &IDS) {
        Some(Field::Str(id)) => id.clone(),
        Some(Field::Long(id)) => id.to_string(),
        Some(Field::Int(id)) => id.to_string(),
        _ => number.to_string(),
    };
    let record = texts(row, found)
        .and_then(|texts| usable(texts.into_iter().map(|text| (None, text))))
        .and_then(|captions| Ok((captions, image(row, found, images)?)));
    match record {
        Ok((captions, image)) => Item::Record(Record {
            id,
            place,
            captions: captions.captions,
            dropped: captions.dropped,
            caption_file: None,
            image,
        }),
        Err((reason, detail)) => Reject::item(id, place, reason, detail),
    }
}

fn column<'a>(row: &'a Row, names: &[&str]) -> Option<&'a Field> {
    let named = |wanted: &&str| {
        row.get_column_iter()
            .find(|(name, _)| columns::plain(name) == *wanted)
    };
    names.iter().find_map(named).map(|(_, field)| field)
}

/// The columns with these numbers.
fn at<'a>(row: &'a Row, numbers: &'a [usize]) -> impl Iterator<Item = &'a Field> + 'a {
    numbers
        .iter()
        .filter_map(|&i| row.get_column_iter().nth(i))
        .map(|(_, field)| field)
}

/// The texts of a field: a text, texts in a list, or groups with `raw`, `caption` or `text`.
fn texts_of(field: &Field) -> Result<Vec<String>, (RejectReason, String)> {
    Ok(match field {
        Field::Str(text) if !text.trim().is_empty() => vec![text.clone()],
        Field::Bytes(bytes) => {
            let text = String::from_utf8(bytes.data().to_vec());
            vec![text.map_err(|e| (RejectReason::NotUtf8, e.to_string()))?]
        }
        Field::ListInternal(list) => {
            let each = list.elements().iter().map(texts_of);
            each.collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect()
        }
        Field::Group(group) => match column(group, &["raw", "caption", "text"]) {
            Some(field) => texts_of(field)?,
            None => vec![],
        },
        _ => vec![],
    })
}

/// The captions of a row: the first non-empty column.
fn texts(row: &Row, found: &Found) -> Result<Vec<String>, (RejectReason, String)> {
    for field in at(row, &found.caption) {
        let texts = texts_of(field)?;
        if !texts.is_empty() {
            return Ok(texts);
        }
    }
    let numbered = at(row, &found.numbered)
        .map(texts_of)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(numbered.concat())
}

/// The captions of a row of metadata.
pub(super) fn captions(row: &Row) -> Result<Vec<String>, (RejectReason, String)> {
    let names: Vec<&String> = row.get_column_iter().map(|(name, _)| name).collect();
    let found = columns::find(names.iter().map(|n| n.as_str()), &Columns::default()).unwrap_or_default();
    texts(row, &found)
}

fn image(row: &Row, found: &Found, images: &Path) -> Result<RecordImage, (RejectReason, String)> {
    let mut why = (RejectReason::NoImage, "neither bytes nor a path".to_owned());
    let mut named = |name: &str| match inside(images, name) {
        Some(file) if file.is_file() => Some(RecordImage::File(file)),
        Some(_) => {
            why = (
                RejectReason::NoImage,
                format!("no {name} in {}", images.display()),
            );
            None
        }
        None => {
            let detail = format!("{name:?} leads out of {}", images.display());
            why = (RejectReason::UnsafePath, detail);
            None
        }
    };
    for field in at(row, &found.image) {
        let image = match field {
            Field::Bytes(bytes) if !bytes.data().is_empty() => {
                Some(RecordImage::Encoded(bytes.data().to_vec()))
            }
            Field::Str(name) => named(name),
            Field::Group(group) => match (column(group, &["bytes"]), column(group, &["path"])) {
                (Some(Field::Bytes(bytes)), _) if !bytes.data().is_empty() => {
                    Some(RecordImage::Encoded(bytes.data().to_vec()))
                }
                (_, Some(Field::Str(name))) => named(name),
                _ => None,
            },
            _ => None,
        };
        if let Some(image) = image {
            return Ok(image);
        }
    }
    Err(why)
}
