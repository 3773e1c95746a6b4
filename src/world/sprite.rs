//! Sprites, drawn once and cached.

use std::sync::OnceLock;

use super::attributes::{Colour, Texture};
use super::layer::{Layer, Stamp};
use super::noun::Noun;
use super::worlds::World;

/// A noun with its colour and texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub noun: Noun,
    /// `None`: the art's own colours.
    pub colour: Option<Colour>,
    /// `None` in worlds without textures.
    pub texture: Option<Texture>,
}

impl Look {
    /// All looks of a world, by number.
    pub(super) fn all(world: World) -> impl Iterator<Item = Self> {
        let own = world.has_own_colours().then_some(None);
        let colours: Vec<Option<Colour>> = own.into_iter().chain(Colour::ALL.map(Some)).collect();
        let textures: Vec<Option<Texture>> = match world.textures() {
            [] => vec![None],
            textures => textures.iter().copied().map(Some).collect(),
        };
        world.nouns().flat_map(move |noun| {
            let textures = textures.clone();
            let paints = colours
                .clone()
                .into_iter()
                .flat_map(move |colour| textures.clone().into_iter().map(move |texture| (colour, texture)));
            paints.map(move |(colour, texture)| Self {
                noun,
                colour,
                texture,
            })
        })
    }

    fn draw(self, size: u8) -> Layer {
        (self.noun.world().tables().draw)(self.noun.index(), self.colour, self.texture, usize::from(size))
    }

    /// Its number.
    ///
    /// # Panics
    /// If the world does not have it: art in its own colours in a world without such art.
    pub(super) fn index(self) -> usize {
        let world = self.noun.world();
        let own = usize::from(world.has_own_colours());
        let colour = match self.colour {
            Some(colour) => own + colour.index(),
            None => {
                assert_eq!(own, 1, "a {} without a colour", self.noun.word());
                0
            }
        };
        let n_textures = world.textures().len().max(1);
        (self.noun.index() * (own + Colour::ALL.len()) + colour) * n_textures
            + self.texture.map_or(0, Texture::index)
    }
}

/// The sizes that sprites of a world have, the distractors' first.
pub(super) fn sizes(world: World) -> impl Iterator<Item = u8> + Clone {
    std::iter::once(world.distractor_size()).chain(world.main_sizes())
}

/// A sprite, its longer side `size` pixels.
///
/// # Panics
/// If `size` is none of the world's sizes, or the world does not have this look.
pub(super) fn stamp(look: Look, size: u8) -> &'static Stamp {
    static CACHE: [OnceLock<Vec<OnceLock<Stamp>>>; World::ALL.len()] =
        [const { OnceLock::new() }; World::ALL.len()];
    let world = look.noun.world();
    let scale = sizes(world).position(|s| s == size);
    let scale = scale.unwrap_or_else(|| {
        let known: Vec<u8> = sizes(world).collect();
        panic!("a sprite of {size} pixels, expected one of {known:?}")
    });
    let n_sizes = sizes(world).count();
    let stamps = CACHE[world as usize].get_or_init(|| {
        (0..Look::all(world).count() * n_sizes)
            .map(|_| OnceLock::new())
            .collect()
    });
    stamps[look.index() * n_sizes + scale].get_or_init(|| look.draw(size).stamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sprite_has_the_size_and_the_colour_asked_for() {
        for world in World::ALL {
            for (number, look) in Look::all(world).enumerate() {
                assert_eq!(look.index(), number);
                let Some(colour) = look.colour else { continue };
                let size = *world.main_sizes().start() + 1;
                let stamp = stamp(look, size);
                assert_eq!(stamp.width.max(stamp.height), usize::from(size), "{look:?}");
                let alpha: u32 = stamp.rgba.iter().map(|p| u32::from(p[3])).sum();
                let least = 25 * world.unit() * world.unit();
                assert!(
                    alpha > 255 * least as u32,
                    "{look:?} is nearly invisible: {alpha}"
                );
                let mean: [f32; 3] = std::array::from_fn(|i| {
                    stamp.rgba.iter().map(|p| u32::from(p[i])).sum::<u32>() as f32 / alpha as f32
                });
                let distance = |c: Colour| -> f32 {
                    let off = c.shade().into_iter().zip(mean).map(|(s, m)| (s - m).powi(2));
                    off.sum::<f32>().sqrt()
                };
                let nearest = Colour::ALL
                    .into_iter()
                    .min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
                assert_eq!(nearest, Some(colour), "{look:?} looks otherwise: {mean:?}");
            }
        }
    }
}
