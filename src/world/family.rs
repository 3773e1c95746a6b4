//! Families: images that differ in one thing, so that a batch's negatives are hard.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::attributes::Relation;
use super::chance::{any_colour, any_texture, noun_but};
use super::content::{colour_w, distractor_w, plan_w};
use super::noun::Noun;
use super::plan::Plan;
use super::scene::Scene;
use super::sprite::Look;
use super::worlds::World;

impl World {
    /// Four images of W. Of two objects: as drawn, with colours swapped (or, as often, textures, where there are any), with the objects
    /// exchanged, with one random edit (another noun, the other axis, one object less, another colour, another texture). Of one object: as
    /// drawn, in another colour (or texture), another noun, both. Sizes, places, grounds and distractors are drawn anew for each.
    pub fn family(self, rng: &mut ChaCha8Rng) -> [Scene; 4] {
        let base = plan_w(self, rng);
        let by_texture = base.first.texture.is_some() && rng.random_bool(0.5);
        let plans = match base.second {
            None => {
                let other_noun = noun_but(&[base.first.noun], rng);
                let other = repainted(base.first, by_texture, rng);
                let renamed = |look| Look {
                    noun: other_noun,
                    ..look
                };
                [base.first, other, renamed(base.first), renamed(other)].map(|first| Plan { first, ..base })
            }
            Some((second, relation)) => {
                let swapped = if by_texture {
                    swap(base.first, second, |a, b| {
                        std::mem::swap(&mut a.texture, &mut b.texture)
                    })
                } else {
                    swap(base.first, second, |a, b| {
                        std::mem::swap(&mut a.colour, &mut b.colour)
                    })
                };
                let swapped = if swapped == (base.first, second) {
                    // Nothing to swap: another paint for the first.
                    (repainted(base.first, by_texture, rng), second)
                } else {
                    swapped
                };
                let swapped = Plan {
                    first: swapped.0,
                    second: Some((swapped.1, relation)),
                    ..base
                };
                let exchanged = Plan {
                    second: Some((second, relation.inverse())),
                    ..base
                };
                [base, swapped, exchanged, edited(base, rng)]
            }
        };
        plans.map(|plan| {
            let distractor = distractor_w(plan.first.noun, plan.second.map(|(look, _)| look.noun), rng);
            Plan { distractor, ..plan }.scene(rng)
        })
    }
}

/// The look in another colour, or in another texture.
fn repainted(look: Look, by_texture: bool, rng: &mut ChaCha8Rng) -> Look {
    if by_texture {
        let texture = any_texture(look.noun.world(), rng, |t| Some(t) != look.texture);
        return Look { texture, ..look };
    }
    let colour = Some(any_colour(rng, |c| Some(c) != look.colour));
    Look { colour, ..look }
}

fn swap(mut first: Look, mut second: Look, exchange: fn(&mut Look, &mut Look)) -> (Look, Look) {
    exchange(&mut first, &mut second);
    (first, second)
}

/// One random edit of a plan with two objects.
fn edited(plan: Plan, rng: &mut ChaCha8Rng) -> Plan {
    let Some((second, relation)) = plan.second else {
        return plan;
    };
    let nouns: [Noun; 2] = [plan.first.noun, second.noun];
    // Which of the two is edited.
    let (one, other, relation) = if rng.random_bool(0.5) {
        (plan.first, second, relation)
    } else {
        (second, plan.first, relation.inverse())
    };
    let n_edits = if one.texture.is_some() { 5 } else { 4 };
    let (first, second) = match rng.random_range(0..n_edits) {
        0 => {
            let noun = noun_but(&nouns, rng);
            (Look { noun, ..one }, Some((other, relation)))
        }
        1 => {
            let turned = if relation.is_horizontal() {
                [Relation::Top, Relation::Bottom]
            } else {
                [Relation::Left, Relation::Right]
            };
            (one, Some((other, turned[rng.random_range(0..2)])))
        }
        2 => (other, None),
        3 => {
            let colour = loop {
                let colour = colour_w(one.noun, rng);
                if colour != one.colour {
                    break colour;
                }
            };
            (Look { colour, ..one }, Some((other, relation)))
        }
        _ => (repainted(one, true, rng), Some((other, relation))),
    };
    Plan {
        first,
        second,
        ..plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::{Colour, Texture};

    type Looks = Vec<(Noun, Option<Colour>, Option<Texture>)>;

    /// What is in an image, without exact positions; objects in the order of their nouns.
    fn content(scene: &Scene) -> (Looks, Option<Relation>) {
        let mut objects: Vec<_> = scene.main().map(|s| (s.noun, s.colour, s.texture)).collect();
        objects.sort();
        let turned = objects[0].0 != scene.first.noun;
        (
            objects,
            scene.relation().map(|r| if turned { r.inverse() } else { r }),
        )
    }

    #[test]
    fn members_of_a_family_differ_and_share() {
        let mut noise = Noise::new(7);
        let all = World::ALL.into_iter().flat_map(|world| [world; 3000]);
        for world in all {
            let scenes = world.family(noise.rng());
            let contents = scenes.map(|s| content(&s));
            for i in 1..4 {
                assert_ne!(contents[i], contents[0], "{scenes:?}");
            }
            if scenes[0].second.is_some() {
                let nouns = |i: usize| -> Vec<Noun> { contents[i].0.iter().map(|o| o.0).collect() };
                assert_eq!(nouns(1), nouns(0));
                assert_eq!(contents[1].1, contents[0].1);
                // Swapped: each attribute is as often there as before, if there was something to swap.
                let [a, b] = contents[0].0[..] else {
                    panic!("two objects")
                };
                let sorted = |i: usize| {
                    let mut colours: Vec<_> = contents[i].0.iter().map(|o| o.1).collect();
                    let mut textures: Vec<_> = contents[i].0.iter().map(|o| o.2).collect();
                    colours.sort();
                    textures.sort();
                    (colours, textures)
                };
                if a.1 != b.1 && (a.2 != b.2 || a.2.is_none()) {
                    assert_eq!(sorted(1), sorted(0));
                }
                assert_eq!(contents[2].0, contents[0].0);
                assert_eq!(contents[2].1, contents[0].1.map(Relation::inverse));
            }
        }
    }
}
