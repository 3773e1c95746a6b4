//! What can be drawn, and in which colours.

use twemoji_assets::png::{PngTwemojiAsset, codes};

/// How many nouns the world has: the first `N_NOUNS` of the table, which is ordered so that every prefix draws as many of
/// T2I-CompBench's colour and spatial validation prompts as it can. Between 2 and 32.
///
/// Drawable prompts (of 300 and 300) with eight colours: 16 nouns 94 + 7, 20: 114 + 15, 24: 118 + 31, 28: 118 + 49, 32: 118 + 66.
pub const N_NOUNS: usize = 32;

/// Every noun the art can draw at 28 pixels: the word, and its Twemoji.
const TABLE: [(&str, &PngTwemojiAsset); 32] = [
    ("train", &codes::U_1F682),
    ("giraffe", &codes::U_1F992),
    ("vase", &codes::U_1F3FA),
    ("bear", &codes::U_1F43B),
    ("banana", &codes::U_1F34C),
    ("backpack", &codes::U_1F392),
    ("apple", &codes::U_1F34E),
    ("suitcase", &codes::U_1F9F3),
    ("cow", &codes::U_1F404),
    ("horse", &codes::U_1F40E),
    ("orange", &codes::U_1F34A),
    ("cup", &codes::U_2615),
    ("sheep", &codes::U_1F411),
    ("book", &codes::U_1F4D6),
    ("boat", &codes::U_26F5),
    ("elephant", &codes::U_1F418),
    ("chair", &codes::U_1FA91),
    ("car", &codes::U_1F697),
    ("dog", &codes::U_1F436),
    ("cat", &codes::U_1F408),
    ("mouse", &codes::U_1F401),
    ("airplane", &codes::U_2708),
    ("girl", &codes::U_1F467),
    ("bird", &codes::U_1F426),
    ("chicken", &codes::U_1F413),
    ("balloon", &codes::U_1F388),
    ("butterfly", &codes::U_1F98B),
    ("candle", &codes::U_1F56F),
    ("turtle", &codes::U_1F422),
    ("phone", &codes::U_1F4F1),
    ("pig", &codes::U_1F416),
    ("bicycle", &codes::U_1F6B2),
];

/// One of the [`N_NOUNS`] things the world can draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Noun(u8);

impl Noun {
    /// All nouns, by index.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..N_NOUNS as u8).map(Self)
    }

    /// The noun number `index`, if the world has that many.
    pub fn new(index: usize) -> Option<Self> {
        (index < N_NOUNS).then_some(Self(index as u8))
    }

    /// Its number, `0..N_NOUNS`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        TABLE[self.index()].0
    }

    /// The noun that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::all().find(|noun| noun.word() == word)
    }

    /// The art: a PNG of 72 x 72 with transparency.
    pub(super) fn art(self) -> &'static [u8] {
        TABLE[self.index()].1
    }
}

/// A colour that captions can name. Purple and orange are left out: T2I-CompBench hardly uses them (14 and 6 times, against 322 for
/// red), and they are near to pink and brown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    Yellow,
    Green,
    Blue,
    Pink,
    Brown,
    Black,
    White,
}

impl Colour {
    /// All colours, by index.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::White,
    ];

    /// Its number, `0..8`.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        [
            "red", "yellow", "green", "blue", "pink", "brown", "black", "white",
        ][self.index()]
    }

    /// The colour that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|colour| colour.word() == word)
    }

    /// The mean shade of a sprite of this colour; RGB, 0 to 1.
    pub(super) fn shade(self) -> [f32; 3] {
        [
            [0.86, 0.12, 0.13],
            [0.98, 0.83, 0.10],
            [0.13, 0.62, 0.20],
            [0.13, 0.36, 0.88],
            [0.98, 0.50, 0.75],
            [0.48, 0.28, 0.12],
            [0.10, 0.10, 0.11],
            [0.97, 0.97, 0.97],
        ][self.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the counts in the documentation of [`N_NOUNS`], for a world of any size.
    #[test]
    fn prefixes_draw_as_many_prompts_as_documented() {
        let colour = include_str!("../../datasets/emoji/prompts/color_val.txt");
        let spatial = include_str!("../../datasets/emoji/prompts/spatial_val.txt");
        let counts = [16, 20, 24, 28, 32].map(|n| {
            let has = |word: &str| TABLE[..n].iter().any(|(w, _)| *w == word);
            let is_colour = |word: &str| Colour::from_word(word).is_some();
            let draws_colours = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
                ["a", c, x, "and", "a", d, y] => is_colour(c) && is_colour(d) && has(x) && has(y) && x != y,
                _ => false,
            };
            let draws_relation = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
                [
                    "a",
                    x,
                    "on",
                    "the",
                    "left" | "right" | "top" | "bottom",
                    "of",
                    "a",
                    y,
                ] => has(x) && has(y),
                _ => false,
            };
            (
                n,
                colour.lines().filter(draws_colours).count(),
                spatial.lines().filter(draws_relation).count(),
            )
        });
        assert_eq!(
            counts,
            [
                (16, 94, 7),
                (20, 114, 15),
                (24, 118, 31),
                (28, 118, 49),
                (32, 118, 66)
            ]
        );
    }

    #[test]
    fn words_are_unique_and_lead_back() {
        for noun in Noun::all() {
            assert_eq!(Noun::from_word(noun.word()), Some(noun));
            assert_eq!(Noun::new(noun.index()), Some(noun));
        }
        for (index, colour) in Colour::ALL.into_iter().enumerate() {
            assert_eq!(colour.index(), index);
            assert_eq!(Colour::from_word(colour.word()), Some(colour));
        }
        assert_eq!(Noun::from_word("unicorn"), None);
        assert_eq!(Noun::new(N_NOUNS), None);
        assert_eq!(Colour::from_word("purple"), None);
    }
}
