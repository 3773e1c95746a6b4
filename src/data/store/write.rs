//! Writes a store, shard by shard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::manifest::VERSION;
use super::read::read_manifest;
use super::shard::Shard;
use super::{
    Caption, Chunk, EMPTY, FileInfo, Lock, MANIFEST, Manifest, RECORDS, REJECTS, Rejected, SETTINGS, SHARDS,
    Settings, ShardHeader, ShardInfo, SourceFile, Store, StoreError,
};
use crate::files::{self, FileError};
use crate::limits;
use crate::weights::{read_json, write_json};

/// A store, or a part of a store, that this process writes.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    settings: Settings,
    hash: String,
    records: Mutex<Records>,
    _lock: Lock,
}

/// Records of the existing shards.
#[derive(Debug)]
struct Records {
    /// Writer of `shards.jsonl`.
    log: File,
    /// Records of written shards, by file.
    written: BTreeMap<String, FileInfo>,
    /// Files whose hash was verified, or that this process has written.
    checked: BTreeSet<String>,
    /// Whether this process has written a shard.
    changed: bool,
}

/// A line of `shards.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    file: String,
    #[serde(flatten)]
    info: FileInfoLine,
}

/// [`FileInfo`] without `deny_unknown_fields`, which serde cannot combine with `flatten`.
#[derive(Debug, Serialize, Deserialize)]
struct FileInfoLine {
    bytes: u64,
    sha256: String,
}

impl Records {
    /// The records in the manifest of a finished store and in the log of an unfinished one.
    fn open(dir: &Path) -> Result<Self, StoreError> {
        let mut written = BTreeMap::new();
        match read_manifest(&dir.join(MANIFEST)) {
            Ok(manifest) => written.extend(manifest.shards.into_iter().map(|s| (s.file.clone(), s.info()))),
            Err(StoreError::Weights(crate::weights::WeightsError::File(FileError::Missing(_)))) => {}
            Err(error) => {
                tracing::warn!("{error}; the manifest is made again, with the shards that it alone knows")
            }
        }
        let path = dir.join(RECORDS);
        let text = match files::read(&path) {
            Err(FileError::Missing(_)) => String::new(),
            bytes => String::from_utf8_lossy(&bytes?).into_owned(),
        };
        // A truncated or damaged line loses its shard's record: the shard is encoded again.
        for line in text.lines() {
            if let Ok(record) = serde_json::from_str::<Record>(line) {
                let FileInfoLine { bytes, sha256 } = record.info;
                written.insert(record.file, FileInfo { bytes, sha256 });
            }
        }
        let fail = |source| FileError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(fail)?;
        if !text.is_empty() && !text.ends_with('\n') {
            log.write_all(b"\n").map_err(fail)?;
        }
        Ok(Self {
            log,
            written,
            checked: BTreeSet::new(),
            changed: false,
        })
    }
}

impl Writer {
    /// Starts a store in `dir`, or resumes one that was started with the same settings.
    ///
    /// # Errors
    /// [`StoreError::Begun`] if the settings differ, [`StoreError::Busy`] if another process writes.
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, StoreError> {
        let mut settings = Settings {
            version: VERSION,
            ..settings
        };
        files::create_dir(dir.join(SHARDS))?;
        let lock = Lock::take(dir)?;
        let path = dir.join(SETTINGS);
        if path.is_file() {
            let there: Settings = read_json(&path)?;
            if there.encoder.tokenizer.is_none() {
                // Started by an earlier version, whose shards have the same settings.
                settings.encoder.tokenizer = None;
            }
            if let Some((key, there, here)) = there.difference(&settings) {
                return Err(StoreError::Begun {
                    dir: dir.to_path_buf(),
                    key,
                    there,
                    here,
                });
            }
        } else {
            write_json(&path, &settings)?;
        }
        let text = serde_json::to_vec(&settings.without_places()).unwrap_or_default();
        Ok(Self {
            records: Mutex::new(Records::open(dir)?),
            dir: dir.to_path_buf(),
            hash: files::sha256(&text),
            settings,
            _lock: lock,
        })
    }

    /// Whether the store is finished.
    pub fn is_finished(&self) -> bool {
        self.dir.join(MANIFEST).is_file()
    }

    fn name(unit: usize, chunk: usize) -> String {
        format!("{SHARDS}/{unit:05}-{chunk:03}.safetensors")
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of chunks of a unit, as far as files or records of them exist.
    pub fn n_chunks(&self, unit: usize) -> Result<usize, StoreError> {
        let prefix = format!("{unit:05}-");
        let there = files::list(self.dir.join(SHARDS))?;
        let there = there.iter().filter_map(|file| file.file_name()?.to_str());
        let records = self.records();
        let known = records
            .written
            .keys()
            .filter_map(|name| name.split('/').next_back());
        let chunk = |name: &str| -> Option<usize> {
            name.strip_prefix(&prefix)?
                .strip_suffix(".safetensors")?
                .parse()
                .ok()
        };
        Ok(there
            .chain(known)
            .filter_map(chunk)
            .map(|n| n + 1)
            .max()
            .unwrap_or(0))
    }

    /// The header of an existing shard that matches its record; `None`, with a message, for a shard that must be encoded again.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read or belongs to other settings.
    pub fn existing(&self, unit: usize, chunk: usize) -> Result<Option<ShardHeader>, StoreError> {
        let name = Self::name(unit, chunk);
        let path = self.dir.join(&name);
        if !path.is_file() {
            return Ok(None);
        }
        let (record, is_checked) = {
            let records = self.records();
            (
                records.written.get(&name).cloned(),
                records.checked.contains(&name),
            )
        };
        if !is_checked {
            let reason = match record.map(|record| record.check(&path)) {
                Some(Ok(())) => None,
                Some(Err(error @ StoreError::Content { .. })) => Some(error.to_string()),
                Some(Err(error)) => return Err(error),
                None => Some(format!("{}: nothing was recorded of it", path.display())),
            };
            if let Some(reason) = reason {
                tracing::warn!("{reason}; this shard is made again");
                return Ok(None);
            }
            self.records().checked.insert(name);
        }
        let header = Shard::header(&path)?;
        if header.settings != self.hash {
            return Err(StoreError::content(
                &path,
                "settings",
                &self.hash,
                header.settings,
            ));
        }
        Ok(Some(header))
    }

    /// Writes a shard that was encoded from `files`.
    ///
    /// # Errors
    /// [`StoreError::File`]; no shard exists then.
    pub fn write(
        &self,
        (unit, chunk): (usize, usize),
        last: bool,
        rejects: Vec<Rejected>,
        files: Vec<SourceFile>,
        values: &Chunk,
    ) -> Result<(), StoreError> {
        let header = ShardHeader {
            unit,
            chunk,
            last,
            settings: self.hash.clone(),
            n_cut: values.n_cut,
            rejects,
            files,
        };
        let (d, dtype) = (self.settings.encoder.d_clip, self.settings.dtype);
        let name = Self::name(unit, chunk);
        let path = self.dir.join(&name);
        let bytes = values.file(&path, d, dtype, &header)?;
        let info = FileInfo::of(&bytes);
        let record = Record {
            file: name.clone(),
            info: FileInfoLine {
                bytes: info.bytes,
                sha256: info.sha256.clone(),
            },
        };
        let mut line = serde_json::to_string(&record).unwrap_or_default();
        line.push('\n');
        let mut records = self.records();
        // The record is written first, so that every shard has a record.
        records
            .log
            .write_all(line.as_bytes())
            .and_then(|()| records.log.sync_data())
            .map_err(|source| FileError::Io {
                action: "write",
                path: self.dir.join(RECORDS),
                source,
            })?;
        files::write_atomic(&path, &bytes)?;
        records.checked.insert(name.clone());
        records.written.insert(name, info);
        records.changed = true;
        Ok(())
    }

    /// Writes the remaining files, the manifest last: it marks the store as finished. An intact manifest remains unchanged.
    ///
    /// # Errors
    /// [`StoreError`], also if a shard is missing.
    pub fn finish(&self, empty: &Caption) -> Result<Manifest, StoreError> {
        let (part, of) = self.settings.part;
        let mut shards = Vec::new();
        for unit in (part..self.settings.n_units).step_by(of) {
            for chunk in 0.. {
                let (name, header) = (Self::name(unit, chunk), self.existing(unit, chunk)?);
                let record = self.records().written.get(&name).cloned();
                let (Some(header), Some(record)) = (header, record) else {
                    let path = self.dir.join(name);
                    return Err(StoreError::content(&path, "shard", "a whole file", "none"));
                };
                shards.push((unit, chunk, name, record));
                if header.last {
                    break;
                }
            }
        }
        if !self.records().changed
            && let Some(manifest) = self.whole()
        {
            let _ = std::fs::remove_file(self.dir.join(RECORDS));
            return Ok(manifest);
        }
        let alone = Chunk {
            z_y: empty.z_y.clone(),
            ids: empty.ids.clone(),
            id_ends: vec![empty.ids.len()],
            hidden: empty.hidden.clone(),
            caption_ends: vec![1],
            n_cut: 0,
            z_x: vec![0.0; self.settings.encoder.d_clip], // A shard's captions belong to images.
            image_ids: vec![String::new()],
            image_hashes: vec![[0; 16]],
            caption_ids: vec![],
        };
        let header = ShardHeader {
            unit: 0,
            chunk: 0,
            last: true,
            settings: self.hash.clone(),
            n_cut: 0,
            rejects: vec![],
            files: vec![],
        };
        let path = self.dir.join(EMPTY);
        let bytes = alone.file(&path, self.settings.encoder.d_clip, self.settings.dtype, &header)?;
        files::write_atomic(&path, &bytes)?;
        let settings = FileInfo::of(&files::read(self.dir.join(SETTINGS))?);
        let others = [(EMPTY, FileInfo::of(&bytes)), (SETTINGS, settings)];
        let manifest = write_manifest(&self.dir, &self.settings, shards, others)?;
        // The manifest contains all of these records.
        let _ = std::fs::remove_file(self.dir.join(RECORDS));
        Ok(manifest)
    }

    /// The existing manifest, if it matches the other files of the store. A manifest of an earlier version, without hashes of these files, remains
    /// unchanged if they can be read: runs trained on the store identify it by its hash.
    fn whole(&self) -> Option<Manifest> {
        let manifest = read_manifest(&self.dir.join(MANIFEST)).ok()?;
        if manifest.files.is_empty() && !self.dir.join(REJECTS).is_file() {
            return None;
        }
        let mut files = manifest.files.iter();
        let checked = files.try_for_each(|(name, info)| info.check(&self.dir.join(name)));
        match checked.and_then(|()| Store::open(&self.dir)) {
            Ok(_) => Some(manifest),
            Err(error) => {
                tracing::warn!("{error}; it is made again");
                None
            }
        }
    }
}

/// Bytes of the shards in `dir`, which need not be a store yet.
///
/// # Errors
/// [`StoreError::File`].
pub fn bytes_there(dir: &Path) -> Result<u64, StoreError> {
    let shards = dir.join(SHARDS);
    if !shards.is_dir() {
        return Ok(0);
    }
    let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |m| m.len());
    Ok(files::list(shards)?.iter().map(size).sum())
}

/// Reads every verified shard and writes `rejects.jsonl` and `store.json`. `others` are the other files of the store.
pub(super) fn write_manifest<const N: usize>(
    dir: &Path,
    settings: &Settings,
    shards: impl IntoIterator<Item = (usize, usize, String, FileInfo)>,
    others: [(&str, FileInfo); N],
) -> Result<Manifest, StoreError> {
    let d = settings.encoder.d_clip;
    let mut sums = Sums::new(d);
    let mut infos = Vec::new();
    let (mut rejects, mut n_cut) = (Vec::new(), 0);
    for (unit, chunk, file, info) in shards {
        let path = dir.join(&file);
        let (header, shard) = Shard::open(&path, d)?;
        sums.add(&shard, &path)?;
        rejects.extend(header.rejects);
        n_cut += header.n_cut;
        infos.push(ShardInfo {
            unit,
            chunk,
            n_pictures: shard.n_pictures,
            n_captions: shard.n_captions,
            n_tokens: shard.n_tokens,
            bytes: info.bytes,
            sha256: info.sha256,
            file,
        });
    }
    let mut counts = BTreeMap::new();
    for reject in &rejects {
        *counts.entry(reject.reason.clone()).or_insert(0) += 1;
    }
    let lines: String = rejects
        .iter()
        .filter_map(|reject| serde_json::to_string(reject).ok())
        .map(|line| line + "\n")
        .collect();
    files::write_atomic(dir.join(REJECTS), lines.as_bytes())?;
    let is_whole = settings.part.1 == 1;
    if is_whole && infos.iter().all(|info| info.n_pictures == 0) {
        let reasons: Vec<String> = counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let first = rejects
            .first()
            .map_or_else(String::new, |r| format!("; {}: {}", r.place, r.detail));
        return Err(StoreError::Nothing {
            dir: dir.to_path_buf(),
            rejects: match reasons.is_empty() {
                true => ": the source has none".into(),
                false => format!(", see {REJECTS}: {}{first}", reasons.join(", ")),
            },
        });
    }
    let mut others: BTreeMap<String, FileInfo> = others
        .into_iter()
        .map(|(name, info)| (name.to_owned(), info))
        .collect();
    others.insert(REJECTS.to_owned(), FileInfo::of(lines.as_bytes()));
    let (mean, std, norm_x, norm_y) = sums.statistics();
    let manifest = Manifest {
        settings: settings.clone(),
        n_pictures: infos.iter().map(|i| i.n_pictures).sum(),
        n_captions: infos.iter().map(|i| i.n_captions).sum(),
        n_tokens: infos.iter().map(|i| i.n_tokens).sum(),
        n_cut,
        rejects: counts,
        mean,
        std,
        norm_x,
        norm_y,
        shards: infos,
        files: others,
        sha256: String::new(),
    };
    let path = dir.join(MANIFEST);
    let text = manifest
        .sealed()
        .map_err(|e| StoreError::content(&path, "manifest", "values that JSON can hold", e))?;
    files::write_atomic(&path, text.as_bytes())?;
    read_manifest(&path)
}

fn finite(row: &[f32], key: &str, path: &Path) -> Result<(), StoreError> {
    match limits::not_finite(row.iter().copied()) {
        Some(limits::Odd { value, .. }) => Err(StoreError::content(path, key, "finite numbers", value)),
        None => Ok(()),
    }
}

/// Sums over all images and captions, in f64.
struct Sums {
    d: usize,
    n: (usize, usize),
    sum: Vec<f64>,
    square: Vec<f64>,
    norms: (f64, f64),
}

impl Sums {
    fn new(d: usize) -> Self {
        Self {
            d,
            n: (0, 0),
            sum: vec![0.0; d],
            square: vec![0.0; d],
            norms: (0.0, 0.0),
        }
    }

    /// Adds the rows of the shard at `path`. Refuses values that are not finite, because one would invalidate the mean.
    fn add(&mut self, shard: &Shard, path: &Path) -> Result<(), StoreError> {
        let mut row = Vec::with_capacity(self.d);
        let norm = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        for image in 0..shard.n_pictures {
            row.clear();
            shard.z_x(image, &mut row);
            finite(&row, "z_x", path)?;
            self.norms.0 += norm(&row);
            for ((sum, square), &v) in self.sum.iter_mut().zip(&mut self.square).zip(&row) {
                *sum += f64::from(v);
                *square += f64::from(v).powi(2);
            }
        }
        for caption in 0..shard.n_captions {
            row.clear();
            shard.z_y(caption, &mut row);
            finite(&row, "z_y", path)?;
            self.norms.1 += norm(&row);
        }
        self.n = (self.n.0 + shard.n_pictures, self.n.1 + shard.n_captions);
        Ok(())
    }

    /// Mean and standard deviation of z_x, mean norms of z_x and z_y.
    fn statistics(&self) -> (Vec<f32>, Vec<f32>, f64, f64) {
        let (n, m) = (self.n.0.max(1) as f64, self.n.1.max(1) as f64);
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let std = self
            .square
            .iter()
            .zip(&mean)
            .map(|(s, m)| (s / n - m * m).max(0.0).sqrt() as f32);
        (
            mean.iter().map(|&m| m as f32).collect(),
            std.collect(),
            self.norms.0 / n,
            self.norms.1 / m,
        )
    }
}
