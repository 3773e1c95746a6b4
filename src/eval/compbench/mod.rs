//! T2I-CompBench (arXiv 2307.06350): its categories, their official prompts, and the scores that it defines.
//!
//! - [`Category`]: the six categories and their prompts. [`spatial`]: positions of detected objects. [`objects`]: the two objects that a prompt names.
//! - [`phrases`]: the noun phrases that BLIP-VQA asks about.
//! - [`detections`]: what a detector found, from its file. [`counts`]: whether a folder holds a category. [`three_in_one`]: the score of the complex category.

pub mod counts;
pub mod detections;
pub mod objects;
pub mod phrases;
pub mod spatial;
pub mod three_in_one;

use std::collections::BTreeMap;
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

/// Official prompts by what remains of them in names of files: letters and digits, in lower case.
static BY_LETTERS: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let all = Category::ALL.iter().flat_map(|category| category.prompts());
    all.map(|prompt| (letters(prompt), *prompt)).collect()
});

/// Letters of a prompt from which a name that ends within a word was cut off.
const CUT: usize = 32;

/// The letters and digits of a text, in lower case; one space for everything between them.
fn letters(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The official prompt that `name`, the prompt in the name of a file, stands for: with other characters replaced or dropped that names cannot hold (as `/` and
/// `:`), or cut off within a word.
pub fn official_prompt(name: &str) -> Option<&'static str> {
    let exact = Category::ALL
        .iter()
        .flat_map(|c| c.prompts())
        .find(|prompt| **prompt == name);
    if let Some(exact) = exact {
        return Some(exact);
    }
    let letters = letters(name);
    if let Some(same) = BY_LETTERS.get(&letters) {
        return Some(same);
    }
    let longer = BY_LETTERS
        .range(letters.clone()..)
        .take_while(|(known, _)| known.starts_with(&letters));
    let longer: Vec<_> = longer.take(2).collect();
    match longer[..] {
        [(known, prompt)] if letters.len() >= CUT && !known[letters.len()..].starts_with(' ') => Some(prompt),
        _ => None,
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
    fn names_of_files_stand_for_official_prompts() {
        let hurried = Category::NonSpatial.prompts()[0];
        assert_eq!(
            hurried,
            "A person is looking at a rainbow and marveling at its beauty."
        );
        for name in [
            hurried,
            "A person is looking at a rainbow and marveling at its beauty",
            "a_person_is_looking_at_a_rainbow_and_marveling_at_its_beauty",
            "A person is looking at a rainbow and marveling at its be",
        ] {
            assert_eq!(official_prompt(name), Some(hurried), "{name}");
        }
        // Another prompt may begin as an official one does.
        for name in [
            "A person is looking at a rainbow",
            "A person is looking at a rainbow and",
            "a pers",
            "a cat",
            "",
        ] {
            assert_eq!(official_prompt(name), None, "{name}");
        }
        for prompt in Category::ALL.iter().flat_map(|c| c.prompts()) {
            let flat: String = prompt
                .chars()
                .map(|c| if c.is_alphanumeric() { c } else { '_' })
                .collect();
            assert!(official_prompt(&flat).is_some_and(|found| letters(found) == letters(prompt)));
            assert_eq!(official_prompt(prompt), Some(*prompt));
        }
    }

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
