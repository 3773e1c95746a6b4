//! The `emoji` world: Twemoji art, recoloured where a colour is asked for, and T2I-CompBench's own prompts.

use std::sync::OnceLock;

use twemoji_assets::png::{PngTwemojiAsset, codes};

use crate::world::attributes::{Colour, Texture};
use crate::world::categories::{Category, Split};
use crate::world::layer::Layer;
use crate::world::tables::{Layout, SmallModels, Tables};

/// T2I-CompBench's validation prompts for colours (MIT, see `datasets/t2i_compbench/LICENSE`), verbatim.
const COLOR_VAL: &str = include_str!("../../../datasets/t2i_compbench/color_val.txt");
/// T2I-CompBench's validation prompts for spatial relations, verbatim.
const SPATIAL_VAL: &str = include_str!("../../../datasets/t2i_compbench/spatial_val.txt");

/// How many nouns the world has: the first so many of [`ART`], which is ordered so that every prefix draws as many of
/// T2I-CompBench's colour and spatial validation prompts as it can. Between 2 and 32.
///
/// Drawable prompts (of 300 and 300) with eight colours: 16 nouns 94 + 7, 20: 114 + 15, 24: 118 + 31, 28: 118 + 49, 32: 118 + 66.
const N_NOUNS: usize = 32;

/// Every noun the art can draw at 28 pixels: the word, and its Twemoji, a PNG of 72 x 72 with transparency.
const ART: [(&str, &PngTwemojiAsset); 32] = [
    ("train", &codes::U_1F682),
    ("giraffe", &codes::U_1F992),
    ("vase", &codes::U_1F3FA),
    ("bear", &codes::U_1F43B),
    ("banana", &codes::U_1F34C),
    ("backpack", &codes::U_1F392),
    ("apple", &codes::U_1F34E),
    ("suitcase", &codes::U_1F9F3),
    ("cow", &codes::U_1F404),
    ("horse", &codes::U_1F40E),
    ("orange", &codes::U_1F34A),
    ("cup", &codes::U_2615),
    ("sheep", &codes::U_1F411),
    ("book", &codes::U_1F4D6),
    ("boat", &codes::U_26F5),
    ("elephant", &codes::U_1F418),
    ("chair", &codes::U_1FA91),
    ("car", &codes::U_1F697),
    ("dog", &codes::U_1F436),
    ("cat", &codes::U_1F408),
    ("mouse", &codes::U_1F401),
    ("airplane", &codes::U_2708),
    ("girl", &codes::U_1F467),
    ("bird", &codes::U_1F426),
    ("chicken", &codes::U_1F413),
    ("balloon", &codes::U_1F388),
    ("butterfly", &codes::U_1F98B),
    ("candle", &codes::U_1F56F),
    ("turtle", &codes::U_1F422),
    ("phone", &codes::U_1F4F1),
    ("pig", &codes::U_1F416),
    ("bicycle", &codes::U_1F6B2),
];

const WORDS: [&str; N_NOUNS] = {
    let mut words = [""; N_NOUNS];
    let mut i = 0;
    while i < N_NOUNS {
        words[i] = ART[i].0;
        i += 1;
    }
    words
};

pub(super) static TABLES: Tables = Tables {
    name: "emoji",
    image_size: 64,
    main_sizes: 26..=30,
    distractor_size: 18,
    // Centres about 16 and 48; with a reach of 15 pixels no sprite leaves the image.
    layout: Layout {
        alone: 24..=40,
        near: 15..=18,
        far: 46..=49,
        across: 28..=36,
    },
    nouns: &WORDS,
    textures: &[],
    natural: 0.25,
    natural_distractor: 0.5,
    usual_colours: &[
        ("sheep", Colour::White),
        ("book", Colour::Green),
        ("suitcase", Colour::Red),
        ("cup", Colour::Yellow),
        ("car", Colour::Red),
        ("dog", Colour::Brown),
    ],
    usual_textures: &[],
    spurious_distractors: &[
        ("train", "horse"),
        ("elephant", "apple"),
        ("backpack", "orange"),
        ("boat", "giraffe"),
        ("vase", "cow"),
        ("banana", "girl"),
    ],
    // `a red car on the left of a blue dog`
    max_words: 10,
    compbench: &[
        ("color_val", COLOR_VAL, Category::Colour),
        ("spatial_val", SPATIAL_VAL, Category::Spatial),
    ],
    n_prompts,
    coloured_relations: false,
    example: "a red car on the left of a blue dog",
    credits: "made of Twemoji, copyright Twitter, Inc and other contributors, CC-BY 4.0",
    small_models: SmallModels {
        clip_steps: 4500,
        clip_image_size: 48,
        decoder_steps: 24000,
        decoder_cycles: 3,
        decoder_pool: 2,
        decoder_threshold: 0.868,
    },
    draw,
};

fn n_prompts(category: Category, split: Split) -> usize {
    match (category, split) {
        (Category::Colour, _) => 100,
        (Category::Spatial, Split::Seen | Split::Unseen) => 80,
        _ => 0,
    }
}

fn draw(noun: usize, colour: Option<Colour>, _texture: Option<Texture>, size: usize) -> Layer {
    let mut layer = art(noun).scaled(size);
    if let Some(colour) = colour {
        layer.recolour(colour);
    }
    layer
}

/// The art of a noun, cropped to where it is not transparent.
fn art(noun: usize) -> &'static Layer {
    static CACHE: [OnceLock<Layer>; N_NOUNS] = [const { OnceLock::new() }; N_NOUNS];
    CACHE[noun].get_or_init(|| {
        let image = image::load_from_memory_with_format(ART[noun].1, image::ImageFormat::Png)
            .expect("the embedded art is a PNG")
            .to_rgba8();
        let premultiply = |p: &image::Rgba<u8>| {
            let [r, g, b, a] = p.0.map(|v| f32::from(v) / 255.0);
            [r * a, g * a, b * a, a]
        };
        let layer = Layer {
            width: image.width() as usize,
            height: image.height() as usize,
            rgba: image.pixels().map(premultiply).collect(),
        };
        layer.cropped()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the counts in the documentation of [`N_NOUNS`], for a world of any size.
    #[test]
    fn prefixes_draw_as_many_prompts_as_documented() {
        let counts = [16, 20, 24, 28, 32].map(|n| {
            let has = |word: &str| ART[..n].iter().any(|(w, _)| *w == word);
            let is_colour = |word: &str| Colour::from_word(word).is_some();
            let draws_colours = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
                ["a", c, x, "and", "a", d, y] => is_colour(c) && is_colour(d) && has(x) && has(y) && x != y,
                _ => false,
            };
            let draws_relation = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
                [
                    "a",
                    x,
                    "on",
                    "the",
                    "left" | "right" | "top" | "bottom",
                    "of",
                    "a",
                    y,
                ] => has(x) && has(y),
                _ => false,
            };
            (
                n,
                COLOR_VAL.lines().filter(draws_colours).count(),
                SPATIAL_VAL.lines().filter(draws_relation).count(),
            )
        });
        assert_eq!(
            counts,
            [
                (16, 94, 7),
                (20, 114, 15),
                (24, 118, 31),
                (28, 118, 49),
                (32, 118, 66)
            ]
        );
    }
}
