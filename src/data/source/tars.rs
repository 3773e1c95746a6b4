//! Tars of samples, as img2dataset writes them and webdataset reads them: files whose names are equal up to the first dot belong together.
//!
//! They are streamed, never unpacked: a name cannot lead anywhere, but one that tries to is told.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::caption::{Cleaned, usable};
use super::picture::too_many_bytes;
use super::{
    Item, Items, Picture, PictureLimits, Reader, Record, Reject, RejectReason, SourceError, names_and_sizes,
    threaded,
};
use crate::files::{self, FileError};

/// Bytes of a text or JSON file in a tar, at most.
const TEXT: u64 = 1 << 20;

/// What a tar is made of.
const BLOCK: u64 = 512;

/// Counts what is read.
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

/// The files, each a unit.
pub(super) struct Tars {
    files: Vec<PathBuf>,
    limits: PictureLimits,
}

impl Tars {
    /// A tar, a folder of tars, or a pattern.
    pub(super) fn open(place: &str, limits: &PictureLimits) -> Result<Self, SourceError> {
        let path = Path::new(place);
        let mut found = if path.is_dir() {
            let is_tar = |f: &PathBuf| f.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar"));
            files::list(path)?.into_iter().filter(is_tar).collect()
        } else if path.is_file() {
            vec![path.to_path_buf()]
        } else {
            expand(place)?
        };
        found.sort();
        found.dedup();
        if found.is_empty() {
            return Err(SourceError::place(place, "no tar file matches"));
        }
        Ok(Self {
            files: found,
            limits: limits.clone(),
        })
    }
}

/// The files of a pattern with `*` and `?`, and ranges such as `{00000..00012}`.
fn expand(place: &str) -> Result<Vec<PathBuf>, SourceError> {
    let mut found = Vec::new();
    for pattern in braces(place).map_err(|reason| SourceError::place(place, reason))? {
        if !pattern.contains(['*', '?', '[']) {
            if !Path::new(&pattern).is_file() {
                return Err(FileError::Missing(pattern.into()).into());
            }
            found.push(pattern.into());
            continue;
        }
        let matches = glob::glob(&pattern).map_err(|e| SourceError::place(place, e))?;
        found.extend(matches.flatten());
    }
    Ok(found)
}

/// `a{03..05}b` is `a03b`, `a04b`, `a05b`.
fn braces(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let bad = || format!("expected a range such as {{00000..00012}}, found {{{rest}");
    let (range, after) = rest.split_once('}').ok_or_else(bad)?;
    let (from, to) = range.split_once("..").ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
    let (first, last) = (number(from)?, number(to)?);
    if last < first || last - first > 1_000_000 {
        return Err(bad());
    }
    let mut all = Vec::new();
    for tail in braces(after)? {
        all.extend((first..=last).map(|i| format!("{before}{i:0width$}{tail}", width = from.len())));
    }
    all.sort();
    Ok(all)
}

impl Reader for Tars {
    fn n_units(&self) -> usize {
        self.files.len()
    }

    fn unit_name(&self, unit: usize) -> String {
        self.files[unit].display().to_string()
    }

    /// As img2dataset counted them, in `00000_stats.json` beside `00000.tar`.
    fn n_records(&self) -> Option<usize> {
        self.files.iter().map(|tar| counted(tar)).sum()
    }

    fn about(&self) -> Option<usize> {
        let size = |tar: &PathBuf| std::fs::metadata(tar).map_or(0, |m| m.len());
        let (first, all) = (self.files.first()?, self.files.iter().map(size).sum::<u64>());
        let n = samples(first).ok()? as f64;
        Some((n * all as f64 / size(first).max(1) as f64) as usize).filter(|n| *n > 0)
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let path = self.files[unit].clone();
        let file = File::open(&path).map_err(|source| FileError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let limits = self.limits.clone();
        Ok(threaded(move |tell| {
            Samples {
                tar: path.display().to_string(),
                limits,
                seen: HashSet::new(),
                open: None,
                tell,
            }
            .read(BufReader::new(file));
        }))
    }

    fn identity(&self) -> Result<String, SourceError> {
        names_and_sizes(&self.files)
    }
}

/// What img2dataset says of a tar.
#[derive(Deserialize)]
struct Stats {
    successes: usize,
}

/// The samples of a tar, where img2dataset has left their number beside it.
fn counted(tar: &Path) -> Option<usize> {
    let stem = tar.file_stem()?.to_string_lossy();
    let bytes = files::read(tar.with_file_name(format!("{stem}_stats.json"))).ok()?;
    serde_json::from_slice::<Stats>(&bytes)
        .ok()
        .map(|stats| stats.successes)
}

/// The samples of a tar by its headers; of one that ends early, those that are there.
fn samples(tar: &Path) -> std::io::Result<usize> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(tar)?));
    let (mut n, mut last) = (0, None);
    for entry in archive.entries_with_seek()?.map_while(Result::ok) {
        let key = Some(parted(&String::from_utf8_lossy(&entry.path_bytes())).0);
        if entry.header().entry_type().is_file() && key != last {
            n += 1;
            last = key;
        }
    }
    Ok(n)
}

/// What img2dataset says of a sample.
#[derive(Deserialize)]
struct Info {
    caption: Option<Captions>,
    status: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Captions {
    One(String),
    Many(Vec<String>),
}

/// A sample whose files are being gathered.
#[derive(Default)]
struct Sample {
    key: String,
    picture: Option<Vec<u8>>,
    text: Option<Vec<u8>>,
    info: Option<Vec<u8>>,
    /// What is wrong with it.
    wrong: Option<(RejectReason, String)>,
}

struct Samples<'a> {
    tar: String,
    limits: PictureLimits,
    seen: HashSet<String>,
    open: Option<Sample>,
    tell: &'a mut dyn FnMut(Item) -> bool,
}

impl Samples<'_> {
    fn read(mut self, file: impl Read) {
        let n_read = Cell::new(0);
        let mut archive = tar::Archive::new(Counted { file, n: &n_read });
        let mut end = 0;
        let entries = match archive.entries() {
            Ok(entries) => entries,
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
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if kind.is_dir() || matches!(kind, tar::EntryType::XGlobalHeader) {
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
                let sample = self.open.take();
                let key = sample.map(|s| s.key).unwrap_or_default();
                let place = self.place(&path);
                let detail = format!("the tar ends early, near byte {end}: {e}");
                (self.tell)(Reject::item(key, place, RejectReason::Truncated, detail));
                return;
            }
        }
        if self.close() && n_read.get() < end.next_multiple_of(BLOCK) + BLOCK {
            // The crate takes the end of the file for the end of the tar: a cut between two files would not be seen.
            self.truncated(
                end,
                &std::io::Error::other("the block that ends a tar is missing"),
            );
        }
    }

    fn place(&self, entry: &str) -> String {
        format!("{}: {entry}", self.tar)
    }

    fn truncated(&mut self, end: u64, error: &std::io::Error) {
        let detail = format!("the tar ends early, near byte {end}: {error}");
        (self.tell)(Reject::item(
            "",
            self.tar.clone(),
            RejectReason::Truncated,
            detail,
        ));
    }

    /// Begins the sample `key` after the one that is open. False where nobody listens any more.
    fn begin(&mut self, key: String) -> bool {
        if !self.close() {
            return false;
        }
        let again = !self.seen.insert(key.clone());
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
            "jpg" | "jpeg" | "png" | "webp" => (&mut sample.picture, self.limits.max_bytes),
            "txt" => (&mut sample.text, TEXT),
            "json" => (&mut sample.info, TEXT),
            _ => return Ok(()),
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

    /// Tells what the open sample is. False where nobody listens any more.
    fn close(&mut self) -> bool {
        let Some(sample) = self.open.take() else {
            return true;
        };
        let (key, place) = (sample.key.clone(), self.place(&sample.key));
        let item = match sample.record() {
            Ok((captions, picture)) => Item::Record(Record {
                id: key,
                place,
                captions: captions.captions,
                dropped: captions.dropped,
                picture,
            }),
            Err((reason, detail)) => Reject::item(key, place, reason, detail),
        };
        (self.tell)(item)
    }
}

impl Sample {
    fn record(self) -> Result<(Cleaned, Picture), (RejectReason, String)> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let info: Option<Info> = match &self.info {
            Some(bytes) => Some(
                serde_json::from_slice(bytes)
                    .map_err(|e| (RejectReason::BadRecord, format!("its .json: {e}")))?,
            ),
            None => None,
        };
        if let Some(info) = &info
            && info.status.as_deref().is_some_and(|status| status != "success")
        {
            let why = info.error_message.clone().unwrap_or_default();
            return Err((RejectReason::NotDownloaded, why));
        }
        let texts: Vec<String> = match (self.text, info.and_then(|info| info.caption)) {
            (Some(text), _) => {
                vec![String::from_utf8(text).map_err(|e| (RejectReason::NotUtf8, e.to_string()))?]
            }
            (None, Some(Captions::One(text))) => vec![text],
            (None, Some(Captions::Many(texts))) => texts,
            (None, None) => vec![],
        };
        let captions = usable(texts.into_iter().map(|text| (None, text)))?;
        let picture = self
            .picture
            .ok_or((RejectReason::NoPicture, "no .jpg, .png or .webp".to_owned()))?;
        Ok((captions, Picture::Encoded(picture)))
    }
}

/// Key and extension of an entry: the name is cut at its first dot.
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
    fn patterns_are_expanded() {
        assert_eq!(
            braces("a{08..10}.tar"),
            Ok(vec!["a08.tar".into(), "a09.tar".into(), "a10.tar".into()])
        );
        assert_eq!(
            braces("{0..1}{3..4}"),
            Ok(vec!["03".into(), "04".into(), "13".into(), "14".into()])
        );
        assert!(braces("{5..4}").is_err() && braces("{a..b}").is_err() && braces("{1").is_err());
    }

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
