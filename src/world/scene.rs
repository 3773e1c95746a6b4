//! An image's contents, and the image itself.

use super::attributes::{Colour, Relation, Texture};
use super::noun::Noun;
use super::sprite::{Look, stamp};
use super::worlds::World;

/// A thing in an image.
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

    /// The pixels it covers: left, top, width, height. What lies outside the image is not painted.
    pub fn frame(&self) -> [isize; 4] {
        let stamp = stamp(self.look(), self.size);
        let [x, y] = self.centre.map(isize::from);
        let (width, height) = (stamp.width as isize, stamp.height as isize);
        [x - width / 2, y - height / 2, width, height]
    }

    fn paste(&self, image: &mut [u8]) {
        let stamp = stamp(self.look(), self.size);
        let [left, top, width, height] = self.frame();
        let side = self.noun.world().image_size() as isize;
        let (x0, x1) = (left.max(0), (left + width).min(side));
        for y in top.max(0)..(top + height).min(side) {
            let from = ((y - top) * width + x0 - left) as usize;
            let to = ((y * side + x0) * 3) as usize;
            let n = (x1 - x0).max(0) as usize;
            for (pixel, &[r, g, b, a]) in image[to..to + 3 * n]
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

/// What an image shows. The nouns of its sprites are of one world, and all different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The first main sprite.
    pub first: Sprite,
    /// The second one, if there are two.
    pub second: Option<Sprite>,
    /// A small sprite in a corner, behind the others, which no caption mentions.
    pub distractor: Option<Sprite>,
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
        self.distractor.iter().chain(self.main())
    }

    /// Where the first main sprite is, relative to the second, if there is one.
    pub fn relation(&self) -> Option<Relation> {
        Some(Relation::between(self.first.centre, self.second?.centre))
    }

    /// The image: [`World::image_bytes`] bytes, RGB, row by row from the top.
    pub fn render(&self) -> Vec<u8> {
        let mut image = vec![0; self.world().image_bytes()];
        self.render_into(&mut image);
        image
    }

    /// Like [`Scene::render`], into memory that is there.
    ///
    /// # Panics
    /// If `image` has not [`World::image_bytes`] bytes.
    pub fn render_into(&self, image: &mut [u8]) {
        assert_eq!(image.len(), self.world().image_bytes(), "an image's bytes");
        for pixel in image.as_chunks_mut::<3>().0 {
            *pixel = self.background;
        }
        for sprite in self.sprites() {
            sprite.paste(image);
        }
    }

    /// Which sprite covers each pixel, row by row: the number of the topmost of [`Scene::sprites`] that covers at least half of it, or `None` for
    /// the ground.
    pub fn cover(&self) -> Vec<Option<usize>> {
        let side = self.world().image_size();
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

    /// The same image with both main sprites brought into another relation, with as little change as that takes: the two change
    /// places, or the image's two axes do. An image of one sprite stays as it is.
    pub(super) fn with_relation(mut self, relation: Relation) -> Self {
        let Some(mut now) = self.relation() else {
            return self;
        };
        if now.is_horizontal() != relation.is_horizontal() {
            self.first.centre.reverse();
            for sprite in self.second.iter_mut().chain(&mut self.distractor) {
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
