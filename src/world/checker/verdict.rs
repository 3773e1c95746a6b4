//! A caption against what the checker saw.

use super::super::attributes::Relation;
use super::super::statement::{Object, Statement};
use super::{Reading, Seen};

/// Whether an object that a caption names is there, in its colour and in its texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectVerdict {
    /// A main object of this noun is there.
    pub object: bool,
    /// It has the colour that the caption says; `None` if the caption says none.
    pub colour: Option<bool>,
    /// It has the texture that the caption says; `None` if the caption says none.
    pub texture: Option<bool>,
}

impl ObjectVerdict {
    /// All that is said of it holds.
    pub fn all(self) -> bool {
        self.object && self.attributes() != Some(false)
    }

    /// Whether both its attributes hold, as far as they are said; `None` if none is said.
    fn attributes(self) -> Option<bool> {
        match (self.colour, self.texture) {
            (None, None) => None,
            (colour, texture) => Some(colour != Some(false) && texture != Some(false)),
        }
    }
}

/// What of a caption holds in an image. What the caption does not say is `None`; what is not there is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The objects, in the caption's order.
    pub objects: Vec<ObjectVerdict>,
    /// Of a caption that says a colour or a texture of each of two objects: both have their own.
    pub binding: Option<bool>,
    /// Both objects are there and stand as the caption says.
    pub relation: Option<bool>,
}

impl Verdict {
    /// All that the caption says holds.
    pub fn all(&self) -> bool {
        let objects = self.objects.iter().all(|o| o.all());
        objects && self.binding != Some(false) && self.relation != Some(false)
    }
}

/// What of `statement` holds in an image with this reading. Where several objects are of one noun, the one that stands out most in the colour and texture
/// said (else in any) counts.
pub fn verdict(statement: &Statement, reading: &Reading) -> Verdict {
    let has_colour = |object: Object, seen: &Seen| object.colour.is_none_or(|said| seen.looks(said));
    let has_texture =
        |object: Object, seen: &Seen| object.texture.is_none_or(|said| seen.texture == Some(said));
    let find = |object: Object| {
        let all = || {
            reading
                .objects
                .iter()
                .filter(move |seen| seen.noun == object.noun)
        };
        all()
            .find(|seen| has_colour(object, seen) && has_texture(object, seen))
            .or_else(|| all().next())
    };
    let found: Vec<(Object, Option<&Seen>)> =
        statement.objects().map(|object| (object, find(object))).collect();
    let objects: Vec<ObjectVerdict> = found
        .iter()
        .map(|(object, seen)| ObjectVerdict {
            object: seen.is_some(),
            colour: object
                .colour
                .map(|_| seen.is_some_and(|seen| has_colour(*object, seen))),
            texture: object
                .texture
                .map(|_| seen.is_some_and(|seen| has_texture(*object, seen))),
        })
        .collect();
    let binding = match objects[..] {
        [one, two] => one
            .attributes()
            .zip(two.attributes())
            .map(|(one, two)| one && two),
        _ => None,
    };
    let relation = statement.relation.map(|said| match found[..] {
        [(_, Some(first)), (_, Some(second))] => Relation::between(first.centre, second.centre) == said,
        _ => false,
    });
    Verdict {
        objects,
        binding,
        relation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Colour, World};

    fn seen(word: &str, colour: Colour, centre: [u8; 2]) -> Seen {
        Seen {
            noun: World::Emoji.noun_called(word).expect("a noun of the world"),
            colour: Some(colour),
            texture: None,
            size: 28,
            centre,
            score: 1.0,
        }
    }

    #[test]
    fn verdicts_by_hand() {
        let reading = Reading {
            objects: vec![
                seen("car", Colour::Red, [16, 30]),
                seen("dog", Colour::Blue, [48, 34]),
            ],
            distractors: vec![seen("cup", Colour::Pink, [9, 9])],
        };
        let judge = |text: &str| {
            let statement = World::Emoji
                .parse(text)
                .unwrap_or_else(|| panic!("`{text}` is not understood"));
            let verdict = verdict(&statement, &reading);
            let objects: Vec<_> = verdict.objects.iter().map(|o| (o.object, o.colour)).collect();
            (objects, verdict.binding, verdict.relation, verdict.all())
        };
        let (yes, no) = (Some(true), Some(false));
        for (text, objects, binding, relation, all) in [
            ("a car", vec![(true, None)], None, None, true),
            ("a red car", vec![(true, yes)], None, None, true),
            ("a blue car", vec![(true, no)], None, None, false),
            ("a cup", vec![(false, None)], None, None, false),
            (
                "a red car and a blue dog",
                vec![(true, yes), (true, yes)],
                yes,
                None,
                true,
            ),
            (
                "a blue car and a red dog",
                vec![(true, no), (true, no)],
                no,
                None,
                false,
            ),
            (
                "a red car and a blue cat",
                vec![(true, yes), (false, no)],
                no,
                None,
                false,
            ),
            (
                "a red car and a dog",
                vec![(true, yes), (true, None)],
                None,
                None,
                true,
            ),
            (
                "a dog on the right of a car",
                vec![(true, None), (true, None)],
                None,
                yes,
                true,
            ),
            (
                "a dog on the top of a car",
                vec![(true, None), (true, None)],
                None,
                no,
                false,
            ),
            (
                "a dog on the right of a cup",
                vec![(true, None), (false, None)],
                None,
                no,
                false,
            ),
        ] {
            assert_eq!(judge(text), (objects, binding, relation, all), "{text}");
        }
    }

    #[test]
    fn of_two_alike_the_one_in_the_colour_said_counts() {
        let reading = Reading {
            objects: vec![
                seen("car", Colour::Red, [16, 30]),
                seen("car", Colour::Blue, [48, 34]),
            ],
            distractors: Vec::new(),
        };
        for text in ["a red car", "a blue car"] {
            let statement = World::Emoji.parse(text).expect("a caption");
            assert!(verdict(&statement, &reading).all(), "{text}");
        }
    }
}
