//! Downloads to the Hugging Face cache: resumed, verified, complete or named as incomplete.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Response;

use super::cache::PART;
use super::error::HubError;
use super::listing::{Digest, Listing, RemoteFile};
use super::select::Selection;
use super::server::{Asked, Server};
use crate::files::{self, FileError};

/// Tries of a call to get a file, as long as less than [`PROGRESS`] comes of each.
const TRIES: u32 = 3;
/// Bytes of a try after which the tries are counted anew.
const PROGRESS: u64 = 1 << 20;
/// Wait before the second try; each further one waits twice as long.
const WAIT: Duration = Duration::from_millis(300);
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// How much of a file is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// All of it.
    Here,
    /// So many bytes, from an interrupted download.
    Part(u64),
    /// Nothing.
    Absent,
}

/// A file of a download.
#[derive(Debug, Clone)]
pub struct PlannedFile {
    /// The file.
    pub file: RemoteFile,
    /// What the cache has of it.
    pub state: FileState,
}

impl PlannedFile {
    /// Bytes to download.
    pub fn left(&self) -> u64 {
        match self.state {
            FileState::Here => 0,
            FileState::Part(n) => self.file.bytes - n,
            FileState::Absent => self.file.bytes,
        }
    }
}

/// A download that is ready to run.
#[derive(Debug)]
pub struct Download {
    listing: Listing,
    cache: PathBuf,
    files: Vec<PlannedFile>,
}

impl Download {
    /// Compares the selected files of `listing` with `cache`. Requests and writes nothing.
    ///
    /// # Errors
    /// [`HubError::NoWeights`] if no selected file holds weights that this program reads, and no others are asked for.
    pub fn plan(listing: Listing, selection: &Selection, cache: &Path) -> Result<Self, HubError> {
        let chosen = selection.of(&listing.files);
        let is_usual = !selection.all && selection.include.is_empty();
        if is_usual && !chosen.iter().any(|file| Selection::is_weights(file)) {
            let large = listing.files.iter().max_by_key(|file| file.bytes);
            return Err(HubError::NoWeights {
                repo: listing.repo.to_string(),
                found: large.map_or("no files".into(), |file| {
                    format!("its largest file is {}", file.name)
                }),
            });
        }
        let mut download = Self {
            files: Vec::new(),
            cache: cache.to_path_buf(),
            listing: listing.clone(),
        };
        for file in chosen {
            let length = |path: &Path| path.metadata().ok().map(|m| m.len());
            let is_whole = |path: &Path| length(path) == Some(file.bytes);
            let state = match length(&download.part(file)) {
                _ if is_whole(&download.blob(file)) || is_whole(&download.pointer(file)) => FileState::Here,
                Some(n) if n <= file.bytes => FileState::Part(n),
                _ => FileState::Absent,
            };
            let file = file.clone();
            download.files.push(PlannedFile { file, state });
        }
        Ok(download)
    }

    /// The files, by name.
    pub fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// What the server told.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Bytes to download.
    pub fn left(&self) -> u64 {
        self.files.iter().map(PlannedFile::left).sum()
    }

    /// The folder with the files of the revision.
    pub fn folder(&self) -> PathBuf {
        self.repository().join("snapshots").join(&self.listing.commit)
    }

    /// Downloads what is missing. `progress` is called with each file and the number of its bytes on disk; the download ends early, with its part kept,
    /// when `is_stopped` says so.
    ///
    /// # Errors
    /// [`HubError`]. What has been downloaded is kept, and the next call resumes; bytes that are not those that the repository names are removed.
    pub fn run(
        &self,
        server: &Server,
        is_stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&RemoteFile, u64),
    ) -> Result<PathBuf, HubError> {
        self.check_space()?;
        let made = |result: Result<(), FileError>| result.map_err(HubError::Cache);
        for folder in [self.repository().join("blobs"), self.folder(), self.locks()] {
            made(files::create_dir(folder))?;
        }
        // Links first: those of an interrupted download lead nowhere, and name what is missing.
        for planned in &self.files {
            made(self.link(&planned.file))?;
        }
        for planned in &self.files {
            let file = &planned.file;
            let path = self.locks().join(format!("{}.lock", file.digest.digits()));
            let lock = File::create(&path).map_err(|e| HubError::Cache(FileError::io("write", &path, e)))?;
            if let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
                let file = file.name.clone();
                return Err(HubError::Busy { file, lock: path });
            }
            self.get(server, file, is_stopped, progress)?;
        }
        let revision = self.listing.repo.revision().unwrap_or(super::name::MAIN);
        if !self.listing.commit.starts_with(revision) {
            let path = self.repository().join("refs").join(revision);
            if let Some(folder) = path.parent() {
                files::create_dir(folder)?;
            }
            files::write_atomic(path, self.listing.commit.as_bytes())?;
        }
        Ok(self.folder())
    }

    fn check_space(&self) -> Result<(), HubError> {
        let there = self.cache.ancestors().find(|folder| folder.is_dir());
        let free = there.and_then(|folder| fs4::available_space(folder).ok());
        match free {
            Some(free) if free < self.left() => Err(HubError::Space {
                folder: self.cache.clone(),
                needed: self.left(),
                free,
            }),
            _ => Ok(()),
        }
    }

    fn repository(&self) -> PathBuf {
        self.cache.join(self.listing.repo.folder())
    }

    fn locks(&self) -> PathBuf {
        self.cache.join(".locks").join(self.listing.repo.folder())
    }

    fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.repository().join("blobs").join(file.digest.digits())
    }

    fn part(&self, file: &RemoteFile) -> PathBuf {
        self.repository()
            .join("blobs")
            .join(format!("{}{PART}", file.digest.digits()))
    }

    fn pointer(&self, file: &RemoteFile) -> PathBuf {
        self.folder().join(&file.name)
    }

    /// The link from the snapshot to the blob, which may not be there yet.
    fn link(&self, file: &RemoteFile) -> Result<(), FileError> {
        let pointer = self.pointer(file);
        if let Some(folder) = pointer.parent() {
            files::create_dir(folder)?;
        }
        let is_whole = pointer.metadata().is_ok_and(|m| m.len() == file.bytes);
        if is_whole {
            return Ok(());
        }
        let fail = |e| FileError::io("create", &pointer, e);
        if pointer.symlink_metadata().is_ok() {
            std::fs::remove_file(&pointer).map_err(fail)?;
        }
        #[cfg(unix)]
        {
            let up = "../".repeat(file.name.split('/').count() + 1);
            let to = format!("{up}blobs/{}", file.digest.digits());
            std::os::unix::fs::symlink(to, &pointer).map_err(fail)?;
        }
        #[cfg(not(unix))]
        if self.blob(file).is_file() {
            files::copy(self.blob(file), &pointer)?;
        }
        Ok(())
    }

    /// Downloads `file`, with a few tries.
    fn get(
        &self,
        server: &Server,
        file: &RemoteFile,
        is_stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&RemoteFile, u64),
    ) -> Result<(), HubError> {
        let is_here = |path: PathBuf| path.metadata().is_ok_and(|m| m.len() == file.bytes);
        let mut n_tries = 0;
        while !is_here(self.blob(file)) && !is_here(self.pointer(file)) {
            let before = self.n_part(file);
            n_tries += 1;
            match self.attempt(server, file, is_stopped, progress) {
                Err(e) if is_passing(&e) && self.n_part(file) >= before + PROGRESS => n_tries = 0,
                Err(e) if is_passing(&e) && n_tries < TRIES => {
                    tracing::warn!("{e}; trying again");
                    std::thread::sleep(WAIT * 2u32.pow(n_tries - 1));
                }
                Err(e) => return Err(e),
                Ok(()) => {}
            }
        }
        progress(file, file.bytes);
        Ok(self.link(file)?)
    }

    fn n_part(&self, file: &RemoteFile) -> u64 {
        self.part(file).metadata().map_or(0, |m| m.len())
    }

    fn attempt(
        &self,
        server: &Server,
        file: &RemoteFile,
        is_stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(&RemoteFile, u64),
    ) -> Result<(), HubError> {
        let path = self.part(file);
        let fail = |e| HubError::File(FileError::io("write", &path, e));
        let mut out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| HubError::Cache(FileError::io("write", &path, e)))?;
        let mut got = self.n_part(file);
        if got > file.bytes {
            out.set_len(0).map_err(fail)?;
            got = 0;
        }
        if got < file.bytes || file.bytes == 0 {
            let id = self.listing.repo.id();
            let asked = Asked {
                repo: &id,
                revision: &self.listing.commit,
            };
            let (_, answer) = server.file(&asked, &file.name, got)?;
            let starts_there = answer.status().as_u16() == 206 && first_byte(&answer) == Some(got);
            if got > 0 && !starts_there {
                // The server does not know ranges, or the part is none of this file.
                out.set_len(0).map_err(fail)?;
                got = 0;
                if answer.status().as_u16() != 200 {
                    return Err(cut(file, got, format!("status {}", answer.status())));
                }
            }
            let mut body = answer.into_body().into_reader();
            let mut buffer = vec![0; CHUNK];
            loop {
                progress(file, got);
                if is_stopped() {
                    return Err(HubError::Stopped(file.name.clone()));
                }
                let n = body
                    .read(&mut buffer)
                    .map_err(|e| cut(file, got, e.to_string()))?;
                if n == 0 {
                    break;
                }
                got += n as u64;
                if got > file.bytes {
                    drop(out);
                    return Err(damaged(
                        &path,
                        file,
                        format!("{} bytes", file.bytes),
                        "more".into(),
                    ));
                }
                out.write_all(&buffer[..n]).map_err(fail)?;
            }
            if got < file.bytes {
                return Err(cut(file, got, "the server closed it".into()));
            }
        }
        out.sync_all().map_err(fail)?;
        drop(out);
        let (kind, found) = match &file.digest {
            Digest::Sha256(_) => ("sha256", files::sha256_file(&path)?),
            Digest::Git(_) => ("git blob", git_blob(&path)?),
        };
        if found != file.digest.digits() {
            let expected = format!("{kind} {}", file.digest.digits());
            return Err(damaged(&path, file, expected, found));
        }
        std::fs::rename(&path, self.blob(file)).map_err(fail)
    }
}

/// Whether a further try may help.
fn is_passing(error: &HubError) -> bool {
    match error {
        HubError::Cut { .. } | HubError::Unreachable { .. } => true,
        HubError::Status { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

fn cut(file: &RemoteFile, got: u64, reason: String) -> HubError {
    HubError::Cut {
        file: file.name.clone(),
        got,
        size: file.bytes,
        reason,
    }
}

/// Removes the part.
fn damaged(part: &Path, file: &RemoteFile, expected: String, found: String) -> HubError {
    if let Err(e) = std::fs::remove_file(part) {
        return FileError::io("write", part, e).into();
    }
    HubError::Damaged {
        file: file.name.clone(),
        expected,
        found,
    }
}

/// The first byte of an answer to a request for a range.
fn first_byte<T>(answer: &Response<T>) -> Option<u64> {
    let range = answer.headers().get("content-range")?.to_str().ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

/// The name that git gives to the bytes of a file.
fn git_blob(path: &Path) -> Result<String, FileError> {
    let bytes = files::read(path)?;
    let mut hash = sha1_smol::Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()).as_bytes());
    hash.update(&bytes);
    Ok(hash.digest().to_string())
}
