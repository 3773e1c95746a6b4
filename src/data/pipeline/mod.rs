//! Encodes a source of pairs into a store. Worker threads decode images ahead of the encoder, shards are written atomically, and intact shards of an
//! interrupted encoding are kept.
//!
//! Besides the networks and the current chunk, memory is limited in bytes for any input: [`MAX_IN_FLIGHT`] for images in decoding
//! (a larger image is decoded alone), the same for preprocessed images, and the limit of [`crate::data::source`] for prefetched records.

mod decode;
mod files;
mod stages;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::ThreadPool;

use self::decode::{Decoder, Image, Lost, Message, Read};
use self::files::ReadFiles;
pub use self::stages::{Stage, Stages};
use super::budget::Budget;
use super::encode::{EncodeError, FrozenClip, clip_hash};
use super::source::{Fault, ImageLimits, Item, RejectReason, Source, SourceError};
use super::store::{
    Caption, Chunk, Encoder, Hidden, ImageHash, Manifest, Rejected, Settings, SourceFile, StoreDtype,
    StoreError, Target, Writer,
};
use crate::device::Precision;
use crate::limits::MAX_IN_FLIGHT;
use crate::models::clip::ClipError;
use crate::models::clip::tokenizer::Tokens;

/// Decoded batches that wait for the encoder.
const AHEAD: usize = 2;
/// Number of captions from which the mean length is estimated.
const SAMPLE: usize = 256;
/// Tolerance of the norm of normalised embeddings in half precision.
const UNIT: f64 = 1e-2;

/// A store cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// CLIP failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The embeddings are normalised.
    #[error(
        "{place}: the image embeddings have length 1: they were normalised, and the direction alone is not what priors predict (the paper's \
         targets are raw; a decoder gets them raw). Encode the images, or take them as they are with --target l2"
    )]
    Normalised {
        /// The unit.
        place: String,
    },
    /// The embeddings have another width.
    #[error("{place}: image embeddings of {found} values; the text tower's CLIP has {expected}")]
    Width {
        /// The record.
        place: String,
        /// d_clip.
        expected: usize,
        /// The width found.
        found: usize,
    },
    /// A token id exceeds 16 bits.
    #[error(
        "token {id} of {caption:?} does not fit into 16 bits: a store keeps vocabularies of up to 65,536 tokens"
    )]
    Vocabulary {
        /// The id.
        id: u32,
        /// The caption.
        caption: String,
    },
    /// The batch of images exceeds the memory limit.
    #[error("--batch: expected at most {most} for this CLIP's images, found {found}")]
    Batch {
        /// The limit.
        most: usize,
        /// The requested batch size.
        found: usize,
    },
    /// A file of the source cannot be read.
    #[error("{fault}; --keep-going encodes the rest and names what is lost")]
    Unreadable {
        /// The file and the reason.
        fault: Fault,
        /// Whether records came before it.
        has_records: bool,
    },
    /// A thread pool could not be created.
    #[error("cannot start {0} worker threads")]
    Threads(usize),
}

impl From<ClipError> for PipelineError {
    fn from(error: ClipError) -> Self {
        Self::Encode(error.into())
    }
}

/// Options of an encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeOptions {
    /// Data type of the values.
    pub dtype: StoreDtype,
    /// Whether hidden states are stored.
    pub hidden: Hidden,
    /// Data type in which CLIP computes: that of its device.
    pub compute: Precision,
    /// Content of z_x.
    pub target: Target,
    /// Most records of a shard.
    pub chunk: usize,
    /// The part (from 0) and the number of parts.
    pub part: (usize, usize),
    /// Decoding threads; 0: one per core.
    pub n_workers: usize,
    /// Images, and captions, per forward pass.
    pub batch: usize,
    /// Limits of an image.
    pub limits: ImageLimits,
    /// Whether a file that cannot be read is a reject, so that the rest is encoded.
    pub keep_going: bool,
}

/// Progress of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// This many records were encoded or rejected.
    Records(usize),
    /// This many records were already in shards.
    There(usize),
    /// A shard was written.
    Shard,
}

/// Size estimate of a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Approximate number of records of this part; `None` if only reading the source tells.
    pub n_records: Option<usize>,
    /// Whether the source's records were counted, not estimated from a sample.
    pub counted: bool,
    /// Mean tokens of a caption, from a sample.
    pub tokens: f64,
    /// Mean captions of a record, from the sample.
    pub captions: f64,
    /// Bytes per record.
    pub bytes_a_record: f64,
}

impl Estimate {
    /// Bytes of all shards.
    pub fn bytes(&self) -> Option<u64> {
        self.n_records.map(|n| (n as f64 * self.bytes_a_record) as u64)
    }
}

/// A frozen CLIP, a source, and the options of their encoding.
pub struct Pipeline<'a> {
    clip: &'a FrozenClip,
    source: &'a Source,
    options: EncodeOptions,
    settings: Settings,
    files: ReadFiles,
    /// Budget for images in decoding.
    budget: Budget,
    stages: Stages,
}

impl<'a> Pipeline<'a> {
    /// An encoding of `source`, which messages call `place`, by the CLIP in `clip_dir`.
    ///
    /// # Errors
    /// [`PipelineError`] if the files of CLIP or source cannot be read.
    pub fn new(
        clip: &'a FrozenClip,
        clip_dir: &Path,
        source: &'a Source,
        place: &str,
        options: EncodeOptions,
    ) -> Result<Self, PipelineError> {
        let hash = clip_hash(clip_dir).map_err(EncodeError::from)?;
        let settings = Settings {
            version: 0,
            encoder: Encoder {
                clip: hash.clip,
                tokenizer: hash.tokenizer,
                dir: clip_dir.display().to_string(),
                d_clip: clip.d_clip(),
                n_text: clip.n_text(),
                tau: clip.tau(),
            },
            dtype: options.dtype,
            hidden: options.hidden,
            compute: (options.compute != Precision::F32).then(|| options.compute.to_string()),
            target: options.target,
            source: place.to_owned(),
            source_identity: source.identity()?,
            n_units: source.n_units(),
            chunk: options.chunk,
            max_pixels: options.limits.max_pixels,
            part: options.part,
        };
        let pipeline = Self {
            clip,
            source,
            options,
            settings,
            files: ReadFiles::default(),
            budget: Budget::new(MAX_IN_FLIGHT),
            stages: Stages::default(),
        };
        let most = MAX_IN_FLIGHT / ((AHEAD + 2) * pipeline.bytes_of_pixels()).max(1);
        match pipeline.options.batch > most.max(1) {
            true => Err(PipelineError::Batch {
                most: most.max(1),
                found: pipeline.options.batch,
            }),
            false => Ok(pipeline),
        }
    }

    /// Bytes of a preprocessed image.
    fn bytes_of_pixels(&self) -> usize {
        let side = self.clip.image().config().image_size;
        3 * side * side * size_of::<f32>()
    }

    /// The settings recorded in the store.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where the time went so far.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Units of this part.
    fn units(&self) -> impl Iterator<Item = usize> + use<> {
        let (part, of) = self.options.part;
        (part..self.settings.n_units).step_by(of.max(1))
    }

    /// Estimates the size of the store from the first captions.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub fn estimate(&self) -> Result<Estimate, PipelineError> {
        let (mut records, mut captions) = (0, Vec::new());
        if let Some(unit) = self.units().next() {
            for item in self.source.unit(unit)?.take(SAMPLE) {
                if let Item::Record(record) = item {
                    records += 1;
                    captions.extend(record.captions.into_iter().map(|c| c.text));
                }
            }
        }
        let tokens = self
            .clip
            .text()
            .tokenizer()
            .encode_batch(&captions)
            .map_err(ClipError::from)?;
        let mean = |sum: usize, n: usize| if n == 0 { 0.0 } else { sum as f64 / n as f64 };
        let n_tokens = mean(tokens.iter().map(|t| t.n_valid).sum(), tokens.len());
        let n_captions = mean(captions.len(), records);
        let row = (self.settings.encoder.d_clip * self.options.dtype.size()) as f64;
        let hidden = match self.options.hidden {
            Hidden::Stored => n_tokens * row,
            Hidden::None => 0.0,
        };
        let share = self.units().count() as f64 / self.settings.n_units.max(1) as f64;
        let counted = self.source.n_records();
        let n_records = counted.or_else(|| self.source.about());
        Ok(Estimate {
            n_records: n_records.map(|n| (n as f64 * share) as usize),
            counted: counted.is_some(),
            tokens: n_tokens,
            captions: n_captions,
            bytes_a_record: row + n_captions * (row + 2.0 * n_tokens + 8.0 + hidden) + 40.0,
        })
    }

    /// Encodes the missing chunks of `writer` and finishes the store.
    ///
    /// # Errors
    /// [`PipelineError`]; finished shards remain.
    pub fn run(&self, writer: &Writer, tell: &mut dyn FnMut(Progress)) -> Result<Manifest, PipelineError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.options.n_workers)
            .build()
            .map_err(|_| PipelineError::Threads(self.options.n_workers))?;
        for unit in self.units() {
            self.unit(unit, writer, &pool, tell)?;
        }
        Ok(writer.finish(&self.empty()?)?)
    }

    fn empty(&self) -> Result<Caption, PipelineError> {
        let tokens = self
            .clip
            .text()
            .tokenizer()
            .encode_batch(&[""])
            .map_err(ClipError::from)?;
        let mut rows = self.captions(&[""], &tokens)?;
        Ok(rows.swap_remove(0))
    }

    /// The missing and damaged chunks of a unit.
    fn unit(
        &self,
        unit: usize,
        writer: &Writer,
        pool: &ThreadPool,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), PipelineError> {
        let mut good = BTreeSet::new();
        let mut is_whole = false;
        for chunk in 0..writer.n_chunks(unit)? {
            if let Some(header) = writer.existing(unit, chunk)? {
                for file in &header.files {
                    self.files.expect_same(self.source, file)?;
                }
                is_whole |= header.last;
                good.insert(chunk);
            }
        }
        if is_whole && good.iter().copied().eq(0..good.len()) {
            // The last chunk may be shorter; counting its records would require reading the unit.
            tell(Progress::There(good.len() * self.options.chunk));
            return Ok(());
        }
        let read_whole = self.files.of_unit(self.source, unit);
        let items = self.source.unit(unit)?;
        let decoder = Decoder {
            clip: self.clip,
            source: self.source,
            files: &self.files,
            budget: &self.budget,
            limits: &self.options.limits,
            chunk: self.options.chunk,
            batch: self.options.batch,
            stages: &self.stages,
        };
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(AHEAD);
            scope.spawn(move || decoder.decode(items, &good, pool, &send));
            self.encode(unit, &read_whole, &receive, writer, tell)
        })
    }

    /// Encodes received batches and writes a shard at each end of a chunk.
    fn encode(
        &self,
        unit: usize,
        read_whole: &[SourceFile],
        receive: &Receiver<Message>,
        writer: &Writer,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), PipelineError> {
        let mut chunk = 0;
        let mut gathered = Gathered::default();
        let next = || self.stages.time(Stage::WaitForImages, || receive.recv());
        while let Ok(message) = next() {
            match message {
                Message::Batch(batch) => {
                    let n = batch.len();
                    self.gather((unit, chunk), batch, &mut gathered)?;
                    tell(Progress::Records(n));
                }
                Message::There(n) => {
                    tell(Progress::There(n));
                    chunk += 1;
                }
                Message::EndOfChunk { last } => {
                    let Gathered {
                        records,
                        z_x,
                        rejects,
                        mut files,
                        ..
                    } = std::mem::take(&mut gathered);
                    files.extend(read_whole.iter().cloned());
                    let files = files.into_iter().collect();
                    let values = self.chunk(records, z_x)?;
                    let write = || writer.write((unit, chunk), last, rejects, files, &values);
                    self.stages.time(Stage::Write, write)?;
                    tell(Progress::Shard);
                    chunk += 1;
                }
            }
        }
        Ok(())
    }

    fn gather(
        &self,
        (unit, chunk): (usize, usize),
        batch: Vec<Read>,
        gathered: &mut Gathered,
    ) -> Result<(), PipelineError> {
        let d = self.settings.encoder.d_clip;
        let mut pixels = Vec::new();
        let (mut ready, mut norms) = (Vec::new(), Vec::new());
        for Read { files, decoded } in batch {
            gathered.files.extend(files);
            let decoded = match decoded {
                Ok(decoded) => decoded,
                Err(Lost::Record(reject)) => {
                    gathered.rejects.push(reject);
                    continue;
                }
                Err(Lost::File(fault)) if self.options.keep_going => {
                    gathered.rejects.push(Rejected {
                        id: String::new(),
                        place: fault.path.display().to_string(),
                        reason: RejectReason::UnreadableFile.to_string(),
                        detail: fault.reason,
                    });
                    continue;
                }
                Err(Lost::File(fault)) => {
                    return Err(PipelineError::Unreadable {
                        fault,
                        has_records: unit > 0 || chunk > 0 || !gathered.records.is_empty(),
                    });
                }
            };
            gathered.rejects.extend(decoded.dropped);
            if !decoded.is_drawn {
                // A repeated image adds captions to its first occurrence.
                let next = gathered.records.len();
                let first = *gathered.places.entry(decoded.hash).or_insert(next);
                if first < next {
                    gathered.records[first].captions.extend(decoded.captions);
                    continue;
                }
            }
            match decoded.image {
                Image::Pixels(values) => pixels.extend(values),
                Image::Embedding(values) => {
                    if values.len() != d {
                        return Err(PipelineError::Width {
                            place: decoded.place,
                            expected: d,
                            found: values.len(),
                        });
                    }
                    norms.push(norm(&values));
                    ready.extend(values);
                }
            }
            gathered.records.push(Gather {
                id: decoded.id,
                captions: decoded.captions,
                hash: decoded.hash,
            });
        }
        let unit_length = |n: &f64| (n - 1.0).abs() < UNIT;
        if self.options.target == Target::Raw && !norms.is_empty() && norms.iter().all(unit_length) {
            return Err(PipelineError::Normalised {
                place: self.source.unit_name(unit),
            });
        }
        // A source has images or embeddings, never both.
        let mut z_x = match pixels.is_empty() {
            true => ready,
            false => self.stages.time(Stage::Images, || {
                let z_x = self.clip.image().encode_pixels(pixels).into_data();
                z_x.iter::<f32>().collect()
            }),
        };
        if self.options.target == Target::L2 {
            for row in z_x.chunks_mut(d) {
                let norm = norm(row).max(f64::MIN_POSITIVE) as f32;
                row.iter_mut().for_each(|v| *v /= norm);
            }
        }
        gathered.z_x.extend(z_x);
        Ok(())
    }

    /// The values of a shard: captions with the same words are encoded once.
    fn chunk(&self, records: Vec<Gather>, z_x: Vec<f32>) -> Result<Chunk, PipelineError> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut unique: Vec<&str> = Vec::new();
        for record in &records {
            for (_, text) in &record.captions {
                numbers.entry(text).or_insert_with(|| {
                    unique.push(text);
                    unique.len() - 1
                });
            }
        }
        let tokens = self
            .clip
            .text()
            .tokenizer()
            .encode_batch(&unique)
            .map_err(ClipError::from)?;
        let encoded = self
            .stages
            .time(Stage::Captions, || self.captions(&unique, &tokens))?;
        let mut chunk = Chunk {
            z_x,
            ..Chunk::default()
        };
        let has_ids = records
            .iter()
            .flat_map(|record| &record.captions)
            .any(|(id, _)| id.is_some());
        for record in &records {
            for (caption_id, text) in &record.captions {
                let caption = &encoded[numbers[text.as_str()]];
                chunk.z_y.extend_from_slice(&caption.z_y);
                chunk.ids.extend_from_slice(&caption.ids);
                chunk.hidden.extend_from_slice(&caption.hidden);
                chunk.id_ends.push(chunk.ids.len());
                chunk.n_cut += usize::from(tokens[numbers[text.as_str()]].n_words_cut > 0);
                if has_ids {
                    chunk.caption_ids.push(caption_id.clone().unwrap_or_default());
                }
            }
            chunk.caption_ends.push(chunk.id_ends.len());
            chunk.image_ids.push(record.id.clone());
            chunk.image_hashes.push(record.hash);
        }
        Ok(chunk)
    }

    /// Encodes captions in batches of similar length.
    fn captions(&self, texts: &[&str], tokens: &[Tokens]) -> Result<Vec<Caption>, PipelineError> {
        let d = self.settings.encoder.d_clip;
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&i| tokens[i].n_valid);
        let mut rows: Vec<Option<Caption>> = vec![None; tokens.len()];
        for batch in order.chunks(self.options.batch.max(1)) {
            let own: Vec<Tokens> = batch.iter().map(|&i| tokens[i].clone()).collect();
            let longest = own.iter().map(|t| t.n_valid).max().unwrap_or(1);
            let encoded = self.clip.text().encode_first(&own, longest);
            let z_y: Vec<f32> = encoded.z_y.into_data().iter::<f32>().collect();
            let hidden: Vec<f32> = match self.options.hidden {
                Hidden::Stored => encoded.tokens.into_data().iter::<f32>().collect(),
                Hidden::None => vec![],
            };
            for (row, (&i, tokens)) in batch.iter().zip(&own).enumerate() {
                let id = |&id: &u32| {
                    u16::try_from(id).map_err(|_| PipelineError::Vocabulary {
                        id,
                        caption: texts[i].to_owned(),
                    })
                };
                rows[i] = Some(Caption {
                    z_y: z_y[row * d..][..d].to_vec(),
                    ids: tokens.ids[..tokens.n_valid]
                        .iter()
                        .map(id)
                        .collect::<Result<_, _>>()?,
                    hidden: match hidden.is_empty() {
                        true => vec![],
                        false => hidden[row * longest * d..][..tokens.n_valid * d].to_vec(),
                    },
                });
            }
        }
        Ok(rows.into_iter().flatten().collect())
    }
}

/// A prepared image.
struct Gather {
    id: String,
    /// Captions with their ids.
    captions: Vec<(Option<String>, String)>,
    hash: ImageHash,
}

/// The current content of a chunk.
#[derive(Default)]
struct Gathered {
    records: Vec<Gather>,
    /// Index of an image's record.
    places: HashMap<ImageHash, usize>,
    z_x: Vec<f32>,
    rejects: Vec<Rejected>,
    /// Source files of the chunk.
    files: BTreeSet<SourceFile>,
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}
