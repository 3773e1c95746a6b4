//! Where the parts of a published pipeline stand (diffusers' `save_pretrained` folders with a `model_index.json`).
//!
//! A stack may be spread over several pipelines: Kandinsky 2.2's prior and decoder, Karlo and its image variation. The user names one folder; it is
//! a pipeline itself, or its direct children are. A prior and a CLIP may come from elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::weights::{WeightsError, read_json};

/// The file that makes a folder a pipeline.
const INDEX: &str = "model_index.json";

/// The two decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stack {
    /// Karlo v1 alpha: pixels at 64 x 64, then two super-resolution networks.
    #[serde(rename = "karlo")]
    Karlo,
    /// Kandinsky 2.2: latents, then MoVQ.
    #[serde(rename = "kandinsky 2.2")]
    Kandinsky22,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Karlo => "Karlo",
            Self::Kandinsky22 => "Kandinsky 2.2",
        })
    }
}

/// A part of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// CLIP's text tower.
    TextEncoder,
    /// CLIP's vision tower.
    ImageEncoder,
    /// The prior.
    Prior,
    /// Karlo's conditioning.
    TextProj,
    /// The UNet that draws.
    Decoder,
    /// What samples the decoder.
    DecoderScheduler,
    /// Karlo's super-resolution, all steps but the last.
    SuperResFirst,
    /// Karlo's super-resolution, the last step.
    SuperResLast,
    /// What samples the super-resolution.
    SuperResScheduler,
    /// Kandinsky's autoencoder.
    Movq,
    /// What stands in its place in small pipelines: squares of pixels.
    PixelSpace,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TextEncoder => "text_encoder",
            Self::ImageEncoder => "image_encoder",
            Self::Prior => "prior",
            Self::TextProj => "text_proj",
            Self::Decoder => "decoder",
            Self::DecoderScheduler => "decoder_scheduler",
            Self::SuperResFirst => "super_res_first",
            Self::SuperResLast => "super_res_last",
            Self::SuperResScheduler => "super_res_scheduler",
            Self::Movq => "movq",
            Self::PixelSpace => "pixel_space",
        })
    }
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
         (such as kandinsky22_prior/ and kandinsky22_decoder/)"
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
    /// The folder holds both stacks.
    #[error("{0} holds pipelines of Karlo and of Kandinsky 2.2: name one of them")]
    BothStacks(PathBuf),
    /// A class that this code does not know.
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
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    shown.join(", ")
}

/// What a key of an index means.
struct Entry {
    key: &'static str,
    part: Option<Part>,
    classes: &'static [&'static str],
}

const fn entry(key: &'static str, part: Option<Part>, classes: &'static [&'static str]) -> Entry {
    Entry { key, part, classes }
}

const TEXT: Entry = entry(
    "text_encoder",
    Some(Part::TextEncoder),
    &["CLIPTextModelWithProjection"],
);
const VISION: Entry = entry(
    "image_encoder",
    Some(Part::ImageEncoder),
    &["CLIPVisionModelWithProjection"],
);
const TOKENIZER: Entry = entry(
    "tokenizer",
    None,
    &[
        "CLIPTokenizer",
        "CLIPTokenizerFast",
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
    ],
);
const PROCESSORS: &[&str] = &[
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    // As transformers 5 saves it without torchvision.
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
];
const PRIOR: Entry = entry("prior", Some(Part::Prior), &["PriorTransformer"]);
const SCHEDULERS: &[&str] = &["UnCLIPScheduler", "DDPMScheduler", "DDIMScheduler"];
const CONDITIONED: &[&str] = &["UNet2DConditionModel"];
const UNCONDITIONED: &[&str] = &["UNet2DModel"];

const KARLO: &[Entry] = &[
    TEXT,
    TOKENIZER,
    PRIOR,
    VISION,
    entry("feature_extractor", None, PROCESSORS),
    entry("prior_scheduler", None, SCHEDULERS),
    entry("text_proj", Some(Part::TextProj), &["UnCLIPTextProjModel"]),
    entry("decoder", Some(Part::Decoder), CONDITIONED),
    entry("decoder_scheduler", Some(Part::DecoderScheduler), SCHEDULERS),
    entry("super_res_first", Some(Part::SuperResFirst), UNCONDITIONED),
    entry("super_res_last", Some(Part::SuperResLast), UNCONDITIONED),
    entry("super_res_scheduler", Some(Part::SuperResScheduler), SCHEDULERS),
];
const KANDINSKY22_PRIOR: &[Entry] = &[
    TEXT,
    TOKENIZER,
    PRIOR,
    VISION,
    entry("image_processor", None, PROCESSORS),
    entry("scheduler", None, SCHEDULERS),
];
const KANDINSKY22_DECODER: &[Entry] = &[
    // Not in published ones; the small decoders keep the zero picture's embedding there.
    VISION,
    entry("unet", Some(Part::Decoder), CONDITIONED),
    entry("scheduler", Some(Part::DecoderScheduler), SCHEDULERS),
    entry("movq", Some(Part::Movq), &["VQModel"]),
    entry("pixel_space", Some(Part::PixelSpace), &["PixelSpace"]),
];

/// What `eclipse export` writes: other classes in the places of Kandinsky's.
const EXPORTED_PRIOR: &[Entry] = &[
    TEXT,
    TOKENIZER,
    entry("prior", Some(Part::Prior), &["EclipsePrior"]),
    VISION,
    entry("image_processor", None, PROCESSORS),
    entry(
        "scheduler",
        None,
        &[
            "UnCLIPScheduler",
            "DDPMScheduler",
            "DDIMScheduler",
            "FlowMatchEulerDiscreteScheduler",
        ],
    ),
];

/// Prior and decoder in one folder.
const KANDINSKY22_COMBINED: &[Entry] = &[
    entry("prior_text_encoder", Some(Part::TextEncoder), TEXT.classes),
    entry("prior_tokenizer", None, TOKENIZER.classes),
    entry("prior_prior", Some(Part::Prior), PRIOR.classes),
    entry("prior_image_encoder", Some(Part::ImageEncoder), VISION.classes),
    entry("prior_image_processor", None, PROCESSORS),
    entry("prior_scheduler", None, SCHEDULERS),
    entry("unet", Some(Part::Decoder), CONDITIONED),
    entry("scheduler", Some(Part::DecoderScheduler), SCHEDULERS),
    entry("movq", Some(Part::Movq), &["VQModel"]),
];

/// Pipelines by class name.
const CLASSES: &[(&str, Stack, &[Entry])] = &[
    ("UnCLIPPipeline", Stack::Karlo, KARLO),
    ("UnCLIPImageVariationPipeline", Stack::Karlo, KARLO),
    ("KandinskyV22Pipeline", Stack::Kandinsky22, KANDINSKY22_DECODER),
    (
        "KandinskyV22Img2ImgPipeline",
        Stack::Kandinsky22,
        KANDINSKY22_DECODER,
    ),
    ("KandinskyV22PriorPipeline", Stack::Kandinsky22, KANDINSKY22_PRIOR),
    ("EclipsePriorPipeline", Stack::Kandinsky22, EXPORTED_PRIOR),
    ("EclipseDecoderPipeline", Stack::Kandinsky22, KANDINSKY22_DECODER),
    (
        "KandinskyV22CombinedPipeline",
        Stack::Kandinsky22,
        KANDINSKY22_COMBINED,
    ),
    (
        "KandinskyV22Img2ImgCombinedPipeline",
        Stack::Kandinsky22,
        KANDINSKY22_COMBINED,
    ),
];

/// Which folder holds which part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    stack: Stack,
    parts: BTreeMap<Part, PathBuf>,
    looked: Vec<PathBuf>,
}

impl Layout {
    /// Finds the parts of the pipeline, or pipelines, in `pipeline`. `prior` is a prior's own folder (an ECLIPSE prior) or a pipeline with one, and
    /// replaces the stack's; `clip` is where the towers stand, in place of those of the prior's pipeline or the stack's.
    ///
    /// # Errors
    /// [`LayoutError`], naming the folder, the key and what is known. A part that is absent is no error until [`Layout::part`] asks for it.
    pub fn open(pipeline: &Path, prior: Option<&Path>, clip: Option<&Path>) -> Result<Self, LayoutError> {
        let folders = pipelines(pipeline)?;
        let mut parts = BTreeMap::new();
        let mut stack = None;
        for folder in &folders {
            let (of, entries, index) = read_index(folder)?;
            if stack.is_some_and(|s| s != of) {
                return Err(LayoutError::BothStacks(pipeline.into()));
            }
            stack = Some(of);
            add_parts(folder, entries, &index, &mut parts)?;
        }
        let Some(stack) = stack else {
            return Err(LayoutError::NoPipeline(pipeline.into()));
        };
        let mut looked = folders;
        if let Some(prior) = prior {
            let inner = prior.join("prior");
            let is_pipeline = inner.join("config.json").is_file();
            if is_pipeline {
                looked.push(prior.into());
                towers(prior, &mut parts);
            } else if !prior.join("config.json").is_file() {
                return Err(LayoutError::NoPrior(prior.into()));
            }
            parts.insert(Part::Prior, if is_pipeline { inner } else { prior.into() });
        }
        if let Some(clip) = clip {
            looked.push(clip.into());
            if !towers(clip, &mut parts) {
                if !clip.join("config.json").is_file() {
                    return Err(LayoutError::NoClip(clip.into()));
                }
                parts.insert(Part::TextEncoder, clip.into());
                parts.insert(Part::ImageEncoder, clip.into());
            }
        }
        Ok(Self { stack, parts, looked })
    }

    /// The parts as someone recorded them.
    pub fn recorded(stack: Stack, parts: BTreeMap<Part, PathBuf>) -> Self {
        let looked = parts.values().cloned().collect();
        Self { stack, parts, looked }
    }

    /// Which decoder this is.
    pub fn stack(&self) -> Stack {
        self.stack
    }

    /// The folder of a part.
    ///
    /// # Errors
    /// [`LayoutError::Missing`], naming the part and where it was looked for.
    pub fn part(&self, part: Part) -> Result<&Path, LayoutError> {
        let entries = CLASSES.iter().filter(|(_, stack, _)| *stack == self.stack);
        let mut entries = entries.flat_map(|(_, _, entries)| *entries);
        let missing = || LayoutError::Missing {
            folder: entries.find(|e| e.part == Some(part)).map_or("part", |e| e.key),
            looked: self.looked.clone(),
            hint: match part {
                Part::Prior => "name a prior with --prior",
                Part::TextEncoder | Part::ImageEncoder => "name the folder that holds it with --clip",
                _ => "is the download complete?",
            },
        };
        self.parts.get(&part).map(PathBuf::as_path).ok_or_else(missing)
    }
}

/// `dir` itself, or those of its children that are pipelines.
fn pipelines(dir: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    if dir.join(INDEX).is_file() {
        // An export has its decoder in it.
        let inner = Some(dir.join("decoder")).filter(|inner| inner.join(INDEX).is_file());
        return Ok(std::iter::once(dir.into()).chain(inner).collect());
    }
    let children = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = children
        .map(|e| e.path())
        .filter(|p| p.join(INDEX).is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        let snapshots = std::fs::read_dir(dir.join("snapshots"))
            .into_iter()
            .flatten()
            .flatten();
        let newest = snapshots
            .filter(|e| e.path().is_dir())
            .max_by_key(|e| e.metadata().and_then(|m| m.modified()).ok());
        if let Some(snapshot) = newest {
            return Err(LayoutError::CacheRoot {
                dir: dir.into(),
                snapshot: snapshot.path(),
            });
        }
    }
    match found.is_empty() {
        true => Err(LayoutError::NoPipeline(dir.into())),
        false => Ok(found),
    }
}

type Index = (Stack, &'static [Entry], Map<String, Value>);

fn read_index(folder: &Path) -> Result<Index, LayoutError> {
    let path = folder.join(INDEX);
    let index: Map<String, Value> = read_json(&path)?;
    // A class of a folder's own module stands behind the module's name.
    let class = index.get("_class_name");
    let class = class.and_then(|class| class.get(1)).or(class);
    let name = class.and_then(Value::as_str).unwrap_or("nothing");
    match CLASSES.iter().find(|(class, _, _)| *class == name) {
        Some((_, stack, entries)) => Ok((*stack, entries, index)),
        None => Err(LayoutError::Class {
            path,
            key: "_class_name".into(),
            found: name.into(),
            known: CLASSES.iter().map(|(c, _, _)| *c).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// Adds the parts that `index` lists and `folder` holds; the first pipeline that holds a part keeps it. Libraries are not compared: Karlo's published
/// index calls `text_proj`'s "unclip".
fn add_parts(
    folder: &Path,
    entries: &[Entry],
    index: &Map<String, Value>,
    parts: &mut BTreeMap<Part, PathBuf>,
) -> Result<(), LayoutError> {
    for entry in entries {
        let Some(class) = index
            .get(entry.key)
            .and_then(|v| v.get(1))
            .filter(|c| !c.is_null())
        else {
            continue;
        };
        let class = class.as_str().unwrap_or_default();
        if !entry.classes.contains(&class) {
            return Err(LayoutError::Class {
                path: folder.join(INDEX),
                key: entry.key.into(),
                found: class.into(),
                known: entry.classes.join(", "),
            });
        }
        let at = folder.join(entry.key);
        if let Some(part) = entry.part
            && at.is_dir()
        {
            parts.entry(part).or_insert(at);
        }
    }
    Ok(())
}

/// Takes the towers that `dir` holds; whether there is one.
fn towers(dir: &Path, parts: &mut BTreeMap<Part, PathBuf>) -> bool {
    let mut found = false;
    for part in [Part::TextEncoder, Part::ImageEncoder] {
        let at = dir.join(part.to_string());
        if at.is_dir() {
            parts.insert(part, at);
            found = true;
        }
    }
    found
}
