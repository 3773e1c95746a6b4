//! T2I-CompBench's spatial score from what a detector found (reference: `UniDet_eval/2D_spatial_eval.py` at commit 1b70949).
//!
//! The reference's quirks hold unless they are mended ([`Mend`]), since published tables have them. Boxes are in pixels of the detector's input
//! ([`detector_size`]): the 150 pixels of "near" are relative to it.

use std::collections::BTreeSet;

/// Pixels within which two centres are near each other.
const NEAR: f64 = 150.0;
/// Overlap (intersection over union) from which a side is only partly clear.
const OVERLAP: f64 = 0.1;
/// Scores below count as 0.
const LEAST: f64 = 0.5;
/// Shorter side of the detector's input.
const SHORT_SIDE: u64 = 479;
/// Longer side of the detector's input, at most.
const LONG_SIDE: u64 = 480;

/// A quirk of the reference that can be mended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mend {
    /// "on top of" asks for the same as "on the top of". The reference finds it in a prompt, but no position satisfies it.
    OnTopOf,
    /// A relation is found as whole words. The reference finds "near" in "nearby".
    WholeWords,
    /// Two objects of one label, as a girl and a boy, who are both a person, are two boxes, in the better order. The reference takes one box for both.
    TwoBoxes,
    /// Objects are the last words before and after the relation. The reference takes the first and the last noun that spaCy finds, which of
    /// "a mouse on side of a key" are the mouse and the side; and it finds no object in complex prompts that say "on the bottom of" or name two relations.
    Objects,
    /// An object is every name of a label, upper or lower case, with or without a number: "table, desk" is a table, "mouse1" a mouse. The reference compares
    /// whole labels. Labels of other detectors are then accepted too.
    Labels,
    /// Of several boxes of an object the one with the highest confidence counts. The reference takes the first.
    BestBox,
    /// Near is near in both directions. To the reference, centres are near each other when they are in one of both.
    NearBoth,
    /// Scores below a half stay. To the reference they are 0.
    LowScores,
}

/// Which quirks are mended.
pub type Mends = BTreeSet<Mend>;

impl Mend {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OnTopOf,
        Self::WholeWords,
        Self::TwoBoxes,
        Self::Objects,
        Self::Labels,
        Self::BestBox,
        Self::NearBoth,
        Self::LowScores,
    ];

    /// Name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnTopOf => "on-top-of",
            Self::WholeWords => "whole-words",
            Self::TwoBoxes => "two-boxes",
            Self::Objects => "objects",
            Self::Labels => "labels",
            Self::BestBox => "best-box",
            Self::NearBoth => "near-both",
            Self::LowScores => "low-scores",
        }
    }
}

impl std::str::FromStr for Mend {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mend| mend.name() == name);
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// A relation between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// "on side of", "next to", "near".
    Near,
    /// "on the left of".
    Left,
    /// "on the right of".
    Right,
    /// "on the bottom of".
    Bottom,
    /// "on the top of".
    Top,
    /// "on top of", which no position satisfies.
    OnTop,
}

/// Words of relations, in the order in which the reference looks for them in a prompt.
pub const RELATIONS: [(&str, Relation); 8] = [
    ("on side of", Relation::Near),
    ("next to", Relation::Near),
    ("near", Relation::Near),
    ("on the left of", Relation::Left),
    ("on the right of", Relation::Right),
    ("on the bottom of", Relation::Bottom),
    ("on the top of", Relation::Top),
    ("on top of", Relation::OnTop),
];

impl Relation {
    /// The relation that a prompt asks for, with its words; none where it has no such words.
    pub fn of(prompt: &str, mends: &Mends) -> Option<(&'static str, Self)> {
        let whole = mends.contains(&Mend::WholeWords);
        let has = |words: &str| match whole {
            true => whole_words(prompt, words).is_some(),
            false => prompt.contains(words),
        };
        let (words, relation) = RELATIONS.into_iter().find(|(words, _)| has(words))?;
        match relation {
            Self::OnTop if mends.contains(&Mend::OnTopOf) => Some((words, Self::Top)),
            relation => Some((words, relation)),
        }
    }

    /// How well two boxes satisfy it, 0 to 1.
    pub fn score(self, first: &Rect, second: &Rect, mends: &Mends) -> f64 {
        let ((x1, y1), (x2, y2)) = (first.centre(), second.centre());
        let (dx, dy) = (x2 - x1, y2 - y1);
        let (along, across) = match self {
            Self::Near => {
                let (x_near, y_near) = (dx.abs() < NEAR, dy.abs() < NEAR);
                let near = match mends.contains(&Mend::NearBoth) {
                    true => x_near && y_near,
                    false => x_near || y_near,
                };
                return match near {
                    true => 1.0,
                    false => NEAR / dx.abs().max(dy.abs()),
                };
            }
            Self::OnTop => return 0.0,
            Self::Left => (dx, dy),
            Self::Right => (-dx, dy),
            Self::Top => (dy, dx),
            Self::Bottom => (-dy, dx),
        };
        let overlap = first.overlap(second);
        match along > across.abs() {
            true if overlap < OVERLAP => 1.0,
            true => OVERLAP / overlap,
            false => 0.0,
        }
    }
}

/// Where `words` stand in `text` as whole words.
pub(super) fn whole_words(text: &str, words: &str) -> Option<usize> {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut places = text.match_indices(words).filter(|(at, found)| {
        let (before, after) = (&text[..*at], &text[at + found.len()..]);
        !(is_letter(before.chars().next_back()) || is_letter(after.chars().next()))
    });
    places.next().map(|(at, _)| at)
}

/// A box, `[x_min, y_min, x_max, y_max]` in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect(pub [f64; 4]);

impl Rect {
    fn centre(&self) -> (f64, f64) {
        let [x0, y0, x1, y1] = self.0;
        ((x0 + x1) / 2.0, (y0 + y1) / 2.0)
    }

    fn area(&self) -> f64 {
        let [x0, y0, x1, y1] = self.0;
        (x1 - x0) * (y1 - y0)
    }

    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f64 {
        let (a, b) = (self.0, other.0);
        let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
        let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        let both = width * height;
        both / (self.area() + other.area() - both)
    }
}

/// Width and height of the detector's input for an image of `width` x `height`: the shorter side 479, but the longer one at most 480 (torchvision's
/// `Resize(479, max_size=480)`).
pub fn detector_size(width: u32, height: u32) -> (u32, u32) {
    let (short, long) = (u64::from(width.min(height)), u64::from(width.max(height)));
    let mut scaled = (SHORT_SIDE, SHORT_SIDE * long / short);
    if scaled.1 > LONG_SIDE {
        scaled = ((LONG_SIDE * scaled.0 / scaled.1).max(1), LONG_SIDE);
    }
    let (short, long) = (scaled.0 as u32, scaled.1 as u32);
    match width <= height {
        true => (short, long),
        false => (long, short),
    }
}

/// An object that a detector found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Its label, as the detector spells it.
    pub label: String,
    /// Where.
    pub rect: Rect,
    /// Its confidence.
    pub confidence: f64,
}

impl Detection {
    fn is(&self, object: &str, mends: &Mends) -> bool {
        if !mends.contains(&Mend::Labels) {
            return self.label == object;
        }
        let mut names = self.label.split(',').map(|name| name.trim().to_lowercase());
        names.any(|name| name == object || name.trim_end_matches(|c: char| c.is_ascii_digit()) == object)
    }
}

/// The score of an image, 0 to 1: a quarter of each object's confidence and half of the position; 0 where that is less than a half. `objects` are those that
/// `prompt` names, none where it names no two.
pub fn score(prompt: &str, objects: Option<[&str; 2]>, found: &[Detection], mends: &Mends) -> f64 {
    let Some([first, second]) = objects else {
        return 0.0;
    };
    let boxes = |object: &str| -> Vec<&Detection> {
        let mut boxes: Vec<_> = found.iter().filter(|d| d.is(object, mends)).collect();
        if mends.contains(&Mend::BestBox) {
            boxes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        }
        boxes
    };
    let relation = Relation::of(prompt, mends).map(|(_, relation)| relation);
    let position = |a: &Detection, b: &Detection| {
        relation.map_or(0.0, |relation| relation.score(&a.rect, &b.rect, mends))
    };
    let both =
        |a: &Detection, b: &Detection| 0.25 * a.confidence + 0.25 * b.confidence + position(a, b) / 2.0;
    let (firsts, seconds) = (boxes(first), boxes(second));
    let total = match (firsts.first(), seconds.first()) {
        (Some(_), Some(_)) if first == second && mends.contains(&Mend::TwoBoxes) => match firsts[..] {
            [a, b, ..] => both(a, b).max(both(b, a)),
            _ => 0.25 * firsts[0].confidence,
        },
        (Some(a), Some(b)) => both(a, b),
        (Some(one), None) | (None, Some(one)) => 0.25 * one.confidence,
        (None, None) => 0.0,
    };
    match total < LEAST && !mends.contains(&Mend::LowScores) {
        true => 0.0,
        false => total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str, rect: [f64; 4], confidence: f64) -> Detection {
        Detection {
            label: label.into(),
            rect: Rect(rect),
            confidence,
        }
    }

    /// Every mend changes the score of an image that shows its quirk, and no other mend does.
    #[test]
    fn each_quirk_is_mended_by_its_own_switch() {
        let (left, right, below) = (
            [0.0, 0.0, 50.0, 50.0],
            [300.0, 10.0, 350.0, 60.0],
            [20.0, 300.0, 70.0, 350.0],
        );
        let cases = [
            (
                Mend::OnTopOf,
                "a bird on top of a car",
                ["bird", "car"],
                vec![found("bird", left, 1.0), found("car", below, 1.0)],
                0.5,
                1.0,
            ),
            (
                Mend::WholeWords,
                "a nearby dog on the left of a cat",
                ["dog", "cat"],
                vec![
                    found("dog", [90.0, 10.0, 140.0, 60.0], 1.0),
                    found("cat", left, 1.0),
                ],
                1.0,
                0.5,
            ),
            (
                Mend::TwoBoxes,
                "a girl on the left of a boy",
                ["person"; 2],
                vec![found("person", right, 1.0), found("person", left, 1.0)],
                0.5,
                1.0,
            ),
            (
                Mend::Labels,
                "a table on the left of a mouse",
                ["table", "mouse"],
                vec![found("table, desk", left, 1.0), found("Mouse1", right, 1.0)],
                0.0,
                1.0,
            ),
            (
                Mend::BestBox,
                "a dog on the left of a cat",
                ["dog", "cat"],
                vec![
                    found("dog", [400.0, 0.0, 450.0, 50.0], 0.5),
                    found("dog", left, 1.0),
                    found("cat", right, 1.0),
                ],
                0.0,
                1.0,
            ),
            (
                Mend::NearBoth,
                "a dog near a cat",
                ["dog", "cat"],
                vec![found("dog", left, 1.0), found("cat", right, 1.0)],
                1.0,
                0.75,
            ),
            (
                Mend::LowScores,
                "a dog near a cat",
                ["dog", "cat"],
                vec![found("dog", left, 1.0)],
                0.0,
                0.25,
            ),
        ];
        for (mend, prompt, objects, found, official, mended) in &cases {
            let score = |mends: &Mends| score(prompt, Some(*objects), found, mends);
            assert_eq!(score(&Mends::new()), *official, "{prompt}");
            assert_eq!(score(&Mends::from([*mend])), *mended, "{prompt}: {}", mend.name());
            // Low scores stay low whatever else is mended.
            let others = Mend::ALL
                .into_iter()
                .filter(|other| ![*mend, Mend::LowScores].contains(other));
            assert_eq!(
                score(&others.collect()),
                *official,
                "{prompt}: all but {}",
                mend.name()
            );
        }
    }

    /// Mirrored boxes and mirrored words say the same, and no score leaves 0..1.
    #[test]
    fn sides_are_symmetric() {
        let none = Mends::new();
        let boxes: Vec<Rect> = (0..40u32)
            .map(|i| {
                let [x, y, w, h] = [7, 11, 13, 17].map(|k| f64::from(i * k % 41 * 7));
                Rect([x, y, x + w + 1.0, y + h + 1.0])
            })
            .collect();
        let turned = |Rect([x0, y0, x1, y1]): Rect| Rect([y0, x0, y1, x1]);
        for (a, b) in boxes.iter().flat_map(|a| boxes.iter().map(move |b| (a, b))) {
            let left = Relation::Left.score(a, b, &none);
            assert!((0.0..=1.0).contains(&left));
            assert_eq!(left, Relation::Right.score(b, a, &none));
            assert_eq!(left, Relation::Top.score(&turned(*a), &turned(*b), &none));
            assert_eq!(left, Relation::Bottom.score(&turned(*b), &turned(*a), &none));
            assert_eq!(
                Relation::Near.score(a, b, &none),
                Relation::Near.score(b, a, &none)
            );
        }
    }

    #[test]
    fn the_detectors_input_is_torchvisions() {
        assert_eq!(detector_size(512, 512), (479, 479));
        assert_eq!(detector_size(768, 512), (480, 320));
        assert_eq!(detector_size(512, 768), (320, 480));
        assert_eq!(detector_size(480, 479), (480, 479));
        assert_eq!(detector_size(2000, 10), (480, 2));
    }
}
