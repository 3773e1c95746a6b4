//! The two objects that a prompt names, for the spatial score.
//!
//! The reference takes nouns that spaCy finds. Those of the official prompts are in a table (`datasets/t2i_compbench/`); the objects of other prompts are read
//! by a rule on their words. On the official prompts it agrees with the table in 297 of the 300 spatial ones (in the other three, spaCy's last noun is "side" or
//! "left") and in 274 of the 300 complex ones.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Category;
use super::spatial::{Mend, Mends, RELATIONS, Relation, whole_words};

/// A prompt of a category.
type Key = (Category, &'static str);
/// Two objects; none for prompts in which the reference finds no two.
type Pair = Option<[&'static str; 2]>;

/// The objects of the official prompts.
static OFFICIAL: LazyLock<HashMap<Key, Pair>> = LazyLock::new(|| {
    let rows = include_str!("../../../datasets/t2i_compbench/unidet_objects.tsv")
        .lines()
        .skip(1);
    let entry = |row: &'static str| -> Option<(Key, Pair)> {
        let mut cells = row.split('\t');
        let mut cell = || cells.next();
        let category: Category = cell()?.parse().ok()?;
        let prompt = category.prompts().get(cell()?.parse::<usize>().ok()?)?;
        let objects = [cell()?, cell()?];
        let pair = objects.iter().all(|object| !object.is_empty()).then_some(objects);
        Some(((category, *prompt), pair))
    };
    rows.filter_map(entry).collect()
});

/// Words for people, all of which the detector calls a person.
const PEOPLE: [&str; 4] = ["girl", "boy", "man", "woman"];
/// Words between an object and its relation.
const VERBS: [&str; 18] = [
    "is", "are", "was", "were", "sits", "sitting", "sat", "stands", "standing", "stood", "lies", "lying",
    "lay", "resting", "hanging", "hung", "floated", "placed",
];
/// Words that end the name of an object.
const ENDS: [&str; 10] = [
    "and", "with", "in", "on", "at", "that", "which", "while", "under", "behind",
];
/// The relations of complex prompts between which the reference looks for objects.
const COMPLEX_RELATIONS: [&str; 7] = [
    "on top of",
    "on bottom of",
    "on the left",
    "on the right",
    "next to",
    "on side of",
    "near",
];

/// Two objects, and whether they are those of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects {
    /// The two objects, as the detector calls them; none where the prompt names no two.
    pub names: Option<[String; 2]>,
    /// Whether they come from the table of the official prompts.
    pub official: bool,
}

/// The objects of `prompt`, by the rules for complex prompts where `category` says so.
pub fn objects(prompt: &str, category: Option<Category>, mends: &Mends) -> Objects {
    let complex = category == Some(Category::Complex);
    let table = if complex {
        Category::Complex
    } else {
        Category::Spatial
    };
    let official = OFFICIAL
        .get(&(table, prompt))
        .filter(|_| !mends.contains(&Mend::Objects));
    match official {
        Some(names) => Objects {
            names: names.map(|names| names.map(str::to_owned)),
            official: true,
        },
        None => Objects {
            names: by_words(prompt, complex, mends),
            official: false,
        },
    }
}

/// The last words before and after the relation; without one, of the first and the last part of an enumeration.
fn by_words(prompt: &str, complex: bool, mends: &Mends) -> Option<[String; 2]> {
    let (before, after) = match relation(prompt, complex, mends) {
        Some(found) => found,
        None if complex => return None,
        None => prompt.rsplit_once(" and ").unwrap_or((prompt, prompt)),
    };
    // The object before stands at the end of its part, the object after at the beginning of its part.
    let last = before
        .rsplit([',', '.', ';'])
        .find(|part| !part.trim().is_empty())?;
    let mut first: Vec<&str> = last.split_whitespace().collect();
    while first.last().is_some_and(|word| VERBS.contains(word)) {
        first.pop();
    }
    let second = after.split([',', '.', ';']).next()?;
    let second = second
        .split_whitespace()
        .take_while(|word| !ENDS.contains(word))
        .last()?;
    let name = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        if PEOPLE.contains(&word) {
            "person".to_owned()
        } else {
            word.to_owned()
        }
    };
    let names = [name(first.last()?), name(second)];
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

/// What stands before and after the relation of a prompt.
fn relation<'a>(prompt: &'a str, complex: bool, mends: &Mends) -> Option<(&'a str, &'a str)> {
    let split = |at: usize, words: &str| (&prompt[..at], &prompt[at + words.len()..]);
    if !complex || mends.contains(&Mend::Objects) {
        let (words, _) = Relation::of(prompt, mends)?;
        // "near" in "nearby" is a relation to the reference, but not a word between two objects.
        let places = RELATIONS
            .iter()
            .filter_map(|(words, _)| Some((whole_words(prompt, words)?, *words)));
        let whole = match whole_words(prompt, words) {
            Some(at) => Some((at, words)),
            None => places.min(),
        };
        return whole.map(|(at, words)| split(at, words));
    }
    let mut found = COMPLEX_RELATIONS
        .iter()
        .filter_map(|words| Some((whole_words(prompt, words)?, *words)));
    match (found.next(), found.next()) {
        // Two relations are four objects, with which the reference does nothing.
        (Some((at, words)), None) => Some(split(at, words)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(prompt: &str, complex: bool, mends: &Mends) -> Option<[String; 2]> {
        by_words(prompt, complex, mends)
    }

    /// The rule on words beside what spaCy finds in the official prompts.
    #[test]
    fn words_tell_the_objects_that_spacy_finds() {
        assert_eq!(OFFICIAL.len(), 600);
        let none = Mends::new();
        let differ: Vec<&str> = Category::Spatial
            .prompts()
            .iter()
            .copied()
            .filter(|prompt| objects(prompt, None, &none).names != named(prompt, false, &none))
            .collect();
        assert!(
            differ.iter().all(|prompt| prompt.ends_with(" of a key")),
            "{differ:?}"
        );
        assert_eq!(differ.len(), 3, "{differ:?}");
        let complex = Category::Complex.prompts().iter().filter(|prompt| {
            objects(prompt, Some(Category::Complex), &none).names == named(prompt, true, &none)
        });
        assert_eq!(complex.count(), 274);
    }

    #[test]
    fn prompts_of_others_name_their_objects() {
        let none = Mends::new();
        let of = |prompt: &str| named(prompt, false, &none).map(|names| names.join(" / "));
        for (prompt, names) in [
            ("a big dog on the left of a small cat", "dog / cat"),
            ("a nearby dog on the left of a cat", "dog / cat"),
            ("The bottle is on top of the book.", "bottle / book"),
            ("a girl on the top of a frog", "person / frog"),
            ("a dog and a cat", "dog / cat"),
            ("a photo of a cup, next to a vase with flowers", "cup / vase"),
            ("a cat", "cat / cat"),
        ] {
            assert_eq!(of(prompt).as_deref(), Some(names), "{prompt}");
        }
        assert_eq!((of(""), of("near")), (None, None));
        let complex = |prompt: &str, mends: &Mends| named(prompt, true, mends).map(|names| names.join(" / "));
        let two = "The cup is next to the bottle and near the book.";
        assert_eq!(complex(two, &none), None);
        let mended = Mends::from([Mend::Objects]);
        assert_eq!(complex(two, &mended).as_deref(), Some("cup / bottle"));
        let bottom = "The bird is on the bottom of the car.";
        assert_eq!(
            (complex(bottom, &none), complex(bottom, &mended).as_deref()),
            (None, Some("bird / car"))
        );
    }
}
