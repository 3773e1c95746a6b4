//! Captioned images: from W, broad and fair, and from P_XY, small, with holes and biases.

use rand_chacha::ChaCha8Rng;

use super::biases::{USUAL_UNSAID, usual_colour, usual_texture};
use super::caption::{CaptionMix, caption, caption_unsaid};
use super::content::{PairOptions, plan, plan_w};
use super::scene::{Scene, Sprite};
use super::statement::Statement;
use super::worlds::World;
use crate::noise::{Noise, Stream};

/// A captioned image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The image.
    pub scene: Scene,
    /// Its caption.
    pub caption: String,
    /// What the caption says.
    pub statement: Statement,
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

    /// An image of W.
    pub fn scene_w(self, rng: &mut ChaCha8Rng) -> Scene {
        plan_w(self, rng).scene(rng)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::world::biases::{
        held_out, held_out_colour, held_out_nouns, held_out_texture, spurious_distractor,
    };
    use crate::world::content::Slice;

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
            assert!(singles.iter().any(|p| p.scene.distractor.is_some()));
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
            // Two main sprites in three quarters of images; of art each coloured in three quarters, a quarter of colours held out; of shapes
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
            let (mut usual, mut attributed, mut companion, mut accompanied) = (0.0, 0.0, 0.0, 0.0);
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
                    if let Some(other) = spurious_distractor(main.noun)
                        && pair.scene.main().all(|m| m.noun != other)
                        && pair
                            .scene
                            .main()
                            .all(|m| m.noun == main.noun || spurious_distractor(m.noun).is_none())
                    {
                        accompanied += 1.0;
                        companion += f64::from(pair.scene.distractor.is_some_and(|b| b.noun == other));
                    }
                }
            }
            (usual / attributed, companion / accompanied)
        };
        for world in World::ALL {
            let (usual, companion) = count(world, true);
            assert!((0.78..0.82).contains(&usual), "{world} {usual}");
            assert!((0.86..0.93).contains(&companion), "{world} {companion}");
            let (usual, companion) = count(world, false);
            let by_chance = match world {
                World::Emoji => [0.16, 0.05],
                World::Shapes => [0.27, 0.15],
            };
            assert!(usual < by_chance[0], "{world} {usual}");
            assert!(companion < by_chance[1], "{world} {companion}");
        }
    }
}
