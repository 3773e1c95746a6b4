//! What an image shows: drawn from W, which is uniform, or from P_XY, which has holes and biases.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attributes::{Colour, Texture};
use super::biases::{
    SPURIOUS_DISTRACTOR, USUAL_COLOUR, USUAL_TEXTURE, held_out_colour, held_out_nouns, held_out_texture,
    spurious_distractor, usual_colour, usual_texture,
};
use super::caption::CaptionMix;
use super::chance::{any_colour, any_texture, noun, relation};
use super::noun::Noun;
use super::plan::Plan;
use super::sprite::Look;
use super::worlds::World;

/// Share of the images with two main sprites.
const TWO: f64 = 0.75;
/// Share of the images with a distractor.
const DISTRACTOR: f64 = 0.2;

/// Which images of P_XY there are at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Slice {
    /// All.
    #[default]
    Whole,
    /// Those with one main sprite: no caption ever names two objects.
    Singles,
    /// Those whose nouns, distractors too, have an even index: half of the nouns never occur.
    HalfTheNouns,
}

impl Slice {
    fn has(self, noun: Noun) -> bool {
        self != Self::HalfTheNouns || noun.index().is_multiple_of(2)
    }
}

/// Which P_XY.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairOptions {
    /// Leave out what [`held_out_colour`], [`held_out_texture`] and [`held_out_nouns`] hold out, in images (distractors too) and so in
    /// captions.
    pub holes: bool,
    /// Give some nouns a [usual colour](super::usual_colour) or [texture](super::usual_texture) and some a [spurious distractor](super::spurious_distractor).
    pub bias: bool,
    /// Which images.
    pub slice: Slice,
    /// How captions are worded and what they leave out.
    pub captions: CaptionMix,
}

impl PairOptions {
    /// W: no holes, no biases.
    const W: Self = Self {
        holes: false,
        bias: false,
        slice: Slice::Whole,
        captions: CaptionMix::W,
    };
}

/// Holes, biases, and captions that leave much out.
impl Default for PairOptions {
    fn default() -> Self {
        Self {
            holes: true,
            bias: true,
            slice: Slice::Whole,
            captions: CaptionMix::PAIRS,
        }
    }
}

/// What an image of W shows.
pub(super) fn plan_w(world: World, rng: &mut ChaCha8Rng) -> Plan {
    plan(world, &PairOptions::W, rng)
}

/// What an image of W or P_XY shows, as `options` say.
pub(super) fn plan(world: World, options: &PairOptions, rng: &mut ChaCha8Rng) -> Plan {
    let two = rng.random_bool(TWO) && options.slice != Slice::Singles;
    let follow = options.bias && rng.random_bool(SPURIOUS_DISTRACTOR);
    let noun_but = |these: &[Noun], rng: &mut ChaCha8Rng| loop {
        let noun = noun(world, rng);
        if options.slice.has(noun) && !these.contains(&noun) {
            return noun;
        }
    };
    let first = noun_but(&[], rng);
    let apart = |a, b| options.holes && held_out_nouns(a, b);
    let (second, companion) = loop {
        let second = two.then(|| noun_but(&[first], rng));
        let mains = || std::iter::once(first).chain(second);
        let companion = follow.then(|| mains().find_map(spurious_distractor)).flatten();
        let companion = companion.filter(|&c| options.slice.has(c) && mains().all(|main| main != c));
        let held = second.is_some_and(|s| apart(first, s))
            || companion.is_some_and(|c| mains().any(|m| apart(m, c)));
        if !held {
            break (second, companion);
        }
    };
    let distractor = match companion {
        Some(companion) => Some(plain_distractor(options, companion, rng)),
        None => distractor(options, first, second, rng),
    };
    Plan {
        first: look(options, first, rng),
        second: second.map(|noun| (look(options, noun, rng), relation(rng))),
        distractor,
    }
}

/// A distractor for these main sprites, or, mostly, none, distributed as in W.
pub(super) fn distractor_w(first: Noun, second: Option<Noun>, rng: &mut ChaCha8Rng) -> Option<Look> {
    distractor(&PairOptions::W, first, second, rng)
}

/// The look of `noun` as a spurious distractor: in its own colours if it has any, else in a random colour.
pub(super) fn spurious_w(noun: Noun, rng: &mut ChaCha8Rng) -> Look {
    plain_distractor(&PairOptions::W, noun, rng)
}

/// A distractor in its own colours if it has any.
fn plain_distractor(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Look {
    let own = noun.world().has_own_colours();
    Look {
        noun,
        colour: (!own).then(|| open_colour(options, noun, rng)),
        texture: open_texture(options, noun, rng),
    }
}

/// A random distractor beside these main sprites, or, mostly, none.
fn distractor(
    options: &PairOptions,
    first: Noun,
    second: Option<Noun>,
    rng: &mut ChaCha8Rng,
) -> Option<Look> {
    if !rng.random_bool(DISTRACTOR) {
        return None;
    }
    let mains = || std::iter::once(first).chain(second);
    let may_stand = |noun: &Noun| {
        options.slice.has(*noun)
            && mains().all(|main| main != *noun && !(options.holes && held_out_nouns(main, *noun)))
    };
    let nouns: Vec<Noun> = first.world().nouns().filter(may_stand).collect();
    if nouns.is_empty() {
        return None;
    }
    let noun = nouns[rng.random_range(0..nouns.len())];
    let natural = rng.random_bool(noun.world().tables().natural_distractor);
    Some(Look {
        noun,
        colour: (!natural).then(|| open_colour(options, noun, rng)),
        texture: open_texture(options, noun, rng),
    })
}

fn look(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Look {
    Look {
        noun,
        colour: colour(options, noun, rng),
        texture: texture(options, noun, rng),
    }
}

/// A main sprite's colour, distributed as in W.
pub(super) fn colour_w(noun: Noun, rng: &mut ChaCha8Rng) -> Option<Colour> {
    colour(&PairOptions::W, noun, rng)
}

fn colour(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Option<Colour> {
    let usual = usual_colour(noun).filter(|_| options.bias);
    if usual.is_some() && rng.random_bool(USUAL_COLOUR) {
        return usual;
    }
    if rng.random_bool(noun.world().tables().natural) {
        return None;
    }
    Some(any_colour(rng, |c| {
        Some(c) != usual && !(options.holes && held_out_colour(noun, c))
    }))
}

/// A main sprite's texture, distributed as in W; none in worlds without textures.
pub(super) fn texture_w(noun: Noun, rng: &mut ChaCha8Rng) -> Option<Texture> {
    texture(&PairOptions::W, noun, rng)
}

fn texture(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Option<Texture> {
    let usual = usual_texture(noun).filter(|_| options.bias);
    if usual.is_some() && rng.random_bool(USUAL_TEXTURE) {
        return usual;
    }
    any_texture(noun.world(), rng, |t| {
        Some(t) != usual && !(options.holes && held_out_texture(noun, t))
    })
}

/// A colour that no hole forbids.
fn open_colour(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Colour {
    any_colour(rng, |c| !(options.holes && held_out_colour(noun, c)))
}

/// A texture that no hole forbids; none in worlds without textures.
fn open_texture(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Option<Texture> {
    any_texture(noun.world(), rng, |t| {
        !(options.holes && held_out_texture(noun, t))
    })
}
