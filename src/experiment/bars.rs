//! What a world's small CLIP must be able to tell, or priors trained on it have nothing to be right about.
//!
//! Two questions, four kinds each, five in worlds with textures. *Zero-shot*: given a caption's z_y, is the true picture nearer by cosine than re-rendered ones that are
//! wrong in one way? *Probe*: what does a ridge regression from true z_x read off new pictures?

use std::fmt;

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use crate::data::encode::{EncodeError, FrozenClip};
use crate::eval::forced_choice::{Candidates, Kind, accuracy, forced_choice};
use crate::eval::probe::{Facts, Probe, Question, choices};
use crate::eval::ridge::Alpha;
use crate::eval::{Embeddings, EvalError};
use crate::noise::Noise;
use crate::world::{
    self, Colour, Noun, Object, Relation, Scene, Statement, Texture, VariantKind, World, realise, variants,
};

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarSizes {
    /// Captions of the zero-shot forced choice.
    pub n_captions: usize,
    /// Pictures the probes are fitted on.
    pub n_probe: usize,
    /// New pictures the probes are asked about.
    pub n_asked: usize,
}

impl Default for BarSizes {
    fn default() -> Self {
        Self {
            n_captions: 1200,
            n_probe: 20_000,
            n_asked: 4000,
        }
    }
}

/// One accuracy and the bar it has to reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// `zero_shot` or `probe`.
    pub question: String,
    /// `object`, `colour`, `texture`, `binding` or `relation`.
    pub kind: String,
    /// Share of right answers; of a probe the mean over classes.
    pub accuracy: f64,
    /// What it has to reach.
    pub bar: f64,
    /// Answers.
    pub n: usize,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bars(pub Vec<Bar>);

impl Bars {
    /// Whether every bar is reached.
    pub fn reached(&self) -> bool {
        self.missed().is_none()
    }

    /// The bars that are not reached, in words.
    pub fn missed(&self) -> Option<String> {
        let below = self.0.iter().filter(|bar| bar.accuracy < bar.bar);
        let missed: Vec<String> = below
            .map(|bar| {
                format!(
                    "{} {} is {:.3}, expected at least {}",
                    bar.question, bar.kind, bar.accuracy, bar.bar
                )
            })
            .collect();
        (!missed.is_empty()).then(|| missed.join(", "))
    }
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:<9} {:>8} {:>5} {:>6}",
            "question", "kind", "accuracy", "bar", "n"
        )?;
        for Bar {
            question,
            kind,
            accuracy,
            bar,
            n,
        } in &self.0
        {
            let verdict = if accuracy >= bar { "" } else { "  below the bar" };
            writeln!(
                f,
                "{question:<10} {kind:<9} {accuracy:>8.3} {bar:>5.2} {n:>6}{verdict}"
            )?;
        }
        Ok(())
    }
}

/// What makes a small CLIP a fit stand-in for a real one: zero-shot, probe.
fn bar(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::Object => (0.95, 0.85),
        Kind::Colour => (0.97, 0.85),
        Kind::Texture => (0.95, 0.85),
        Kind::Binding => (0.95, 0.9),
        Kind::Relation | Kind::Bystander => (0.9, 0.9),
    }
}

/// What is asked of a world's CLIP.
fn kinds(world: World) -> impl Iterator<Item = Kind> {
    [
        Kind::Object,
        Kind::Colour,
        Kind::Texture,
        Kind::Binding,
        Kind::Relation,
    ]
    .into_iter()
    .filter(move |kind| *kind != Kind::Texture || !world.textures().is_empty())
}

/// A CLIP cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum BarsError {
    /// It does not encode this world's captions or pictures.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Its embeddings are of no use.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Asks both questions of a world's CLIP. Everything drawn comes from `seed`, on streams that training does not use.
///
/// # Errors
/// [`BarsError`].
pub fn measure(world: World, clip: &FrozenClip, sizes: BarSizes, seed: u64) -> Result<Bars, BarsError> {
    let mut bars = zero_shot(world, clip, sizes.n_captions, seed)?;
    bars.extend(probes(world, clip, sizes, seed)?);
    Ok(Bars(bars))
}

/// z_x of scenes.
///
/// # Errors
/// [`BarsError`].
pub fn embed_scenes(clip: &FrozenClip, scenes: &[Scene]) -> Result<Embeddings, BarsError> {
    Ok(Embeddings::new(
        scenes.len(),
        clip.d_clip(),
        clip.scenes(scenes)?,
    )?)
}

/// z_y of captions.
///
/// # Errors
/// [`BarsError`].
pub fn embed_texts(clip: &FrozenClip, captions: &[String]) -> Result<Embeddings, BarsError> {
    Ok(Embeddings::new(
        captions.len(),
        clip.d_clip(),
        clip.texts(captions)?.z_y().to_vec(),
    )?)
}

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

fn zero_shot(world: World, clip: &FrozenClip, n: usize, seed: u64) -> Result<Vec<Bar>, BarsError> {
    let mut noise = Noise::stream(seed, 1 << 41);
    let (mut captions, mut truths, mut wrongs, mut labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..n {
        let said = statement(world, number, &mut noise);
        let scene = realise(&said, noise.rng());
        for variant in variants(&scene, &said, noise.rng()) {
            let kind = match variant.kind {
                VariantKind::Object => Kind::Object,
                VariantKind::Colour => Kind::Colour,
                VariantKind::Texture => Kind::Texture,
                VariantKind::Binding => Kind::Binding,
                VariantKind::Relation => Kind::Relation,
                VariantKind::Bystander => continue, // does not make the caption false
            };
            wrongs.push(variant.scene);
            labels.push((number, kind));
        }
        captions.push(said.to_string());
        truths.push(scene);
    }
    let candidates = Candidates::new(embed_scenes(clip, &truths)?, embed_scenes(clip, &wrongs)?, labels)?;
    let outcomes = forced_choice(&embed_texts(clip, &captions)?, &candidates)?;
    let bars = kinds(world).map(|kind| {
        let correct = outcomes.correct(kind);
        Bar {
            question: "zero_shot".into(),
            kind: kind.name().into(),
            accuracy: accuracy(&correct).unwrap_or(0.0),
            bar: bar(kind).0,
            n: correct.iter().flatten().count(),
        }
    });
    Ok(bars.collect())
}

/// Facts of a probe: noun i; then (i, colour); then (i, side); then (i, texture).
#[derive(Debug, Clone, Copy)]
struct Numbering {
    n_nouns: usize,
    n_textures: usize,
}

impl Numbering {
    fn new(world: World) -> Self {
        Self {
            n_nouns: world.n_nouns(),
            n_textures: world.textures().len(),
        }
    }

    fn colour(self, noun: Noun, colour: Colour) -> usize {
        self.n_nouns + noun.index() * Colour::ALL.len() + colour.index()
    }

    fn side(self, noun: Noun, side: Relation) -> usize {
        self.n_nouns * (1 + Colour::ALL.len()) + noun.index() * Relation::ALL.len() + side as usize
    }

    fn texture(self, noun: Noun, texture: Texture) -> usize {
        self.n_nouns * (1 + Colour::ALL.len() + Relation::ALL.len())
            + noun.index() * self.n_textures
            + texture.index()
    }

    fn count(self) -> usize {
        self.n_nouns * (1 + Colour::ALL.len() + Relation::ALL.len() + self.n_textures)
    }

    fn of(self, scene: &Scene) -> Vec<usize> {
        let relation = scene.relation();
        let sides = [relation, relation.map(Relation::inverse)];
        let each = scene.main().zip(sides).flat_map(|(sprite, side)| {
            let colour = sprite.colour.map(|c| self.colour(sprite.noun, c));
            [
                Some(sprite.noun.index()),
                colour,
                side.map(|s| self.side(sprite.noun, s)),
                sprite.texture.map(|t| self.texture(sprite.noun, t)),
            ]
        });
        each.flatten().collect()
    }
}

fn probes(world: World, clip: &FrozenClip, sizes: BarSizes, seed: u64) -> Result<Vec<Bar>, BarsError> {
    let scenes: Vec<Scene> = world
        .sample_w(sizes.n_probe + sizes.n_asked, seed + (1 << 42))
        .into_iter()
        .map(|pair| pair.scene)
        .collect();
    let (fitted, asked) = scenes.split_at(sizes.n_probe);
    let numbering = Numbering::new(world);
    let facts = Facts::new(
        numbering.count(),
        fitted.iter().map(|scene| numbering.of(scene)).collect(),
    )?;
    let probe = Probe::fit(&embed_scenes(clip, fitted)?, &facts, &Alpha::default())?;
    let scores = probe.scores(&embed_scenes(clip, asked)?)?;
    kinds(world)
        .map(|kind| {
            let questions: Vec<Question> = asked
                .iter()
                .enumerate()
                .flat_map(|(row, scene)| questions(kind, row, scene, numbering))
                .collect();
            let found = choices(&scores, &questions)?;
            Ok(Bar {
                question: "probe".into(),
                kind: kind.name().into(),
                accuracy: found.balanced,
                bar: bar(kind).1,
                n: found.n,
            })
        })
        .collect()
}

/// What is asked about one picture. Objects: for each main sprite, its noun against every noun that is not in the picture.
fn questions(kind: Kind, row: usize, scene: &Scene, numbering: Numbering) -> Vec<Question> {
    let question = |options, answer, class| Question {
        row,
        options,
        answer,
        class,
    };
    let coloured: Vec<(Noun, Colour)> = scene.main().filter_map(|s| Some((s.noun, s.colour?))).collect();
    match kind {
        Kind::Object => {
            let absent = |noun: &Noun| scene.sprites().all(|sprite| sprite.noun != *noun);
            let others: Vec<Vec<usize>> = scene
                .world()
                .nouns()
                .filter(absent)
                .map(|noun| vec![noun.index()])
                .collect();
            let ask = |sprite: &world::Sprite| {
                let options = std::iter::once(vec![sprite.noun.index()])
                    .chain(others.clone())
                    .collect();
                question(options, 0, sprite.noun.index())
            };
            scene.main().map(ask).collect()
        }
        Kind::Colour => {
            let ask = |&(noun, colour): &(Noun, Colour)| {
                let options = Colour::ALL.map(|c| vec![numbering.colour(noun, c)]).to_vec();
                question(options, colour.index(), colour.index())
            };
            coloured.iter().map(ask).collect()
        }
        Kind::Texture => {
            let ask = |(noun, texture): (Noun, Texture)| {
                let options = Texture::ALL.map(|t| vec![numbering.texture(noun, t)]).to_vec();
                question(options, texture.index(), texture.index())
            };
            let textured = scene.main().filter_map(|s| Some((s.noun, s.texture?)));
            textured.map(ask).collect()
        }
        Kind::Binding => match coloured[..] {
            [(one, a), (two, b)] if a != b => {
                let options = [[(one, a), (two, b)], [(one, b), (two, a)]].map(|pairs| {
                    pairs
                        .map(|(noun, colour)| numbering.colour(noun, colour))
                        .to_vec()
                });
                vec![question(options.to_vec(), 0, a.index())]
            }
            _ => Vec::new(),
        },
        Kind::Relation => match (scene.relation(), scene.second) {
            (Some(relation), Some(second)) => {
                let stand = |r: Relation| {
                    vec![
                        numbering.side(scene.first.noun, r),
                        numbering.side(second.noun, r.inverse()),
                    ]
                };
                vec![question(
                    Relation::ALL.map(stand).to_vec(),
                    relation as usize,
                    relation as usize,
                )]
            }
            _ => Vec::new(),
        },
        Kind::Bystander => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_scores_answer_every_question_and_swapped_ones_none_about_binding() -> Result<(), EvalError> {
        for world in World::ALL {
            perfect_scores_answer_every_question(world)?;
        }
        Ok(())
    }

    fn perfect_scores_answer_every_question(world: World) -> Result<(), EvalError> {
        let scenes: Vec<Scene> = world
            .sample_w(300, 1)
            .into_iter()
            .map(|pair| pair.scene)
            .collect();
        let numbering = Numbering::new(world);
        let scores = |edit: fn(&Scene) -> Scene| {
            let mut values = vec![0.0; scenes.len() * numbering.count()];
            for (row, scene) in values.chunks_exact_mut(numbering.count()).zip(&scenes) {
                numbering
                    .of(&edit(scene))
                    .into_iter()
                    .for_each(|fact| row[fact] = 1.0);
            }
            Embeddings::new(scenes.len(), numbering.count(), values)
        };
        let share = |kind, scores: &Embeddings| {
            let asked = scenes
                .iter()
                .enumerate()
                .flat_map(|(row, s)| questions(kind, row, s, numbering));
            choices(scores, &asked.collect::<Vec<_>>()).map(|found| found.plain)
        };
        let perfect = scores(|scene| *scene)?;
        for kind in kinds(world) {
            assert_eq!(share(kind, &perfect)?, 1.0, "{kind}");
        }
        let swapped = scores(|scene| {
            let mut scene = *scene;
            if let Some(second) = &mut scene.second {
                std::mem::swap(&mut scene.first.colour, &mut second.colour);
                std::mem::swap(&mut scene.first.centre, &mut second.centre);
            }
            scene
        })?;
        assert_eq!(share(Kind::Object, &swapped)?, 1.0);
        assert_eq!(share(Kind::Binding, &swapped)?, 0.0);
        assert_eq!(share(Kind::Relation, &swapped)?, 0.0);
        Ok(())
    }
}
