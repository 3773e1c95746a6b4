//! Sprites: drawn once, then kept.

use std::sync::OnceLock;

use super::nouns::{Colour, Noun, Texture};
use super::tables::World;

/// A noun as it is painted.
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

/// A sprite ready to be pasted.
#[derive(Debug)]
pub(super) struct Stamp {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// `height * width` of red, green, blue, alpha; colours are premultiplied by alpha.
    pub rgba: Vec<[u8; 4]>,
}

/// The sizes that sprites of a world have, the bystanders' first.
pub(super) fn sizes(world: World) -> impl Iterator<Item = u8> + Clone {
    std::iter::once(world.bystander_size()).chain(world.main_sizes())
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
    stamps[look.index() * n_sizes + scale]
        .get_or_init(|| (world.tables().draw)(look, usize::from(size)).stamp())
}

/// A picture with transparency: `height * width` of premultiplied RGBA, 0 to 1.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub width: usize,
    pub height: usize,
    pub rgba: Vec<[f32; 4]>,
}

impl Layer {
    pub(super) fn cropped(&self) -> Self {
        let visible = |x: usize, y: usize| self.rgba[y * self.width + x][3] > 0.0;
        let columns: Vec<usize> = (0..self.width)
            .filter(|&x| (0..self.height).any(|y| visible(x, y)))
            .collect();
        let rows: Vec<usize> = (0..self.height)
            .filter(|&y| (0..self.width).any(|x| visible(x, y)))
            .collect();
        let (x0, y0) = (columns[0], rows[0]);
        let (width, height) = (columns[columns.len() - 1] - x0 + 1, rows[rows.len() - 1] - y0 + 1);
        let rgba = (0..height)
            .flat_map(|y| self.rgba[(y0 + y) * self.width + x0..][..width].iter().copied())
            .collect();
        Self { width, height, rgba }
    }

    /// Area average, so that the longer side has `size` pixels. On premultiplied colours: sharper filters leave dotted edges.
    pub(super) fn scaled(&self, size: usize) -> Self {
        let longer = self.width.max(self.height);
        let to = |side: usize| ((side * size + longer / 2) / longer).max(1);
        let (width, height) = (to(self.width), to(self.height));
        let (columns, rows) = (windows(self.width, width), windows(self.height, height));
        let mut rgba = Vec::with_capacity(width * height);
        for row in &rows {
            for column in &columns {
                let mut sum = [0.0; 4];
                for &(y, wy) in row {
                    for &(x, wx) in column {
                        let pixel = self.rgba[y * self.width + x];
                        for (s, p) in sum.iter_mut().zip(pixel) {
                            *s += wy * wx * p;
                        }
                    }
                }
                rgba.push(sum);
            }
        }
        Self { width, height, rgba }
    }

    /// Paints the layer in `colour`, keeping its shading: each pixel's brightness against the layer's own mean decides how far it
    /// goes from the colour's shade to black or to white. Light and dark art alike come out in the colour asked for, which
    /// changing hue or lightness alone does not give.
    pub(super) fn recolour(&mut self, colour: Colour) {
        let luma = |[r, g, b, _]: [f32; 4]| 0.299 * r + 0.587 * g + 0.114 * b; // premultiplied: luma * alpha
        let (sum, weight) = self
            .rgba
            .iter()
            .fold((0.0, 0.0), |(s, w), &p| (s + luma(p), w + p[3]));
        let mean = sum / weight;
        let shade = colour.shade();
        for pixel in &mut self.rgba {
            let alpha = pixel[3];
            if alpha == 0.0 {
                continue;
            }
            let mut d = (0.85 * (luma(*pixel) / alpha - mean)).clamp(-0.75, 0.75);
            match colour {
                Colour::Black => d = 0.55 * d.max(-0.1),
                Colour::White => d -= 0.06,
                _ => {}
            }
            for (value, base) in pixel.iter_mut().zip(shade) {
                let painted = if d < 0.0 {
                    base * (1.0 + d)
                } else {
                    base + (1.0 - base) * d.min(0.6)
                };
                *value = painted * alpha;
            }
        }
    }

    fn stamp(&self) -> Stamp {
        let byte = |v: f32| (v * 255.0 + 0.5) as u8;
        Stamp {
            width: self.width,
            height: self.height,
            rgba: self.rgba.iter().map(|p| p.map(byte)).collect(),
        }
    }
}

/// For each of `to` equal windows over `from` pixels: the pixels it covers and their shares, which sum to 1.
fn windows(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    // In units of 1/to pixel, so that all borders are whole numbers.
    (0..to)
        .map(|i| {
            let (start, end) = (i * from, (i + 1) * from);
            (start / to..end.div_ceil(to))
                .map(|p| {
                    let covered = end.min((p + 1) * to) - start.max(p * to);
                    (p, covered as f32 / from as f32)
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_share_every_pixel_out() {
        for (from, to) in [(72, 30), (72, 18), (41, 26), (7, 7), (5, 3)] {
            let shares = windows(from, to);
            let mut given = vec![0.0; from];
            for window in &shares {
                let sum: f32 = window.iter().map(|w| w.1).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{from} to {to}: a window sums to {sum}");
                for &(p, share) in window {
                    given[p] += share;
                }
            }
            let each = to as f32 / from as f32;
            assert!(
                given.iter().all(|g| (g - each).abs() < 1e-5),
                "{from} to {to}: {given:?}"
            );
        }
    }

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
