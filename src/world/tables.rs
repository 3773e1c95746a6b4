//! The worlds, and what one has that another has not.

use std::fmt;
use std::ops::RangeInclusive;

use super::nouns::{Colour, Noun, Texture};
use super::prompts::{Category, Split};
use super::sprite::{Layer, Look};
use super::{emoji, shapes};

/// A built-in world. All of them are made by the same code; they differ in their tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum World {
    /// 64 x 64, Twemoji art of 32 nouns, T2I-CompBench's prompts.
    Emoji,
    /// 32 x 32, six drawn shapes, each in a colour and a texture.
    Shapes,
}

/// What makes a world this world.
pub(super) struct Tables {
    /// Its name in specs and paths.
    pub name: &'static str,
    /// Pictures are this many pixels wide and high, a multiple of 32.
    pub picture_size: usize,
    /// Longer side of a main sprite, in pixels.
    pub main_sizes: RangeInclusive<u8>,
    /// Longer side of a bystander, in pixels.
    pub bystander_size: u8,
    /// Where sprites stand.
    pub layout: Layout,
    /// The words of the nouns.
    pub nouns: &'static [&'static str],
    /// The textures; empty if sprites have none.
    pub textures: &'static [Texture],
    /// How many main sprites keep the art's own colours; 0 if there are none to keep.
    pub natural: f64,
    /// How many bystanders keep the art's own colours.
    pub natural_bystander: f64,
    /// Nouns that in P_XY mostly have one colour, which captions then mostly leave out.
    pub usual_colours: &'static [(&'static str, Colour)],
    /// The same for textures.
    pub usual_textures: &'static [(&'static str, Texture)],
    /// Nouns beside which in P_XY a certain bystander mostly stands. Captions never mention bystanders.
    pub usual_company: &'static [(&'static str, &'static str)],
    /// No caption has more words than this.
    pub max_words: usize,
    /// T2I-CompBench's prompts: the file's name, its text, what it tests.
    pub compbench: &'static [(&'static str, &'static str, Category)],
    /// To how many each category and split of test prompts is filled up with our own.
    pub n_prompts: fn(Category, Split) -> usize,
    /// Whether our own spatial prompts name colours.
    pub coloured_relations: bool,
    /// Draws a sprite whose longer side has this many pixels.
    pub draw: fn(Look, usize) -> Layer,
}

/// Where the middles of main sprites lie, in pixels.
pub(super) struct Layout {
    /// Both coordinates of one that is alone.
    pub alone: RangeInclusive<u8>,
    /// Of two, along the relation's axis: the one further left or up.
    pub near: RangeInclusive<u8>,
    /// The other one.
    pub far: RangeInclusive<u8>,
    /// Of both, across that axis.
    pub across: RangeInclusive<u8>,
}

impl World {
    /// All worlds.
    pub const ALL: [Self; 2] = [Self::Emoji, Self::Shapes];

    pub(super) fn tables(self) -> &'static Tables {
        match self {
            Self::Emoji => &emoji::TABLES,
            Self::Shapes => &shapes::TABLES,
        }
    }

    /// Its name in specs and paths.
    pub fn name(self) -> &'static str {
        self.tables().name
    }

    /// The world of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.name() == name)
    }

    /// Pictures are this many pixels wide and high.
    pub fn picture_size(self) -> usize {
        self.tables().picture_size
    }

    /// Bytes of a picture: RGB, row by row.
    pub fn picture_bytes(self) -> usize {
        3 * self.picture_size() * self.picture_size()
    }

    /// The length that all others of a picture go with, in pixels: a 32nd of its side.
    pub(super) fn unit(self) -> usize {
        self.picture_size() / 32
    }

    /// Longer side of a main sprite, in pixels.
    pub fn main_sizes(self) -> RangeInclusive<u8> {
        self.tables().main_sizes.clone()
    }

    /// Longer side of a bystander, in pixels.
    pub fn bystander_size(self) -> u8 {
        self.tables().bystander_size
    }

    /// How many nouns it has.
    pub fn n_nouns(self) -> usize {
        self.tables().nouns.len()
    }

    /// Its nouns, by index.
    pub fn nouns(self) -> impl ExactSizeIterator<Item = Noun> + Clone {
        (0..self.n_nouns() as u8).map(move |index| Noun::at(self, index))
    }

    /// The noun number `index`, if the world has that many.
    pub fn noun(self, index: usize) -> Option<Noun> {
        (index < self.n_nouns()).then(|| Noun::at(self, index as u8))
    }

    /// The noun that `word` names.
    pub fn noun_called(self, word: &str) -> Option<Noun> {
        self.nouns().find(|noun| noun.word() == word)
    }

    /// Its textures, by index; empty if sprites have none.
    pub fn textures(self) -> &'static [Texture] {
        self.tables().textures
    }

    /// Whether sprites may have colours of their own, about which a colour word is neither true nor false.
    pub fn has_own_colours(self) -> bool {
        self.tables().natural > 0.0
    }

    /// No caption has more words than this.
    pub fn max_words(self) -> usize {
        self.tables().max_words
    }

    /// Tokens of the longest caption with its start and its end token; every word is a token.
    pub fn context(self) -> usize {
        self.max_words() + 2
    }

    /// What it asks in its test prompts.
    pub fn categories(self) -> impl Iterator<Item = Category> {
        let asks = move |category: &Category| {
            let own = Split::ALL
                .into_iter()
                .any(|split| (self.tables().n_prompts)(*category, split) > 0);
            own || self.tables().compbench.iter().any(|(_, _, c)| c == category)
        };
        Category::ALL.into_iter().filter(asks)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_and_mean_one_thing() {
        for world in World::ALL {
            assert_eq!(World::named(world.name()), Some(world));
            assert!(world.picture_size().is_multiple_of(32));
            for noun in world.nouns() {
                assert_eq!(world.noun_called(noun.word()), Some(noun));
                assert_eq!(world.noun(noun.index()), Some(noun));
                assert_eq!(Colour::from_word(noun.word()), None);
                assert_eq!(Texture::from_word(noun.word()), None);
            }
            assert_eq!(world.noun_called("unicorn"), None);
            assert_eq!(world.noun(world.n_nouns()), None);
        }
        assert_eq!(World::named("circus"), None);
    }
}
