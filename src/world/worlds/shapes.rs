//! The `shapes` world: six plain shapes, each in a colour and a texture, drawn by formulas. It adds textures and shapes to what can be asked.

use crate::world::attributes::{Colour, Texture};
use crate::world::categories::{Category, Split};
use crate::world::layer::Layer;
use crate::world::tables::{Layout, SmallModels, Tables};

pub(super) static TABLES: Tables = Tables {
    name: "shapes",
    image_size: 32,
    main_sizes: 13..=15,
    distractor_size: 9,
    layout: Layout {
        alone: 12..=20,
        near: 7..=9,
        far: 23..=24,
        across: 14..=18,
    },
    nouns: &["circle", "square", "triangle", "star", "cross", "heart"],
    textures: &Texture::ALL,
    natural: 0.0,
    natural_distractor: 0.0,
    usual_colours: &[("circle", Colour::Blue)],
    usual_textures: &[("square", Texture::Dotted)],
    spurious_distractors: &[("star", "triangle"), ("cross", "heart")],
    // `a red striped circle on the left of a blue dotted square`
    max_words: 12,
    compbench: &[],
    n_prompts,
    coloured_relations: true,
    example: "a red striped circle on the left of a blue square",
    credits: "drawn by the program",
    small_models: SmallModels {
        clip_steps: 2600,
        clip_image_size: 32,
        decoder_steps: 6000,
        decoder_cycles: 1,
        decoder_pool: 1,
        decoder_threshold: 0.562,
    },
    draw,
};

fn n_prompts(category: Category, split: Split) -> usize {
    match (category, split) {
        (Category::Colour, _) => 60,
        (Category::Texture, _) => 40,
        (Category::Shape, _) => 30,
        (Category::Spatial, Split::Seen | Split::Unseen) => 60,
        (Category::Spatial, Split::CounterBias) => 0,
    }
}

/// Points of a pixel along a side at which the outline is looked up.
const SUBPIXELS: usize = 8;

fn draw(noun: usize, colour: Option<Colour>, texture: Option<Texture>, size: usize) -> Layer {
    let base = colour.map_or([0.5; 3], Colour::shade);
    let second = colour.map_or([0.25; 3], second_tone);
    let texture = texture.unwrap_or(Texture::Solid);
    let inside = OUTLINES[noun];
    let middle = (size / 2) as isize;
    let rgba = (0..size * size).map(|pixel| {
        let (x, y) = (pixel % size, pixel / size);
        let at = |pixel: usize, i: usize| {
            let step = (pixel * SUBPIXELS + i) as f32 + 0.5;
            2.0 * step / (size * SUBPIXELS) as f32 - 1.0
        };
        let hits = (0..SUBPIXELS * SUBPIXELS)
            .filter(|i| inside(at(x, i % SUBPIXELS), at(y, i / SUBPIXELS)))
            .count();
        let alpha = hits as f32 / (SUBPIXELS * SUBPIXELS) as f32;
        let tone = if is_second(texture, x as isize - middle, y as isize - middle) {
            second
        } else {
            base
        };
        let [r, g, b] = tone.map(|v| v * alpha);
        [r, g, b, alpha]
    });
    Layer {
        width: size,
        height: size,
        rgba: rgba.collect(),
    }
}

/// The other tone of a texture: lighter, of light colours darker. Neither is far from its colour or near to the ground.
fn second_tone(colour: Colour) -> [f32; 3] {
    let base = colour.shade();
    match colour {
        Colour::Yellow | Colour::Pink => base.map(|v| 0.6 * v),
        Colour::White => base.map(|v| 0.62 * v),
        Colour::Black => base.map(|v| v + 0.3 * (1.0 - v)),
        _ => base.map(|v| v + 0.5 * (1.0 - v)),
    }
}

/// Whether a pixel, seen from the middle, has the second tone. Patterns have the same size on sprites of all sizes.
fn is_second(texture: Texture, x: isize, y: isize) -> bool {
    let lower = |v: isize, half: isize| v.rem_euclid(2 * half) < half;
    match texture {
        Texture::Solid => false,
        Texture::Striped => lower(y, 3),
        // Dots of 3 x 3 pixels, one of them in the middle.
        Texture::Dotted => (x + 1).rem_euclid(5) < 3 && (y + 1).rem_euclid(5) < 3,
        Texture::Checked => lower(x, 4) != lower(y, 4),
    }
}

/// Whether a point is inside, x to the right and y down, both -1 to 1; in the order of the nouns.
const OUTLINES: [fn(f32, f32) -> bool; 6] = [
    |x, y| x * x + y * y <= 1.0,
    |_, _| true,
    |x, y| 2.0 * x.abs() <= y + 1.0,
    |x, y| is_in_star(x, y),
    |x, y| x.abs().min(y.abs()) <= 0.36,
    |x, y| {
        // (x^2 + y^2 - 1)^3 < x^2 y^3, stretched to the square
        let (x, y) = (1.14 * x, 0.13 - 1.1 * y);
        let off = x * x + y * y - 1.0;
        off * off * off <= x * x * y * y * y
    },
];

/// A star of five points. Its corners lie at multiples of 36 degrees, every other one at .45 of the outer radius.
fn is_in_star(x: f32, y: f32) -> bool {
    /// (sine, cosine) of 0, 36, 72, 108, 144 and 180 degrees; the star is the same on both sides.
    const TURNS: [(f32, f32); 6] = [
        (0.0, 1.0),
        (0.587_785_3, 0.809_017),
        (0.951_056_5, 0.309_017),
        (0.951_056_5, -0.309_017),
        (0.587_785_3, -0.809_017),
        (0.0, -1.0),
    ];
    // The box of a star is a little wider than high; its middle lies below the corners' centre.
    let (x, y) = (0.951_056_5 * x.abs(), 0.905 * y + 0.095);
    let corner = |i: usize| {
        let radius = if i.is_multiple_of(2) { 1.0 } else { 0.45 };
        (radius * TURNS[i].0, -radius * TURNS[i].1)
    };
    // Inside if it is on the inner side of the edge in whose sector it lies.
    (0..5).any(|i| {
        let ((ax, ay), (bx, by)) = (corner(i), corner(i + 1));
        let cross = |px: f32, py: f32, qx: f32, qy: f32| px * qy - py * qx;
        cross(ax, ay, x, y) >= 0.0
            && cross(x, y, bx, by) >= 0.0
            && cross(bx - ax, by - ay, x - ax, y - ay) >= 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use crate::world::sprite::{Look, stamp};

    /// Both tones are there in every texture but one, and no two looks of a noun are alike.
    #[test]
    fn textures_are_what_tells_sprites_of_one_colour_apart() {
        for noun in World::Shapes.nouns() {
            for size in [9, 13, 14, 15] {
                let tones = |texture| {
                    let look = Look {
                        noun,
                        colour: Some(Colour::Red),
                        texture: Some(texture),
                    };
                    let stamp = stamp(look, size);
                    let whole = stamp.rgba.iter().filter(|p| p[3] == 255);
                    let (light, dark) = whole.partition::<Vec<&[u8; 4]>, _>(|p| p[1] > 90);
                    (light.len(), dark.len(), stamp.rgba.clone())
                };
                let all = Texture::ALL.map(tones);
                assert_eq!(all[0].0, 0);
                for (texture, (light, dark, _)) in Texture::ALL.into_iter().zip(&all).skip(1) {
                    assert!(*light >= 3 && *dark >= 3, "{} {texture:?} {size}", noun.word());
                }
                for (i, a) in all.iter().enumerate() {
                    assert!(all[..i].iter().all(|b| b.2 != a.2), "{} {size}", noun.word());
                }
            }
        }
    }
}
