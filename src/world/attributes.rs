//! The attributes that captions can name: colours, textures and relations.

/// A colour that captions can name. Purple and orange are left out: T2I-CompBench hardly uses them (14 and 6 times, against 322 for
/// red), and they are close to pink and brown.
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

/// Where the first main sprite is, relative to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    Left,
    Right,
    Top,
    Bottom,
}

impl Relation {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Top, Self::Bottom];

    /// Where `first` is, relative to `second`: along the axis on which they are further apart.
    pub fn between(first: [u8; 2], second: [u8; 2]) -> Self {
        let [x1, y1] = first.map(i16::from);
        let [x2, y2] = second.map(i16::from);
        let (dx, dy) = (x1 - x2, y1 - y2);
        match (dx.abs() > dy.abs(), dx < 0, dy < 0) {
            (true, true, _) => Self::Left,
            (true, false, _) => Self::Right,
            (false, _, true) => Self::Top,
            (false, _, false) => Self::Bottom,
        }
    }

    /// The same fact, relative to the other object.
    pub fn inverse(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Top => Self::Bottom,
            Self::Bottom => Self::Top,
        }
    }

    /// Whether it is left or right.
    pub fn is_horizontal(self) -> bool {
        matches!(self, Self::Left | Self::Right)
    }

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        ["left", "right", "top", "bottom"][self as usize]
    }

    /// The relation that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.word() == word)
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
