//! Writing a store, shard by shard.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::manifest::VERSION;
use super::shard::Shard;
use super::{
    Caption, Chunk, EMPTY, Lock, MANIFEST, Manifest, REJECTS, Rejected, SETTINGS, SHARDS, Settings,
    ShardHeader, ShardInfo, StoreError, TEMPORARY,
};
use crate::files;
use crate::weights::{read_json, write_json};

/// A store, or a part of one, that this process writes.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    settings: Settings,
    hash: String,
    _lock: Lock,
}

impl Writer {
    /// Begins a store in `dir`, or goes on with one that was begun with the same settings.
    ///
    /// # Errors
    /// [`StoreError::Begun`] where other settings were used, [`StoreError::Busy`] where another process writes.
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, StoreError> {
        let settings = Settings {
            version: VERSION,
            ..settings
        };
        files::create_dir(dir.join(SHARDS))?;
        let lock = Lock::take(dir)?;
        let path = dir.join(SETTINGS);
        if path.is_file() {
            let there: Settings = read_json(&path)?;
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
        for folder in [dir.to_path_buf(), dir.join(SHARDS)] {
            for file in files::list(&folder)? {
                if file
                    .file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(TEMPORARY))
                {
                    // Only litter of a process that was killed.
                    let _ = std::fs::remove_file(file);
                }
            }
        }
        let text = serde_json::to_vec(&settings.without_places()).unwrap_or_default();
        Ok(Self {
            dir: dir.to_path_buf(),
            hash: files::sha256(&text),
            settings,
            _lock: lock,
        })
    }

    /// Whether the store is finished already.
    pub fn is_finished(&self) -> bool {
        self.dir.join(MANIFEST).is_file()
    }

    fn path(&self, unit: usize, chunk: usize) -> PathBuf {
        self.dir
            .join(SHARDS)
            .join(format!("{unit:05}-{chunk:03}.safetensors"))
    }

    /// The header of a shard that is there.
    ///
    /// # Errors
    /// [`StoreError`] where the file is something else.
    pub fn existing(&self, unit: usize, chunk: usize) -> Result<Option<ShardHeader>, StoreError> {
        let path = self.path(unit, chunk);
        if !path.is_file() {
            return Ok(None);
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

    /// Writes a shard.
    ///
    /// # Errors
    /// [`StoreError::File`]; nothing is there then.
    pub fn write(
        &self,
        unit: usize,
        chunk: usize,
        last: bool,
        rejects: Vec<Rejected>,
        values: &Chunk,
    ) -> Result<(), StoreError> {
        let header = ShardHeader {
            unit,
            chunk,
            last,
            settings: self.hash.clone(),
            n_cut: values.n_cut,
            rejects,
        };
        let (d, dtype) = (self.settings.encoder.d_clip, self.settings.dtype);
        values.write(&self.path(unit, chunk), d, dtype, &header)
    }

    /// Writes what remains, the manifest last: from now on there is a store.
    ///
    /// # Errors
    /// [`StoreError`], also where a shard is missing.
    pub fn finish(&self, empty: &Caption) -> Result<Manifest, StoreError> {
        let (part, of) = self.settings.part;
        let mut shards = Vec::new();
        for unit in (part..self.settings.n_units).step_by(of) {
            for chunk in 0.. {
                let Some(header) = self.existing(unit, chunk)? else {
                    return Err(StoreError::content(
                        &self.path(unit, chunk),
                        "shard",
                        "a file",
                        "none",
                    ));
                };
                shards.push((unit, chunk));
                if header.last {
                    break;
                }
            }
        }
        let alone = Chunk {
            z_y: empty.z_y.clone(),
            ids: empty.ids.clone(),
            id_ends: vec![empty.ids.len()],
            hidden: empty.hidden.clone(),
            caption_ends: vec![1],
            n_cut: 0,
            z_x: vec![0.0; self.settings.encoder.d_clip], // a shard's captions belong to pictures
            picture_ids: vec![String::new()],
            picture_hashes: vec![[0; 16]],
            caption_ids: vec![],
        };
        let header = ShardHeader {
            unit: 0,
            chunk: 0,
            last: true,
            settings: self.hash.clone(),
            n_cut: 0,
            rejects: vec![],
        };
        alone.write(
            &self.dir.join(EMPTY),
            self.settings.encoder.d_clip,
            self.settings.dtype,
            &header,
        )?;
        let files = shards.into_iter().map(|(unit, chunk)| {
            let file = format!("{SHARDS}/{unit:05}-{chunk:03}.safetensors");
            (unit, chunk, file)
        });
        write_manifest(&self.dir, &self.settings, files)
    }
}

/// Bytes of the shards that are in `dir` already, a store that is perhaps not even begun.
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

/// Looks at every shard and writes `rejects.jsonl` and `store.json`.
pub(super) fn write_manifest(
    dir: &Path,
    settings: &Settings,
    shards: impl IntoIterator<Item = (usize, usize, String)>,
) -> Result<Manifest, StoreError> {
    let d = settings.encoder.d_clip;
    let mut sums = Sums::new(d);
    let mut infos = Vec::new();
    let (mut rejects, mut n_cut) = (Vec::new(), 0);
    for (unit, chunk, file) in shards {
        let path = dir.join(&file);
        let (header, shard) = Shard::open(&path, d)?;
        sums.add(&shard);
        rejects.extend(header.rejects);
        n_cut += header.n_cut;
        infos.push(ShardInfo {
            unit,
            chunk,
            n_pictures: shard.n_pictures,
            n_captions: shard.n_captions,
            n_tokens: shard.n_tokens,
            bytes: std::fs::metadata(&path).map(|m| m.len()).unwrap_or_default(),
            sha256: files::sha256_file(&path)?,
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
    };
    write_json(&dir.join(MANIFEST), &manifest)?;
    Ok(manifest)
}

/// Sums over all pictures and captions, in f64.
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

    fn add(&mut self, shard: &Shard) {
        let mut row = Vec::with_capacity(self.d);
        let norm = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        for picture in 0..shard.n_pictures {
            row.clear();
            shard.z_x(picture, &mut row);
            self.norms.0 += norm(&row);
            for ((sum, square), &v) in self.sum.iter_mut().zip(&mut self.square).zip(&row) {
                *sum += f64::from(v);
                *square += f64::from(v).powi(2);
            }
        }
        for caption in 0..shard.n_captions {
            row.clear();
            shard.z_y(caption, &mut row);
            self.norms.1 += norm(&row);
        }
        self.n = (self.n.0 + shard.n_pictures, self.n.1 + shard.n_captions);
    }

    /// Mean and deviation of z_x, mean norms of z_x and z_y.
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
