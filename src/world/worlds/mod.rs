//! The list of built-in worlds: one file and one line each.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Texture;
use super::categories::{Category, Split};
use super::tables::{SmallModels, Tables};

macro_rules! worlds {
    ($($(#[$doc:meta])+ $name:ident in $module:ident;)+) => {
        $(mod $module;)+

        /// A built-in world. All of them are made by the same code; they differ in their tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum World {
            $($(#[$doc])+ $name,)+
        }

        impl World {
            /// All worlds.
            pub const ALL: [Self; [$(stringify!($name)),+].len()] = [$(Self::$name),+];

            pub(super) fn tables(self) -> &'static Tables {
                match self {
                    $(Self::$name => &$module::TABLES,)+
                }
            }
        }
    };
}

worlds! {
    /// 64 x 64, Twemoji art of 32 nouns, T2I-CompBench's prompts.
    Emoji in emoji;
    /// 32 x 32, six drawn shapes, each in a colour and a texture.
    Shapes in shapes;
}

impl Default for World {
    /// The world of the main experiment.
    fn default() -> Self {
        Self::Emoji
    }
}

impl World {
    /// Its name in specs and paths.
    pub fn name(self) -> &'static str {
        self.tables().name
    }

    /// The world of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.name() == name)
    }

    /// Images are this many pixels wide and high.
    pub fn image_size(self) -> usize {
        self.tables().image_size
    }

    /// Bytes of an image: RGB, row by row.
    pub fn image_bytes(self) -> usize {
        3 * self.image_size() * self.image_size()
    }

    /// The unit of lengths in an image, in pixels: a 32nd of its side.
    pub(super) fn unit(self) -> usize {
        self.image_size() / 32
    }

    /// Longer side of a main sprite, in pixels.
    pub fn main_sizes(self) -> RangeInclusive<u8> {
        self.tables().main_sizes.clone()
    }

    /// Longer side of a distractor, in pixels.
    pub fn distractor_size(self) -> u8 {
        self.tables().distractor_size
    }

    /// Its textures, by index; empty if sprites have none.
    pub fn textures(self) -> &'static [Texture] {
        self.tables().textures
    }

    /// Whether sprites may have the art's own colours, of which a colour word is neither true nor false.
    pub fn has_own_colours(self) -> bool {
        self.tables().natural > 0.0
    }

    /// A prompt that names what the world has to offer.
    pub fn example(self) -> &'static str {
        self.tables().example
    }

    /// Where its images come from, and under which licence: what follows "the images are".
    pub fn credits(self) -> &'static str {
        self.tables().credits
    }

    /// Sizes and budgets of its small CLIP and decoder.
    pub fn small_models(self) -> SmallModels {
        self.tables().small_models
    }

    /// No caption has more words than this.
    pub fn max_words(self) -> usize {
        self.tables().max_words
    }

    /// Tokens of the longest caption with its start and its end token; every word is a token.
    pub fn context(self) -> usize {
        self.max_words() + 2
    }

    /// The categories of its test prompts.
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
