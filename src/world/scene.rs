//! A picture's contents, how they are laid out, and the picture itself.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::nouns::{Colour, Noun, Texture};
use super::sprite::{Look, stamp};
use super::tables::{Layout, World};

/// Where the first main sprite stands, seen from the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    Left,
    Right,
    Top,
    Bottom,
}

impl Relation {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Top, Self::Bottom];

    /// Where `first` lies, seen from `second`: along the axis on which they are further apart.
    pub fn between(first: [u8; 2], second: [u8; 2]) -> Self {
        let [x1, y1] = first.map(i16::from);
        let [x2, y2] = second.map(i16::from);
        let (dx, dy) = (x1 - x2, y1 - y2);
        match (dx.abs() > dy.abs(), dx < 0, dy < 0) {
            (true, true, _) => Self::Left,
            (true, false, _) => Self::Right,
            (false, _, true) => Self::Top,
            (false, _, false) => Self::Bottom,
        }
    }

    /// The same fact seen from the other object.
    pub fn inverse(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Top => Self::Bottom,
            Self::Bottom => Self::Top,
        }
    }

    /// Whether it speaks of left and right.
    pub fn is_horizontal(self) -> bool {
        matches!(self, Self::Left | Self::Right)
    }

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        ["left", "right", "top", "bottom"][self as usize]
    }

    /// The relation that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.word() == word)
    }
}

/// A thing in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sprite {
    /// What it is.
    pub noun: Noun,
    /// Its colour; `None` is the art's own colouring, about which captions that name a colour are neither true nor false.
    pub colour: Option<Colour>,
    /// Its texture; `None` in worlds without textures.
    pub texture: Option<Texture>,
    /// Its longer side, in pixels.
    pub size: u8,
    /// Its middle: x from the left, y from the top, in pixels.
    pub centre: [u8; 2],
}

impl Sprite {
    pub(super) fn look(&self) -> Look {
        Look {
            noun: self.noun,
            colour: self.colour,
            texture: self.texture,
        }
    }

    /// The pixels it covers: left, top, width, height. What lies outside the picture is not painted.
    pub fn frame(&self) -> [isize; 4] {
        let stamp = stamp(self.look(), self.size);
        let [x, y] = self.centre.map(isize::from);
        let (width, height) = (stamp.width as isize, stamp.height as isize);
        [x - width / 2, y - height / 2, width, height]
    }

    fn paste(&self, picture: &mut [u8]) {
        let stamp = stamp(self.look(), self.size);
        let [left, top, width, height] = self.frame();
        let side = self.noun.world().picture_size() as isize;
        let (x0, x1) = (left.max(0), (left + width).min(side));
        for y in top.max(0)..(top + height).min(side) {
            let from = ((y - top) * width + x0 - left) as usize;
            let to = ((y * side + x0) * 3) as usize;
            let n = (x1 - x0).max(0) as usize;
            for (pixel, &[r, g, b, a]) in picture[to..to + 3 * n]
                .as_chunks_mut::<3>()
                .0
                .iter_mut()
                .zip(&stamp.rgba[from..from + n])
            {
                let through = 255 - u32::from(a);
                for (under, over) in pixel.iter_mut().zip([r, g, b]) {
                    *under = (u32::from(over) + (u32::from(*under) * through + 127) / 255).min(255) as u8;
                }
            }
        }
    }
}

/// What a picture shows. The nouns of its sprites are of one world, and all different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The first main sprite.
    pub first: Sprite,
    /// The second one, if there are two.
    pub second: Option<Sprite>,
    /// A small sprite in a corner, behind the others, which no caption mentions.
    pub bystander: Option<Sprite>,
    /// The ground's colour, RGB.
    pub background: [u8; 3],
}

impl Scene {
    /// The world it belongs to.
    pub fn world(&self) -> World {
        self.first.noun.world()
    }

    /// The sprites that captions speak about.
    pub fn main(&self) -> impl Iterator<Item = &Sprite> {
        std::iter::once(&self.first).chain(&self.second)
    }

    /// All sprites, in the order in which they are painted.
    pub fn sprites(&self) -> impl Iterator<Item = &Sprite> {
        self.bystander.iter().chain(self.main())
    }

    /// Where the first main sprite stands, seen from the second, if there is one.
    pub fn relation(&self) -> Option<Relation> {
        Some(Relation::between(self.first.centre, self.second?.centre))
    }

    /// The picture: [`World::picture_bytes`] bytes, RGB, row by row from the top.
    pub fn render(&self) -> Vec<u8> {
        let mut picture = vec![0; self.world().picture_bytes()];
        self.render_into(&mut picture);
        picture
    }

    /// Like [`Scene::render`], into memory that is there.
    ///
    /// # Panics
    /// If `picture` has not [`World::picture_bytes`] bytes.
    pub fn render_into(&self, picture: &mut [u8]) {
        assert_eq!(picture.len(), self.world().picture_bytes(), "a picture's bytes");
        for pixel in picture.as_chunks_mut::<3>().0 {
            *pixel = self.background;
        }
        for sprite in self.sprites() {
            sprite.paste(picture);
        }
    }

    /// Whose each pixel is, row by row: the number of the topmost of [`Scene::sprites`] that covers at least half of it, or `None` for
    /// the ground.
    pub fn cover(&self) -> Vec<Option<usize>> {
        let side = self.world().picture_size();
        let mut cover = vec![None; side * side];
        let inside = 0..side as isize;
        for (number, sprite) in self.sprites().enumerate() {
            let stamp = stamp(sprite.look(), sprite.size);
            let [left, top, width, _] = sprite.frame();
            for (i, [.., alpha]) in (0_isize..).zip(&stamp.rgba) {
                let (x, y) = (left + i % width, top + i / width);
                if *alpha > 127 && inside.contains(&x) && inside.contains(&y) {
                    cover[y as usize * side + x as usize] = Some(number);
                }
            }
        }
        cover
    }

    /// The same picture with both main sprites brought into another relation, with as little change as that takes: the two change
    /// places, or the picture's two axes do. A picture of one sprite stays as it is.
    pub(super) fn with_relation(mut self, relation: Relation) -> Self {
        let Some(mut now) = self.relation() else {
            return self;
        };
        if now.is_horizontal() != relation.is_horizontal() {
            self.first.centre.reverse();
            for sprite in self.second.iter_mut().chain(&mut self.bystander) {
                sprite.centre.reverse();
            }
            now = match now {
                Relation::Left => Relation::Top,
                Relation::Right => Relation::Bottom,
                Relation::Top => Relation::Left,
                Relation::Bottom => Relation::Right,
            };
        }
        if let Some(second) = &mut self.second
            && now != relation
        {
            std::mem::swap(&mut self.first.centre, &mut second.centre);
        }
        self
    }
}

/// What to draw, before chance decides where exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// The first main sprite.
    pub first: Look,
    /// The other one, and how the first stands to it.
    pub second: Option<(Look, Relation)>,
    /// What stands in a corner.
    pub bystander: Option<Look>,
}

impl Plan {
    /// Lays the plan out, with sizes, places and ground by chance.
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
            bystander: None,
            background,
        };
        if let Some(bystander) = self.bystander {
            scene.bystander = Some(sprite(
                bystander,
                world.bystander_size(),
                free_corner(&scene, rng),
            ));
        }
        scene
    }
}

/// The middle of a corner where a bystander is covered as little as can be; by chance if several are alike.
pub(super) fn free_corner(scene: &Scene, rng: &mut ChaCha8Rng) -> [u8; 2] {
    let world = scene.world();
    let size = world.bystander_size();
    let near = size / 2;
    let far = world.picture_size() as u8 - (size - near);
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
            bystander: Some(look(2, own)),
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
                    let side = world.picture_size() as isize;
                    assert!(
                        left >= 0 && top >= 0 && left + width <= side && top + height <= side,
                        "{sprite:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn cover_is_where_the_picture_changes_with_a_sprite() {
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
    fn a_picture_is_its_ground_where_nothing_stands() {
        let mut noise = Noise::new(3);
        for world in World::ALL {
            let scene = Plan {
                second: None,
                bystander: None,
                ..plan(world, Relation::Left)
            }
            .scene(noise.rng());
            let picture = scene.render();
            let side = world.picture_size();
            assert_eq!(&picture[..3], &scene.background);
            assert_ne!(
                &picture[(side / 2 * side + side / 2) * 3..][..3],
                &scene.background
            );
        }
    }
}
