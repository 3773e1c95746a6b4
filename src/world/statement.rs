//! What a caption says, and whether it holds in an image.

use std::fmt;

use super::attributes::{Colour, Relation, Texture};
use super::noun::Noun;
use super::scene::{Scene, Sprite};
use super::worlds::World;

/// A thing a caption names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// What it is.
    pub noun: Noun,
    /// Its colour, if the caption says one.
    pub colour: Option<Colour>,
    /// Its texture, if the caption says one.
    pub texture: Option<Texture>,
}

/// A caption's meaning, in the caption's order: one or two objects, and where the first is relative to the second, if that is said.
/// The two nouns are of one world, and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// The object named first.
    pub first: Object,
    /// The object named second, if there are two.
    pub second: Option<Object>,
    /// Where the first is, relative to the second. `None` if there is no second.
    pub relation: Option<Relation>,
}

/// Whether a statement holds in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be decided: a colour word against art in its own colours, or a noun that only the distractor has.
    Unknown,
}

impl Truth {
    /// The conjunction: false if one is, else unknown if one is.
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
    fn part<T: PartialEq>(said: Option<T>, actual: Option<T>) -> Truth {
        match (said, actual) {
            (None, _) => Truth::True,
            (Some(_), None) => Truth::Unknown,
            (said, actual) if said == actual => Truth::True,
            _ => Truth::False,
        }
    }
    let parts =
        |sprite: &Sprite| part(object.colour, sprite.colour).and(part(object.texture, sprite.texture));
    if let Some(sprite) = scene.main().find(|sprite| sprite.noun == object.noun) {
        return parts(sprite);
    }
    match scene.distractor.filter(|sprite| sprite.noun == object.noun) {
        Some(sprite) => Truth::Unknown.and(parts(&sprite)),
        None => Truth::False,
    }
}

impl Object {
    /// The noun without any attribute.
    pub fn plain(noun: Noun) -> Self {
        Self {
            noun,
            colour: None,
            texture: None,
        }
    }
}

impl Statement {
    /// All that can be said of an image's main sprites. Of the art's own colours nothing is said.
    pub fn describing(scene: &Scene) -> Self {
        let object = |sprite: &Sprite| Object {
            noun: sprite.noun,
            colour: sprite.colour,
            texture: sprite.texture,
        };
        Self {
            first: object(&scene.first),
            second: scene.second.as_ref().map(object),
            relation: scene.relation(),
        }
    }

    /// The world of its nouns.
    pub fn world(&self) -> World {
        self.first.noun.world()
    }

    /// Its objects, in the caption's order.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        std::iter::once(self.first).chain(self.second)
    }

    /// Its objects named in the other order, with the same meaning. One object stays as it is.
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

    /// The form that all statements of the same meaning share: relations are `Left` or `Top`; without a relation
    /// the lower noun comes first.
    pub fn canonical(&self) -> Self {
        let turn = match (self.relation, self.second) {
            (Some(relation), _) => matches!(relation, Relation::Right | Relation::Bottom),
            (None, Some(second)) => second.noun < self.first.noun,
            (None, None) => false,
        };
        if turn { self.reversed() } else { *self }
    }
}

impl World {
    /// Reads a caption or a prompt of the world's grammar, in any case, with or without a full stop:
    /// `a [colour] [texture] noun`, `... and a [colour] [texture] noun`, `... on [the] left of a [colour] [texture] noun` (or
    /// `to the left of`), after `a picture of` or `there is` or nothing. `None` for all else, and for a noun, colour or texture that the world
    /// does not have.
    pub fn parse(self, text: &str) -> Option<Statement> {
        let text = text.trim().trim_end_matches('.').to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let words = match words.as_slice() {
            ["a", "picture", "of", rest @ ..] | ["there", "is", rest @ ..] => rest,
            all => all,
        };
        let (first, rest) = self.parse_object(words)?;
        let (relation, rest) = match rest {
            [] => {
                return Some(Statement {
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
        let (second, rest) = self.parse_object(rest)?;
        (rest.is_empty() && first.noun != second.noun).then_some(Statement {
            first,
            second: Some(second),
            relation,
        })
    }

    /// An object at the start of `words`, and the words after it.
    fn parse_object<'a, 'w>(self, words: &'w [&'a str]) -> Option<(Object, &'w [&'a str])> {
        let (&article, mut rest) = words.split_first()?;
        if !matches!(article, "a" | "an") {
            return None;
        }
        let colour = rest.first().and_then(|word| Colour::from_word(word));
        rest = &rest[usize::from(colour.is_some())..];
        let texture = rest.first().and_then(|word| Texture::from_word(word));
        let texture = texture.filter(|texture| self.textures().contains(texture));
        rest = &rest[usize::from(texture.is_some())..];
        let (&word, rest) = rest.split_first()?;
        let object = Object {
            noun: self.noun_called(word)?,
            colour,
            texture,
        };
        Some((object, rest))
    }
}

/// As T2I-CompBench writes it: always `a`, never `an`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ")?;
        if let Some(colour) = self.colour {
            write!(f, "{} ", colour.word())?;
        }
        if let Some(texture) = self.texture {
            write!(f, "{} ", texture.word())?;
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
        World::Emoji.noun_called(word).expect("a noun of the world")
    }

    fn says(text: &str) -> Statement {
        World::Emoji
            .parse(text)
            .unwrap_or_else(|| panic!("`{text}` is not understood"))
    }

    fn sprite(word: &str, colour: Option<Colour>, centre: [u8; 2]) -> Sprite {
        Sprite {
            noun: noun(word),
            colour,
            texture: None,
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
            distractor: Some(Sprite {
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
                colour: Some(Colour::Red),
                texture: None,
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
            "a striped train",
            "a circle",
        ] {
            assert_eq!(World::Emoji.parse(text), None, "{text}");
        }
    }

    #[test]
    fn textures_are_said_and_true_or_false() {
        let says = |text: &str| World::Shapes.parse(text);
        let text = "a red striped circle on the left of a dotted square";
        let statement = says(text).expect("the grammar");
        assert_eq!(statement.to_string(), text);
        assert_eq!(statement.first.texture, Some(Texture::Striped));
        for text in ["a striped red circle", "a striped solid circle", "a train"] {
            assert_eq!(says(text), None, "{text}");
        }
        let shape = |word, colour, texture, centre| Sprite {
            noun: World::Shapes.noun_called(word).expect("a shape"),
            colour: Some(colour),
            texture: Some(texture),
            size: 14,
            centre,
        };
        let scene = Scene {
            first: shape("circle", Colour::Red, Texture::Striped, [8, 16]),
            second: Some(shape("square", Colour::Blue, Texture::Dotted, [24, 16])),
            distractor: Some(shape("star", Colour::Green, Texture::Solid, [4, 4])),
            background: [200; 3],
        };
        for (text, expected) in [
            (text, Truth::True),
            ("a striped circle and a dotted square", Truth::True),
            ("a dotted circle and a striped square", Truth::False),
            ("a red dotted circle", Truth::False),
            ("a blue striped circle", Truth::False),
            ("a solid star", Truth::Unknown),
            ("a dotted star", Truth::False),
        ] {
            assert_eq!(
                truth(&says(text).expect("the grammar"), &scene),
                expected,
                "{text}"
            );
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
