//! What was drawn, on disk: a folder for each request, with its images and `item.json`, which is written last. The oldest are removed beyond a limit.
//!
//! Requests name items by id. An id is looked up in the index, so that no text of a request becomes a part of a path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::painter::ImageRecord;
use super::request::DrawRequest;
use crate::files::{self, FileError};
use crate::weights::{WeightsError, read_json, write_json};

/// The file that makes a folder an item.
const ITEM: &str = "item.json";
/// Digits of an id.
const ID: usize = 16;

/// A request that was drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The request.
    pub request: DrawRequest,
    /// The labels of its priors, by id.
    pub labels: BTreeMap<String, String>,
    /// The images, in the order of their files.
    pub images: Vec<ImageRecord>,
    /// Priors that did not draw it, and why.
    pub skipped: Vec<(String, String)>,
    /// When it was finished, in seconds since 1970.
    pub drawn_at: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// All that was drawn.
#[derive(Debug)]
pub struct Gallery {
    dir: PathBuf,
    most: usize,
    most_bytes: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// When each item was finished, and its id; the newest last.
    items: BTreeSet<(u64, String)>,
    /// Bytes of each item.
    bytes: BTreeMap<String, u64>,
    /// Items that are being drawn.
    drafts: BTreeSet<String>,
}

impl Gallery {
    /// Opens or creates the gallery in `dir`, which keeps the newest `most` items, and less where they have more than `most_bytes`. What a killed process
    /// left half drawn is removed.
    ///
    /// # Errors
    /// [`FileError`] if the folder cannot be created or read.
    pub fn open(dir: &Path, most: usize, most_bytes: u64) -> Result<Self, FileError> {
        files::create_dir(dir)?;
        let mut index = Index::default();
        for folder in files::list_folders(dir)? {
            let name = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_ours = name.len() == ID && name.bytes().all(|b| b.is_ascii_hexdigit());
            if is_ours && !folder.join(ITEM).exists() {
                remove(&folder);
                continue;
            }
            // A damaged item is not shown; drawing it again replaces it.
            if let (true, Ok(item)) = (is_ours, read_json::<Item>(&folder.join(ITEM))) {
                index.bytes.insert(name.clone(), size(&folder));
                index.items.insert((item.drawn_at, name));
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            most,
            most_bytes,
            index: Mutex::new(index),
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The item of this id, if there is one.
    pub fn item(&self, id: &str) -> Option<Item> {
        let found = self.index().items.iter().any(|(_, other)| other == id);
        found.then(|| read_json(&self.dir.join(id).join(ITEM)).ok())?
    }

    /// The file of image `n` of the item of this id, which may still be drawn.
    pub fn image(&self, id: &str, n: usize) -> Option<Vec<u8>> {
        let index = self.index();
        let found = index.drafts.contains(id) || index.items.iter().any(|(_, other)| other == id);
        drop(index);
        found.then(|| files::read(self.file(id, n)).ok())?
    }

    fn file(&self, id: &str, n: usize) -> PathBuf {
        self.dir.join(id).join(format!("{n:02}.png"))
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.index().items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `n` items after the newest `skipped`, the newest first.
    pub fn newest(&self, skipped: usize, n: usize) -> Vec<Item> {
        let index = self.index();
        let ids: Vec<String> = index
            .items
            .iter()
            .rev()
            .skip(skipped)
            .take(n)
            .map(|(_, id)| id.clone())
            .collect();
        drop(index);
        ids.iter().filter_map(|id| self.item(id)).collect()
    }

    /// Begins an item; it is removed again unless it is finished.
    ///
    /// # Errors
    /// [`FileError`] if its folder cannot be created.
    pub fn begin(&self, id: &str) -> Result<Draft<'_>, FileError> {
        files::create_dir(self.dir.join(id))?;
        self.index().drafts.insert(id.to_owned());
        Ok(Draft {
            gallery: self,
            id: id.to_owned(),
            n: 0,
            is_finished: false,
        })
    }
}

/// An item that is being drawn.
#[derive(Debug)]
pub struct Draft<'a> {
    gallery: &'a Gallery,
    id: String,
    n: usize,
    is_finished: bool,
}

impl Draft<'_> {
    /// Adds the next image.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub fn add(&mut self, png: &[u8]) -> Result<(), FileError> {
        files::write_atomic(self.gallery.file(&self.id, self.n), png)?;
        self.n += 1;
        Ok(())
    }

    /// Keeps the item, and removes the oldest beyond the gallery's limit.
    ///
    /// # Errors
    /// [`WeightsError`] if its file cannot be written.
    pub fn finish(mut self, item: &Item) -> Result<(), WeightsError> {
        write_json(&self.gallery.dir.join(&self.id).join(ITEM), item)?;
        self.is_finished = true;
        let mut index = self.gallery.index();
        // A damaged item of this id is replaced.
        index.items.retain(|(_, id)| *id != self.id);
        index.items.insert((item.drawn_at, self.id.clone()));
        let size = size(&self.gallery.dir.join(&self.id));
        index.bytes.insert(self.id.clone(), size);
        let is_full = |index: &Index| {
            index.items.len() > self.gallery.most
                || index.items.len() > 1 && index.bytes.values().sum::<u64>() > self.gallery.most_bytes
        };
        while is_full(&index) {
            let Some((_, id)) = index.items.pop_first() else {
                break;
            };
            index.bytes.remove(&id);
            remove(&self.gallery.dir.join(id));
        }
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.gallery.index().drafts.remove(&self.id);
        if !self.is_finished {
            remove(&self.gallery.dir.join(&self.id));
        }
    }
}

/// Bytes of an item's files.
fn size(folder: &Path) -> u64 {
    let files = files::list(folder).unwrap_or_default().into_iter();
    files
        .filter_map(|file| Some(std::fs::metadata(file).ok()?.len()))
        .sum()
}

/// Removes an item's folder; one that stays is replaced when it is drawn again.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!("cannot remove {}: {}", folder.display(), error.kind());
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |t| t.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::request::Sampling;

    fn item(id: &str, drawn_at: u64) -> Item {
        Item {
            id: id.into(),
            request: DrawRequest {
                prompt: "a red car".into(),
                to: None,
                priors: vec!["a".into()],
                images: 1,
                seed: 0,
                sampling: Sampling::default(),
            },
            labels: BTreeMap::new(),
            images: Vec::new(),
            skipped: Vec::new(),
            drawn_at,
            seconds: 0.5,
        }
    }

    #[test]
    fn the_newest_are_kept_and_only_ids_are_found() {
        let desk = tempfile::tempdir().expect("a folder");
        let dir = desk.path().join("gallery");
        let gallery = Gallery::open(&dir, 2, 1 << 20).expect("opened");
        let id = |n: u64| format!("{n:016x}");
        for n in 0..3 {
            let mut draft = gallery.begin(&id(n)).expect("begun");
            draft.add(b"png").expect("written");
            assert_eq!(
                gallery.image(&id(n), 0),
                Some(b"png".to_vec()),
                "before it is finished"
            );
            draft.finish(&item(&id(n), 100 + n)).expect("kept");
        }
        // One that was cancelled leaves nothing.
        let mut draft = gallery.begin(&id(7)).expect("begun");
        draft.add(b"png").expect("written");
        drop(draft);
        assert_eq!(files::list_folders(&dir).expect("a folder").len(), 2);
        let ids = |gallery: &Gallery| -> Vec<String> {
            gallery.newest(0, 9).into_iter().map(|item| item.id).collect()
        };
        assert_eq!(ids(&gallery), [id(2), id(1)]);
        assert_eq!(gallery.newest(1, 9).len(), 1);

        std::fs::write(desk.path().join("00.png"), "secret").expect("written");
        for wrong in ["..", "../gallery", "", ".", "0000000000000000", "/etc"] {
            assert_eq!(
                (gallery.image(wrong, 0), gallery.item(wrong)),
                (None, None),
                "{wrong}"
            );
        }
        assert_eq!(gallery.image(&id(2), 1), None);
        // Another start finds the same, and leaves folders of others alone.
        std::fs::create_dir_all(dir.join("notes")).expect("made");
        // What a killed process left half drawn is gone.
        std::fs::create_dir_all(dir.join(id(9))).expect("made");
        std::fs::write(dir.join(id(9)).join("00.png"), "half").expect("written");
        let gallery = Gallery::open(&dir, 2, 6000).expect("opened");
        assert_eq!(ids(&gallery), [id(2), id(1)]);
        assert!(dir.join("notes").is_dir() && !dir.join(id(9)).exists());

        // Bytes are limited too; the newest stays in any case.
        for (n, bytes) in [(10, 3000), (11, 9000), (12, 10)] {
            let mut draft = gallery.begin(&id(n)).expect("begun");
            draft.add(&vec![0; bytes]).expect("written");
            draft.finish(&item(&id(n), 200 + n)).expect("kept");
            let kept = match n {
                10 => vec![id(10), id(2)],
                n => vec![id(n)],
            };
            assert_eq!(ids(&gallery), kept, "after {n}");
        }
    }
}
