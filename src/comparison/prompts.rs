//! Sets of prompts, the names of their images, and the seeds.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::error::ComparisonError;
use crate::config::InvalidValue;
use crate::config::check::{at_least, at_most};
use crate::data::prompts::read_prompts;
use crate::eval::compbench::Category;
use crate::eval::image_folder::first_captions;
use crate::limits::{MAX_IMAGES, MAX_REPEATS};

/// Bytes of a prompt in a file name; file systems allow 255 for the whole name.
const MAX_NAME: usize = 200;

/// `[prompts.NAME]`: a set of prompts and how many images of each are drawn.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSet {
    /// Its name in the specification.
    #[serde(skip)]
    pub name: String,
    /// Where the prompts are.
    pub source: Option<Source>,
    /// Only so many prompts, from the first on.
    pub first: Option<usize>,
    /// Images of each prompt.
    pub images: usize,
    /// Seed of the first image.
    pub seed: u64,
    /// Whether the k-th image of every prompt has the seed `seed + k`, as in T2I-CompBench's generator; else each image of the set adds 1.
    pub same_seeds: bool,
}

impl Default for PromptSet {
    /// T2I-CompBench's numbers: 10 images a prompt, seeds 42 to 51.
    fn default() -> Self {
        Self {
            name: String::new(),
            source: None,
            first: None,
            images: 10,
            seed: 42,
            same_seeds: true,
        }
    }
}

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A text with one a line.
    Lines {
        /// The file.
        path: PathBuf,
    },
    /// The official validation prompts of one of T2I-CompBench's categories.
    T2iCompbench {
        /// `color`, `shape`, `texture`, `spatial`, `non_spatial` or `complex`.
        category: CategoryName,
    },
    /// COCO's `captions_*.json`: the first caption of each image, by the image's number.
    CocoCaptions {
        /// The file.
        path: PathBuf,
    },
}

/// A category by its official name.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct CategoryName(pub Category);

impl TryFrom<String> for CategoryName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = Category::ALL.into_iter().find(|category| category.name() == name);
        let names = || Category::ALL.map(Category::name).join(", ");
        found
            .map(Self)
            .ok_or_else(|| format!("expected one of {}", names()))
    }
}

impl JsonSchema for CategoryName {
    fn schema_name() -> Cow<'static, str> {
        "CategoryName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": Category::ALL.map(Category::name) })
    }
}

impl Source {
    /// The file that has to be on this machine.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Lines { path } | Self::CocoCaptions { path } => Some(path),
            Self::T2iCompbench { .. } => None,
        }
    }

    fn read(&self) -> Result<Vec<String>, ComparisonError> {
        match self {
            Self::Lines { path } => Ok(read_prompts(path)?),
            Self::CocoCaptions { path } => {
                Ok(first_captions::<ComparisonError>(path)?.into_values().collect())
            }
            Self::T2iCompbench { category } => Ok(category
                .0
                .prompts()
                .iter()
                .map(|&prompt| prompt.to_owned())
                .collect()),
        }
    }
}

impl PromptSet {
    /// Checks its numbers.
    pub(super) fn check_numbers(&self) -> Result<(), InvalidValue> {
        let key = |name: &str| format!("prompts.{}.{name}", self.name);
        at_least(&key("images"), 1, self.images)?;
        at_most(&key("images"), MAX_REPEATS, self.images)?;
        if let Some(first) = self.first {
            at_least(&key("first"), 1, first)?;
            at_most(&key("first"), MAX_IMAGES, first)?;
        }
        Ok(())
    }

    /// The prompts; none where their file is not on this machine.
    ///
    /// # Errors
    /// [`ComparisonError`] for a file that cannot be read or holds no prompt.
    pub fn prompts(&self) -> Result<Option<Vec<String>>, ComparisonError> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        if source.file().is_some_and(|path| !path.exists()) {
            return Ok(None);
        }
        let mut prompts = source.read()?;
        prompts.truncate(self.first.unwrap_or(usize::MAX));
        Ok(Some(prompts))
    }

    /// The images of `prompts` in their order: the prompt, the name of the file without its extension, and the seed.
    pub(super) fn images_of<'a>(
        &'a self,
        prompts: &'a [String],
    ) -> impl Iterator<Item = (&'a String, String, u64)> {
        let each = move |(i, prompt): (usize, &'a String)| {
            (0..self.images).map(move |k| {
                let index = i * self.images + k;
                let offset = if self.same_seeds { k } else { index };
                let seed = self.seed.wrapping_add(offset as u64);
                (prompt, image_name(prompt, index), seed)
            })
        };
        prompts.iter().enumerate().flat_map(each)
    }
}

/// T2I-CompBench's `{prompt}_{index:06}`, without what file names cannot hold; the side file has the whole prompt.
fn image_name(prompt: &str, index: usize) -> String {
    let bad = |c: char| matches!(c, '/' | '\\') || c.is_control();
    let mut name = prompt.replace(bad, "_");
    name.truncate(name.floor_char_boundary(MAX_NAME));
    if name.starts_with('.') {
        // Hidden files are no images.
        name.replace_range(..1, "_");
    }
    format!("{name}_{index:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_names_that_files_can_hold_and_the_seeds_of_the_rule() {
        let prompts = ["a red cat".to_owned(), "../.b/c".into(), "é".repeat(150)];
        let mut set = PromptSet {
            images: 2,
            ..PromptSet::default()
        };
        let listed: Vec<_> = set
            .images_of(&prompts)
            .map(|(_, name, seed)| (name, seed))
            .collect();
        let names: Vec<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names[..4],
            [
                "a red cat_000000",
                "a red cat_000001",
                "_._.b_c_000002",
                "_._.b_c_000003"
            ]
        );
        assert_eq!(names[5], format!("{}_000005", "é".repeat(100)));
        assert_eq!(
            listed.iter().map(|(_, seed)| *seed).collect::<Vec<_>>(),
            [42, 43, 42, 43, 42, 43]
        );
        set.same_seeds = false;
        let seeds: Vec<u64> = set.images_of(&prompts).map(|(.., seed)| seed).collect();
        assert_eq!(seeds, [42, 43, 44, 45, 46, 47]);
    }

    #[test]
    fn captions_of_coco_are_one_an_image() -> Result<(), ComparisonError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("captions.json");
        let text = r#"{"annotations": [{"image_id": 42, "id": 9, "caption": "later"}, {"image_id": 42, "id": 3, "caption": "first\n"}, {"image_id": 7, "id": 1, "caption": "b"}]}"#;
        std::fs::write(&path, text).expect("written");
        let mut set = PromptSet {
            source: Some(Source::CocoCaptions { path: path.clone() }),
            ..PromptSet::default()
        };
        assert_eq!(set.prompts()?, Some(vec!["b".to_owned(), "first".into()]));
        set.first = Some(1);
        assert_eq!(set.prompts()?, Some(vec!["b".to_owned()]));
        std::fs::write(&path, r#"{"annotations": []}"#).expect("written");
        assert!(set.prompts().is_err_and(|e| e.is_usage()));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(set.prompts()?, None);
        Ok(())
    }
}
