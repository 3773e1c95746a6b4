//! The probe question: which facts can be read off image embeddings.

use super::embed::{MeasureError, embed_scenes};
use super::sizes::MeasureSizes;
use super::thresholds::{Threshold, kinds, of_kind};
use crate::data::encode::FrozenClip;
use crate::eval::forced_choice::Kind;
use crate::eval::probe::{Facts, Probe, Question, choices};
use crate::eval::ridge::Alpha;
use crate::noise::DerivedSeed;
use crate::testbed::facts::{FactNumbers, Known};
use crate::world::{self, Colour, Noun, Relation, Scene, Texture, World};

/// What does a ridge regression from true z_x read off new images?
pub(super) fn probes(
    world: World,
    clip: &FrozenClip,
    sizes: MeasureSizes,
    seed: u64,
) -> Result<Vec<Threshold>, MeasureError> {
    let scenes: Vec<Scene> = world
        .sample_w(sizes.n_probe + sizes.n_asked, DerivedSeed::ProbeImages.of(seed))
        .into_iter()
        .map(|pair| pair.scene)
        .collect();
    let (fitted, asked) = scenes.split_at(sizes.n_probe);
    let numbers = FactNumbers::new(world);
    let facts = Facts::new(
        numbers.count(),
        fitted
            .iter()
            .map(|scene| numbers.of(&Known::of_scene(scene)))
            .collect(),
    )?;
    let probe = Probe::fit(&embed_scenes(clip, fitted)?, &facts, &Alpha::default())?;
    let scores = probe.scores(&embed_scenes(clip, asked)?)?;
    kinds(world)
        .map(|kind| {
            let questions: Vec<Question> = asked
                .iter()
                .enumerate()
                .flat_map(|(row, scene)| questions(kind, row, scene, numbers))
                .collect();
            let found = choices(&scores, &questions)?;
            Ok(Threshold {
                question: "probe".into(),
                kind: kind.name().into(),
                accuracy: found.balanced,
                threshold: of_kind(kind).1,
                n: found.n,
            })
        })
        .collect()
}

/// What is asked about one image. Objects: for each main sprite, its noun against every noun that is not in the image.
fn questions(kind: Kind, row: usize, scene: &Scene, numbers: FactNumbers) -> Vec<Question> {
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
                let options = Colour::ALL.map(|c| vec![numbers.colour(noun, c)]).to_vec();
                question(options, colour.index(), colour.index())
            };
            coloured.iter().map(ask).collect()
        }
        Kind::Texture => {
            let ask = |(noun, texture): (Noun, Texture)| {
                let options = Texture::ALL.map(|t| vec![numbers.texture(noun, t)]).to_vec();
                question(options, texture.index(), texture.index())
            };
            let textured = scene.main().filter_map(|s| Some((s.noun, s.texture?)));
            textured.map(ask).collect()
        }
        Kind::Binding => match coloured[..] {
            [(one, a), (two, b)] if a != b => {
                let options = [[(one, a), (two, b)], [(one, b), (two, a)]]
                    .map(|pairs| pairs.map(|(noun, colour)| numbers.colour(noun, colour)).to_vec());
                vec![question(options.to_vec(), 0, a.index())]
            }
            _ => Vec::new(),
        },
        Kind::Relation => match (scene.relation(), scene.second) {
            (Some(relation), Some(second)) => {
                let stand = |r: Relation| {
                    vec![
                        numbers.side(scene.first.noun, r),
                        numbers.side(second.noun, r.inverse()),
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
        Kind::Distractor => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Embeddings, EvalError};

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
        let numbers = FactNumbers::new(world);
        let scores = |edit: fn(&Scene) -> Scene| {
            let mut values = vec![0.0; scenes.len() * numbers.count()];
            for (row, scene) in values.chunks_exact_mut(numbers.count()).zip(&scenes) {
                numbers
                    .of(&Known::of_scene(&edit(scene)))
                    .into_iter()
                    .for_each(|fact| row[fact] = 1.0);
            }
            Embeddings::new(scenes.len(), numbers.count(), values)
        };
        let share = |kind, scores: &Embeddings| {
            let asked = scenes
                .iter()
                .enumerate()
                .flat_map(|(row, s)| questions(kind, row, s, numbers));
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
