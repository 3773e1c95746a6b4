//! What a decoder stack provides.

use std::fmt::Debug;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::latent_unet::LatentUNet;
use super::random::RandomStack;
use crate::generate::decoder_plan::DecoderPlan;
use crate::generate::error::RenderError;
use crate::generate::parts::{Part, PartFolders, PipelineClass};
use crate::generate::request::ImageRequest;

/// A decoder stack: networks that turn an image embedding into an image.
pub trait DecoderStack: Debug + Sync {
    /// What help, messages and model cards say of it.
    fn about(&self) -> &'static About;

    /// The pipelines that it is published in, by the class in their `model_index.json`.
    fn pipelines(&self) -> &'static [PipelineClass];

    /// The parts that decode. Of stacks that share a pipeline class, the one with the most of these parts in the folder is meant.
    fn decoder_parts(&self) -> &'static [Part];

    /// The networks that the paper counts as the decoder: they draw the first image, without what enlarges it or takes it out of a latent space.
    fn base_decoder(&self) -> &'static [Part] {
        &[Part::DECODER]
    }

    /// Reads the configurations of its parts, checks them and the request against each other, and takes its own settings where the request makes
    /// no choice. Loads no weights.
    ///
    /// # Errors
    /// [`RenderError`] for a part that is missing or does not fit, and for an option that the stack does not have.
    fn plan(&self, folders: &PartFolders, request: &ImageRequest) -> Result<DecoderPlan, RenderError>;

    /// The decoder as a folder of an exported pipeline, where no published copy can be named.
    ///
    /// # Errors
    /// [`RenderError`] for a part that is missing or cannot be read.
    fn bundle(&self, folders: &PartFolders) -> Result<Option<Bundle>, RenderError> {
        let _ = folders;
        Ok(None)
    }

    /// Its UNet and latent space, where it draws in latents from the image embedding alone: such a stack can be loaded once and draw for evaluations.
    fn latent_unet(&self) -> Option<&'static LatentUNet> {
        None
    }

    /// Its full-size networks, for folders of random weights.
    fn random(&self) -> Option<RandomStack> {
        None
    }
}

/// What help, messages and model cards say of a stack.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// The family that side files and PNG texts record; stacks of one family differ in the parts that they record.
    pub family: &'static str,
    /// Steps and guidance where a call names none; `None` where nothing is sampled.
    pub sampling: Option<(usize, f64)>,
    /// What guidance pushes away from without a negative prompt.
    pub uncond: Option<&'static str>,
    /// The size of its images where a call names none, and what sizes there are.
    pub size: &'static str,
    /// Whether it can start from an image.
    pub starts_from_image: bool,
    /// Whether it has super-resolution with a number of steps.
    pub has_super_res: bool,
    /// A published decoder: the width of the embeddings that it reads, and its name on the Hugging Face Hub.
    pub published: Option<(usize, &'static str)>,
    /// How Python calls it.
    pub python: Python,
}

impl About {
    /// The name in side files.
    pub fn recorded(&self) -> String {
        self.family.to_lowercase()
    }
}

/// How the model card of an exported prior draws with a stack in Python.
#[derive(Debug, Clone, Copy)]
pub struct Python {
    /// The arguments of the decoder's pipeline, made of `embeddings`, which the prior's pipeline returns.
    pub arguments: &'static str,
    /// What a reader of the card should know; may be empty.
    pub note: &'static str,
    /// Whether diffusers loads the decoder beside its own prior pipeline; else the export always has our prior pipeline.
    pub works_with_stock_prior: bool,
}

/// A module of Python that an export needs because diffusers has no such class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PythonModule {
    /// The module, and its file without `.py`.
    pub name: &'static str,
    /// Its class.
    pub class: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// A decoder that is copied into an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Folders to copy, and their names in the bundle; those that do not exist are left out.
    pub folders: Vec<(PathBuf, &'static str)>,
    /// Modules, and the folders that they go into (`.` is the bundle's own).
    pub modules: Vec<(&'static str, PythonModule)>,
    /// `model_index.json`, without the release of diffusers.
    pub index: Map<String, Value>,
}
