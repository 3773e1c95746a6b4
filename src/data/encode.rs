//! Encodes captions and images with a frozen CLIP, in batches; results are on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::RgbImage;

use super::pairs::Pairs;
use super::store::ClipHash;
use crate::files::{self, FileError};
use crate::models::clip::folders::{PROCESSOR, PROCESSORS, TOKENIZERS, TOWERS};
use crate::models::clip::{ClipError, ImageEncoder, TextEncoder, logit_scale};
use crate::models::text::EncodedTexts;
use crate::weights::{self, Checkpoint, WeightsError};
use crate::world::{Pair, Scene};

/// Captions or images per forward pass: affects memory, not results.
const BATCH: usize = 64;

/// A CLIP that cannot be used with a prior.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A tower cannot be loaded, or encoding fails.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// Weights cannot be loaded.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A prior requires text states of the joint width (reference: diffusers `PriorTransformer`).
    #[error(
        "{dir}: `text_config.hidden_size` is {hidden} and `projection_dim` is {d_clip}: a prior needs them to be equal"
    )]
    HiddenWidth {
        /// CLIP's folder.
        dir: PathBuf,
        /// Width of the text tower.
        hidden: usize,
        /// d_clip.
        d_clip: usize,
    },
    /// The towers belong to different CLIPs.
    #[error("{dir}: the text tower projects to {text} dimensions, the vision tower to {image}")]
    JointWidth {
        /// CLIP's folder.
        dir: PathBuf,
        /// Of the text tower.
        text: usize,
        /// Of the vision tower.
        image: usize,
    },
}

/// Both towers of a frozen CLIP with tokenizer and preprocessing.
#[derive(Debug)]
pub struct FrozenClip {
    text: TextEncoder,
    image: ImageEncoder,
    logit_scale: Option<f64>,
}

impl FrozenClip {
    /// Loads a full CLIP folder: config, weights, tokenizer and preprocessing.
    ///
    /// # Errors
    /// [`EncodeError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, EncodeError> {
        let dir = &weights::folder(dir)?;
        let (text, image) = (TextEncoder::load(dir, device)?, ImageEncoder::load(dir, device)?);
        let (hidden, d_clip) = (text.config().hidden_size, text.config().projection_dim);
        if hidden != d_clip {
            return Err(EncodeError::HiddenWidth {
                dir: dir.to_path_buf(),
                hidden,
                d_clip,
            });
        }
        let found = image.config().projection_dim;
        if found != d_clip {
            return Err(EncodeError::JointWidth {
                dir: dir.to_path_buf(),
                text: d_clip,
                image: found,
            });
        }
        // The towers of a pipeline are in separate folders, without a temperature.
        let logit_scale = logit_scale(dir)?;
        Ok(Self {
            text,
            image,
            logit_scale,
        })
    }

    /// d_clip.
    pub fn d_clip(&self) -> usize {
        self.text.config().projection_dim
    }

    /// n_text.
    pub fn n_text(&self) -> usize {
        self.text.tokenizer().n_text()
    }

    /// The temperature of CLIP, `exp(-logit_scale)`, if its checkpoint contains it.
    pub fn tau(&self) -> Option<f64> {
        self.logit_scale.map(|s| (-s).exp())
    }

    /// The text encoder.
    pub fn text(&self) -> &TextEncoder {
        &self.text
    }

    /// The image encoder.
    pub fn image(&self) -> &ImageEncoder {
        &self.image
    }

    /// Encodes captions.
    ///
    /// # Errors
    /// [`EncodeError::Clip`] for a caption that cannot be tokenized.
    pub fn texts<T: AsRef<str> + Sync>(&self, captions: &[T]) -> Result<EncodedTexts, EncodeError> {
        let mut texts = EncodedTexts::new(self.d_clip());
        for batch in captions.chunks(BATCH) {
            texts.extend(&self.text.encode(batch)?.to_host());
        }
        Ok(texts)
    }

    /// Renders scenes and encodes the images: z_x, `[n, d_clip]`, row by row.
    ///
    /// # Errors
    /// [`EncodeError::Clip`].
    pub fn scenes(&self, scenes: &[Scene]) -> Result<Vec<f32>, EncodeError> {
        let mut z_x = Vec::with_capacity(scenes.len() * self.d_clip());
        for batch in scenes.chunks(BATCH) {
            z_x.extend(self.images(&batch.iter().map(scene_image).collect::<Vec<_>>())?);
        }
        Ok(z_x)
    }

    /// Encodes images: z_x, `[n, d_clip]`, row by row.
    ///
    /// # Errors
    /// [`EncodeError::Clip`].
    pub fn images(&self, images: &[RgbImage]) -> Result<Vec<f32>, EncodeError> {
        let mut z_x = Vec::with_capacity(images.len() * self.d_clip());
        for batch in images.chunks(BATCH) {
            z_x.extend(self.image.encode(batch)?.into_data().iter::<f32>());
        }
        Ok(z_x)
    }

    /// Encodes a world's pairs.
    ///
    /// # Errors
    /// [`EncodeError::Clip`].
    pub fn pairs(&self, pairs: &[Pair]) -> Result<Pairs, EncodeError> {
        let scenes: Vec<Scene> = pairs.iter().map(|p| p.scene).collect();
        let captions: Vec<&str> = pairs.iter().map(|p| p.caption.as_str()).collect();
        let (z_x, texts, empty) = (self.scenes(&scenes)?, self.texts(&captions)?, self.texts(&[""])?);
        Ok(Pairs::new(
            z_x,
            texts,
            empty,
            captions,
            pairs.iter().map(|p| p.statement),
        ))
    }
}

/// SHA-256 of the files of a CLIP, by name.
///
/// # Errors
/// [`WeightsError`], naming the file.
pub fn clip_files(dir: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    let dir = &weights::folder(dir)?;
    let towers: Vec<PathBuf> = TOWERS
        .iter()
        .map(|tower| dir.join(tower))
        .filter(|tower| tower.is_dir())
        .collect();
    let folders = if towers.is_empty() {
        vec![dir.to_path_buf()]
    } else {
        towers
    };
    let mut hashes = BTreeMap::new();
    for folder in folders {
        let config = folder.join("config.json");
        if !config.is_file() {
            return Err(FileError::Missing(config).into());
        }
        let mut found = BTreeSet::from([config]);
        found.extend(Checkpoint::open(&folder)?.files());
        let beside = TOKENIZERS
            .iter()
            .chain(&PROCESSORS)
            .flat_map(|place| BESIDE_FILES.map(|name| folder.join(place).join(name)));
        found.extend(beside.filter(|file| file.is_file()));
        for file in found {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let tower = folder.strip_prefix(dir).unwrap_or(Path::new(""));
            hashes.insert(
                format!("{}", Path::new("clip").join(tower).join(&*name).display()),
                files::sha256_file(&file)?,
            );
        }
    }
    Ok(hashes)
}

/// Files of the tokenizer and the preprocessing.
const BESIDE_FILES: [&str; 7] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    PROCESSOR,
    TOKENIZER_FILES[0],
    TOKENIZER_FILES[1],
];

/// Tokenizer files that earlier versions did not hash; their runs and stores have no record of these files.
const TOKENIZER_FILES: [&str; 2] = ["special_tokens_map.json", "tokenizer_config.json"];

/// Whether earlier versions omitted this file of [`clip_files`].
pub fn is_new_input(name: &str) -> bool {
    TOKENIZER_FILES
        .iter()
        .any(|file| name.rsplit('/').next() == Some(file))
}

/// Hashes the files of a CLIP.
///
/// # Errors
/// [`WeightsError`], naming the file.
pub fn clip_hash(dir: &Path) -> Result<ClipHash, WeightsError> {
    let (mut clip, mut tokenizer) = (String::new(), String::new());
    for (name, hash) in clip_files(dir)? {
        let text = if is_new_input(&name) {
            &mut tokenizer
        } else {
            &mut clip
        };
        text.push_str(&format!("{name} {hash}\n"));
    }
    let hash = |text: String| files::sha256(text.as_bytes());
    Ok(ClipHash {
        clip: hash(clip),
        tokenizer: Some(hash(tokenizer)),
    })
}

/// The rendered scene as an image.
pub fn scene_image(scene: &Scene) -> RgbImage {
    let side = scene.world().image_size() as u32;
    RgbImage::from_raw(side, side, scene.render()).expect("a render has the bytes of its image")
}
