//! The zero-shot question: a forced choice between images, given a caption.

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::embed::{MeasureError, embed_scenes, embed_texts};
use super::thresholds::{Threshold, kinds, of_kind};
use crate::data::encode::FrozenClip;
use crate::eval::forced_choice::{Candidates, Kind, accuracy, forced_choice};
use crate::noise::{Noise, Stream};
use crate::world::{Colour, Noun, Object, Relation, Statement, World, realise, variants};

/// A statement about two objects: colours, a relation, or both, in turn; and in worlds with textures: colours, textures, or both, in turn.
fn statement(world: World, number: usize, noise: &mut Noise) -> Statement {
    let rng = noise.rng();
    let nouns: Vec<Noun> = world.nouns().collect();
    let [first, second] = rng.sample(TwoOf(&nouns));
    let has_textures = !world.textures().is_empty();
    let (of_colours, of_textures) = match number / 3 % 3 {
        _ if !has_textures => (true, false),
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let of_attributes = number % 3 != 1;
    let object = |noun, rng: &mut _| Object {
        noun,
        colour: (of_attributes && of_colours).then(|| *pick(&Colour::ALL, rng)),
        texture: (of_attributes && of_textures).then(|| *pick(world.textures(), rng)),
    };
    let (first, second) = (object(first, rng), object(second, rng));
    let relation = (!number.is_multiple_of(3)).then(|| *pick(&Relation::ALL, rng));
    Statement {
        first,
        second: Some(second),
        relation,
    }
}

fn pick<'a, T>(from: &'a [T], rng: &mut rand_chacha::ChaCha8Rng) -> &'a T {
    from.choose(rng).expect("there is something to pick")
}

/// Two different nouns.
struct TwoOf<'a>(&'a [Noun]);

impl rand::distr::Distribution<[Noun; 2]> for TwoOf<'_> {
    fn sample<R: rand::Rng + ?Sized>(&self, rng: &mut R) -> [Noun; 2] {
        let n = self.0.len();
        let first = rng.random_range(0..n);
        let second = (first + rng.random_range(1..n)) % n;
        [self.0[first], self.0[second]]
    }
}

/// Given the z_y of each of `n` captions, is the true image nearer by cosine than images that are wrong in one way?
pub(super) fn zero_shot(
    world: World,
    clip: &FrozenClip,
    n: usize,
    seed: u64,
) -> Result<Vec<Threshold>, MeasureError> {
    let mut noise = Noise::of(seed, Stream::ZeroShotCaptions);
    let (mut captions, mut truths, mut wrongs, mut labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..n {
        let said = statement(world, number, &mut noise);
        let scene = realise(&said, noise.rng());
        for variant in variants(&scene, &said, noise.rng()) {
            if variant.kind == Kind::Distractor {
                continue; // does not make the caption false
            }
            wrongs.push(variant.scene);
            labels.push((number, variant.kind));
        }
        captions.push(said.to_string());
        truths.push(scene);
    }
    let candidates = Candidates::new(embed_scenes(clip, &truths)?, embed_scenes(clip, &wrongs)?, labels)?;
    let outcomes = forced_choice(&embed_texts(clip, &captions)?, &candidates)?;
    let measured = kinds(world).map(|kind| {
        let correct = outcomes.correct(kind);
        Threshold {
            question: "zero_shot".into(),
            kind: kind.name().into(),
            accuracy: accuracy(&correct).unwrap_or(0.0),
            threshold: of_kind(kind).0,
            n: correct.iter().flatten().count(),
        }
    });
    Ok(measured.collect())
}
