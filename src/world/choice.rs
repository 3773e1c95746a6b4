//! Forced choice: a true image of a statement, and similar images of which the statement is false.

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::attributes::{Colour, Relation, Texture};
use super::biases::spurious_distractor;
use super::chance::relation;
use super::content::{colour_w, distractor_w, spurious_w, texture_w};
use super::noun::Noun;
use super::plan::{Plan, free_corner};
use super::scene::{Scene, Sprite};
use super::sprite::Look;
use super::statement::{Object, Statement};

/// In which way an image differs from the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantKind {
    /// One object is another noun.
    Object,
    /// One object has another colour.
    Colour,
    /// One object has another texture.
    Texture,
    /// The two colours are swapped, or the two textures.
    Binding,
    /// The two objects have another relation.
    Relation,
    /// The statement still holds, but a noun's [spurious distractor](super::spurious_distractor) is there, which the statement does not name.
    #[serde(rename = "bystander")]
    Distractor,
}

impl VariantKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Object,
        Self::Colour,
        Self::Texture,
        Self::Binding,
        Self::Relation,
        Self::Distractor,
    ];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        ["object", "colour", "texture", "binding", "relation", "bystander"][self as usize]
    }
}

impl fmt::Display for VariantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An image that differs from the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// What is wrong with it.
    pub kind: VariantKind,
    /// The image.
    pub scene: Scene,
}

/// An image of W of which `statement` is true; what it leaves open (colours, textures, relation, ground, places, a distractor) is drawn as W
/// draws it. No objects are added.
pub fn realise(statement: &Statement, rng: &mut ChaCha8Rng) -> Scene {
    let mut paint = |object: Object| Look {
        noun: object.noun,
        colour: object.colour.or_else(|| colour_w(object.noun, rng)),
        texture: object.texture.or_else(|| texture_w(object.noun, rng)),
    };
    let first = paint(statement.first);
    let second = statement.second.map(paint);
    let second = second.map(|look| (look, statement.relation.unwrap_or_else(|| relation(rng))));
    let distractor = distractor_w(first.noun, second.map(|(look, _)| look.noun), rng);
    Plan {
        first,
        second,
        distractor,
    }
    .scene(rng)
}

/// Images that differ from `scene` in one thing that `statement` names, and in nothing else: three other nouns for one object,
/// three other colours for one object, three other textures, the colours swapped, the textures swapped, the three other relations; only the
/// kinds that the statement speaks of. Besides, for each noun with a spurious distractor: an image with that distractor.
///
/// The statement must be true of `scene`, as [`realise`] makes it; parts of it that are not are skipped.
pub fn variants(scene: &Scene, statement: &Statement, rng: &mut ChaCha8Rng) -> Vec<Variant> {
    let mut found = Vec::new();
    let slots: Vec<(Slot, Object)> = statement
        .objects()
        .filter_map(|object| Some((Slot::of(object.noun, scene)?, object)))
        .collect();
    let mut add = |kind, scene| found.push(Variant { kind, scene });

    if let Some(&(slot, _)) = pick(&slots, rng) {
        let free: Vec<Noun> = scene
            .world()
            .nouns()
            .filter(|n| scene.sprites().all(|sprite| sprite.noun != *n))
            .collect();
        for noun in some(3, free, rng) {
            add(
                VariantKind::Object,
                slot.changed(scene, |sprite| sprite.noun = noun),
            );
        }
    }
    let coloured: Vec<(Slot, Colour)> = slots
        .iter()
        .filter_map(|&(slot, o)| Some((slot, o.colour?)))
        .collect();
    if let Some(&(slot, said)) = pick(&coloured, rng) {
        let others: Vec<Colour> = Colour::ALL.into_iter().filter(|c| *c != said).collect();
        for colour in some(3, others, rng) {
            add(
                VariantKind::Colour,
                slot.changed(scene, |sprite| sprite.colour = Some(colour)),
            );
        }
    }
    let textured: Vec<(Slot, Texture)> = slots
        .iter()
        .filter_map(|&(slot, o)| Some((slot, o.texture?)))
        .collect();
    if let Some(&(slot, said)) = pick(&textured, rng) {
        let all = scene.world().textures().iter().copied();
        let others: Vec<Texture> = all.filter(|t| *t != said).collect();
        for texture in some(3, others, rng) {
            add(
                VariantKind::Texture,
                slot.changed(scene, |sprite| sprite.texture = Some(texture)),
            );
        }
    }
    if let [(one, a), (two, b)] = coloured[..]
        && a != b
    {
        let half = one.changed(scene, |sprite| sprite.colour = Some(b));
        add(
            VariantKind::Binding,
            two.changed(&half, |sprite| sprite.colour = Some(a)),
        );
    }
    if let [(one, a), (two, b)] = textured[..]
        && a != b
    {
        let half = one.changed(scene, |sprite| sprite.texture = Some(b));
        add(
            VariantKind::Binding,
            two.changed(&half, |sprite| sprite.texture = Some(a)),
        );
    }
    if let (Some(_), Some(true_relation)) = (statement.relation, scene.relation()) {
        for relation in Relation::ALL.into_iter().filter(|r| *r != true_relation) {
            add(VariantKind::Relation, scene.with_relation(relation));
        }
    }
    for noun in statement
        .objects()
        .filter_map(|object| spurious_distractor(object.noun))
    {
        if scene.sprites().all(|sprite| sprite.noun != noun) {
            let centre = match scene.distractor {
                Some(distractor) => distractor.centre,
                None => free_corner(scene, rng),
            };
            let look = spurious_w(noun, rng);
            let distractor = Sprite {
                noun: look.noun,
                colour: look.colour,
                texture: look.texture,
                size: scene.world().distractor_size(),
                centre,
            };
            add(
                VariantKind::Distractor,
                Scene {
                    distractor: Some(distractor),
                    ..*scene
                },
            );
        }
    }
    found
}

/// Which main sprite.
#[derive(Debug, Clone, Copy)]
enum Slot {
    First,
    Second,
}

impl Slot {
    fn of(noun: Noun, scene: &Scene) -> Option<Self> {
        if scene.first.noun == noun {
            return Some(Self::First);
        }
        scene
            .second
            .filter(|sprite| sprite.noun == noun)
            .map(|_| Self::Second)
    }

    /// `scene` with this sprite edited.
    fn changed(self, scene: &Scene, edit: impl FnOnce(&mut Sprite)) -> Scene {
        let mut scene = *scene;
        match (self, &mut scene.second) {
            (Self::Second, Some(second)) => edit(second),
            _ => edit(&mut scene.first),
        }
        scene
    }
}

fn pick<'a, T>(from: &'a [T], rng: &mut ChaCha8Rng) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[rng.random_range(0..from.len())])
}

/// `n` random members of `from`, or all if there are fewer.
fn some<T>(n: usize, mut from: Vec<T>, rng: &mut ChaCha8Rng) -> Vec<T> {
    let n = n.min(from.len());
    for i in 0..n {
        let j = rng.random_range(i..from.len());
        from.swap(i, j);
    }
    from.truncate(n);
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::World;
    use crate::world::statement::{Truth, truth};

    #[test]
    fn the_true_image_is_true_and_its_variants_are_not() {
        let mut noise = Noise::new(8);
        for prompt in World::ALL.into_iter().flat_map(World::test_prompts) {
            let said = &prompt.statement;
            let scene = realise(said, noise.rng());
            assert_eq!(truth(said, &scene), Truth::True, "{}: {scene:?}", prompt.text);
            let variants = variants(&scene, said, noise.rng());
            let n = |kind| variants.iter().filter(|v| v.kind == kind).count();
            let three_if = |said: bool| if said { 3 } else { 0 };
            assert_eq!(n(VariantKind::Object), 3);
            assert_eq!(
                n(VariantKind::Colour),
                three_if(said.objects().any(|o| o.colour.is_some()))
            );
            assert_eq!(
                n(VariantKind::Texture),
                three_if(said.objects().any(|o| o.texture.is_some()))
            );
            assert_eq!(n(VariantKind::Relation), three_if(said.relation.is_some()));
            let mut colours: Vec<Colour> = said.objects().filter_map(|o| o.colour).collect();
            colours.dedup();
            let mut textures: Vec<Texture> = said.objects().filter_map(|o| o.texture).collect();
            textures.dedup();
            assert_eq!(
                n(VariantKind::Binding),
                usize::from(colours.len() == 2) + usize::from(textures.len() == 2)
            );
            for variant in &variants {
                let expected = if variant.kind == VariantKind::Distractor {
                    Truth::True
                } else {
                    Truth::False
                };
                assert_eq!(
                    truth(said, &variant.scene),
                    expected,
                    "{}: {variant:?}",
                    prompt.text
                );
                assert_ne!(
                    variant.scene.render(),
                    scene.render(),
                    "{}: {variant:?}",
                    prompt.text
                );
                assert_eq!(variant.scene.background, scene.background);
            }
            let distinct: std::collections::HashSet<Scene> = variants.iter().map(|v| v.scene).collect();
            assert_eq!(distinct.len(), variants.len());
        }
    }
}
