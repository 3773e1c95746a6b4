//! Captioned pictures: from W, broad and fair, and from P_XY, small, holed and biased.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::caption::{CaptionMix, caption, caption_unsaid};
use super::nouns::{Colour, Noun, Texture};
use super::scene::{Plan, Relation, Scene, Sprite};
use super::split::{
    USUAL_COLOUR, USUAL_COMPANY, USUAL_TEXTURE, USUAL_UNSAID, held_out_colour, held_out_nouns,
    held_out_texture, usual_colour, usual_company, usual_texture,
};
use super::sprite::Look;
use super::statement::Statement;
use super::tables::World;
use crate::noise::{Noise, Stream};

/// How many pictures have two main sprites.
const TWO: f64 = 0.75;
/// How many pictures have a bystander.
const BYSTANDER: f64 = 0.2;

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
    /// Leave out what [`held_out_colour`], [`held_out_texture`] and [`held_out_nouns`] hold out, in pictures (bystanders too) and so in
    /// captions.
    pub holes: bool,
    /// Give some nouns a [usual colour](usual_colour) or [texture](usual_texture) and some a [usual company](usual_company).
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

impl World {
    /// The first `n` pairs of P_XY number `seed`: fewer pairs are a prefix of more.
    pub fn pairs(self, n: usize, seed: u64, options: &PairOptions) -> Vec<Pair> {
        self.pairs_from(Stream::TrainingPairs, seed, options)
            .take(n)
            .collect()
    }

    /// `n` pairs of P_XY number `seed` that are none of `trained`: for validation. Their random stream is their own, so they do not depend on how
    /// many pairs are trained on (unless one of them shows what a trained one shows; the next one then takes its place).
    pub fn held_out_pairs(self, n: usize, seed: u64, options: &PairOptions, trained: &[Pair]) -> Vec<Pair> {
        let pairs = self.pairs_from(Stream::ValidationPairs, seed, options);
        pairs
            .filter(|pair| trained.iter().all(|other| other.scene != pair.scene))
            .take(n)
            .collect()
    }

    fn pairs_from(self, stream: Stream, seed: u64, options: &PairOptions) -> impl Iterator<Item = Pair> {
        let mut noise = Noise::of(seed, stream);
        let options = *options;
        let mix = options.captions;
        let unsaid = move |sprite: &Sprite| {
            let usual_colour =
                options.bias && usual_colour(sprite.noun).is_some_and(|c| sprite.colour == Some(c));
            let usual_texture =
                options.bias && usual_texture(sprite.noun).is_some_and(|t| sprite.texture == Some(t));
            [
                if usual_colour {
                    USUAL_UNSAID
                } else {
                    mix.drop_colour
                },
                if usual_texture {
                    USUAL_UNSAID
                } else {
                    mix.drop_texture
                },
            ]
        };
        std::iter::repeat_with(move || {
            let rng = noise.rng();
            let scene = plan(self, &options, rng).scene(rng);
            let (caption, statement) = caption_unsaid(&scene, &mix, rng, unsaid);
            Pair {
                scene,
                caption,
                statement,
            }
        })
    }

    /// The first `n` pairs of a sample `seed` of W, with [`CaptionMix::W`].
    pub fn sample_w(self, n: usize, seed: u64) -> Vec<Pair> {
        let mut noise = Noise::of(seed, Stream::PairsOfW);
        let rng = noise.rng();
        (0..n)
            .map(|_| {
                let scene = self.scene_w(rng);
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
    pub fn scene_w(self, rng: &mut ChaCha8Rng) -> Scene {
        plan_w(self, rng).scene(rng)
    }
}

/// What a picture of W shows.
pub(super) fn plan_w(world: World, rng: &mut ChaCha8Rng) -> Plan {
    plan(world, &PairOptions::W, rng)
}

fn plan(world: World, options: &PairOptions, rng: &mut ChaCha8Rng) -> Plan {
    let two = rng.random_bool(TWO) && options.slice != Slice::Singles;
    let follow = options.bias && rng.random_bool(USUAL_COMPANY);
    let noun_but = |these: &[Noun], rng: &mut ChaCha8Rng| loop {
        let noun = noun(world, rng);
        if options.slice.has(noun) && !these.contains(&noun) {
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
        Some(company) => Some(plain_bystander(options, company, rng)),
        None => bystander(options, first, second, rng),
    };
    Plan {
        first: look(options, first, rng),
        second: second.map(|noun| (look(options, noun, rng), relation(rng))),
        bystander,
    }
}

/// A bystander to these main sprites, or, mostly, none: as W has it.
pub(super) fn bystander_w(first: Noun, second: Option<Noun>, rng: &mut ChaCha8Rng) -> Option<Look> {
    bystander(&PairOptions::W, first, second, rng)
}

/// `noun` as it stands by as the usual company: in its own colours if it has any, else as chance will have it.
pub(super) fn company_w(noun: Noun, rng: &mut ChaCha8Rng) -> Look {
    plain_bystander(&PairOptions::W, noun, rng)
}

fn plain_bystander(options: &PairOptions, noun: Noun, rng: &mut ChaCha8Rng) -> Look {
    let own = noun.world().has_own_colours();
    Look {
        noun,
        colour: (!own).then(|| open_colour(options, noun, rng)),
        texture: open_texture(options, noun, rng),
    }
}

fn bystander(options: &PairOptions, first: Noun, second: Option<Noun>, rng: &mut ChaCha8Rng) -> Option<Look> {
    if !rng.random_bool(BYSTANDER) {
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
    let natural = rng.random_bool(noun.world().tables().natural_bystander);
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

/// A main sprite's colour, as W has it.
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

/// A main sprite's texture, as W has it; none in worlds without textures.
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

/// Any colour that `may` be; some colour must.
pub(super) fn any_colour(rng: &mut ChaCha8Rng, may: impl Fn(Colour) -> bool) -> Colour {
    loop {
        let colour = Colour::ALL[rng.random_range(0..Colour::ALL.len())];
        if may(colour) {
            return colour;
        }
    }
}

/// Any texture that `may` be, and some must; none, and nothing drawn, in worlds without textures.
pub(super) fn any_texture(
    world: World,
    rng: &mut ChaCha8Rng,
    may: impl Fn(Texture) -> bool,
) -> Option<Texture> {
    let textures = world.textures();
    if textures.is_empty() {
        return None;
    }
    loop {
        let texture = textures[rng.random_range(0..textures.len())];
        if may(texture) {
            return Some(texture);
        }
    }
}

/// Any noun of the world.
pub(super) fn noun(world: World, rng: &mut ChaCha8Rng) -> Noun {
    world
        .noun(rng.random_range(0..world.n_nouns()))
        .expect("an index below the number of nouns")
}

/// Any noun of their world but `these`.
pub(super) fn noun_but(these: &[Noun], rng: &mut ChaCha8Rng) -> Noun {
    loop {
        let noun = noun(these[0].world(), rng);
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
        for world in World::ALL {
            let long = world.pairs(300, 5, &options);
            assert_eq!(world.pairs(100, 5, &options), long[..100]);
            assert_ne!(world.pairs(300, 6, &options), long);
        }
    }

    #[test]
    fn held_out_pairs_are_none_of_the_trained_ones_and_follow_the_same_rules() {
        let options = PairOptions::default();
        for world in World::ALL {
            let trained = world.pairs(3000, 5, &options);
            let held_out = world.held_out_pairs(200, 5, &options, &trained);
            assert_eq!(held_out.len(), 200);
            let scenes: HashSet<Scene> = trained.iter().map(|p| p.scene).collect();
            assert!(held_out.iter().all(|p| !scenes.contains(&p.scene)), "{world:?}");
            assert!(
                held_out.iter().all(|p| !held_out_of_training(&p.scene)),
                "holes of P_XY"
            );
            // A scene that is trained on makes way for the next one.
            let next = world.held_out_pairs(199, 5, &options, &held_out[..1]);
            assert_eq!(next[..], held_out[1..]);
        }
    }

    /// Whether a scene shows what P_XY leaves out.
    fn held_out_of_training(scene: &Scene) -> bool {
        scene.main().any(|sprite| {
            let colour = sprite.colour.is_some_and(|c| held_out_colour(sprite.noun, c));
            colour || sprite.texture.is_some_and(|t| held_out_texture(sprite.noun, t))
        })
    }

    #[test]
    fn slices_have_what_they_say_and_no_more() {
        for world in World::ALL {
            slices_of_a_world_have_what_they_say(world);
        }
    }

    fn slices_of_a_world_have_what_they_say(world: World) {
        let of = |slice, bias| {
            world.pairs(
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
            assert_eq!(nouns.len(), world.n_nouns().div_ceil(2));
            assert!(nouns.iter().all(|index| index.is_multiple_of(2)));
            assert!(half.iter().any(|p| p.scene.main().count() == 2));
        }
    }

    #[test]
    fn holes_are_empty_and_w_has_none() {
        let holed = |pair: &Pair| {
            let sprites: Vec<_> = pair.scene.sprites().collect();
            let attributes = sprites.iter().any(|s| {
                s.colour.is_some_and(|c| held_out_colour(s.noun, c))
                    || s.texture.is_some_and(|t| held_out_texture(s.noun, t))
            });
            let nouns = sprites
                .iter()
                .enumerate()
                .any(|(i, a)| sprites[..i].iter().any(|b| held_out_nouns(a.noun, b.noun)));
            (attributes, nouns)
        };
        for world in World::ALL {
            for bias in [false, true] {
                let options = PairOptions {
                    bias,
                    ..PairOptions::default()
                };
                for pair in world.pairs(5000, 1, &options) {
                    assert_eq!(holed(&pair), (false, false), "{pair:?}");
                    assert_eq!(held_out(&pair.statement), None, "{pair:?}");
                }
            }
            let w = world.sample_w(2000, 1);
            let n = |which: fn((bool, bool)) -> bool| {
                w.iter().filter(|p| which(holed(p))).count() as f64 / 2000.0
            };
            // Two main sprites in three quarters of pictures; of art each coloured in three quarters, a quarter of colours held out; of shapes
            // a quarter of textures too.
            let expected = match world {
                World::Emoji => 0.2..0.4,
                World::Shapes => 0.6..0.75,
            };
            assert!(expected.contains(&n(|h| h.0)), "{}", n(|h| h.0));
            assert!((0.15..0.35).contains(&n(|h| h.1)), "{}", n(|h| h.1));
        }
    }

    #[test]
    fn biases_are_as_strong_as_the_table_says_and_absent_without() {
        let count = |world: World, bias: bool| {
            let (mut usual, mut attributed, mut company, mut accompanied) = (0.0, 0.0, 0.0, 0.0);
            for pair in world.pairs(
                20_000,
                2,
                &PairOptions {
                    bias,
                    ..PairOptions::default()
                },
            ) {
                for main in pair.scene.main() {
                    let (colour, texture) = (usual_colour(main.noun), usual_texture(main.noun));
                    if colour.is_some() || texture.is_some() {
                        attributed += 1.0;
                        let has = (colour.is_some() && main.colour == colour)
                            || (texture.is_some() && main.texture == texture);
                        usual += f64::from(has);
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
            (usual / attributed, company / accompanied)
        };
        for world in World::ALL {
            let (usual, company) = count(world, true);
            assert!((0.78..0.82).contains(&usual), "{world} {usual}");
            assert!((0.86..0.93).contains(&company), "{world} {company}");
            let (usual, company) = count(world, false);
            let by_chance = match world {
                World::Emoji => [0.16, 0.05],
                World::Shapes => [0.27, 0.15],
            };
            assert!(usual < by_chance[0], "{world} {usual}");
            assert!(company < by_chance[1], "{world} {company}");
        }
    }
}
