//! A caption against what the checker saw.

use super::super::scene::Relation;
use super::super::statement::{Object, Statement};
use super::{Reading, Seen};

/// Whether an object that a caption names is there, and in its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectVerdict {
    /// A main object of this noun is there.
    pub object: bool,
    /// It has the colour that the caption says; `None` if the caption says none.
    pub colour: Option<bool>,
}

/// What of a caption holds in a picture. What the caption does not say is `None`; what is not there is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The objects, in the caption's order.
    pub objects: Vec<ObjectVerdict>,
    /// Of a caption with two colours: both objects have their own.
    pub binding: Option<bool>,
    /// Both objects are there and stand as the caption says.
    pub relation: Option<bool>,
}

impl Verdict {
    /// All that the caption says holds.
    pub fn all(&self) -> bool {
        let objects = self.objects.iter().all(|o| o.object && o.colour != Some(false));
        objects && self.binding != Some(false) && self.relation != Some(false)
    }
}

/// What of `statement` holds in a picture with this reading. Where several objects are of one noun, the one that stands out most in the colour said
/// (else in any) counts.
pub fn verdict(statement: &Statement, reading: &Reading) -> Verdict {
    let has_colour = |object: Object, seen: &Seen| object.colour.is_none_or(|said| seen.looks(said));
    let find = |object: Object| {
        let all = || {
            reading
                .objects
                .iter()
                .filter(move |seen| seen.noun == object.noun)
        };
        all()
            .find(|seen| has_colour(object, seen))
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
        })
        .collect();
    let binding = match objects[..] {
        [
            ObjectVerdict {
                colour: Some(one), ..
            },
            ObjectVerdict {
                colour: Some(two), ..
            },
        ] => Some(one && two),
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
    use crate::world::nouns::{Colour, Noun};

    fn seen(word: &str, colour: Colour, centre: [u8; 2]) -> Seen {
        Seen {
            noun: Noun::from_word(word).expect("a noun of the world"),
            colour: Some(colour),
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
            bystanders: vec![seen("cup", Colour::Pink, [9, 9])],
        };
        let judge = |text: &str| {
            let statement = Statement::parse(text).unwrap_or_else(|| panic!("`{text}` is not understood"));
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
            bystanders: Vec::new(),
        };
        for text in ["a red car", "a blue car"] {
            let statement = Statement::parse(text).expect("a caption");
            assert!(verdict(&statement, &reading).all(), "{text}");
        }
    }
}
