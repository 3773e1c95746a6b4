//! The parts of a pipeline, and the folders that hold them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::weights::WeightsError;

/// A part of a pipeline: a network, or a configuration without weights such as a scheduler's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    name: &'static str,
    has_weights: bool,
}

impl Part {
    /// CLIP's text tower.
    pub const TEXT_ENCODER: Self = Self::network("text_encoder");
    /// CLIP's vision tower.
    pub const IMAGE_ENCODER: Self = Self::network("image_encoder");
    /// The prior.
    pub const PRIOR: Self = Self::network("prior");
    /// The UNet of a decoder.
    pub const DECODER: Self = Self::network("decoder");
    /// The scheduler of a decoder.
    pub const DECODER_SCHEDULER: Self = Self::config("decoder_scheduler");

    /// A network, under the name that side files record.
    pub const fn network(name: &'static str) -> Self {
        Self {
            name,
            has_weights: true,
        }
    }

    /// A folder with a configuration and no weights.
    pub const fn config(name: &'static str) -> Self {
        Self {
            name,
            has_weights: false,
        }
    }

    /// Its name in side files.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether its folder holds weights.
    pub fn has_weights(self) -> bool {
        self.has_weights
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A key of a `model_index.json`: also the name of the part's folder.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The key.
    pub key: &'static str,
    /// The part in the folder of that name; `None` for what this program reads elsewhere or not at all.
    pub part: Option<Part>,
    /// The classes that can be read.
    pub classes: &'static [&'static str],
}

impl Entry {
    /// The entry of a part.
    pub const fn part(key: &'static str, part: Part, classes: &'static [&'static str]) -> Self {
        Self {
            key,
            part: Some(part),
            classes,
        }
    }

    /// An entry that is checked and not used.
    pub const fn unused(key: &'static str, classes: &'static [&'static str]) -> Self {
        Self {
            key,
            part: None,
            classes,
        }
    }
}

/// A class of pipelines.
#[derive(Debug, Clone, Copy)]
pub struct PipelineClass {
    /// `_class_name` in `model_index.json`.
    pub name: &'static str,
    /// The keys of the index.
    pub entries: &'static [Entry],
}

/// Entries that pipelines of several stacks have.
pub mod entries {
    use super::{Entry, Part};

    /// Classes of CLIP's preprocessing.
    pub const PROCESSORS: &[&str] = &[
        "CLIPImageProcessor",
        "CLIPImageProcessorFast",
        // As transformers 5 saves it without torchvision.
        "CLIPImageProcessorPil",
        "CLIPFeatureExtractor",
    ];
    /// Classes of schedulers.
    pub const SCHEDULERS: &[&str] = &["UnCLIPScheduler", "DDPMScheduler", "DDIMScheduler"];
    /// The text tower.
    pub const TEXT: Entry = Entry::part(
        "text_encoder",
        Part::TEXT_ENCODER,
        &["CLIPTextModelWithProjection"],
    );
    /// The vision tower.
    pub const VISION: Entry = Entry::part(
        "image_encoder",
        Part::IMAGE_ENCODER,
        &["CLIPVisionModelWithProjection"],
    );
    /// The tokenizer, which is read beside the text tower.
    pub const TOKENIZER: Entry = Entry::unused(
        "tokenizer",
        &[
            "CLIPTokenizer",
            "CLIPTokenizerFast",
            "PreTrainedTokenizerFast",
            "TokenizersBackend",
        ],
    );
    /// A published prior.
    pub const PRIOR: Entry = Entry::part("prior", Part::PRIOR, &["PriorTransformer"]);
}

/// Folders that are no pipeline, or lack a part.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A JSON file could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// No `model_index.json`.
    #[error(
        "no pipeline in {0}: expected model_index.json in it, or in folders directly below it \
         (one of the prior and one of the decoder)"
    )]
    NoPipeline(PathBuf),
    /// A folder of the Hugging Face cache, whose files are in a folder of it.
    #[error("{dir} is a folder of the Hugging Face cache: give {snapshot}")]
    CacheRoot {
        /// The folder.
        dir: PathBuf,
        /// Where the files are.
        snapshot: PathBuf,
    },
    /// The folder holds pipelines of two stacks.
    #[error("{dir} holds pipelines of {first} and of {second}: name one of them")]
    TwoStacks {
        /// The folder.
        dir: PathBuf,
        /// One stack.
        first: &'static str,
        /// The other stack.
        second: &'static str,
    },
    /// A class that no stack knows.
    #[error("{path}: `{key}`: unknown class {found} (known: {known})")]
    Class {
        /// The index.
        path: PathBuf,
        /// `_class_name`, or a part.
        key: String,
        /// The class found.
        found: String,
        /// The classes known.
        known: String,
    },
    /// A part that the call needs.
    #[error("no {folder}/ in {}: {hint}", list(.looked))]
    Missing {
        /// The part's folder.
        folder: &'static str,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
        /// What would help.
        hint: &'static str,
    },
    /// `--prior` names something else.
    #[error("{0} is no prior: expected config.json in it, or a pipeline with prior/")]
    NoPrior(PathBuf),
    /// `--clip` names something else.
    #[error("{0} is no CLIP: expected text_encoder/, image_encoder/ or config.json in it")]
    NoClip(PathBuf),
    /// A side file names a stack that does not exist.
    #[error("`stack`: expected one of {known}, found {found}")]
    UnknownStack {
        /// The name in the side file.
        found: String,
        /// The names of the stacks.
        known: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    shown.join(", ")
}

/// Which folder holds which part of a stack.
#[derive(Debug, Clone)]
pub struct PartFolders {
    folders: BTreeMap<Part, PathBuf>,
    /// Where parts were looked for.
    looked: Vec<PathBuf>,
    /// The pipelines of the stack, which name the folders of parts that are absent.
    pipelines: &'static [PipelineClass],
}

impl PartFolders {
    /// The folders of a stack with these pipelines, which were looked for in `looked`.
    pub fn new(
        folders: BTreeMap<Part, PathBuf>,
        looked: Vec<PathBuf>,
        pipelines: &'static [PipelineClass],
    ) -> Self {
        Self {
            folders,
            looked,
            pipelines,
        }
    }

    /// The folder of a part.
    ///
    /// # Errors
    /// [`LayoutError::Missing`], naming the part and where it was looked for.
    pub fn part(&self, part: Part) -> Result<&Path, LayoutError> {
        let missing = || {
            let mut entries = self.pipelines.iter().flat_map(|class| class.entries);
            LayoutError::Missing {
                folder: entries
                    .find(|e| e.part == Some(part))
                    .map_or(part.name(), |e| e.key),
                looked: self.looked.clone(),
                hint: match part {
                    Part::PRIOR => "name a prior with --prior",
                    Part::TEXT_ENCODER | Part::IMAGE_ENCODER => "name the folder that holds it with --clip",
                    _ => "is the download complete?",
                },
            }
        };
        self.folders.get(&part).map(PathBuf::as_path).ok_or_else(missing)
    }
}
