//! Test prompts: what T2I-CompBench asks for and the world can draw, and prompts of our own where those are too few.

use std::collections::HashSet;
use std::sync::OnceLock;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::nouns::{Colour, N_NOUNS, Noun};
use super::pairs::{noun_but, relation};
use super::split::{against_bias, held_out, held_out_colour, held_out_nouns, usual_colour};
use super::statement::{Object, Statement};
use crate::noise::Noise;

/// T2I-CompBench's validation prompts for colours (MIT, see `datasets/emoji/prompts/LICENSE`), verbatim.
const COLOR_VAL: &str = include_str!("../../datasets/emoji/prompts/color_val.txt");
/// T2I-CompBench's validation prompts for spatial relations, verbatim.
const SPATIAL_VAL: &str = include_str!("../../datasets/emoji/prompts/spatial_val.txt");

/// Colour prompts of each split are filled up to this many with our own.
const N_COLOUR: usize = 100;
/// Spatial prompts of each split are filled up to this many with our own.
const N_SPATIAL: usize = 80;

/// What a prompt tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Two objects, each in a colour.
    Colour,
    /// Two objects and how they stand.
    Spatial,
}

/// How a prompt stands to P_XY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// All that it names occurs in P_XY, though never in one caption of these words.
    Seen,
    /// It falls into one of P_XY's [holes](held_out).
    Unseen,
    /// It asks for a noun in another colour than the [usual one](usual_colour), a colour that P_XY does have.
    Against,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Seen, Self::Unseen, Self::Against];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        ["seen", "unseen", "against"][self as usize]
    }

    fn of(statement: &Statement) -> Self {
        match held_out(statement) {
            Some(_) => Self::Unseen,
            None if against_bias(statement) => Self::Against,
            None => Self::Seen,
        }
    }
}

impl Category {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Colour, Self::Spatial];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        ["colour", "spatial"][self as usize]
    }
}

/// Who wrote a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// T2I-CompBench (Huang et al., 2023).
    CompBench,
    /// We did, by chance, in the same grammar.
    Own,
}

/// A test prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// `compbench/color_val/12`, the line counted from 1, or `own/colour/unseen/7`.
    pub id: String,
    /// The prompt, verbatim.
    pub text: String,
    /// What it says.
    pub statement: Statement,
    /// What it tests.
    pub category: Category,
    /// How it stands to P_XY.
    pub split: Split,
    /// Who wrote it.
    pub source: Source,
}

/// All test prompts: T2I-CompBench's drawable ones first, then ours. No two say the same, and no training caption says what one says.
pub fn test_prompts() -> &'static [Prompt] {
    &collection().0
}

/// Whether a test prompt says the same as `statement`.
pub fn is_test_statement(statement: &Statement) -> bool {
    statement.second.is_some() && collection().1.contains(&statement.canonical())
}

fn collection() -> &'static (Vec<Prompt>, HashSet<Statement>) {
    static CACHE: OnceLock<(Vec<Prompt>, HashSet<Statement>)> = OnceLock::new();
    CACHE.get_or_init(|| {
        let mut said = HashSet::new();
        let mut prompts = Vec::new();
        for (file, text, category) in [
            ("color_val", COLOR_VAL, Category::Colour),
            ("spatial_val", SPATIAL_VAL, Category::Spatial),
        ] {
            for (line, text) in text.lines().enumerate() {
                let Some(statement) = drawable(text, category) else {
                    continue;
                };
                if said.insert(statement.canonical()) {
                    let id = format!("compbench/{file}/{}", line + 1);
                    let (split, text) = (Split::of(&statement), text.trim().to_owned());
                    prompts.push(Prompt {
                        id,
                        text,
                        statement,
                        category,
                        split,
                        source: Source::CompBench,
                    });
                }
            }
        }
        let mut noise = Noise::stream(0, 0x70_72_6f_6d);
        for category in Category::ALL {
            for split in Split::ALL {
                let wanted = match (category, split) {
                    (Category::Colour, _) => N_COLOUR,
                    (Category::Spatial, Split::Against) => 0,
                    (Category::Spatial, _) => N_SPATIAL,
                };
                let there = prompts
                    .iter()
                    .filter(|p| p.category == category && p.split == split)
                    .count();
                let mut n = 0;
                while there + n < wanted {
                    let statement = own(category, split, noise.rng());
                    if said.insert(statement.canonical()) {
                        n += 1;
                        let id = format!("own/{}/{}/{n}", category.name(), split.name());
                        let text = statement.to_string();
                        prompts.push(Prompt {
                            id,
                            text,
                            statement,
                            category,
                            split,
                            source: Source::Own,
                        });
                    }
                }
            }
        }
        (prompts, said)
    })
}

/// The meaning of a line of T2I-CompBench, if the world can draw it and it tests what its file is for.
fn drawable(text: &str, category: Category) -> Option<Statement> {
    let statement = Statement::parse(text)?;
    statement.second?;
    let fits = match category {
        Category::Colour => statement.relation.is_none() && statement.objects().all(|o| o.colour.is_some()),
        Category::Spatial => statement.relation.is_some(),
    };
    fits.then_some(statement)
}

/// A prompt of our own: two objects in two colours or in a relation, with exactly what its split asks for. A prompt about colours
/// names no two nouns that P_XY holds apart, so that it tests one thing.
fn own(category: Category, split: Split, rng: &mut ChaCha8Rng) -> Statement {
    loop {
        let first = Noun::new(rng.random_range(0..N_NOUNS)).expect("an index below the number of nouns");
        let second = noun_but(&[first], rng);
        let statement = match category {
            Category::Spatial => Statement {
                first: Object {
                    noun: first,
                    colour: None,
                },
                second: Some(Object {
                    noun: second,
                    colour: None,
                }),
                relation: Some(relation(rng)),
            },
            Category::Colour => {
                let mut object = |noun| {
                    let colour = Colour::ALL[rng.random_range(0..Colour::ALL.len())];
                    Object {
                        noun,
                        colour: Some(colour),
                    }
                };
                Statement {
                    first: object(first),
                    second: Some(object(second)),
                    relation: None,
                }
            }
        };
        let holed = |o: Object| o.colour.is_some_and(|colour| held_out_colour(o.noun, colour));
        let pure = match (category, statement.second) {
            (Category::Colour, Some(other)) => {
                let n_biased = statement
                    .objects()
                    .filter(|o| usual_colour(o.noun).is_some())
                    .count();
                statement.first.colour != other.colour
                    && !held_out_nouns(first, second)
                    && statement.objects().filter(|o| holed(*o)).count() <= 1
                    && n_biased == usize::from(split == Split::Against)
            }
            _ => true,
        };
        if pure && Split::of(&statement) == split {
            return statement;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_has_enough_prompts_and_no_two_say_the_same() {
        let prompts = test_prompts();
        let n = |category, split| {
            prompts
                .iter()
                .filter(|p| p.category == category && p.split == split)
                .count()
        };
        for split in Split::ALL {
            assert!(n(Category::Colour, split) >= N_COLOUR, "{split:?}");
        }
        assert!(
            n(Category::Spatial, Split::Seen) >= N_SPATIAL
                && n(Category::Spatial, Split::Unseen) >= N_SPATIAL
        );
        let said: HashSet<Statement> = prompts.iter().map(|p| p.statement.canonical()).collect();
        assert_eq!(said.len(), prompts.len());
        let ids: HashSet<&str> = prompts.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids.len(), prompts.len());
        for prompt in prompts {
            assert_eq!(
                Statement::parse(&prompt.text),
                Some(prompt.statement),
                "{}",
                prompt.text
            );
            assert!(is_test_statement(&prompt.statement.reversed()), "{}", prompt.text);
        }
    }
}
