//! Decodes and preprocesses the images of a source on worker threads.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;

use image::RgbImage;
use rayon::ThreadPool;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::files::ReadFiles;
use super::stages::{Stage, Stages};
use crate::data::budget::Budget;
use crate::data::encode::FrozenClip;
use crate::data::source::{Fault, ImageLimits, Item, Record, RecordImage, Reject, RejectReason, Source};
use crate::data::store::{ImageHash, Rejected, SourceFile};
use crate::image_file;
use crate::limits::MAX_IN_FLIGHT;

/// Most bytes per pixel while an image is decoded and rotated: coefficients of a progressive JPEG and two copies in RGB, or 16-bit RGBA and
/// one copy.
const PIXEL: usize = 12;
/// Bytes of the records of a batch that are decoded together; a larger batch is split.
const MAX_GROUP: usize = MAX_IN_FLIGHT / 4;

/// Output of the decoding stage.
pub(super) enum Message {
    Batch(Vec<Read>),
    /// A chunk of this many items that is already stored.
    There(usize),
    EndOfChunk {
        last: bool,
    },
}

/// An item, with the files read for it.
pub(super) struct Read {
    pub(super) files: Vec<SourceFile>,
    pub(super) decoded: Result<Decoded, Lost>,
}

/// No image was decoded.
pub(super) enum Lost {
    Record(Rejected),
    File(Fault),
}

pub(super) struct Decoded {
    pub(super) hash: ImageHash,
    /// Rendered for this record: a world's images may be equal by chance, and count as distinct.
    pub(super) is_drawn: bool,
    pub(super) id: String,
    pub(super) place: String,
    pub(super) captions: Vec<(Option<String>, String)>,
    pub(super) dropped: Vec<Rejected>,
    pub(super) image: Image,
}

pub(super) enum Image {
    /// Preprocessed, `[3, side, side]`.
    Pixels(Vec<f32>),
    Embedding(Vec<f32>),
}

/// State of the decoding stage.
pub(super) struct Decoder<'a> {
    pub(super) clip: &'a FrozenClip,
    pub(super) source: &'a Source,
    pub(super) files: &'a ReadFiles,
    /// Budget for images in decoding.
    pub(super) budget: &'a Budget,
    /// Limits of an image.
    pub(super) limits: &'a ImageLimits,
    /// Most records of a shard.
    pub(super) chunk: usize,
    /// Images per forward pass.
    pub(super) batch: usize,
    pub(super) stages: &'a Stages,
}

impl Decoder<'_> {
    /// Decodes the items of a unit and sends them by batch and chunk, except the chunks in `good`. Ends early if the receiver
    /// is gone.
    pub(super) fn decode(
        &self,
        items: Box<dyn Iterator<Item = Item> + Send + '_>,
        good: &BTreeSet<usize>,
        pool: &ThreadPool,
        send: &SyncSender<Message>,
    ) {
        let mut items = items.peekable();
        for chunk in 0.. {
            let mut left = self.chunk;
            if good.contains(&chunk) {
                let n = items.by_ref().take(left).count();
                if send.send(Message::There(n)).is_err() || items.peek().is_none() {
                    return;
                }
                continue;
            }
            while left > 0 && items.peek().is_some() {
                let (mut group, mut bytes) = (Vec::new(), 0);
                while group.len() < left.min(self.batch) && bytes < MAX_GROUP {
                    let Some(item) = self.stages.time(Stage::Read, || items.next()) else {
                        break;
                    };
                    bytes += item.bytes();
                    group.push(item);
                }
                left -= group.len();
                let decoded = pool.install(|| group.into_par_iter().map(|item| self.read(item)).collect());
                if send.send(Message::Batch(decoded)).is_err() {
                    return;
                }
            }
            let last = items.peek().is_none();
            if send.send(Message::EndOfChunk { last }).is_err() || last {
                return;
            }
        }
    }

    fn read(&self, item: Item) -> Read {
        let record = match item {
            Item::Record(record) => record,
            Item::Reject(reject) => return lost(Lost::Record(rejected(reject))),
            Item::Fault(fault) => return lost(Lost::File(fault)),
        };
        let mut files = Vec::new();
        if let Some(text) = &record.caption_file {
            files.extend(self.files.record(self.source, text, None));
        }
        let decoded = self.decoded(record, &mut files);
        Read { files, decoded }
    }

    fn decoded(&self, record: Record, files: &mut Vec<SourceFile>) -> Result<Decoded, Lost> {
        let is_drawn = matches!(record.image, RecordImage::Ready(_));
        let reject = |(reason, detail): (RejectReason, String)| {
            rejected(Reject {
                id: record.id.clone(),
                place: record.place.clone(),
                reason,
                detail,
            })
        };
        let limits = self.limits;
        let (image, hash) = match record.image {
            RecordImage::Embedding(values) => {
                let hash = content_hash(&[], values.iter().flat_map(|v| v.to_le_bytes()).collect());
                (Image::Embedding(values), hash)
            }
            image => {
                let file = match &image {
                    RecordImage::File(path) => Some(path.clone()),
                    _ => None,
                };
                let load = || image.load(limits);
                let image = self
                    .stages
                    .time(Stage::Read, load)
                    .map_err(|why| Lost::Record(reject(why)))?;
                if let (Some(path), RecordImage::Encoded(bytes)) = (&file, &image) {
                    files.extend(self.files.record(self.source, path, Some(bytes)));
                }
                let _permit = self.budget.take(memory_of(&image));
                let decode = || image.decode(limits);
                let image: RgbImage = self
                    .stages
                    .time(Stage::Decode, decode)
                    .map_err(|why| Lost::Record(reject(why)))?;
                let resize = || self.clip.image().preprocess().apply(&image);
                let pixels = self.stages.time(Stage::Resize, resize);
                let pixels =
                    pixels.map_err(|e| Lost::Record(reject((RejectReason::TooSmall, e.to_string()))))?;
                let (w, h) = image.dimensions();
                let hash = || content_hash(&[w, h], image.into_raw());
                (Image::Pixels(pixels), self.stages.time(Stage::Hash, hash))
            }
        };
        Ok(Decoded {
            hash,
            is_drawn,
            dropped: record.dropped.into_iter().map(reject).collect(),
            captions: record.captions.into_iter().map(|c| (c.id, c.text)).collect(),
            id: record.id.clone(),
            place: record.place.clone(),
            image,
        })
    }
}

fn lost(lost: Lost) -> Read {
    Read {
        files: vec![],
        decoded: Err(lost),
    }
}

/// Bytes needed for decoding, by the size in the image's header.
fn memory_of(image: &RecordImage) -> usize {
    match image {
        RecordImage::Encoded(bytes) => {
            let (width, height) = image_file::dimensions(bytes).unwrap_or((0, 0));
            let pixels = (width as usize).saturating_mul(height as usize);
            bytes.len().saturating_add(pixels.saturating_mul(PIXEL))
        }
        _ => 0,
    }
}

/// Identifies an image: the first half of a SHA-256 over its size and pixels.
fn content_hash(size: &[u32], content: Vec<u8>) -> ImageHash {
    let mut hasher = Sha256::new();
    size.iter().for_each(|side| hasher.update(side.to_le_bytes()));
    hasher.update(&content);
    let digest = hasher.finalize();
    let mut half = ImageHash::default();
    half.copy_from_slice(&digest[..size_of::<ImageHash>()]);
    half
}

fn rejected(reject: Reject) -> Rejected {
    Rejected {
        id: reject.id,
        place: reject.place,
        reason: reject.reason.to_string(),
        detail: reject.detail,
    }
}
