//! Parquet as Hugging Face keeps pictures: a column `image` of `{bytes, path}`, of bytes or of a path, and one with a caption or several.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

use super::caption::usable;
use crate::image_file::guarded as quiet;
use super::{
    Item, Items, Picture, Reader, Record, Reject, RejectReason, SourceError, inside, names_and_sizes,
    threaded,
};
use crate::files::{self, FileError};

/// What columns are called.
const IMAGES: [&str; 4] = ["image", "jpg", "png", "image_path"];
pub(super) const CAPTIONS: [&str; 5] = ["caption", "text", "captions", "sentences", "txt"];
const IDS: [&str; 4] = ["id", "key", "image_id", "__key__"];

/// The files, each a unit.
pub(super) struct Parquet {
    files: Vec<PathBuf>,
    /// Where paths lead.
    images: PathBuf,
    n_rows: usize,
}

impl Parquet {
    pub(super) fn open(path: &Path, images: Option<PathBuf>) -> Result<Self, SourceError> {
        let files = in_folder(path, "parquet")?;
        let mut n_rows = 0;
        for file in &files {
            let reader = open(file)?;
            let schema = reader.metadata().file_metadata().schema_descr();
            let names: Vec<&str> = schema
                .root_schema()
                .get_fields()
                .iter()
                .map(|f| f.name())
                .collect();
            for wanted in [&IMAGES[..], &CAPTIONS[..]] {
                if !names.iter().any(|name| wanted.contains(name)) {
                    let reason = format!(
                        "expected a column {}, found {}",
                        wanted.join(" or "),
                        names.join(", ")
                    );
                    return Err(SourceError::content(file, reason));
                }
            }
            n_rows += usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
        }
        let folder = if path.is_dir() { Some(path) } else { path.parent() };
        let images = images.unwrap_or_else(|| folder.unwrap_or(Path::new(".")).to_path_buf());
        Ok(Self {
            files,
            images,
            n_rows,
        })
    }
}

/// `path`, or the files of this kind in it.
pub(super) fn in_folder(path: &Path, extension: &str) -> Result<Vec<PathBuf>, SourceError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let is_one = |f: &PathBuf| f.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));
    Ok(files::list(path)?.into_iter().filter(is_one).collect())
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

/// Says why there is nothing where the crate gave up.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    quiet(read).ok_or_else(|| "the file is damaged".to_owned())
}

/// Calls `each` with every row of `path`, or with why there are no more; it says whether to go on.
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
        Some(self.n_rows)
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let (path, images) = (self.files[unit].clone(), self.images.clone());
        open(&path)?;
        Ok(threaded(move |tell| {
            rows(&path, |number, row| {
                let place = format!("{} row {number}", path.display());
                match row {
                    Ok(row) => tell(item(number, place, &row, &images)),
                    Err(e) => tell(Reject::item(
                        number.to_string(),
                        place,
                        RejectReason::Truncated,
                        e,
                    )),
                }
            });
        }))
    }

    fn identity(&self) -> Result<String, SourceError> {
        names_and_sizes(&self.files)
    }
}

fn item(number: usize, place: String, row: &Row, images: &Path) -> Item {
    let id = match column(row, &IDS) {
        Some(Field::Str(id)) => id.clone(),
        Some(Field::Long(id)) => id.to_string(),
        Some(Field::Int(id)) => id.to_string(),
        _ => number.to_string(),
    };
    let found = texts(row)
        .and_then(|texts| usable(texts.into_iter().map(|text| (None, text))))
        .and_then(|captions| Ok((captions, picture(row, images)?)));
    match found {
        Ok((captions, picture)) => Item::Record(Record {
            id,
            place,
            captions: captions.captions,
            dropped: captions.dropped,
            picture,
        }),
        Err((reason, detail)) => Reject::item(id, place, reason, detail),
    }
}

fn column<'a>(row: &'a Row, names: &[&str]) -> Option<&'a Field> {
    let named = |wanted: &&str| row.get_column_iter().find(|(name, _)| name.as_str() == *wanted);
    names.iter().find_map(named).map(|(_, field)| field)
}

fn text(field: &Field) -> Result<Option<String>, (RejectReason, String)> {
    match field {
        Field::Str(text) => Ok(Some(text.clone())),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec())
            .map(Some)
            .map_err(|e| (RejectReason::NotUtf8, e.to_string())),
        _ => Ok(None),
    }
}

/// The captions of a row.
pub(super) fn texts(row: &Row) -> Result<Vec<String>, (RejectReason, String)> {
    let Some(field) = column(row, &CAPTIONS) else {
        return Ok(vec![]);
    };
    match field {
        Field::ListInternal(list) => {
            let each = list.elements().iter().map(text);
            Ok(each
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect())
        }
        field => Ok(text(field)?.into_iter().collect()),
    }
}

fn picture(row: &Row, images: &Path) -> Result<Picture, (RejectReason, String)> {
    let none = || (RejectReason::NoPicture, "neither bytes nor a path".to_owned());
    let at = |name: &str| {
        inside(images, name).map(Picture::File).ok_or_else(|| {
            (
                RejectReason::UnsafePath,
                format!("{name:?} leads out of {}", images.display()),
            )
        })
    };
    match column(row, &IMAGES).ok_or_else(none)? {
        Field::Bytes(bytes) => Ok(Picture::Encoded(bytes.data().to_vec())),
        Field::Str(name) => at(name),
        Field::Group(group) => match (column(group, &["bytes"]), column(group, &["path"])) {
            (Some(Field::Bytes(bytes)), _) => Ok(Picture::Encoded(bytes.data().to_vec())),
            (_, Some(Field::Str(name))) => at(name),
            _ => Err(none()),
        },
        _ => Err(none()),
    }
}
