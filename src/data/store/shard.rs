//! Shards: the values to write, and the memory-mapped file.

use std::ops::Range;
use std::path::Path;

use half::f16;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Rejected, StoreDtype, StoreError};
use crate::limits;
use crate::weights::{Checkpoint, StoredTensor, TensorFile};

/// The metadata key of a [`ShardHeader`] in a file.
const HEADER: &str = "eclipse";

/// Identifies an image.
pub type ImageHash = [u8; 16];

/// Header of a shard's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardHeader {
    /// Unit of the source.
    pub unit: usize,
    /// Number of the chunk within the unit.
    pub chunk: usize,
    /// Whether this is the last chunk of the unit.
    pub last: bool,
    /// Hash over the settings of the encoding.
    pub settings: String,
    /// Number of captions that were truncated to the text tower's length.
    pub n_cut: usize,
    /// Rejected records and captions of the chunk.
    pub rejects: Vec<Rejected>,
    /// The source files of the chunk, as they were when read. Absent in shards of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SourceFile>,
}

/// Record of a source file at the time of reading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its path relative to the source's folder.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub changed: i64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// The values of a shard.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chunk {
    /// `[images, d_clip]`
    pub z_x: Vec<f32>,
    /// `[captions, d_clip]`
    pub z_y: Vec<f32>,
    /// Token ids of all captions, without padding.
    pub ids: Vec<u16>,
    /// End of each caption's tokens.
    pub id_ends: Vec<usize>,
    /// `[tokens, d_clip]`, or empty.
    pub hidden: Vec<f32>,
    /// End of each image's captions.
    pub caption_ends: Vec<usize>,
    /// Number of truncated captions.
    pub n_cut: usize,
    /// Ids of the images.
    pub image_ids: Vec<String>,
    /// Hashes of the images.
    pub image_hashes: Vec<ImageHash>,
    /// Ids of the captions; empty for captions without an id.
    pub caption_ids: Vec<String>,
}

impl Chunk {
    /// The file's content; errors name `path`.
    pub(super) fn file(
        &self,
        path: &Path,
        d: usize,
        dtype: StoreDtype,
        header: &ShardHeader,
    ) -> Result<Vec<u8>, StoreError> {
        for (name, values) in [("z_x", &self.z_x), ("z_y", &self.z_y), ("hidden", &self.hidden)] {
            let kept = |v: f32| match dtype {
                StoreDtype::F16 => f16::from_f32(v).to_f32(),
                StoreDtype::F32 => v,
            };
            if let Some(odd) = limits::not_finite(values.iter().map(|v| kept(*v))) {
                let value = values[odd.at];
                let expected = format!("numbers that {dtype:?} holds (--dtype f32 holds more)");
                return Err(StoreError::content(path, name, expected, value));
            }
        }
        let float = |values: &[f32]| -> Vec<u8> {
            match dtype {
                StoreDtype::F16 => values
                    .iter()
                    .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                    .collect(),
                StoreDtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            }
        };
        let kind = match dtype {
            StoreDtype::F16 => Dtype::F16,
            StoreDtype::F32 => Dtype::F32,
        };
        let offsets = |ends: &[usize]| -> Vec<u8> {
            let all = std::iter::once(&0).chain(ends);
            all.flat_map(|&end| (end as u64).to_le_bytes()).collect()
        };
        let text = |texts: &[String]| -> (Vec<u8>, Vec<u8>) {
            let mut end = 0;
            let ends: Vec<usize> = texts
                .iter()
                .map(|t| {
                    end += t.len();
                    end
                })
                .collect();
            (texts.concat().into_bytes(), offsets(&ends))
        };
        let (n_pictures, n_captions) = (self.caption_ends.len(), self.id_ends.len());
        let ids: Vec<u8> = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let hashes = [self.image_hashes.len(), size_of::<ImageHash>()];
        let mut file = TensorFile::new()
            .with_bytes("z_x", kind, &[n_pictures, d], float(&self.z_x))
            .with_bytes("z_y", kind, &[n_captions, d], float(&self.z_y))
            .with_bytes("ids", Dtype::U16, &[self.ids.len()], ids)
            .with_bytes(
                "id_offsets",
                Dtype::U64,
                &[n_captions + 1],
                offsets(&self.id_ends),
            )
            .with_bytes(
                "caption_offsets",
                Dtype::U64,
                &[n_pictures + 1],
                offsets(&self.caption_ends),
            )
            .with_bytes("picture_hashes", Dtype::U8, &hashes, self.image_hashes.concat());
        if !self.hidden.is_empty() {
            file = file.with_bytes("hidden", kind, &[self.ids.len(), d], float(&self.hidden));
        }
        for (name, ends, ids) in [
            ("picture_ids", "picture_id_offsets", &self.image_ids),
            ("caption_ids", "caption_id_offsets", &self.caption_ids),
        ] {
            let (bytes, offsets) = text(ids);
            let n_bytes = bytes.len();
            file = file.with_bytes(name, Dtype::U8, &[n_bytes], bytes).with_bytes(
                ends,
                Dtype::U64,
                &[ids.len() + 1],
                offsets,
            );
        }
        let header =
            serde_json::to_string(header).map_err(|e| StoreError::content(path, "tensors", "a shard", e))?;
        Ok(file.with_metadata(HEADER, header).to_bytes(path)?)
    }
}

/// A memory-mapped shard.
#[derive(Debug)]
pub(super) struct Shard {
    d: usize,
    z_x: StoredTensor,
    z_y: StoredTensor,
    ids: StoredTensor,
    hidden: Option<StoredTensor>,
    id_offsets: StoredTensor,
    caption_offsets: StoredTensor,
    image_ids: (StoredTensor, StoredTensor),
    /// Absent in stores of version 1.
    image_hashes: Option<StoredTensor>,
    pub(super) n_pictures: usize,
    pub(super) n_captions: usize,
    pub(super) n_tokens: usize,
}

impl Shard {
    /// The header of the shard at `path`.
    pub(super) fn header(path: &Path) -> Result<ShardHeader, StoreError> {
        Self::header_of(&Checkpoint::open(path)?, path)
    }

    fn header_of(file: &Checkpoint, path: &Path) -> Result<ShardHeader, StoreError> {
        let text = file.metadata().get(HEADER).map_or("", String::as_str);
        serde_json::from_str(text)
            .map_err(|e| StoreError::content(path, HEADER, "the header of a shard in the metadata", e))
    }

    /// Opens a shard and checks its sizes and offsets, so that later reads stay in range.
    pub(super) fn open(path: &Path, d: usize) -> Result<(ShardHeader, Self), StoreError> {
        let file = Checkpoint::open(path)?;
        let header = Self::header_of(&file, path)?;
        let tensor = |name: &str| -> Result<StoredTensor, StoreError> {
            let found = file.tensors().get(name).cloned();
            found.ok_or_else(|| StoreError::content(path, name, "a tensor", "none"))
        };
        let shaped = |name: &str, kinds: &[Dtype], shape: &[usize]| -> Result<StoredTensor, StoreError> {
            let tensor = tensor(name)?;
            if tensor.shape == shape && kinds.contains(&tensor.dtype) {
                return Ok(tensor);
            }
            let expected = format!("{kinds:?} {shape:?}");
            Err(StoreError::content(
                path,
                name,
                expected,
                format!("{:?} {:?}", tensor.dtype, tensor.shape),
            ))
        };
        let floats = [Dtype::F16, Dtype::F32];
        let rows = |name: &str| tensor(name).map(|t| t.shape.first().copied().unwrap_or(0));
        let (n_pictures, n_captions, n_tokens) = (rows("z_x")?, rows("z_y")?, rows("ids")?);
        let offsets = |name: &str, n: usize, end: usize| -> Result<StoredTensor, StoreError> {
            let tensor = shaped(name, &[Dtype::U64], &[n + 1])?;
            let all: Vec<u64> = (0..=n).map(|i| u64_at(&tensor, i)).collect();
            let rise = all.first() == Some(&0) && all.is_sorted() && all.last() == Some(&(end as u64));
            match rise {
                true => Ok(tensor),
                false => Err(StoreError::content(
                    path,
                    name,
                    format!("numbers that rise from 0 to {end}"),
                    "others",
                )),
            }
        };
        let hidden = match file.tensors().contains_key("hidden") {
            true => Some(shaped("hidden", &floats, &[n_tokens, d])?),
            false => None,
        };
        let image_hashes = match file.tensors().contains_key("picture_hashes") {
            true => Some(shaped(
                "picture_hashes",
                &[Dtype::U8],
                &[n_pictures, size_of::<ImageHash>()],
            )?),
            false => None,
        };
        let n_bytes = rows("picture_ids")?;
        let shard = Self {
            d,
            z_x: shaped("z_x", &floats, &[n_pictures, d])?,
            z_y: shaped("z_y", &floats, &[n_captions, d])?,
            ids: shaped("ids", &[Dtype::U16], &[n_tokens])?,
            hidden,
            image_hashes,
            id_offsets: offsets("id_offsets", n_captions, n_tokens)?,
            caption_offsets: offsets("caption_offsets", n_pictures, n_captions)?,
            image_ids: (
                shaped("picture_ids", &[Dtype::U8], &[n_bytes])?,
                offsets("picture_id_offsets", n_pictures, n_bytes)?,
            ),
            n_pictures,
            n_captions,
            n_tokens,
        };
        Ok((header, shard))
    }

    pub(super) fn has_hidden(&self) -> bool {
        self.hidden.is_some() || self.n_tokens == 0
    }

    pub(super) fn captions_of(&self, image: usize) -> Range<usize> {
        let at = |i| u64_at(&self.caption_offsets, i) as usize;
        at(image)..at(image + 1)
    }

    fn tokens_of(&self, caption: usize) -> Range<usize> {
        let at = |i| u64_at(&self.id_offsets, i) as usize;
        at(caption)..at(caption + 1)
    }

    pub(super) fn n_ids(&self, caption: usize) -> usize {
        self.tokens_of(caption).len()
    }

    pub(super) fn z_x(&self, image: usize, out: &mut Vec<f32>) {
        floats(&self.z_x, image * self.d..(image + 1) * self.d, out);
    }

    pub(super) fn z_y(&self, caption: usize, out: &mut Vec<f32>) {
        floats(&self.z_y, caption * self.d..(caption + 1) * self.d, out);
    }

    pub(super) fn ids(&self, caption: usize) -> Vec<u16> {
        let Range { start, end } = self.tokens_of(caption);
        let (ids, _) = self.ids.bytes()[2 * start..2 * end].as_chunks::<2>();
        ids.iter().map(|&id| u16::from_le_bytes(id)).collect()
    }

    pub(super) fn hidden(&self, caption: usize, out: &mut Vec<f32>) -> bool {
        let Range { start, end } = self.tokens_of(caption);
        match &self.hidden {
            Some(hidden) => floats(hidden, start * self.d..end * self.d, out),
            None => return false,
        }
        true
    }

    /// The image's hash, or else the hash of its embedding.
    pub(super) fn image_hash(&self, image: usize) -> ImageHash {
        const N: usize = size_of::<ImageHash>();
        let hash = match &self.image_hashes {
            Some(hashes) => hashes.bytes()[image * N..][..N].to_vec(),
            None => {
                let row = self.d * self.z_x.bytes().len() / (self.d * self.n_pictures).max(1);
                Sha256::digest(&self.z_x.bytes()[image * row..][..row])[..N].to_vec()
            }
        };
        hash.try_into().unwrap_or_default()
    }

    pub(super) fn image_id(&self, image: usize) -> String {
        let (bytes, offsets) = &self.image_ids;
        let at = |i| u64_at(offsets, i) as usize;
        String::from_utf8_lossy(&bytes.bytes()[at(image)..at(image + 1)]).into_owned()
    }
}

fn u64_at(tensor: &StoredTensor, i: usize) -> u64 {
    let (numbers, _) = tensor.bytes().as_chunks::<8>();
    u64::from_le_bytes(numbers[i])
}

/// Values `range` of a float tensor.
fn floats(tensor: &StoredTensor, range: Range<usize>, out: &mut Vec<f32>) {
    let bytes = tensor.bytes();
    match tensor.dtype {
        Dtype::F16 => {
            let (values, _) = bytes.as_chunks::<2>();
            out.extend(values[range].iter().map(|&v| f16::from_le_bytes(v).to_f32()));
        }
        _ => {
            let (values, _) = bytes.as_chunks::<4>();
            out.extend(values[range].iter().map(|&v| f32::from_le_bytes(v)));
        }
    }
}
