//! What sprites are, in which colours and in which textures.

use super::tables::World;

/// One of the things that a world can draw. Nouns of different worlds differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Noun {
    world: World,
    index: u8,
}

impl Noun {
    /// The caller knows that the world has it.
    pub(super) fn at(world: World, index: u8) -> Self {
        Self { world, index }
    }

    /// The world it belongs to.
    pub fn world(self) -> World {
        self.world
    }

    /// Its number in its world, from 0.
    pub fn index(self) -> usize {
        usize::from(self.index)
    }

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        self.world.tables().nouns[self.index()]
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

/// A texture that captions can name: how two tones of a sprite's colour share its surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Texture {
    Solid,
    Striped,
    Dotted,
    Checked,
}

impl Texture {
    /// All textures, by index.
    pub const ALL: [Self; 4] = [Self::Solid, Self::Striped, Self::Dotted, Self::Checked];

    /// Its number, `0..4`.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        ["solid", "striped", "dotted", "checked"][self.index()]
    }

    /// The texture that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|texture| texture.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_lead_back() {
        for (index, colour) in Colour::ALL.into_iter().enumerate() {
            assert_eq!(colour.index(), index);
            assert_eq!(Colour::from_word(colour.word()), Some(colour));
        }
        for (index, texture) in Texture::ALL.into_iter().enumerate() {
            assert_eq!(texture.index(), index);
            assert_eq!(Texture::from_word(texture.word()), Some(texture));
        }
        assert_eq!(Colour::from_word("purple"), None);
        assert_eq!(Texture::from_word("fluffy"), None);
    }
}
