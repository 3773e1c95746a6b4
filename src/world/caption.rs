//! Captions: what is said of a picture, and in which words.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::nouns::{Colour, Noun};
use super::prompts::is_test_statement;
use super::scene::{Relation, Scene};
use super::statement::{Object, Statement};

/// No caption has more words than this (`a red car on the left of a blue dog`).
pub const MAX_WORDS: usize = 10;
/// Tokens of the longest caption between its start and its end token; every word is a token.
pub const CONTEXT: usize = MAX_WORDS + 2;

/// What captions may start with. The first is the bare caption.
const OPENINGS: [&str; 3] = ["", "a picture of ", "there is "];

/// How captions are worded and what they leave out; all fields but the last are probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptionMix {
    /// One of two objects is not mentioned.
    pub drop_object: f64,
    /// A colour is not mentioned; for each colour.
    pub drop_colour: f64,
    /// Where two objects are mentioned: their relation is said.
    pub relation: f64,
    /// Where a relation is said: no colour is, as in T2I-CompBench's spatial prompts.
    pub plain_relation: f64,
    /// The caption starts with `a picture of` or `there is`, if it stays within [`MAX_WORDS`].
    pub opening: f64,
    /// Relations are only ever `left` and `top`, never `right` and `bottom`. Text towers learn word order much sooner so.
    pub canonical: bool,
}

impl CaptionMix {
    /// W: mostly all there is to say.
    pub const W: Self = Self {
        drop_object: 0.2,
        drop_colour: 0.15,
        relation: 0.4,
        plain_relation: 0.5,
        opening: 0.15,
        canonical: false,
    };
    /// P_XY: much is left out.
    pub const PAIRS: Self = Self {
        drop_object: 0.25,
        drop_colour: 0.3,
        relation: 0.3,
        ..Self::W
    };
    /// Everything there is to say: both objects, their colours, their relation.
    pub const FULL: Self = Self {
        drop_object: 0.0,
        drop_colour: 0.0,
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

/// A caption that is true of `scene`, and what it says. It never says what a [test prompt](super::test_prompts) says.
pub fn caption(scene: &Scene, mix: &CaptionMix, rng: &mut ChaCha8Rng) -> (String, Statement) {
    caption_unsaid(scene, mix, rng, |_, _| mix.drop_colour)
}

/// [`caption`], with each noun's and colour's own probability of the colour being left out.
pub(super) fn caption_unsaid(
    scene: &Scene,
    mix: &CaptionMix,
    rng: &mut ChaCha8Rng,
    unsaid: impl Fn(Noun, Colour) -> f64,
) -> (String, Statement) {
    const TRIES: usize = 8;
    let statement = (0..TRIES)
        .map(|_| state(scene, mix, rng, &unsaid))
        .find(|statement| !is_test_statement(statement))
        // Only a mix with little choice comes here, in a scene that a test prompt describes: speak of one object.
        .unwrap_or(Statement {
            first: Object {
                noun: scene.first.noun,
                colour: scene.first.colour,
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
    unsaid: &impl Fn(Noun, Colour) -> f64,
) -> Statement {
    let drop_object = rng.random_bool(mix.drop_object);
    let say_relation = rng.random_bool(mix.relation);
    let say_colours = !rng.random_bool(mix.plain_relation);
    let turned = rng.random_bool(0.5);
    let (one, other) = match scene.second {
        Some(second) if turned => (second, Some(scene.first)),
        second => (scene.first, second),
    };
    let other = other.filter(|_| !drop_object);
    let relation = scene.relation().filter(|_| say_relation && other.is_some());
    let mut object = |sprite: super::scene::Sprite| {
        let colour = sprite
            .colour
            .filter(|&colour| !rng.random_bool(unsaid(sprite.noun, colour)));
        Object {
            noun: sprite.noun,
            colour: colour.filter(|_| relation.is_none() || say_colours),
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
    if n_words(opening) + n_words(&text) > MAX_WORDS {
        text
    } else {
        format!("{opening}{text}")
    }
}

/// Every word that captions and test prompts use, sorted.
pub fn vocabulary() -> Vec<&'static str> {
    let mut words: Vec<&str> = OPENINGS
        .iter()
        .flat_map(|opening| opening.split_whitespace())
        .collect();
    words.extend(["a", "and", "on", "the", "of"]);
    words.extend(Relation::ALL.map(Relation::word));
    words.extend(Colour::ALL.map(Colour::word));
    words.extend(Noun::all().map(Noun::word));
    words.sort_unstable();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::pairs::scene_w;
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
        let words = vocabulary();
        assert!(words.is_sorted());
        for mix in MIXES {
            for _ in 0..4000 {
                let scene = scene_w(noise.rng());
                let (text, statement) = caption(&scene, &mix, noise.rng());
                assert_eq!(truth(&statement, &scene), Truth::True, "{text}: {scene:?}");
                assert_eq!(Statement::parse(&text), Some(statement), "{text}");
                assert!(!is_test_statement(&statement), "{text}");
                assert!(text.split(' ').count() <= MAX_WORDS, "{text}");
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
        let mut share = |mix: CaptionMix, is: fn(&Scene, &str, &Statement) -> bool| {
            let n = 4000;
            let hits = (0..n).filter(|_| {
                let scene = scene_w(noise.rng());
                let (text, statement) = caption(&scene, &mix, noise.rng());
                is(&scene, &text, &statement)
            });
            hits.count() as f64 / f64::from(n)
        };
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
