//! clip-retrieval's output: `img_emb/img_emb_N.npy`, rows of f16 or f32, with `metadata/metadata_N.parquet` beside it.
//!
//! Its embeddings have length 1 by default, which the encoding refuses unless requested; texts are encoded again for their hidden states.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use half::f16;
use npyz::{DType, NpyFile};

use super::caption::usable;
use super::item::{Fault, Item, Record, RecordImage, Reject, RejectReason, SourceError};
use super::parquet::{captions as texts, rows};
use super::place::files_at;
use super::reader::{Files, Items, Kind, Reader, names_and_sizes, threaded};
use crate::files::FileError;
use crate::limits;

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: "clip-retrieval",
    scheme: None,
    extensions: &[],
    files: Files::Own,
    open: |place, _| Ok(Box::new(Embedded::open(Path::new(place))?)),
};

/// Limit of an array's header in bytes, far above real headers.
const HEADER: u64 = 64 * 1024;
/// Limit of bracket depth; a dictionary and a shape need two.
const BRACKETS: usize = 16;

/// The files of each unit: embeddings and metadata.
pub(super) struct Embedded {
    files: Vec<(PathBuf, PathBuf)>,
    n_rows: Option<usize>,
    faults: Vec<(usize, Fault)>,
}

impl Embedded {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let (mut files, mut faults, mut first_wrong) = (Vec::new(), Vec::new(), None);
        let mut n_rows = 0;
        for file in files_at(&path.join("img_emb").to_string_lossy(), "npy")? {
            let stem = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let number = stem.rsplit('_').next().unwrap_or_default();
            let metadata = path.join("metadata").join(format!("metadata_{number}.parquet"));
            let rows = match metadata.is_file() {
                true => open(&file).map(|(_, (n, _))| n),
                false => Err(FileError::Missing(metadata.clone()).into()),
            };
            match rows {
                Ok(n) => n_rows += n,
                Err(wrong) => {
                    faults.push((files.len(), Fault::new(&file, wrong.reason())));
                    first_wrong.get_or_insert(wrong);
                }
            }
            files.push((file, metadata));
        }
        match first_wrong {
            Some(wrong) if faults.len() == files.len() => Err(wrong),
            _ => Ok(Self {
                n_rows: faults.is_empty().then_some(n_rows),
                files,
                faults,
            }),
        }
    }
}

type Npy = NpyFile<BufReader<File>>;

/// The file, with its numbers of rows and columns.
fn open(path: &Path) -> Result<(Npy, (usize, usize)), SourceError> {
    let file = File::open(path).map_err(|source| FileError::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let size = file.metadata().map(|m| m.len()).unwrap_or(u64::MAX);
    let mut file = BufReader::new(file);
    if !has_plain_header(&mut file).map_err(|e| SourceError::content(path, e))? {
        return Err(SourceError::content(
            path,
            "expected the header of an array of numbers, found brackets within brackets, or a header of megabytes",
        ));
    }
    let npy = NpyFile::new(file).map_err(|e| SourceError::content(path, e))?;
    let dtype = match npy.dtype() {
        DType::Plain(dtype) => dtype.to_string(),
        other => other.descr(),
    };
    let (is_float, width) = match dtype.as_str() {
        "<f2" => (true, 2),
        "<f4" => (true, 4),
        _ => (false, 0),
    };
    match (npy.shape(), npy.order()) {
        (&[n, d], npyz::Order::C)
            if is_float && d > 0 && n.saturating_mul(d).saturating_mul(width) <= size =>
        {
            Ok((npy, (n as usize, d as usize)))
        }
        (shape, _) => {
            let reason = format!(
                "expected rows of <f2 or <f4 in C order, all of them there; found {dtype} {shape:?} in {size} bytes"
            );
            Err(SourceError::content(path, reason))
        }
    }
}

/// Whether the header is shallow and short: the crate parses it recursively, and deep nesting would overflow the stack.
pub(crate) fn has_plain_header(file: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    let mut start = Vec::new();
    file.take(HEADER).read_to_end(&mut start)?;
    file.rewind()?;
    // From version 2 on a header may claim 4 GiB, which the crate would allocate.
    if let Some(&[major, _, a, b, c, d]) = start.get(6..12)
        && major >= 2
        && u64::from(u32::from_le_bytes([a, b, c, d])) > HEADER
    {
        return Ok(false);
    }
    let header = start.split(|&b| b == b'\n').next().unwrap_or_default();
    Ok(header.iter().filter(|b| b"([{".contains(b)).count() <= BRACKETS)
}

/// Iterates over rows.
fn values(npy: Npy, d: usize) -> Box<dyn FnMut() -> Option<Vec<f32>> + Send> {
    let half = matches!(npy.dtype(), DType::Plain(dtype) if dtype.to_string() == "<f2");
    fn rows<T: npyz::Deserialize + Send + 'static>(
        npy: Npy,
        d: usize,
        to: impl Fn(T) -> f32 + Send + 'static,
    ) -> Box<dyn FnMut() -> Option<Vec<f32>> + Send>
    where
        T::TypeReader: Send,
    {
        match npy.data::<T>() {
            Ok(mut data) => Box::new(move || {
                let row: Vec<f32> = data.by_ref().take(d).map_while(Result::ok).map(&to).collect();
                (row.len() == d).then_some(row)
            }),
            Err(_) => Box::new(|| None),
        }
    }
    match half {
        true => rows::<f16>(npy, d, f16::to_f32),
        false => rows::<f32>(npy, d, |v| v),
    }
}

impl Reader for Embedded {
    fn n_units(&self) -> usize {
        self.files.len()
    }

    fn unit_name(&self, unit: usize) -> String {
        self.files[unit].0.display().to_string()
    }

    fn n_records(&self) -> Option<usize> {
        self.n_rows
    }

    fn faults(&self) -> Vec<(usize, Fault)> {
        self.faults.clone()
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let (path, metadata) = self.files[unit].clone();
        let (npy, (n, d)) = open(&path)?;
        Ok(threaded(&self.files[unit].0, move |tell| {
            let mut next = values(npy, d);
            let mut told = 0;
            rows(&metadata, |number, row| {
                let (id, place) = (number.to_string(), format!("{} row {number}", path.display()));
                let Some(values) = next() else {
                    let detail = format!(
                        "{} has more rows than the {n} of the embeddings",
                        metadata.display()
                    );
                    tell(Item::Fault(Fault::new(&path, detail)));
                    return false;
                };
                told = number + 1;
                if limits::not_finite(values.iter().copied()).is_some() {
                    return tell(Reject::item(
                        id,
                        place,
                        RejectReason::BadRecord,
                        "a value that is not finite",
                    ));
                }
                let row = match row {
                    Ok(row) => row,
                    Err(e) => return tell(Item::Fault(Fault::new(&metadata, format!("row {number}: {e}")))),
                };
                let captions =
                    texts(&row).and_then(|texts| usable(texts.into_iter().map(|text| (None, text))));
                tell(match captions {
                    Ok(captions) => Item::Record(Record {
                        id,
                        place,
                        captions: captions.captions,
                        dropped: captions.dropped,
                        caption_file: None,
                        image: RecordImage::Embedding(values),
                    }),
                    Err((reason, detail)) => Reject::item(id, place, reason, detail),
                })
            });
            if told < n && next().is_some() {
                let detail = format!("{} has {told} rows for {n} embeddings", metadata.display());
                tell(Item::Fault(Fault::new(&path, detail)));
            }
        }))
    }

    fn files(&self, unit: usize) -> Vec<PathBuf> {
        let (embeddings, metadata) = self.files[unit].clone();
        vec![embeddings, metadata]
    }

    fn identity(&self) -> Result<String, SourceError> {
        let all: Vec<PathBuf> = self
            .files
            .iter()
            .flat_map(|(a, b)| [a.clone(), b.clone()])
            .collect();
        names_and_sizes(&all)
    }
}
