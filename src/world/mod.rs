//! The built-in worlds: small images whose contents are known, so that composition can be scored exactly.
//!
//! An image is RGB: a light grey ground, one or two *main* sprites that captions speak about, and now and then a small *distractor* that no
//! caption mentions. Captions have T2I-CompBench's grammar. There are two worlds, made by the same code from their own tables:
//!
//! | [`World`] | images | sprites | attributes |
//! |---|---|---|---|
//! | `emoji` | 64 x 64 | Twemoji art of 32 nouns, recoloured where a colour is asked for | colour, place |
//! | `shapes` | 32 x 32 | six shapes, drawn by formulas | colour, texture, place |
//!
//! Three distributions are nested in one another:
//!
//! | | what | for | here |
//! |---|---|---|---|
//! | W | everything, uniform | training CLIP | [`World::sample_w`], [`World::family`] |
//! | P_XY | W with holes ([`held_out`]) and biases ([`usual_colour`], [`usual_texture`], [`spurious_distractor`]) | training priors | [`World::pairs`] |
//! | prompts | seen, unseen and counter-bias; never a training caption | scoring | [`World::test_prompts`], [`realise`], [`variants`] |
//!
//! They stand for the paper's LAION, MSCOCO and T2I-CompBench: a hole is its "orange square" (Fig. 2), a bias its "young tiger"
//! that drags a person along (Fig. 6).
//!
//! What an image shows is read back from its pixels by a [`Checker`](checker::Checker).
//!
//! A caption's meaning is a [`Statement`]; [`truth`] says whether it holds in a [`Scene`], so every image of a batch can be
//! compared with every caption without false negatives. Nothing here knows Burn: images are bytes, randomness is a
//! `ChaCha8Rng` that comes in as an argument, and results depend on nothing else.
//!
//! # Layers
//!
//! A file uses files of the layers below its own, and those to its left in its own layer:
//!
//! | layer | files |
//! |---|---|
//! | reading an image back | `checker` |
//! | batches and questions | `family`, `choice` |
//! | distributions | `chance`, `prompts`, `caption`, `content`, `pairs` |
//! | meaning | `scene`, `statement`, `biases`, `plan` |
//! | drawing | `noun`, `sprite` |
//! | worlds | `attributes`, `categories`, `layer`, `tables`, `worlds` |
//!
//! A new world is one file in `worlds/`, which holds its table, and one line in the list in `worlds/mod.rs`.
mod attributes;
mod biases;
mod caption;
mod categories;
mod chance;
pub mod checker;
mod choice;
mod content;
mod family;
mod layer;
mod noun;
mod pairs;
mod plan;
mod prompts;
mod scene;
mod sprite;
mod statement;
mod tables;
mod worlds;

pub use attributes::{Colour, Relation, Texture};
pub use biases::{
    Hole, SPURIOUS_DISTRACTOR, USUAL_COLOUR, USUAL_TEXTURE, USUAL_UNSAID, held_out, held_out_colour,
    held_out_nouns, held_out_texture, is_counter_bias, spurious_distractor, usual_colour, usual_texture,
};
pub use caption::{CaptionMix, caption};
pub use categories::{Category, Split};
pub use choice::{Variant, VariantKind, realise, variants};
pub use content::{PairOptions, Slice};
pub use noun::Noun;
pub use pairs::Pair;
pub use prompts::{Prompt, Source, is_test_statement};
pub use scene::{Scene, Sprite};
pub use statement::{Object, Statement, Truth, truth};
pub use tables::SmallModels;
pub use worlds::World;
