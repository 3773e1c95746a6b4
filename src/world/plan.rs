//! From what an image is to show to a scene: sizes, positions and ground.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::attributes::Relation;
use super::scene::{Scene, Sprite};
use super::sprite::Look;
use super::tables::Layout;

/// What to draw, before sizes and positions are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// The first main sprite.
    pub first: Look,
    /// The other one, and how the first stands to it.
    pub second: Option<(Look, Relation)>,
    /// The distractor, which stands in a corner.
    pub distractor: Option<Look>,
}

impl Plan {
    /// Lays the plan out, with random sizes, positions and ground.
    pub(super) fn scene(self, rng: &mut ChaCha8Rng) -> Scene {
        let world = self.first.noun.world();
        let Layout {
            alone,
            near,
            far,
            across,
        } = &world.tables().layout;
        let size = |rng: &mut ChaCha8Rng| rng.random_range(world.main_sizes());
        let sprite = |look: Look, size, centre| Sprite {
            noun: look.noun,
            colour: look.colour,
            texture: look.texture,
            size,
            centre,
        };
        let (first, second) = match self.second {
            None => {
                let centre = [rng.random_range(alone.clone()), rng.random_range(alone.clone())];
                (sprite(self.first, size(rng), centre), None)
            }
            Some((other, relation)) => {
                let near = [rng.random_range(near.clone()), rng.random_range(across.clone())];
                let far = [rng.random_range(far.clone()), rng.random_range(across.clone())];
                let (mut one, mut two) = match relation {
                    Relation::Left | Relation::Top => (near, far),
                    Relation::Right | Relation::Bottom => (far, near),
                };
                if !relation.is_horizontal() {
                    one.reverse();
                    two.reverse();
                }
                (
                    sprite(self.first, size(rng), one),
                    Some(sprite(other, size(rng), two)),
                )
            }
        };
        let grey = rng.random_range(179..=209_u8); // .70 to .82
        let background = std::array::from_fn(|_| grey - 5 + rng.random_range(0..=10_u8));
        let mut scene = Scene {
            first,
            second,
            distractor: None,
            background,
        };
        if let Some(distractor) = self.distractor {
            scene.distractor = Some(sprite(
                distractor,
                world.distractor_size(),
                free_corner(&scene, rng),
            ));
        }
        scene
    }
}

/// The middle of a corner where a distractor is covered as little as can be; a random one of several equal ones.
pub(super) fn free_corner(scene: &Scene, rng: &mut ChaCha8Rng) -> [u8; 2] {
    let world = scene.world();
    let size = world.distractor_size();
    let near = size / 2;
    let far = world.image_size() as u8 - (size - near);
    let covered = |centre: [u8; 2]| -> i32 {
        let overlap = |sprite: &Sprite, axis: usize| {
            let reach = i32::from(sprite.size / 2 + near);
            (reach - i32::from(sprite.centre[axis].abs_diff(centre[axis]))).max(0)
        };
        scene
            .main()
            .map(|sprite| overlap(sprite, 0) * overlap(sprite, 1))
            .sum()
    };
    let corners = [[near, near], [far, near], [near, far], [far, far]];
    let few = 10 * (world.unit() * world.unit()) as i32;
    // A few rows behind the square frame of a sprite hide nothing that matters.
    let tolerated = corners.map(covered).into_iter().min().unwrap_or(0).max(few);
    let free: Vec<[u8; 2]> = corners.into_iter().filter(|&c| covered(c) <= tolerated).collect();
    free[rng.random_range(0..free.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::{Colour, Noun, World};

    fn plan(world: World, relation: Relation) -> Plan {
        let look = |index, colour| Look {
            noun: world.noun(index).expect("a noun"),
            colour,
            texture: world.textures().get(index).copied(),
        };
        let own = (!world.has_own_colours()).then_some(Colour::Green);
        Plan {
            first: look(0, Some(Colour::Red)),
            second: Some((look(1, Some(Colour::Blue)), relation)),
            distractor: Some(look(2, own)),
        }
    }

    /// Every world in every relation.
    fn all() -> impl Iterator<Item = (World, Relation)> {
        World::ALL
            .into_iter()
            .flat_map(|world| Relation::ALL.map(|relation| (world, relation)))
    }

    #[test]
    fn a_plan_keeps_its_relation_and_every_relation_is_reached_from_every_other() {
        let mut noise = Noise::new(1);
        for (world, from) in all() {
            for _ in 0..50 {
                let scene = plan(world, from).scene(noise.rng());
                assert_eq!(scene.relation(), Some(from));
                for to in Relation::ALL {
                    let moved = scene.with_relation(to);
                    assert_eq!(moved.relation(), Some(to));
                    assert_eq!(moved == scene, from == to);
                    assert_eq!(moved.with_relation(from).relation(), Some(from));
                }
            }
        }
    }

    #[test]
    fn main_sprites_are_whole_and_do_not_hide_each_other() {
        let mut noise = Noise::new(2);
        for (world, from) in all() {
            for _ in 0..200 {
                let scene = plan(world, from).scene(noise.rng());
                let second = scene.second.expect("two sprites");
                let along = usize::from(!from.is_horizontal());
                let gap = scene.first.centre[along].abs_diff(second.centre[along]);
                assert!(gap + 2 >= (scene.first.size + second.size) / 2, "{scene:?}");
                for sprite in scene.sprites() {
                    let [left, top, width, height] = sprite.frame();
                    let side = world.image_size() as isize;
                    assert!(
                        left >= 0 && top >= 0 && left + width <= side && top + height <= side,
                        "{sprite:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn cover_is_where_the_image_changes_with_a_sprite() {
        let mut noise = Noise::new(4);
        for (world, relation) in all() {
            let scene = plan(world, relation).scene(noise.rng());
            let cover = scene.cover();
            let names: Vec<Noun> = scene.sprites().map(|sprite| sprite.noun).collect();
            assert_eq!(names, [2, 0, 1].map(|i| world.noun(i).expect("a noun")));
            let without = Scene {
                second: None,
                ..scene
            };
            let (with, without) = (scene.render(), without.render());
            let changed = |i: usize| with[3 * i..3 * i + 3] != without[3 * i..3 * i + 3];
            let mine: Vec<usize> = (0..cover.len()).filter(|&i| cover[i] == Some(2)).collect();
            assert!(mine.len() > 25 * world.unit() * world.unit(), "{}", mine.len());
            assert!(mine.iter().all(|&i| changed(i)));
            for number in 0..3 {
                assert!(cover.contains(&Some(number)), "sprite {number} is nowhere");
            }
            assert!(
                cover
                    .iter()
                    .zip(with.as_chunks::<3>().0)
                    .all(|(c, pixel)| c.is_some() || {
                        // edges may be covered by less than half
                        pixel
                            .iter()
                            .zip(scene.background)
                            .all(|(a, b)| a.abs_diff(b) < 160)
                    })
            );
        }
    }

    #[test]
    fn an_image_is_its_ground_where_nothing_stands() {
        let mut noise = Noise::new(3);
        for world in World::ALL {
            let scene = Plan {
                second: None,
                distractor: None,
                ..plan(world, Relation::Left)
            }
            .scene(noise.rng());
            let image = scene.render();
            let side = world.image_size();
            assert_eq!(&image[..3], &scene.background);
            assert_ne!(&image[(side / 2 * side + side / 2) * 3..][..3], &scene.background);
        }
    }
}
