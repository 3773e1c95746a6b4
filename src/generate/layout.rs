//! Which stack a folder of pipelines belongs to, and where its parts are (diffusers' `save_pretrained` folders with a `model_index.json`).
//!
//! A stack may be spread over several pipelines: a prior's and a decoder's, or a pipeline and its image variation. The user names one folder; it is
//! a pipeline itself, or its direct children are. A prior and a CLIP may come from elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::parts::{Entry, LayoutError, Part, PartFolders};
use super::stacks::{self, Stack};
use crate::weights::{self, read_json};

/// The file that makes a folder a pipeline.
const INDEX: &str = "model_index.json";

/// A stack and the folders of its parts.
#[derive(Debug, Clone)]
pub struct PipelineLayout {
    stack: Stack,
    folders: PartFolders,
}

impl PipelineLayout {
    /// Finds the parts of the pipeline, or pipelines, in `pipeline`. `prior` is a prior's own folder (an ECLIPSE prior) or a pipeline with one, and
    /// replaces the stack's; `clip` is where the towers are, in place of those of the prior's pipeline or the stack's. Each may be the name of a repository
    /// in the Hugging Face cache.
    ///
    /// # Errors
    /// [`LayoutError`], naming the folder, the key and what is known. A part that is absent is no error until [`PipelineLayout::part`] asks for it.
    pub fn open(pipeline: &Path, prior: Option<&Path>, clip: Option<&Path>) -> Result<Self, LayoutError> {
        let found = |given: Option<&Path>| given.map(weights::folder).transpose();
        let (prior, clip) = (found(prior)?, found(clip)?);
        let (prior, clip) = (prior.as_deref(), clip.as_deref());
        let pipeline = &weights::folder(pipeline)?;
        let folders = pipelines(pipeline)?;
        let mut indices = Vec::new();
        for folder in &folders {
            indices.push(Index::read(folder)?);
        }
        let stack = detect(pipeline, &indices)?;
        let mut parts = BTreeMap::new();
        for index in &indices {
            index.add_parts(stack, &mut parts)?;
        }
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
            parts.insert(Part::PRIOR, if is_pipeline { inner } else { prior.into() });
        }
        if let Some(clip) = clip {
            looked.push(clip.into());
            if !towers(clip, &mut parts) {
                if !clip.join("config.json").is_file() {
                    return Err(LayoutError::NoClip(clip.into()));
                }
                parts.insert(Part::TEXT_ENCODER, clip.into());
                parts.insert(Part::IMAGE_ENCODER, clip.into());
            }
        }
        Ok(Self {
            stack,
            folders: PartFolders::new(parts, looked, stack.pipelines()),
        })
    }

    /// The folders that a side file records by part, for a stack of the family that it names. Configurations without weights, which it does not
    /// record, are looked for beside the networks of their pipeline.
    ///
    /// # Errors
    /// [`LayoutError::UnknownStack`].
    pub fn recorded<'a>(
        family: &str,
        recorded: impl Iterator<Item = (&'a str, &'a Path)>,
    ) -> Result<Self, LayoutError> {
        let recorded: BTreeMap<&str, &Path> = recorded.collect();
        let candidates: Vec<Stack> = stacks::ALL
            .iter()
            .copied()
            .filter(|stack| stack.about().recorded() == family)
            .collect();
        let known = |part: Part| recorded.contains_key(part.name());
        let stack = most_complete(&candidates, known).ok_or_else(|| LayoutError::UnknownStack {
            found: family.into(),
            known: stacks::recorded_names(),
        })?;
        let mut folders = BTreeMap::new();
        for class in stack.pipelines() {
            let parts = || class.entries.iter().filter_map(|e| Some((e.key, e.part?)));
            for (_, part) in parts() {
                if let Some(dir) = recorded.get(part.name()) {
                    folders.insert(part, dir.to_path_buf());
                }
            }
            for (key, part) in parts().filter(|(_, part)| !part.has_weights() && !known(*part)) {
                let of_pipeline = parts().filter_map(|(key, part)| {
                    let dir = recorded.get(part.name())?;
                    dir.parent().filter(|_| dir.ends_with(key))
                });
                if let Some(dir) = of_pipeline.map(|dir| dir.join(key)).find(|dir| dir.is_dir()) {
                    folders.entry(part).or_insert(dir);
                }
            }
        }
        let looked = folders.values().cloned().collect();
        Ok(Self {
            stack,
            folders: PartFolders::new(folders, looked, stack.pipelines()),
        })
    }

    /// The stack.
    pub fn stack(&self) -> Stack {
        self.stack
    }

    /// The folders of its parts.
    pub fn folders(&self) -> &PartFolders {
        &self.folders
    }

    /// The folder of a part.
    ///
    /// # Errors
    /// [`LayoutError::Missing`], naming the part and where it was looked for.
    pub fn part(&self, part: Part) -> Result<&Path, LayoutError> {
        self.folders.part(part)
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

/// The stack that knows the classes of all `indices`, which are those in `dir`. Of several, the one whose decoder is there.
fn detect(dir: &Path, indices: &[Index]) -> Result<Stack, LayoutError> {
    let mut candidates: Vec<Stack> = stacks::ALL.to_vec();
    for index in indices {
        let first = candidates[0];
        candidates.retain(|stack| index.entries(*stack).is_some());
        if candidates.is_empty() {
            let mut others = stacks::ALL.iter().filter(|s| index.entries(**s).is_some());
            return Err(match others.next() {
                Some(second) => LayoutError::TwoStacks {
                    dir: dir.into(),
                    first: first.about().name,
                    second: second.about().name,
                },
                None => index.unknown(),
            });
        }
    }
    let there = |part: Part, stack: Stack| indices.iter().any(|index| index.holds(stack, part));
    let complete = candidates
        .iter()
        .copied()
        .min_by_key(|stack| n_missing(*stack, |part| there(part, *stack)));
    complete.ok_or_else(|| LayoutError::NoPipeline(dir.into()))
}

/// Of `candidates` the first with the most of its decoder's parts.
fn most_complete(candidates: &[Stack], there: impl Fn(Part) -> bool) -> Option<Stack> {
    let stacks = candidates.iter().copied();
    stacks.min_by_key(|stack| n_missing(*stack, &there))
}

fn n_missing(stack: Stack, there: impl Fn(Part) -> bool) -> usize {
    let parts = stack.decoder_parts().iter();
    parts.filter(|part| !there(**part)).count()
}

/// The `model_index.json` of a pipeline.
struct Index {
    folder: PathBuf,
    class: String,
    keys: Map<String, Value>,
}

impl Index {
    fn read(folder: &Path) -> Result<Self, LayoutError> {
        let keys: Map<String, Value> = read_json(&folder.join(INDEX))?;
        // The class of a folder's own module follows the module's name.
        let class = keys.get("_class_name");
        let class = class.and_then(|class| class.get(1)).or(class);
        Ok(Self {
            folder: folder.into(),
            class: class.and_then(Value::as_str).unwrap_or("nothing").into(),
            keys,
        })
    }

    /// The keys of this class of pipelines, if it is one of `stack`.
    fn entries(&self, stack: Stack) -> Option<&'static [Entry]> {
        let mut classes = stack.pipelines().iter();
        classes.find(|c| c.name == self.class).map(|c| c.entries)
    }

    fn unknown(&self) -> LayoutError {
        let mut known: Vec<&str> = Vec::new();
        for class in stacks::ALL.iter().flat_map(|stack| stack.pipelines()) {
            if !known.contains(&class.name) {
                known.push(class.name);
            }
        }
        LayoutError::Class {
            path: self.folder.join(INDEX),
            key: "_class_name".into(),
            found: self.class.clone(),
            known: known.join(", "),
        }
    }

    /// The class that the index gives for `entry`, if it lists it.
    fn class_of(&self, entry: &Entry) -> Option<&str> {
        let class = self.keys.get(entry.key)?.get(1).filter(|c| !c.is_null())?;
        Some(class.as_str().unwrap_or_default())
    }

    fn holds(&self, stack: Stack, part: Part) -> bool {
        let mut entries = self.entries(stack).unwrap_or_default().iter();
        entries.any(|entry| {
            entry.part == Some(part) && self.class_of(entry).is_some() && self.folder.join(entry.key).is_dir()
        })
    }

    /// Adds the parts that it lists and its folder holds; the first pipeline that holds a part keeps it. Libraries are not compared: a published
    /// index names a class of diffusers "unclip".
    fn add_parts(&self, stack: Stack, parts: &mut BTreeMap<Part, PathBuf>) -> Result<(), LayoutError> {
        for entry in self.entries(stack).unwrap_or_default() {
            let Some(class) = self.class_of(entry) else {
                continue;
            };
            if !entry.classes.contains(&class) {
                return Err(LayoutError::Class {
                    path: self.folder.join(INDEX),
                    key: entry.key.into(),
                    found: class.into(),
                    known: entry.classes.join(", "),
                });
            }
            let at = self.folder.join(entry.key);
            if let Some(part) = entry.part
                && at.is_dir()
            {
                parts.entry(part).or_insert(at);
            }
        }
        Ok(())
    }
}

/// Takes the towers that `dir` holds; whether there is one.
fn towers(dir: &Path, parts: &mut BTreeMap<Part, PathBuf>) -> bool {
    let mut found = false;
    for part in [Part::TEXT_ENCODER, Part::IMAGE_ENCODER] {
        let at = dir.join(part.name());
        if at.is_dir() {
            parts.insert(part, at);
            found = true;
        }
    }
    found
}
