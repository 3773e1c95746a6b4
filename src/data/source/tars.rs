//! Tars of samples in img2dataset's and webdataset's layout: files with equal names up to the first dot form a sample.
//!
//! Tars are streamed, never unpacked: a path outside the tar cannot be followed, but is reported.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::caption::{Cleaned, usable};
use super::folder::texts_of;
use super::item::{EXTENSIONS, Fault, Item, Record, RecordImage, Reject, RejectReason, SourceError, TEXT};
use super::place::{Splits, WEBDATASET, files_at, is_hidden, not_a, without_mark};
use super::reader::{Files, Items, Kind, Reader, SourceOptions, names_and_sizes, threaded};
use super::record_image::too_many_bytes;
use crate::files::{self, FileError};
use crate::image_file::ImageLimits;
use crate::limits::MAX_NAME;

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: WEBDATASET,
    scheme: None,
    extensions: &["tar"],
    files: Files::Many,
    open: |place, options| Ok(Box::new(Tars::open(place, options)?)),
};

/// Contents of a tar.
const BLOCK: u64 = 512;

/// Counts bytes read.
struct Counted<'a, R> {
    file: R,
    n: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.n.set(self.n.get() + n as u64);
        Ok(n)
    }
}

/// Long names, which are separate entries before the entry they name. The crate would read such an entry as a whole, at any size.
#[derive(Default)]
struct Names(Option<Vec<u8>>);

impl Names {
    /// Whether `entry` only describes the next entry; if so, its content is kept.
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> std::io::Result<bool> {
        let kind = entry.header().entry_type();
        let is_name = matches!(kind, tar::EntryType::GNULongName | tar::EntryType::XHeader);
        if !is_name {
            return Ok(kind == tar::EntryType::GNULongLink);
        }
        let (size, other) = (entry.size(), std::io::Error::other::<String>);
        if size > MAX_NAME {
            return Err(other(format!(
                "a name of {size} bytes, at most {MAX_NAME} are read"
            )));
        }
        let mut bytes = Vec::new();
        if entry.read_to_end(&mut bytes)? as u64 != size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if kind == tar::EntryType::GNULongName {
            bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
            self.0 = Some(bytes);
            return Ok(true);
        }
        for extension in tar::PaxExtensions::new(&bytes) {
            let extension = extension?;
            match extension.key_bytes() {
                b"path" => self.0 = Some(extension.value_bytes().to_vec()),
                b"size" => {
                    let size = String::from_utf8_lossy(extension.value_bytes()).into_owned();
                    return Err(other(format!("a file of {size} bytes, by its pax header")));
                }
                _ => (),
            }
        }
        Ok(true)
    }

    /// The name of `entry`.
    fn name(&mut self, entry: &tar::Entry<'_, impl Read>) -> String {
        let long = self.0.take();
        String::from_utf8_lossy(&long.unwrap_or_else(|| entry.path_bytes().into_owned())).into_owned()
    }
}

/// The files, one per unit.
pub(super) struct Tars {
    files: Vec<PathBuf>,
    limits: ImageLimits,
    faults: Vec<(usize, Fault)>,
    notes: Vec<String>,
}

impl Tars {
    /// A tar, a folder of tars, or a pattern.
    pub(super) fn open(place: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let path = Path::new(place);
        let (mut files, mut notes) = (files_at(place, "tar")?, Vec::new());
        let root = if path.is_dir() { path } else { Path::new("") };
        if let Some(chosen) = Splits::of(root, &files, options.split.as_deref()) {
            (files, notes) = chosen?;
        }
        if path.is_dir() {
            let is_packed = |f: &PathBuf| {
                let name = f.to_string_lossy().to_lowercase();
                [".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"]
                    .iter()
                    .any(|e| name.ends_with(e))
            };
            let packed: Vec<PathBuf> = files::list(path)?.into_iter().filter(is_packed).collect();
            if let Some(first) = packed.first() {
                notes.push(format!(
                    "{}: {} compressed tar(s) are not read, such as {}: unpack them first",
                    path.display(),
                    packed.len(),
                    first.display()
                ));
            }
        }
        let mut faults = Vec::new();
        for (unit, file) in files.iter().enumerate() {
            if let Some(reason) = not_a(WEBDATASET, file) {
                faults.push((unit, Fault::new(file, reason)));
            }
        }
        if faults.len() == files.len()
            && let Some((_, fault)) = faults.first()
        {
            return Err(SourceError::content(&fault.path, &fault.reason));
        }
        Ok(Self {
            files,
            limits: options.limits.clone(),
            faults,
            notes,
        })
    }
}

impl Reader for Tars {
    fn n_units(&self) -> usize {
        self.files.len()
    }

    fn unit_name(&self, unit: usize) -> String {
        self.files[unit].display().to_string()
    }

    /// Number of samples by img2dataset's `00000_stats.json` beside `00000.tar`.
    fn n_records(&self) -> Option<usize> {
        self.files.iter().map(|tar| counted(tar)).sum()
    }

    fn about(&self) -> Option<usize> {
        let size = |tar: &PathBuf| std::fs::metadata(tar).map_or(0, |m| m.len());
        let (first, all) = (self.files.first()?, self.files.iter().map(size).sum::<u64>());
        let n = samples(first).ok()? as f64;
        Some((n * all as f64 / size(first).max(1) as f64) as usize).filter(|n| *n > 0)
    }

    fn faults(&self) -> Vec<(usize, Fault)> {
        self.faults.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let path = self.files[unit].clone();
        let file = File::open(&path).map_err(|source| FileError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let limits = self.limits.clone();
        Ok(threaded(&self.files[unit], move |tell| {
            Samples {
                tar: path,
                limits,
                seen: HashSet::new(),
                open: None,
                tell,
            }
            .read(BufReader::new(file));
        }))
    }

    fn files(&self, unit: usize) -> Vec<PathBuf> {
        vec![self.files[unit].clone()]
    }

    fn identity(&self) -> Result<String, SourceError> {
        names_and_sizes(&self.files)
    }
}

/// img2dataset's statistics of a tar.
#[derive(Deserialize)]
struct Stats {
    successes: usize,
}

/// Number of samples of a tar, if img2dataset recorded it.
fn counted(tar: &Path) -> Option<usize> {
    let stem = tar.file_stem()?.to_string_lossy();
    let bytes = files::read(tar.with_file_name(format!("{stem}_stats.json"))).ok()?;
    serde_json::from_slice::<Stats>(&bytes)
        .ok()
        .map(|stats| stats.successes)
}

/// Number of samples of a tar by its headers; of a truncated tar, the readable ones.
fn samples(tar: &Path) -> std::io::Result<usize> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(tar)?));
    let (mut n, mut last) = (0, None);
    let mut names = Names::default();
    for mut entry in archive.entries_with_seek()?.raw(true).map_while(Result::ok) {
        if names.take(&mut entry)? {
            continue;
        }
        let path = names.name(&entry);
        let key = Some(parted(&path).0);
        if !is_hidden(Path::new(&path)) && entry.header().entry_type().is_file() && key != last {
            n += 1;
            last = key;
        }
    }
    Ok(n)
}

/// img2dataset's metadata of a sample; values of other types are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    caption: Option<Value>,
    #[serde(deserialize_with = "text_or_none")]
    status: Option<String>,
    #[serde(deserialize_with = "text_or_none")]
    error_message: Option<String>,
}

fn text_or_none<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(value)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// A sample in construction.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<Vec<u8>>,
    text: Option<Vec<u8>>,
    info: Option<Vec<u8>>,
    /// Why it is rejected.
    wrong: Option<(RejectReason, String)>,
    /// The first extension that contains a dot and ends in a known one, and the number of such extensions.
    cut: Option<String>,
    n_cut: usize,
}

struct Samples<'a> {
    tar: PathBuf,
    limits: ImageLimits,
    /// Hashes of the keys so far: a tar may have millions of keys of any length.
    seen: HashSet<[u8; 16]>,
    open: Option<Sample>,
    tell: &'a mut dyn FnMut(Item) -> bool,
}

impl Samples<'_> {
    fn read(mut self, file: impl Read) {
        let n_read = Cell::new(0);
        let mut archive = tar::Archive::new(Counted { file, n: &n_read });
        let (mut end, mut names) = (0, Names::default());
        let entries = match archive.entries() {
            Ok(entries) => entries.raw(true),
            Err(e) => return self.truncated(end, &e),
        };
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    self.close();
                    return self.truncated(end, &e);
                }
            };
            end = entry.raw_file_position() + entry.size();
            match names.take(&mut entry) {
                Ok(true) => continue,
                Ok(false) => (),
                Err(e) => {
                    self.close();
                    let reason = format!("an entry that cannot be used, near byte {end}: {e}");
                    (self.tell)(Item::Fault(Fault::new(&self.tar, reason)));
                    return;
                }
            }
            let path = names.name(&entry);
            let kind = entry.header().entry_type();
            let is_litter = || Path::new(&path).components().any(|c| is_hidden(Path::new(&c)));
            if kind.is_dir() || matches!(kind, tar::EntryType::XGlobalHeader) || is_litter() {
                continue;
            }
            let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
            let reason = if !Path::new(&path).components().all(plain) {
                Some("a name that leads out of its folder")
            } else if !kind.is_file() {
                Some("a link or a device, not a file")
            } else {
                None
            };
            if let Some(reason) = reason {
                let place = self.place(&path);
                if !(self.tell)(Reject::item(path, place, RejectReason::UnsafePath, reason)) {
                    return;
                }
                continue;
            }
            let (key, extension) = parted(&path);
            if self.open.as_ref().is_none_or(|open| open.key != key) && !self.begin(key) {
                return;
            }
            if let Err(e) = self.add(&extension, entry.size(), &mut entry) {
                // The current sample may be incomplete.
                self.open = None;
                return self.truncated(end, &e);
            }
        }
        if self.close() && n_read.get() < end.next_multiple_of(BLOCK) + BLOCK {
            // The crate accepts the end of the file as the end of the tar, so truncation between two files would go unnoticed.
            self.truncated(
                end,
                &std::io::Error::other("the block that ends a tar is missing"),
            );
        }
    }

    fn place(&self, entry: &str) -> String {
        format!("{}: {entry}", self.tar.display())
    }

    fn truncated(&mut self, end: u64, error: &std::io::Error) {
        let reason = format!("the tar ends early, near byte {end}: {error}");
        (self.tell)(Item::Fault(Fault::new(&self.tar, reason)));
    }

    /// Starts the sample `key` and emits the previous one. False if the receiver is gone.
    fn begin(&mut self, key: String) -> bool {
        if !self.close() {
            return false;
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(key.as_bytes())[..16]);
        let again = !self.seen.insert(hash);
        self.open = Some(Sample {
            wrong: again.then(|| (RejectReason::DuplicateKey, "the tar has this key before".into())),
            key,
            ..Sample::default()
        });
        true
    }

    fn add(&mut self, extension: &str, size: u64, entry: &mut impl Read) -> std::io::Result<()> {
        let Some(sample) = &mut self.open else {
            return Ok(());
        };
        let (slot, limit) = match extension {
            _ if EXTENSIONS.contains(&extension) => (&mut sample.image, self.limits.max_bytes),
            "txt" => (&mut sample.text, TEXT),
            "json" => (&mut sample.info, TEXT),
            _ => {
                let last = extension.rsplit('.').next().unwrap_or_default();
                if last != extension && (EXTENSIONS.contains(&last) || matches!(last, "txt" | "json")) {
                    sample.cut.get_or_insert_with(|| extension.to_owned());
                    sample.n_cut += 1;
                }
                return Ok(());
            }
        };
        if slot.is_some() {
            let why = (RejectReason::DuplicateKey, format!("two .{extension} files"));
            sample.wrong.get_or_insert(why);
            return Ok(());
        }
        if size > limit {
            let why = match extension {
                "txt" | "json" => (RejectReason::BadRecord, format!(".{extension} of {size} bytes")),
                _ => too_many_bytes(size, &self.limits),
            };
            sample.wrong.get_or_insert(why);
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        *slot = Some(bytes);
        Ok(())
    }

    /// Emits the current sample. False if the receiver is gone.
    fn close(&mut self) -> bool {
        let Some(sample) = self.open.take() else {
            return true;
        };
        let (key, place) = (sample.key.clone(), self.place(&sample.key));
        let item = match sample.record() {
            Ok((captions, image)) => Item::Record(Record {
                id: key,
                place,
                captions: captions.captions,
                dropped: captions.dropped,
                caption_file: None,
                image,
            }),
            Err((reason, detail)) => Reject::item(key, place, reason, detail),
        };
        (self.tell)(item)
    }
}

impl Sample {
    fn record(self) -> Result<(Cleaned, RecordImage), (RejectReason, String)> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let cut = self.cut.map(|extension| {
            let name = self.key.rsplit('/').next().unwrap_or_default();
            format!(
                "; {} of its names are cut at the first dot, as webdataset does: `{name}` + `{extension}`",
                self.n_cut
            )
        });
        let cut = |detail: &str| detail.to_owned() + cut.as_deref().unwrap_or_default();
        // Needed only if there is no text file, and for the download status.
        let info: Result<Info, String> = match &self.info {
            Some(bytes) => serde_json::from_slice(without_mark(bytes)).map_err(|e| e.to_string()),
            None => Ok(Info::default()),
        };
        if let Ok(info) = &info
            && info.status.as_deref().is_some_and(|status| status != "success")
        {
            let why = info.error_message.clone().unwrap_or_default();
            return Err((RejectReason::NotDownloaded, why));
        }
        let text = match self.text {
            Some(text) => String::from_utf8(text)
                .map(Some)
                .map_err(|e| (RejectReason::NotUtf8, e.to_string())),
            None => Ok(None),
        };
        let is_full = |text: &String| {
            !text
                .trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
                .is_empty()
        };
        let texts = match (text, info) {
            (Ok(Some(text)), _) if is_full(&text) => vec![text],
            (text, Ok(info)) => {
                let texts = info.caption.map(|value| texts_of(&value)).unwrap_or_default();
                match (text, texts.is_empty()) {
                    (Err(why), true) => return Err(why),
                    (Ok(Some(empty)), true) => vec![empty],
                    _ => texts,
                }
            }
            (Ok(None), Err(e)) => return Err((RejectReason::BadRecord, format!("its .json: {e}"))),
            (Ok(Some(empty)), Err(_)) => vec![empty],
            (Err(why), Err(_)) => return Err(why),
        };
        if texts.is_empty() {
            return Err((RejectReason::NoCaption, cut("no caption")));
        }
        let captions = usable(texts.into_iter().map(|text| (None, text)))?;
        let image = self
            .image
            .ok_or_else(|| (RejectReason::NoImage, cut("no .jpg, .png or .webp")))?;
        Ok((captions, RecordImage::Encoded(image)))
    }
}

/// Key and extension of an entry: the name is split at its first dot.
fn parted(path: &str) -> (String, String) {
    let path = path.trim_start_matches("./");
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name..].find('.') {
        Some(dot) => {
            let extension = path[name + dot + 1..].to_lowercase();
            (path[..name + dot].to_owned(), extension)
        }
        None => (path.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_the_first_dot() {
        let cut = |path: &str| parted(path);
        assert_eq!(
            cut("./a/000.b/00012.seg.JPG"),
            ("a/000.b/00012".into(), "seg.jpg".into())
        );
        assert_eq!(cut("000.jpg"), ("000".into(), "jpg".into()));
        assert_eq!(cut("README"), ("README".into(), String::new()));
    }
}
