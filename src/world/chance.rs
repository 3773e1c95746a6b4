//! Uniform draws of attributes and nouns.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::attributes::{Colour, Relation, Texture};
use super::noun::Noun;
use super::worlds::World;

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
