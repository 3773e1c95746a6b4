//! Reading a finished store.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::manifest::VERSION;
use super::shard::{ImageHash, Shard};
use super::{ClipHash, EMPTY, MANIFEST, Manifest, SETTINGS, ShardInfo, StoreError};
use crate::files;
use crate::limits;
use crate::weights::read_json;

/// A caption, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// `[d_clip]`
    pub z_y: Vec<f32>,
    /// Token ids without padding.
    pub ids: Vec<u16>,
    /// `[tokens, d_clip]`; empty where hidden states are not stored.
    pub hidden: Vec<f32>,
}

/// A finished store. Images and captions are numbered across shards, in the manifest's order; captions are ordered by image.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    manifest: Manifest,
    shards: Vec<Shard>,
    /// First image and first caption of each shard.
    first: Vec<(usize, usize)>,
    first_of_image: OnceLock<Vec<u32>>,
    empty: Caption,
    /// Set for shards whose hash was verified.
    checked: Vec<OnceLock<()>>,
}

/// A shard that does not match its record, detected while its values are read.
///
/// Values are read by functions without a `Result`, deep inside training: this error unwinds to the caller of [`Damage::catch`], without a panic
/// message.
#[derive(Debug)]
pub struct Damage(StoreError);

impl Damage {
    fn unwind(error: StoreError) -> ! {
        resume_unwind(Box::new(Self(error)))
    }

    /// Runs `read` and returns its result.
    ///
    /// # Errors
    /// The error of a damaged shard. Other panics continue.
    pub fn catch<T>(read: impl FnOnce() -> T) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(read))
            .map_err(|panic| Self::of(panic).unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// The error in a caught panic payload.
    ///
    /// # Errors
    /// The payload, if it is of another type.
    pub fn of(panic: Box<dyn Any + Send>) -> Result<StoreError, Box<dyn Any + Send>> {
        panic.downcast::<Self>().map(|damage| damage.0)
    }
}

/// Parses a manifest and verifies its own hash.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, StoreError> {
    let manifest: Manifest = read_json(path)?;
    let expected = Manifest::seal_of(&files::read_text(path)?);
    // Manifests of earlier versions contain no hash; a truncated hash is an error.
    match manifest.sha256.is_empty() || expected.as_ref() == Some(&manifest.sha256) {
        true => Ok(manifest),
        false => {
            let expected = expected.unwrap_or_else(|| "64 hexadecimal digits".into());
            Err(StoreError::content(path, "sha256", expected, manifest.sha256))
        }
    }
}

impl Store {
    /// Opens a store: its manifest, and every shard's size and offsets. The hash of a shard is verified at its first read, see [`Damage`].
    ///
    /// # Errors
    /// [`StoreError`], naming file and key.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(MANIFEST);
        if !path.is_file() {
            return Err(not_finished(dir));
        }
        let manifest = read_manifest(&path)?;
        let (d, version) = (manifest.d_clip(), manifest.settings.version);
        if !(1..=VERSION).contains(&version) {
            return Err(StoreError::content(
                &path,
                "version",
                format!("1 to {VERSION}"),
                version,
            ));
        }
        for (key, n) in [("mean", manifest.mean.len()), ("std", manifest.std.len())] {
            if n != d || d == 0 {
                return Err(StoreError::content(&path, key, format!("{d} values, above 0"), n));
            }
        }
        let numbers = manifest.mean.iter().chain(&manifest.std);
        if let Some(limits::Odd { value, .. }) = limits::not_finite(numbers.copied()) {
            return Err(StoreError::content(&path, "mean, std", "finite numbers", value));
        }
        for (name, info) in &manifest.files {
            info.check(&dir.join(name))?;
        }
        let (mut shards, mut first, mut end) = (Vec::new(), Vec::new(), (0, 0));
        for info in &manifest.shards {
            let file = dir.join(&info.file);
            let bytes = std::fs::metadata(&file).map(|m| m.len()).ok();
            if bytes != Some(info.bytes) {
                let found = bytes.map_or_else(|| "no such file".into(), |n| format!("{n} bytes"));
                return Err(StoreError::content(
                    &file,
                    "size",
                    format!("{} bytes", info.bytes),
                    found,
                ));
            }
            let (_, shard) = Shard::open(&file, d)?;
            let counts = [shard.n_pictures, shard.n_captions, shard.n_tokens];
            let wanted = [info.n_pictures, info.n_captions, info.n_tokens];
            if counts != wanted {
                let key = "pictures, captions, tokens";
                return Err(StoreError::content(
                    &file,
                    key,
                    format!("{wanted:?}"),
                    format!("{counts:?}"),
                ));
            }
            if manifest.hidden_stored() && !shard.has_hidden() {
                return Err(StoreError::content(&file, "hidden", "a tensor", "none"));
            }
            first.push(end);
            end = (end.0 + shard.n_pictures, end.1 + shard.n_captions);
            shards.push(shard);
        }
        if end != (manifest.n_pictures, manifest.n_captions) {
            let wanted = format!("{:?}", (manifest.n_pictures, manifest.n_captions));
            return Err(StoreError::content(
                &path,
                "n_pictures, n_captions",
                format!("{end:?}, the sum over the shards"),
                wanted,
            ));
        }
        let empty = read_empty(dir, &manifest)?;
        let checked = shards.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            dir: dir.to_path_buf(),
            manifest,
            shards,
            first,
            first_of_image: OnceLock::new(),
            empty,
            checked,
        })
    }

    /// Reads every shard and verifies its hash.
    ///
    /// # Errors
    /// [`StoreError::Content`] with the first shard that differs.
    pub fn verify(&self) -> Result<(), StoreError> {
        (0..self.shards.len()).try_for_each(|i| self.check_shard(i))
    }

    /// Verifies the hash of a shard, once.
    fn check_shard(&self, i: usize) -> Result<(), StoreError> {
        let (checked, info) = (&self.checked[i], &self.manifest.shards[i]);
        if checked.get().is_none() {
            info.info().check(&self.dir.join(&info.file))?;
            // Two threads may both verify it, with the same result.
            let _ = checked.set(());
        }
        Ok(())
    }

    /// Shard `i`, after verifying its hash.
    fn shard(&self, i: usize) -> &Shard {
        if let Err(error) = self.check_shard(i) {
            Damage::unwind(error);
        }
        &self.shards[i]
    }

    /// Checks that the store's embeddings are those of this CLIP.
    ///
    /// # Errors
    /// [`StoreError::OtherClip`].
    pub fn expect_clip(&self, expected: &ClipHash) -> Result<(), StoreError> {
        let encoder = &self.manifest.settings.encoder;
        let found = encoder.hash();
        if found.is_same(expected) {
            return Ok(());
        }
        Err(StoreError::OtherClip {
            dir: self.dir.clone(),
            expected: expected.to_string(),
            found: found.to_string(),
            name: encoder.dir.clone(),
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The shards.
    pub fn shards(&self) -> &[ShardInfo] {
        &self.manifest.shards
    }

    /// Number of images, repeated ones included.
    pub fn n_images(&self) -> usize {
        self.manifest.n_pictures
    }

    /// Number of captions.
    pub fn n_captions(&self) -> usize {
        self.manifest.n_captions
    }

    /// The caption "".
    pub fn empty(&self) -> &Caption {
        &self.empty
    }

    /// The captions of an image. This method and the following ones panic for numbers out of range.
    pub fn captions_of(&self, image: usize) -> Range<usize> {
        let (shard, image, first) = self.image(image);
        let Range { start, end } = shard.captions_of(image);
        first + start..first + end
    }

    /// Appends z_x of an image, `[d_clip]`.
    pub fn z_x(&self, image: usize, out: &mut Vec<f32>) {
        let (shard, image, _) = self.image(image);
        shard.z_x(image, out);
    }

    /// For each image, the number of the first identical image: its own number unless the image is repeated. Hashes identify images; in stores without
    /// hashes, embeddings do.
    pub fn first_of_image(&self) -> &[u32] {
        self.first_of_image.get_or_init(|| {
            let mut seen: HashMap<ImageHash, u32> = HashMap::new();
            let mut firsts = Vec::with_capacity(self.n_images());
            for (i, shard) in self.shards.iter().enumerate() {
                if shard.n_pictures > 0 {
                    self.shard(i);
                }
                for image in 0..shard.n_pictures {
                    let number = firsts.len() as u32;
                    firsts.push(*seen.entry(shard.image_hash(image)).or_insert(number));
                }
            }
            firsts
        })
    }

    /// Number of distinct images that `other` also contains.
    pub fn n_in_common(&self, other: &Self) -> usize {
        let images = |store: &Self| -> HashSet<ImageHash> {
            let shards = (0..store.shards.len()).filter(|&i| store.shards[i].n_pictures > 0);
            shards
                .map(|i| store.shard(i))
                .flat_map(|shard| (0..shard.n_pictures).map(|image| shard.image_hash(image)))
                .collect()
        };
        images(self).intersection(&images(other)).count()
    }

    /// Number of distinct images.
    pub fn n_distinct_images(&self) -> usize {
        let firsts = (0..).zip(self.first_of_image());
        firsts.filter(|(image, first)| image == *first).count()
    }

    /// The id that an image has in its source.
    pub fn image_id(&self, image: usize) -> String {
        let (shard, image, _) = self.image(image);
        shard.image_id(image)
    }

    /// Appends z_y of a caption, `[d_clip]`.
    pub fn z_y(&self, caption: usize, out: &mut Vec<f32>) {
        let (shard, caption) = self.caption(caption);
        shard.z_y(caption, out);
    }

    /// Token ids of a caption, without padding.
    pub fn ids(&self, caption: usize) -> Vec<u16> {
        let (shard, caption) = self.caption(caption);
        shard.ids(caption)
    }

    /// Number of token ids of a caption, without padding.
    pub fn n_ids(&self, caption: usize) -> usize {
        let (shard, caption) = self.caption(caption);
        shard.n_ids(caption)
    }

    /// Appends the hidden states of a caption, `[tokens, d_clip]`; false where they are not stored.
    pub fn hidden(&self, caption: usize, out: &mut Vec<f32>) -> bool {
        let (shard, caption) = self.caption(caption);
        shard.hidden(caption, out)
    }

    /// The shard of an image, its number within the shard, and the first caption of the shard.
    fn image(&self, image: usize) -> (&Shard, usize, usize) {
        let i = self.first.partition_point(|first| first.0 <= image) - 1;
        (self.shard(i), image - self.first[i].0, self.first[i].1)
    }

    fn caption(&self, caption: usize) -> (&Shard, usize) {
        let i = self.first.partition_point(|first| first.1 <= caption) - 1;
        (self.shard(i), caption - self.first[i].1)
    }
}

fn read_empty(dir: &Path, manifest: &Manifest) -> Result<Caption, StoreError> {
    let path = dir.join(EMPTY);
    let (_, shard) = Shard::open(&path, manifest.d_clip())?;
    if shard.n_captions != 1 {
        return Err(StoreError::content(&path, "captions", 1, shard.n_captions));
    }
    let mut empty = Caption {
        z_y: vec![],
        ids: shard.ids(0),
        hidden: vec![],
    };
    shard.z_y(0, &mut empty.z_y);
    if !shard.hidden(0, &mut empty.hidden) && manifest.hidden_stored() {
        return Err(StoreError::content(&path, "hidden", "a tensor", "none"));
    }
    Ok(empty)
}

/// A hint at what the folder contains instead of a finished store.
fn not_finished(dir: &Path) -> StoreError {
    let has = |name: &str| dir.join(name).exists();
    let parts = super::parts(dir).map_or(0, |parts| parts.len());
    let hint = match (dir.is_dir(), parts) {
        (false, _) => "; there is no such folder".to_owned(),
        (true, n) if n > 0 => format!(", but {n} part(s): `eclipse merge` makes one store of them"),
        (true, _) if has(SETTINGS) => {
            "; its encoding was cut short: the same `eclipse encode` command finishes it".to_owned()
        }
        (true, _) => "; `eclipse encode` makes one".to_owned(),
    };
    StoreError::NotFinished {
        dir: dir.to_path_buf(),
        hint,
    }
}
