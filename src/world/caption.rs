//! Captions: what they say of an image, and in which words.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::attributes::{Colour, Relation, Texture};
use super::noun::Noun;
use super::prompts::is_test_statement;
use super::scene::{Scene, Sprite};
use super::statement::{Object, Statement};
use super::worlds::World;

/// What captions may start with. The first is the bare caption.
const OPENINGS: [&str; 3] = ["", "a picture of ", "there is "];

/// How captions are worded and what they leave out; all fields but the last are probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptionMix {
    /// One of two objects is not mentioned.
    pub drop_object: f64,
    /// A colour is not mentioned; for each colour.
    pub drop_colour: f64,
    /// A texture is not mentioned; for each texture.
    pub drop_texture: f64,
    /// Where sprites have textures: the caption names colours only, or, as often, textures only.
    pub one_aspect: f64,
    /// Where two objects are mentioned: their relation is said.
    pub relation: f64,
    /// Where a relation is said: no colour or texture is, as in T2I-CompBench's spatial prompts.
    pub plain_relation: f64,
    /// The caption starts with `a picture of` or `there is`, if it stays within [`World::max_words`].
    pub opening: f64,
    /// Relations are only ever `left` and `top`, never `right` and `bottom`. Text towers then learn word order much sooner.
    pub canonical: bool,
}

impl CaptionMix {
    /// W: mostly all there is to say.
    pub const W: Self = Self {
        drop_object: 0.2,
        drop_colour: 0.15,
        drop_texture: 0.15,
        one_aspect: 0.6,
        relation: 0.4,
        plain_relation: 0.5,
        opening: 0.15,
        canonical: false,
    };
    /// P_XY: much is left out.
    pub const PAIRS: Self = Self {
        drop_object: 0.25,
        drop_colour: 0.3,
        drop_texture: 0.3,
        relation: 0.3,
        ..Self::W
    };
    /// Everything there is to say: both objects, their colours and textures, their relation.
    pub const FULL: Self = Self {
        drop_object: 0.0,
        drop_colour: 0.0,
        drop_texture: 0.0,
        one_aspect: 0.0,
        relation: 1.0,
        plain_relation: 0.0,
        opening: 0.0,
        canonical: false,
    };

    /// The same mix with relations in canonical order only.
    pub const fn in_canonical_order(self) -> Self {
        Self {
            canonical: true,
            ..self
        }
    }
}

/// A caption that is true of `scene`, and what it says. It never says what a [test prompt](World::test_prompts) says.
pub fn caption(scene: &Scene, mix: &CaptionMix, rng: &mut ChaCha8Rng) -> (String, Statement) {
    caption_unsaid(scene, mix, rng, |_| [mix.drop_colour, mix.drop_texture])
}

/// [`caption`], with each sprite's own probabilities of its colour and of its texture being left out.
pub(super) fn caption_unsaid(
    scene: &Scene,
    mix: &CaptionMix,
    rng: &mut ChaCha8Rng,
    unsaid: impl Fn(&Sprite) -> [f64; 2],
) -> (String, Statement) {
    const TRIES: usize = 8;
    let statement = (0..TRIES)
        .map(|_| state(scene, mix, rng, &unsaid))
        .find(|statement| !is_test_statement(statement))
        // Only a mix with little choice reaches this, in a scene that a test prompt describes: name one object.
        .unwrap_or(Statement {
            first: Object {
                noun: scene.first.noun,
                colour: scene.first.colour,
                texture: scene.first.texture,
            },
            second: None,
            relation: None,
        });
    (phrase(&statement, mix, rng), statement)
}

fn state(
    scene: &Scene,
    mix: &CaptionMix,
    rng: &mut ChaCha8Rng,
    unsaid: &impl Fn(&Sprite) -> [f64; 2],
) -> Statement {
    let drop_object = rng.random_bool(mix.drop_object);
    let say_relation = rng.random_bool(mix.relation);
    let say_attributes = !rng.random_bool(mix.plain_relation);
    let textured = scene.first.texture.is_some();
    let [of_colours, of_textures] = match textured && rng.random_bool(mix.one_aspect) {
        true if rng.random_bool(0.5) => [true, false],
        true => [false, true],
        false => [true, true],
    };
    let turned = rng.random_bool(0.5);
    let (one, other) = match scene.second {
        Some(second) if turned => (second, Some(scene.first)),
        second => (scene.first, second),
    };
    let other = other.filter(|_| !drop_object);
    let relation = scene.relation().filter(|_| say_relation && other.is_some());
    let mut object = |sprite: Sprite| {
        let [colour_unsaid, texture_unsaid] = unsaid(&sprite);
        let colour = sprite.colour.filter(|_| !rng.random_bool(colour_unsaid));
        let texture = sprite.texture.filter(|_| !rng.random_bool(texture_unsaid));
        let may_say = relation.is_none() || say_attributes;
        Object {
            noun: sprite.noun,
            colour: colour.filter(|_| may_say && of_colours),
            texture: texture.filter(|_| may_say && of_textures),
        }
    };
    let relation = relation.map(|r| if turned { r.inverse() } else { r });
    let statement = Statement {
        first: object(one),
        second: other.map(object),
        relation,
    };
    match relation {
        Some(Relation::Right | Relation::Bottom) if mix.canonical => statement.reversed(),
        _ => statement,
    }
}

fn phrase(statement: &Statement, mix: &CaptionMix, rng: &mut ChaCha8Rng) -> String {
    let text = statement.to_string();
    if !rng.random_bool(mix.opening) {
        return text;
    }
    let opening = OPENINGS[rng.random_range(1..OPENINGS.len())];
    let n_words = |text: &str| text.split_whitespace().count();
    if n_words(opening) + n_words(&text) > statement.world().max_words() {
        text
    } else {
        format!("{opening}{text}")
    }
}

impl World {
    /// Every word that captions and test prompts use, sorted.
    pub fn vocabulary(self) -> Vec<&'static str> {
        let mut words: Vec<&str> = OPENINGS
            .iter()
            .flat_map(|opening| opening.split_whitespace())
            .collect();
        words.extend(["a", "and", "on", "the", "of"]);
        words.extend(Relation::ALL.map(Relation::word));
        words.extend(Colour::ALL.map(Colour::word));
        words.extend(self.textures().iter().copied().map(Texture::word));
        words.extend(self.nouns().map(Noun::word));
        words.sort_unstable();
        words.dedup();
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::statement::{Truth, truth};

    const MIXES: [CaptionMix; 4] = [
        CaptionMix::W,
        CaptionMix::PAIRS,
        CaptionMix::FULL,
        CaptionMix::W.in_canonical_order(),
    ];

    #[test]
    fn captions_are_true_and_read_back_and_stay_in_their_vocabulary() {
        let mut noise = Noise::new(4);
        let all = World::ALL.map(|world| MIXES.map(|mix| (world, mix)));
        for (world, mix) in all.into_iter().flatten() {
            let words = world.vocabulary();
            assert!(words.is_sorted());
            for _ in 0..4000 {
                let scene = world.scene_w(noise.rng());
                let (text, statement) = caption(&scene, &mix, noise.rng());
                assert_eq!(truth(&statement, &scene), Truth::True, "{text}: {scene:?}");
                assert_eq!(world.parse(&text), Some(statement), "{text}");
                assert!(!is_test_statement(&statement), "{text}");
                assert!(text.split(' ').count() <= world.max_words(), "{text}");
                assert!(
                    text.split(' ').all(|word| words.binary_search(&word).is_ok()),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn mixes_do_what_they_say() {
        let mut noise = Noise::new(5);
        let mut share_of = |world: World, mix: CaptionMix, is: fn(&Scene, &str, &Statement) -> bool| {
            let n = 4000;
            let hits = (0..n).filter(|_| {
                let scene = world.scene_w(noise.rng());
                let (text, statement) = caption(&scene, &mix, noise.rng());
                is(&scene, &text, &statement)
            });
            hits.count() as f64 / f64::from(n)
        };
        // Prompts about shapes or textures are asked as often as about colours.
        let textures_alone = |scene: &Scene, _: &str, said: &Statement| {
            scene.second.is_some() && said.objects().all(|o| o.colour.is_none() && o.texture.is_some())
        };
        let colours_alone = |scene: &Scene, _: &str, said: &Statement| {
            scene.second.is_some() && said.objects().all(|o| o.colour.is_some() && o.texture.is_none())
        };
        assert!(share_of(World::Shapes, CaptionMix::W, textures_alone) > 0.1);
        assert!(share_of(World::Shapes, CaptionMix::W, colours_alone) > 0.1);
        let mut share = |mix, is| share_of(World::Emoji, mix, is);
        let right = |_: &Scene, text: &str, _: &Statement| text.contains("right") || text.contains("bottom");
        assert!(share(CaptionMix::W, right) > 0.05);
        assert_eq!(share(CaptionMix::W.in_canonical_order(), right), 0.0);
        let says_all = |scene: &Scene, _: &str, said: &Statement| {
            said.objects().count() == scene.main().count()
                && said
                    .objects()
                    .all(|o| scene.main().any(|s| s.noun == o.noun && s.colour == o.colour))
                && said.relation.is_some() == scene.second.is_some()
        };
        assert!(share(CaptionMix::FULL, says_all) > 0.98);
        assert!(share(CaptionMix::W, says_all) > share(CaptionMix::PAIRS, says_all));
    }
}
