//! Captioned pictures: from W, broad and fair, and from P_XY, small, holed and biased.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::caption::{CaptionMix, caption, caption_unsaid};
use super::nouns::{Colour, N_NOUNS, Noun};
use super::scene::{Plan, Relation, Scene};
use super::split::{
    USUAL_COLOUR, USUAL_COMPANY, USUAL_UNSAID, held_out_colour, held_out_nouns, usual_colour, usual_company,
};
use super::statement::Statement;
use crate::noise::Noise;

/// How many pictures have two main sprites.
const TWO: f64 = 0.75;
/// How many main sprites keep the art's own colours.
const NATURAL: f64 = 0.25;
/// How many pictures have a bystander.
const BYSTANDER: f64 = 0.2;
/// How many bystanders keep the art's own colours.
const NATURAL_BYSTANDER: f64 = 0.5;

/// A captioned picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The picture.
    pub scene: Scene,
    /// Its caption.
    pub caption: String,
    /// What the caption says.
    pub statement: Statement,
}

/// Which pictures of P_XY there are at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slice {
    /// All.
    #[default]
    Whole,
    /// Those with one main sprite: no caption ever names two objects.
    Singles,
    /// Those whose nouns, bystanders too, have an even index: half of the nouns never occur.
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
    /// Leave out what [`held_out_colour`](super::held_out_colour) and [`held_out_nouns`](super::held_out_nouns) hold out,
    /// in pictures (bystanders too) and so in captions.
    pub holes: bool,
    /// Give some nouns a [usual colour](super::usual_colour) and some a [usual company](super::usual_company).
    pub bias: bool,
    /// Which pictures.
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

/// The first `n` pairs of P_XY number `seed`: fewer pairs are a prefix of more.
pub fn pairs(n: usize, seed: u64, options: &PairOptions) -> Vec<Pair> {
    let mut noise = Noise::stream(seed, 0x70_78_79);
    let rng = noise.rng();
    (0..n)
        .map(|_| {
            let scene = plan(options, rng).scene(rng);
            let usual = |colour, noun| options.bias && usual_colour(noun) == Some(colour);
            let (caption, statement) = caption_unsaid(&scene, &options.captions, rng, |noun, colour| {
                if usual(colour, noun) {
                    USUAL_UNSAID
                } else {
                    options.captions.drop_colour
                }
            });
            Pair {
                scene,
                caption,
                statement,
            }
        })
        .collect()
}

/// The first `n` pairs of a sample `seed` of W, with [`CaptionMix::W`].
pub fn sample_w(n: usize, seed: u64) -> Vec<Pair> {
    let mut noise = Noise::stream(seed, 0x77);
    let rng = noise.rng();
    (0..n)
        .map(|_| {
            let scene = scene_w(rng);
            let (caption, statement) = caption(&scene, &CaptionMix::W, rng);
            Pair {
                scene,
                caption,
                statement,
            }
        })
        .collect()
}

/// A picture of W.
pub fn scene_w(rng: &mut ChaCha8Rng) -> Scene {
    plan_w(rng).scene(rng)
}

/// What a picture of W shows.
pub(super) fn plan_w(rng: &mut ChaCha8Rng) -> Plan {
    plan(&PairOptions::W, rng)
}

fn plan(options: &PairOptions, rng: &mut ChaCha8Rng) -> Plan {
    let two = rng.random_bool(TWO) && options.slice != Slice::Singles;
    let follow = options.bias && rng.random_bool(USUAL_COMPANY);
    let noun_but = |these: &[Noun], rng: &mut ChaCha8Rng| loop {
        let noun = noun_but(these, rng);
        if options.slice.has(noun) {
            return noun;
        }
    };
    let first = noun_but(&[], rng);
    let apart = |a, b| options.holes && held_out_nouns(a, b);
    let (second, company) = loop {
        let second = two.then(|| noun_but(&[first], rng));
        let mains = || std::iter::once(first).chain(second);
        let company = follow.then(|| mains().find_map(usual_company)).flatten();
        let company = company.filter(|&c| options.slice.has(c) && mains().all(|main| main != c));
        let held =
            second.is_some_and(|s| apart(first, s)) || company.is_some_and(|c| mains().any(|m| apart(m, c)));
        if !held {
            break (second, company);
        }
    };
    let bystander = match company {
        Some(company) => Some((company, None)),
        None => bystander(options, first, second, rng),
    };
    Plan {
        first: (first, colour(options, first, rng)),
        second: second.map(|noun| ((noun, colour(options, noun, rng)), relation(rng))),
        bystander,
    }
}

/// A bystander to these main sprites, or, mostly, none: as W has it.
pub(super) fn bystander_w(
    first: Noun,
    second: Option<Noun>,
    rng: &mut ChaCha8Rng,
) -> Option<(Noun, Option<Colour>)> {
    bystander(&PairOptions::W, first, second, rng)
}

fn bystander(
    options: &PairOptions,
    first: Noun,
    second: Option<Noun>,
    rng: &mut ChaCha8Rng,
) -> Option<(Noun, Option<Colour>)> {
    if !rng.random_bool(BYSTANDER) {
        return None;
    }
    let mains = || std::iter::once(first).chain(second);
    let may_stand = |noun: &Noun| {
        options.slice.has(*noun)
            && mains().all(|main| main != *noun && !(options.holes && held_out_nouns(main, *noun)))
    };
    let nouns: Vec<Noun> = Noun::all().filter(may_stand).collect();
    if nouns.is_empty() {
        return None;
    }
    let noun = nouns[rng.random_range(0..nouns.len())];
    let natural = rng.random_bool(NATURAL_BYSTANDER);
    Some((
        noun,
        (!natural).then(|| any_colour(rng, |c| !(options.holes && held_out_colour(noun, c)))),
    ))
}

/// A main sprite's colour, as W has it.
pub(super) fn colour_w(noun: Noun, rng: &mut ChaCha8Rng) -> Option<Colour> {
    colour(&PairOptions::W, noun, rng)
}

fn colour(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Option<Colour> {
    let usual = usual_colour(noun).filter(|_| options.bias);
    if usual.is_some() && rng.random_bool(USUAL_COLOUR) {
        return usual;
    }
    if rng.random_bool(NATURAL) {
        return None;
    }
    Some(any_colour(rng, |c| {
        Some(c) != usual && !(options.holes && held_out_colour(noun, c))
    }))
}

/// Any colour that `may` be; some colour must.
pub(super) fn any_colour(rng: &mut ChaCha8Rng, may: impl Fn(Colour) -> bool) -> Colour {
    loop {
        let colour = Colour::ALL[rng.random_range(0..Colour::ALL.len())];
        if may(colour) {
            return colour;
        }
    }
}

/// Any noun but `these`.
pub(super) fn noun_but(these: &[Noun], rng: &mut ChaCha8Rng) -> Noun {
    loop {
        let noun = Noun::new(rng.random_range(0..N_NOUNS)).expect("an index below the number of nouns");
        if !these.contains(&noun) {
            return noun;
        }
    }
}

/// Any relation.
pub(super) fn relation(rng: &mut ChaCha8Rng) -> Relation {
    Relation::ALL[rng.random_range(0..4)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::world::split::held_out;

    #[test]
    fn fewer_pairs_are_a_prefix_and_seeds_differ() {
        let options = PairOptions::default();
        let long = pairs(300, 5, &options);
        assert_eq!(pairs(100, 5, &options), long[..100]);
        assert_ne!(pairs(300, 6, &options), long);
    }

    #[test]
    fn slices_have_what_they_say_and_no_more() {
        let of = |slice, bias| {
            pairs(
                4000,
                3,
                &PairOptions {
                    slice,
                    bias,
                    ..PairOptions::default()
                },
            )
        };
        for bias in [false, true] {
            let singles = of(Slice::Singles, bias);
            assert!(
                singles
                    .iter()
                    .all(|p| p.scene.main().count() == 1 && p.statement.second.is_none())
            );
            assert!(singles.iter().any(|p| p.scene.bystander.is_some()));
            let half = of(Slice::HalfTheNouns, bias);
            let nouns: HashSet<usize> = half
                .iter()
                .flat_map(|p| p.scene.sprites())
                .map(|s| s.noun.index())
                .collect();
            assert_eq!(nouns.len(), N_NOUNS.div_ceil(2));
            assert!(nouns.iter().all(|index| index.is_multiple_of(2)));
            assert!(half.iter().any(|p| p.scene.main().count() == 2));
        }
    }

    #[test]
    fn holes_are_empty_and_w_has_none() {
        let holed = |pair: &Pair| {
            let sprites: Vec<_> = pair.scene.sprites().collect();
            let colours = sprites
                .iter()
                .any(|s| s.colour.is_some_and(|c| held_out_colour(s.noun, c)));
            let nouns = sprites
                .iter()
                .enumerate()
                .any(|(i, a)| sprites[..i].iter().any(|b| held_out_nouns(a.noun, b.noun)));
            (colours, nouns)
        };
        for bias in [false, true] {
            let options = PairOptions {
                bias,
                ..PairOptions::default()
            };
            for pair in pairs(5000, 1, &options) {
                assert_eq!(holed(&pair), (false, false), "{pair:?}");
                assert_eq!(held_out(&pair.statement), None, "{pair:?}");
            }
        }
        let w = sample_w(2000, 1);
        let n =
            |which: fn((bool, bool)) -> bool| w.iter().filter(|p| which(holed(p))).count() as f64 / 2000.0;
        // Two main sprites in three quarters of pictures, each coloured in three quarters, a quarter of colours held out.
        assert!((0.2..0.4).contains(&n(|h| h.0)), "{}", n(|h| h.0));
        assert!((0.15..0.35).contains(&n(|h| h.1)), "{}", n(|h| h.1));
    }

    #[test]
    fn biases_are_as_strong_as_the_table_says_and_absent_without() {
        let count = |bias: bool| {
            let (mut usual, mut coloured, mut company, mut accompanied) = (0.0, 0.0, 0.0, 0.0);
            for pair in pairs(
                20_000,
                2,
                &PairOptions {
                    bias,
                    ..PairOptions::default()
                },
            ) {
                for main in pair.scene.main() {
                    if let Some(colour) = usual_colour(main.noun) {
                        coloured += 1.0;
                        usual += f64::from(main.colour == Some(colour));
                    }
                    if let Some(other) = usual_company(main.noun)
                        && pair.scene.main().all(|m| m.noun != other)
                        && pair
                            .scene
                            .main()
                            .all(|m| m.noun == main.noun || usual_company(m.noun).is_none())
                    {
                        accompanied += 1.0;
                        company += f64::from(pair.scene.bystander.is_some_and(|b| b.noun == other));
                    }
                }
            }
            (usual / coloured, company / accompanied)
        };
        let (colour, company) = count(true);
        assert!((0.78..0.82).contains(&colour), "{colour}");
        assert!((0.86..0.93).contains(&company), "{company}");
        let (colour, company) = count(false);
        assert!(colour < 0.16, "{colour}");
        assert!(company < 0.05, "{company}");
    }
}
