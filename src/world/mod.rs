//! The built-in worlds: small pictures whose contents are known, so that composition can be scored exactly.
//!
//! A picture is RGB: a light grey ground, one or two *main* sprites that captions speak about, and now and then a small *bystander* that no
//! caption mentions. Captions have T2I-CompBench's grammar. There are two worlds, made by the same code from their own tables:
//!
//! | [`World`] | pictures | sprites | attributes |
//! |---|---|---|---|
//! | `emoji` | 64 x 64 | Twemoji art of 32 nouns, recoloured where a colour is asked for | colour, place |
//! | `shapes` | 32 x 32 | six shapes, drawn by formulas | colour, texture, place |
//!
//! Three distributions are nested in one another:
//!
//! | | what | for | here |
//! |---|---|---|---|
//! | W | everything, uniform | training CLIP | [`World::sample_w`], [`World::family`] |
//! | P_XY | W with holes ([`held_out`]) and biases ([`usual_colour`], [`usual_texture`], [`usual_company`]) | training priors | [`World::pairs`] |
//! | prompts | seen, unseen and against the bias; never a training caption | scoring | [`World::test_prompts`], [`realise`], [`variants`] |
//!
//! They stand for the paper's LAION, MSCOCO and T2I-CompBench: a hole is its "orange square" (Fig. 2), a bias its "young tiger"
//! that drags a person along (Fig. 6).
//!
//! What a picture shows is read back from its pixels by a [`Checker`](checker::Checker).
//!
//! A caption's meaning is a [`Statement`]; [`truth`] says whether it holds in a [`Scene`], so every picture of a batch can be
//! compared with every caption without false negatives. Nothing here knows Burn: pictures are bytes, randomness is a
//! `ChaCha8Rng` that comes in as an argument, and results depend on nothing else.
mod caption;
pub mod checker;
mod choice;
mod emoji;
mod family;
mod nouns;
mod pairs;
mod prompts;
mod scene;
mod shapes;
mod split;
mod sprite;
mod statement;
mod tables;

pub use caption::{CaptionMix, caption};
pub use choice::{Variant, VariantKind, realise, variants};
pub use nouns::{Colour, Noun, Texture};
pub use pairs::{Pair, PairOptions, Slice};
pub use prompts::{Category, Prompt, Source, Split, is_test_statement};
pub use scene::{Relation, Scene, Sprite};
pub use split::{
    Hole, USUAL_COLOUR, USUAL_COMPANY, USUAL_TEXTURE, USUAL_UNSAID, against_bias, held_out, held_out_colour,
    held_out_nouns, held_out_texture, usual_colour, usual_company, usual_texture,
};
pub use statement::{Object, Statement, Truth, truth};
pub use tables::World;
