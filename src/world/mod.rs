//! The built-in `emoji` world: small pictures whose contents are known, so that composition can be scored exactly.
//!
//! A picture is 64 x 64 RGB: a light grey ground, one or two *main* sprites that captions speak about, and now and then a small
//! *bystander* that no caption mentions. Sprites are Twemoji art, recoloured where a colour is asked for. Captions have
//! T2I-CompBench's grammar. Three distributions are nested in one another:
//!
//! | | what | for | here |
//! |---|---|---|---|
//! | W | everything, uniform | training CLIP | [`sample_w`], [`family`] |
//! | P_XY | W with holes ([`held_out`]) and biases ([`usual_colour`], [`usual_company`]) | training priors | [`pairs`] |
//! | prompts | seen, unseen and against the bias; never a training caption | scoring | [`test_prompts`], [`realise`], [`variants`] |
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
mod family;
mod nouns;
mod pairs;
mod prompts;
mod scene;
mod split;
mod sprite;
mod statement;

pub use caption::{CONTEXT, CaptionMix, MAX_WORDS, caption, vocabulary};
pub use choice::{Variant, VariantKind, realise, variants};
pub use family::family;
pub use nouns::{Colour, N_NOUNS, Noun};
pub use pairs::{Pair, PairOptions, Slice, pairs, sample_w, scene_w};
pub use prompts::{Category, Prompt, Source, Split, is_test_statement, test_prompts};
pub use scene::{BYSTANDER_SIZE, MAIN_SIZES, PICTURE_BYTES, PICTURE_SIZE, Relation, Scene, Sprite};
pub use split::{
    Hole, USUAL_COLOUR, USUAL_COMPANY, USUAL_UNSAID, against_bias, held_out, held_out_colour, held_out_nouns,
    usual_colour, usual_company,
};
pub use statement::{Object, Statement, Truth, truth};
