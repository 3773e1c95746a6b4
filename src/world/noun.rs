//! Nouns: what sprites are.

use super::worlds::World;

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

impl World {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::attributes::{Colour, Texture};

    #[test]
    fn words_lead_back_and_mean_one_thing() {
        for world in World::ALL {
            assert_eq!(World::named(world.name()), Some(world));
            assert!(world.image_size().is_multiple_of(32));
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
