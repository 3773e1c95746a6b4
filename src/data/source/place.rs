//! Files at a place: those of a folder or a pattern, their first bytes, and splits by name.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::item::{EXTENSIONS, SourceError};
use crate::files::{self, FileError};

/// Formats that are recognised by the first bytes of a file.
pub(super) const WEBDATASET: &str = "webdataset";
pub(super) const PARQUET: &str = "parquet";
/// Most names of a pattern.
const NAMES: usize = 1_000_000;
/// Maximum depth of folders.
const DEPTH: usize = 16;

/// Removes a byte-order mark before UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Refuses a file that is not text.
pub(super) fn check_text(path: &Path) -> Result<(), SourceError> {
    match alien(&start(path)?) {
        Some(alien) => Err(SourceError::content(path, alien)),
        None => Ok(()),
    }
}

/// The first 512 bytes of a file, or fewer if it is shorter.
///
/// # Errors
/// [`SourceError`] if it is not a regular file or cannot be read.
pub(super) fn start(path: &Path) -> Result<Vec<u8>, SourceError> {
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => FileError::Missing(path.to_path_buf()),
        _ => FileError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        },
    };
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err(SourceError::content(path, "not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(512).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Recognises files that no source can be read from, with a remedy.
pub(super) fn alien(start: &[u8]) -> Option<&'static str> {
    let text = without_mark(start).trim_ascii_start();
    let begins = |with: &[u8]| {
        text.get(..with.len())
            .is_some_and(|b| b.eq_ignore_ascii_case(with))
    };
    Some(match start {
        [] => "is empty",
        [0x1F, 0x8B, ..] => "is gzip: gunzip it first",
        [b'P', b'K', 3, 4, ..] => "is a zip archive: unzip it first",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "is Zstandard: unzstd it first",
        [0xFD, b'7', b'z', b'X', b'Z', ..] => "is xz: unxz it first",
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => "is bzip2: bunzip2 it first",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "is UTF-16: save it as UTF-8",
        _ if begins(b"version https://git-lfs") => "is a git-lfs pointer, not the file: git lfs pull",
        _ if begins(b"<!doctype html") || begins(b"<html") => {
            "is an HTML page: the download has failed (a login, or an error page)"
        }
        _ => return None,
    })
}

/// Why `path` is not a file of the format `wanted`; `None` if it may be one.
pub(super) fn not_a(wanted: &str, path: &Path) -> Option<String> {
    let bytes = match start(path) {
        Ok(bytes) => bytes,
        Err(SourceError::File(FileError::Missing(_))) => return Some("no such file".into()),
        Err(error) => return Some(error.to_string()),
    };
    if let Some(alien) = alien(&bytes) {
        return Some(alien.into());
    }
    match (wanted, by_bytes(&bytes)) {
        (WEBDATASET, Some(PARQUET)) => Some("is parquet, not a tar: --format parquet".into()),
        (PARQUET, Some(WEBDATASET)) => Some("is a tar, not parquet: --format webdataset".into()),
        (PARQUET, None) => Some("is no parquet file: it does not begin with PAR1".into()),
        _ => None,
    }
}

/// The format by the first bytes, if they determine it.
pub(super) fn by_bytes(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'A', b'R', b'1', ..] => Some(PARQUET),
        _ if start.get(257..262) == Some(b"ustar") => Some(WEBDATASET),
        _ => None,
    }
}

/// Whether the place is a pattern and not an existing file.
pub(super) fn is_pattern(place: &str) -> bool {
    place.contains(['*', '?', '{', '[']) && !Path::new(place).exists()
}

/// The files of `format` at a place: a file, the files of a folder and its subfolders, or those of a pattern, by name. Files that a pattern lists
/// explicitly are included even if they do not exist.
///
/// # Errors
/// [`SourceError`] if there are none.
pub(super) fn files_at(place: &str, extension: &str) -> Result<Vec<PathBuf>, SourceError> {
    let path = Path::new(place);
    let mut found = if path.is_dir() {
        let is_one = |f: &PathBuf| f.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));
        let here: Vec<PathBuf> = files::list(path)?
            .into_iter()
            .filter(is_one)
            .filter(|f| !is_hidden(f))
            .collect();
        match here.is_empty() {
            true => walk(path)?.into_iter().filter(is_one).collect(),
            false => here,
        }
    } else if is_pattern(place) {
        expand(place)?
    } else {
        vec![path.to_path_buf()]
    };
    found.sort();
    found.dedup();
    match found.is_empty() {
        true => Err(SourceError::place(
            place,
            format!("no .{extension} file is there"),
        )),
        false => Ok(found),
    }
}

/// Files that operating systems or archivers leave behind.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|n| {
        let name = n.to_string_lossy();
        name.starts_with('.') || name == "__MACOSX"
    })
}

/// Every file in a folder and its subfolders, by name; links to folders are followed, each folder once, and hidden names are skipped.
///
/// # Errors
/// [`SourceError`] if a folder cannot be read.
pub(super) fn walk(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut visited = Visited::default();
    let (mut folders, mut found) = (vec![(folder.to_path_buf(), 0)], Vec::new());
    while let Some((next, depth)) = folders.pop() {
        if !visited.is_new(&next) {
            continue;
        }
        found.extend(files::list(&next)?.into_iter().filter(|f| !is_hidden(f)));
        if depth < DEPTH {
            let below = files::list_folders(&next)?.into_iter().filter(|f| !is_hidden(f));
            folders.extend(below.map(|f| (f, depth + 1)));
        }
    }
    found.sort();
    Ok(found)
}

/// The files of a pattern with `*` and `?`, and ranges such as `{00000..00012}`.
pub(super) fn expand(place: &str) -> Result<Vec<PathBuf>, SourceError> {
    let mut found = Vec::new();
    for pattern in braces(place).map_err(|reason| SourceError::place(place, reason))? {
        if !pattern.contains(['*', '?', '[']) {
            found.push(pattern.into());
            continue;
        }
        let matches = glob::glob(&pattern).map_err(|e| SourceError::place(place, e))?;
        found.extend(matches.flatten().filter(|f| f.is_file() && !is_hidden(f)));
    }
    if found.is_empty() || !found.iter().any(|f: &PathBuf| f.is_file()) {
        return Err(SourceError::place(place, "no file matches"));
    }
    Ok(found)
}

/// Expands braces: `{03..05}` is `03`, `04`, `05`; `{train,test}` is both.
fn braces(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let bad = || {
        format!("expected a range such as {{00000..00012}} or names such as {{train,test}}, found {{{rest}")
    };
    let too_many = || format!("a pattern may stand for {NAMES} names at most");
    let (range, after) = rest.split_once('}').ok_or_else(bad)?;
    let middle: Vec<String> = match range.split_once("..") {
        Some((from, to)) => {
            let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
            let (first, last) = (number(from)?, number(to)?);
            if last < first {
                return Err(bad());
            }
            if (last - first) as usize >= NAMES {
                return Err(too_many());
            }
            let width = from.len().min(20);
            (first..=last).map(|i| format!("{i:0width$}")).collect()
        }
        None if range.contains(',') => range.split(',').map(str::to_owned).collect(),
        None => return Err(bad()),
    };
    let tails = braces(after)?;
    if tails.len().saturating_mul(middle.len()) > NAMES {
        return Err(too_many());
    }
    let mut all = Vec::with_capacity(tails.len() * middle.len());
    for tail in &tails {
        all.extend(middle.iter().map(|m| format!("{before}{m}{tail}")));
    }
    all.sort();
    Ok(all)
}

/// The selected files, and a note for the user.
pub(super) type Chosen = (Vec<PathBuf>, Vec<String>);

/// Splits in names of files and folders: train, validation, test.
pub(super) struct Splits;

impl Splits {
    /// The files of the requested split, and a note for the user; `None` if no name indicates a split and none is requested.
    pub(super) fn of(
        root: &Path,
        files: &[PathBuf],
        asked: Option<&str>,
    ) -> Option<Result<Chosen, SourceError>> {
        let told: Vec<Option<String>> = files.iter().map(|file| split_of(root, file)).collect();
        let names: BTreeSet<&String> = told.iter().flatten().collect();
        let list = || {
            let count = |name: &&String| told.iter().flatten().filter(|t| t == name).count();
            let each: Vec<String> = names
                .iter()
                .map(|name| format!("{name} ({} file(s))", count(name)))
                .collect();
            each.join(", ")
        };
        match asked {
            None if names.is_empty() => None,
            None if names.len() == 1 => Some(Ok((files.to_vec(), vec![]))),
            None => {
                let note = format!(
                    "{}: the splits {} are read together: --split takes one of them",
                    root.display(),
                    list()
                );
                Some(Ok((files.to_vec(), vec![note])))
            }
            Some(asked) => {
                let wanted = canonical(asked).unwrap_or(asked).to_owned();
                let chosen: Vec<PathBuf> = files
                    .iter()
                    .zip(&told)
                    .filter(|(_, t)| t.as_ref() == Some(&wanted))
                    .map(|(file, _)| file.clone())
                    .collect();
                if chosen.is_empty() {
                    let found = if names.is_empty() {
                        "no name of a file or folder that tells one".into()
                    } else {
                        list()
                    };
                    let reason = format!("--split {asked}: no such split; found {found}");
                    return Some(Err(SourceError::content(root, reason)));
                }
                Some(Ok((chosen, vec![])))
            }
        }
    }
}

/// The split that a word means.
fn canonical(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "train" | "training" => "train",
        "validation" | "valid" | "val" | "dev" => "validation",
        "test" | "testing" | "eval" | "evaluation" => "test",
        _ => return None,
    })
}

/// The split in a path below `root`: a folder with that name, or the first such word of the file's name.
fn split_of(root: &Path, file: &Path) -> Option<String> {
    let below = file.strip_prefix(root).unwrap_or(file);
    let folders = below.parent().into_iter().flat_map(Path::components);
    for folder in folders {
        if let Some(split) = canonical(&folder.as_os_str().to_string_lossy()) {
            return Some(split.to_owned());
        }
    }
    // An image called `test.jpg` is not a split; shards and tables are.
    let is_image = below
        .extension()
        .is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)));
    let stem = below
        .file_stem()
        .filter(|_| !is_image)?
        .to_string_lossy()
        .into_owned();
    stem.split(|c: char| !c.is_alphanumeric())
        .find_map(canonical)
        .map(str::to_owned)
}

/// Visited folders, so that links cannot cause a cycle.
#[derive(Default)]
struct Visited(HashSet<PathBuf>);

impl Visited {
    /// Whether `folder` is new, by any path.
    fn is_new(&mut self, folder: &Path) -> bool {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        self.0.insert(real)
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
        assert_eq!(
            braces("{train,val}-0"),
            Ok(vec!["train-0".into(), "val-0".into()])
        );
        assert!(
            braces("{5..4}").is_err()
                && braces("{a..b}").is_err()
                && braces("{1").is_err()
                && braces("{a}").is_err()
        );
        let large = "a pattern may stand for 1000000 names at most";
        for pattern in ["{0..4000000000}", "{0..99999}{0..99999}{0..99999}"] {
            assert_eq!(braces(pattern), Err(large.into()), "{pattern}");
        }
    }

    #[test]
    fn splits_are_told_by_names() {
        let told = |file: &str| split_of(Path::new("r"), Path::new(file));
        for (file, wanted) in [
            ("r/data/train-00000-of-00002.parquet", Some("train")),
            ("r/validation/0.tar", Some("validation")),
            ("r/dev.csv", Some("validation")),
            ("r/cc3m-test-00.tar", Some("test")),
            ("r/latest.tar", None),
            ("r/test.jpg", None),
        ] {
            assert_eq!(told(file).as_deref(), wanted, "{file}");
        }
    }
}
