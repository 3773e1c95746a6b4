//! The decoder of an export: what draws from the prior's embeddings.

use std::path::Path;

use serde_json::json;

use super::error::ExportError;
use super::layout::{DIFFUSERS_VERSION, INDEX};
use super::modules::write_module;
use super::source::ExportSource;
use crate::benchmark::images::check_decoder;
use crate::files;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::layout::PipelineLayout;
use crate::generate::stacks::{self, Bundle, Stack};
use crate::weights::write_json;
use burn::prelude::*;

/// A decoder of a stack.
#[derive(Debug, Clone)]
pub(super) struct ExportedDecoder {
    pub(super) stack: Stack,
    pub(super) place: Place,
}

/// Where the decoder is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// It is copied into the export.
    Bundled(Bundle),
    /// It is loaded by its folder or its name on the Hugging Face Hub.
    Named(String),
}

impl ExportedDecoder {
    /// The decoder that was named, the run's own, or a published one that reads embeddings of width `d_clip`.
    pub(super) fn of(
        source: &ExportSource,
        named: Option<&str>,
        d_clip: usize,
        device: &Device,
    ) -> Result<Option<Self>, ExportError> {
        if let Some(name) = named {
            return Self::named(name, d_clip).map(Some);
        }
        let own = source.world_run().and_then(|run| {
            let decoder = FrozenDecoder::load(run.decoder(), device).ok()?;
            check_decoder(run.clip(), run.decoder(), &decoder, d_clip).ok()?;
            Some(Self::in_folder(run.decoder()))
        });
        match own {
            Some(own) => own.map(Some),
            None => Ok(Self::published(d_clip)),
        }
    }

    /// A decoder's folder, else a name on the Hugging Face Hub.
    fn named(name: &str, d_clip: usize) -> Result<Self, ExportError> {
        let dir = Path::new(name);
        let refuse = |reason: String| ExportError::Decoder {
            name: name.into(),
            reason,
        };
        if !dir.is_dir() {
            let looks_like_a_name = name.split('/').count() == 2 && !name.starts_with(['.', '/']);
            let published = Self::published(d_clip).filter(|_| looks_like_a_name);
            return match published {
                Some(Self { stack, .. }) => Ok(Self {
                    stack,
                    place: Place::Named(name.into()),
                }),
                None => Err(refuse(
                    "expected a decoder's folder (with model_index.json)".into(),
                )),
            };
        }
        PipelineLayout::open(dir, None, None).map_err(|e| refuse(e.to_string()))?;
        if !dir.join(INDEX).is_file() {
            return Err(refuse(
                "holds several pipelines: name the decoder's own folder".into(),
            ));
        }
        Self::in_folder(dir)
    }

    fn in_folder(dir: &Path) -> Result<Self, ExportError> {
        let layout = PipelineLayout::open(dir, None, None)?;
        let stack = layout.stack();
        let place = match stack.bundle(layout.folders())? {
            Some(bundle) => Place::Bundled(bundle),
            None => {
                let path = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
                Place::Named(path.display().to_string())
            }
        };
        Ok(Self { stack, place })
    }

    /// The published decoder that reads embeddings of this width.
    fn published(d_clip: usize) -> Option<Self> {
        stacks::ALL.iter().find_map(|&stack| {
            let (d, name) = stack.about().published?;
            (d == d_clip).then(|| Self {
                stack,
                place: Place::Named(name.into()),
            })
        })
    }
}

/// Writes a bundle to `to`: a pipeline of its own, with the modules that draw with it.
pub(super) fn write_bundle(bundle: &Bundle, to: &Path) -> Result<(), ExportError> {
    for (from, name) in bundle.folders.iter().filter(|(from, _)| from.is_dir()) {
        files::create_dir(to.join(name))?;
        for file in files::list(from)? {
            files::copy(&file, to.join(name).join(file.file_name().unwrap_or_default()))?;
        }
    }
    files::create_dir(to)?;
    for (folder, module) in &bundle.modules {
        write_module(&to.join(folder), module)?;
    }
    let mut index = bundle.index.clone();
    index.insert("_diffusers_version".into(), json!(DIFFUSERS_VERSION));
    Ok(write_json(&to.join(INDEX), &index)?)
}
