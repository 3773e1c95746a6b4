//! What a caption says, and whether it is so.

use std::fmt;

use super::nouns::{Colour, Noun};
use super::scene::{Relation, Scene, Sprite};

/// A thing a caption names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// What it is.
    pub noun: Noun,
    /// Its colour, if the caption says one.
    pub colour: Option<Colour>,
}

/// A caption's meaning, in the caption's order: one or two objects, and where the first stands to the second, if that is said.
/// The two nouns differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// The object named first.
    pub first: Object,
    /// The object named second, if there are two.
    pub second: Option<Object>,
    /// Where the first stands, seen from the second. `None` if there is no second.
    pub relation: Option<Relation>,
}

/// Whether a statement holds in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say: a colour word against art in its own colours, or a noun that only the bystander has.
    Unknown,
}

impl Truth {
    /// Both: false if one is, else unknown if one is.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::True, Self::True) => Self::True,
        }
    }
}

/// Whether `statement` holds in `scene`. A statement says what is there, not what is not: "a car" holds for a car and a dog.
pub fn truth(statement: &Statement, scene: &Scene) -> Truth {
    let objects = statement
        .objects()
        .map(|object| object_truth(object, scene))
        .fold(Truth::True, Truth::and);
    let (Some(said), Some(second)) = (statement.relation, statement.second) else {
        return objects;
    };
    let place = |noun| scene.main().position(|sprite| sprite.noun == noun);
    let seen = match (place(statement.first.noun), place(second.noun)) {
        (Some(0), Some(_)) => scene.relation(),
        (Some(_), Some(_)) => scene.relation().map(Relation::inverse),
        _ => None,
    };
    objects.and(match seen {
        Some(seen) if seen == said => Truth::True,
        Some(_) => Truth::False,
        None => Truth::Unknown,
    })
}

fn object_truth(object: Object, scene: &Scene) -> Truth {
    let colour = |actual: Option<Colour>| match (object.colour, actual) {
        (None, _) => Truth::True,
        (Some(_), None) => Truth::Unknown,
        (Some(said), Some(actual)) if said == actual => Truth::True,
        (Some(_), Some(_)) => Truth::False,
    };
    if let Some(sprite) = scene.main().find(|sprite| sprite.noun == object.noun) {
        return colour(sprite.colour);
    }
    match scene.bystander.filter(|sprite| sprite.noun == object.noun) {
        Some(sprite) => Truth::Unknown.and(colour(sprite.colour)),
        None => Truth::False,
    }
}

impl Statement {
    /// All that can be said of a picture's main sprites. Of the art's own colours nothing is said.
    pub fn describing(scene: &Scene) -> Self {
        let object = |sprite: &Sprite| Object {
            noun: sprite.noun,
            colour: sprite.colour,
        };
        Self {
            first: object(&scene.first),
            second: scene.second.as_ref().map(object),
            relation: scene.relation(),
        }
    }

    /// Its objects, in the caption's order.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        std::iter::once(self.first).chain(self.second)
    }

    /// Its objects named in the other order, which says the same. One object stays as it is.
    pub fn reversed(&self) -> Self {
        match self.second {
            None => *self,
            Some(second) => Self {
                first: second,
                second: Some(self.first),
                relation: self.relation.map(Relation::inverse),
            },
        }
    }

    /// The one way of saying it that all statements of the same meaning share: relations are `Left` or `Top`; without a relation
    /// the lower noun comes first.
    pub fn canonical(&self) -> Self {
        let turn = match (self.relation, self.second) {
            (Some(relation), _) => matches!(relation, Relation::Right | Relation::Bottom),
            (None, Some(second)) => second.noun < self.first.noun,
            (None, None) => false,
        };
        if turn { self.reversed() } else { *self }
    }

    /// Reads a caption or a prompt of the world's grammar, in any case, with or without a full stop:
    /// `a [colour] noun`, `... and a [colour] noun`, `... on [the] left of a [colour] noun` (or `to the left of`), after `a picture of` or
    /// `there is` or nothing. `None` for all else, and for a noun or colour that the world does not have.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('.').to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let words = match words.as_slice() {
            ["a", "picture", "of", rest @ ..] | ["there", "is", rest @ ..] => rest,
            all => all,
        };
        let (first, rest) = parse_object(words)?;
        let (relation, rest) = match rest {
            [] => {
                return Some(Self {
                    first,
                    second: None,
                    relation: None,
                });
            }
            ["and", rest @ ..] => (None, rest),
            ["on" | "to", "the", word, "of", rest @ ..] | ["on", word, "of", rest @ ..] => {
                (Some(Relation::from_word(word)?), rest)
            }
            _ => return None,
        };
        let (second, rest) = parse_object(rest)?;
        (rest.is_empty() && first.noun != second.noun).then_some(Self {
            first,
            second: Some(second),
            relation,
        })
    }
}

/// An object at the start of `words`, and the words after it.
fn parse_object<'a, 'w>(words: &'w [&'a str]) -> Option<(Object, &'w [&'a str])> {
    let (&article, rest) = words.split_first()?;
    if !matches!(article, "a" | "an") {
        return None;
    }
    let (&word, after) = rest.split_first()?;
    if let Some(colour) = Colour::from_word(word) {
        let (&word, after) = after.split_first()?;
        return Some((
            Object {
                noun: Noun::from_word(word)?,
                colour: Some(colour),
            },
            after,
        ));
    }
    Some((
        Object {
            noun: Noun::from_word(word)?,
            colour: None,
        },
        after,
    ))
}

/// As T2I-CompBench writes it: always `a`, never `an`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ")?;
        if let Some(colour) = self.colour {
            write!(f, "{} ", colour.word())?;
        }
        f.write_str(self.noun.word())
    }
}

/// As T2I-CompBench writes it: `a red car and a blue dog`, `a dog on the left of a cat`.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        match (self.second, self.relation) {
            (None, _) => Ok(()),
            (Some(second), None) => write!(f, " and {second}"),
            (Some(second), Some(relation)) => write!(f, " on the {} of {second}", relation.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noun(word: &str) -> Noun {
        Noun::from_word(word).expect("a noun of the world")
    }

    fn says(text: &str) -> Statement {
        Statement::parse(text).unwrap_or_else(|| panic!("`{text}` is not understood"))
    }

    fn sprite(word: &str, colour: Option<Colour>, centre: [u8; 2]) -> Sprite {
        Sprite {
            noun: noun(word),
            colour,
            size: 28,
            centre,
        }
    }

    #[test]
    fn truth_by_hand() {
        use Truth::{False, True, Unknown};
        let scene = Scene {
            first: sprite("train", Some(Colour::Red), [16, 30]),
            second: Some(sprite("cow", None, [48, 34])),
            bystander: Some(Sprite {
                size: 18,
                ..sprite("vase", Some(Colour::Pink), [9, 9])
            }),
            background: [200; 3],
        };
        for (text, expected) in [
            ("a red train", True),
            ("a train", True),
            ("a blue train", False),
            ("a white cow", Unknown),
            ("a horse", False),
            ("a vase", Unknown),
            ("a pink vase", Unknown),
            ("a blue vase", False),
            ("a red train and a cow", True),
            ("a cow and a red train", True),
            ("a red cow and a red train", Unknown),
            ("a blue train and a black cow", False),
            ("a train on the left of a cow", True),
            ("a cow on the right of a red train", True),
            ("a red cow on the right of a red train", Unknown),
            ("a cow on the left of a train", False),
            ("a train on the top of a cow", False),
            ("a horse on the left of a cow", False),
            ("a vase on the left of a cow", Unknown),
            ("a blue vase on the left of a cow", False),
        ] {
            assert_eq!(truth(&says(text), &scene), expected, "{text}");
        }
        let alone = Scene {
            second: None,
            ..scene
        };
        assert_eq!(truth(&says("a train on the left of a cow"), &alone), False);
        assert_eq!(truth(&says("a train on the left of a vase"), &alone), Unknown);
    }

    #[test]
    fn the_grammar_and_nothing_else() {
        assert_eq!(
            says("There is a train on top of an apple.").relation,
            Some(Relation::Top)
        );
        assert_eq!(
            says("a train to the left of a cow"),
            says("a picture of a train on the left of a cow")
        );
        assert_eq!(
            says("a red orange").first,
            Object {
                noun: noun("orange"),
                colour: Some(Colour::Red)
            }
        );
        for text in [
            "",
            "a",
            "train",
            "a purple train",
            "a red red train",
            "a unicorn",
            "a train and",
            "a train and a train",
            "a train near a cow",
            "a train on side of a cow",
            "a train on the left of",
            "a train and a cow and a horse",
            "the train",
        ] {
            assert_eq!(Statement::parse(text), None, "{text}");
        }
    }

    #[test]
    fn reversed_and_canonical_keep_the_meaning() {
        let statement = says("a red train on the right of a cow");
        assert_eq!(
            statement.reversed().to_string(),
            "a cow on the left of a red train"
        );
        assert_eq!(statement.canonical(), statement.reversed().canonical());
        assert_eq!(
            says("a cow and a train").canonical(),
            says("a train and a cow").canonical()
        );
        assert_eq!(statement.canonical().relation, Some(Relation::Left));
    }
}
