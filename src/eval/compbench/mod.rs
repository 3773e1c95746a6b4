//! T2I-CompBench (arXiv 2307.06350): its categories, their official prompts, and the scores that it defines.
//!
//! - [`Category`]: the six categories and their prompts. [`spatial`]: positions of detected objects. [`objects`]: the two objects that a prompt names.
//! - [`phrases`]: the noun phrases that BLIP-VQA asks about.
//! - [`detections`]: what a detector found, from its file. [`three_in_one`]: the score of the complex category.

pub mod detections;
pub mod objects;
pub mod phrases;
pub mod spatial;
pub mod three_in_one;

use std::sync::LazyLock;

/// A category of T2I-CompBench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Attribute binding: colours.
    Color,
    /// Attribute binding: shapes.
    Shape,
    /// Attribute binding: textures.
    Texture,
    /// Spatial relations.
    Spatial,
    /// Actions and other relations.
    NonSpatial,
    /// Several attributes and relations at once.
    Complex,
}

/// CLIPScore's texts for the complex prompts, in their order: without adjectives, as spaCy 3.6.1 (en_core_web_sm 3.6.0) tags them.
static WITHOUT_ADJECTIVES: &str =
    include_str!("../../../datasets/t2i_compbench/complex_val_without_adjectives.txt");

/// Prompts of a category.
pub const PROMPTS: usize = 300;

/// The validation prompts of a category, a line each (MIT, see `datasets/t2i_compbench/LICENSE`).
macro_rules! lists {
    ($($name:literal),+) => {
        [$(include_str!(concat!("../../../datasets/t2i_compbench/", $name, "_val.txt"))),+]
    };
}

/// In the order of [`Category::ALL`].
static LISTS: LazyLock<[Vec<&'static str>; 6]> = LazyLock::new(|| {
    let texts = lists!["color", "shape", "texture", "spatial", "non_spatial", "complex"];
    texts.map(|text| text.lines().map(str::trim).collect())
});

impl Category {
    /// All of them, in the order of the paper.
    pub const ALL: [Self; 6] = [
        Self::Color,
        Self::Shape,
        Self::Texture,
        Self::Spatial,
        Self::NonSpatial,
        Self::Complex,
    ];

    /// The official name, on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Color => "color",
            Self::Shape => "shape",
            Self::Texture => "texture",
            Self::Spatial => "spatial",
            Self::NonSpatial => "non_spatial",
            Self::Complex => "complex",
        }
    }

    /// Its [`PROMPTS`] official validation prompts, in the official order.
    pub fn prompts(self) -> &'static [&'static str] {
        &LISTS[self as usize]
    }

    /// The first category that holds all of `prompts`; none for no prompt, or where no category holds them all.
    pub fn of<'a>(prompts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut prompts = prompts.into_iter().peekable();
        let first = *prompts.peek()?;
        let category = Self::ALL
            .into_iter()
            .find(|category| category.prompts().contains(&first))?;
        let own: std::collections::HashSet<&str> = category.prompts().iter().copied().collect();
        prompts.all(|prompt| own.contains(prompt)).then_some(category)
    }
}

/// The text by which CLIPScore sees a complex prompt: without its adjectives. None for a prompt that is not official.
pub fn without_adjectives(prompt: &str) -> Option<&'static str> {
    let place = Category::Complex
        .prompts()
        .iter()
        .position(|own| *own == prompt)?;
    WITHOUT_ADJECTIVES.lines().nth(place)
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Category {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|category| category.name() == name)
            .ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn prompts_tell_their_category() {
        let all: BTreeSet<&str> = Category::ALL.iter().flat_map(|c| c.prompts()).copied().collect();
        assert_eq!(
            all.len(),
            6 * PROMPTS,
            "no prompt stands twice, so that each has one category"
        );
        for category in Category::ALL {
            assert_eq!(category.prompts().len(), PROMPTS);
            assert_eq!(
                Category::of(category.prompts()[7..9].iter().copied()),
                Some(category)
            );
            assert_eq!(category.name().parse(), Ok(category));
        }
        let mixed = [Category::Color.prompts()[0], Category::Shape.prompts()[0]];
        assert_eq!(Category::of(mixed), None);
        assert_eq!((Category::of([]), Category::of(["a cat"])), (None, None));
        assert!(
            "colour"
                .parse::<Category>()
                .is_err_and(|e| e.contains("color, shape"))
        );
    }
}
