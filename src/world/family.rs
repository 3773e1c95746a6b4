//! Families: pictures that differ in one thing, so that a batch's negatives are hard.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::nouns::Noun;
use super::pairs::{any_colour, bystander_w, colour_w, noun_but, plan_w};
use super::scene::{Plan, Relation, Scene};

/// Four pictures of W. Of two objects: as drawn, with colours swapped, with the objects exchanged, with one chance edit (another
/// noun, the other axis, one object less, another colour). Of one object: as drawn, in another colour, another noun, both.
/// Sizes, places, grounds and bystanders are drawn anew for each.
pub fn family(rng: &mut ChaCha8Rng) -> [Scene; 4] {
    let base = plan_w(rng);
    let plans = match base.second {
        None => {
            let (noun, colour) = base.first;
            let other_noun = noun_but(&[noun], rng);
            let other_colour = Some(any_colour(rng, |c| Some(c) != colour));
            [
                (noun, colour),
                (noun, other_colour),
                (other_noun, colour),
                (other_noun, other_colour),
            ]
            .map(|first| Plan { first, ..base })
        }
        Some((second, relation)) => {
            let ((noun_1, colour_1), (noun_2, colour_2)) = (base.first, second);
            let swapped = if colour_1 == colour_2 {
                // Nothing to swap: another colour for the first.
                Plan {
                    first: (noun_1, Some(any_colour(rng, |c| Some(c) != colour_1))),
                    ..base
                }
            } else {
                Plan {
                    first: (noun_1, colour_2),
                    second: Some(((noun_2, colour_1), relation)),
                    ..base
                }
            };
            let exchanged = Plan {
                second: Some((second, relation.inverse())),
                ..base
            };
            [base, swapped, exchanged, edited(base, rng)]
        }
    };
    plans.map(|plan| {
        let bystander = bystander_w(plan.first.0, plan.second.map(|((noun, _), _)| noun), rng);
        Plan { bystander, ..plan }.scene(rng)
    })
}

/// One chance edit of a plan with two objects.
fn edited(plan: Plan, rng: &mut ChaCha8Rng) -> Plan {
    let Some((second, relation)) = plan.second else {
        return plan;
    };
    let nouns: [Noun; 2] = [plan.first.0, second.0];
    // Which of the two is edited.
    let (one, other, relation) = if rng.random_bool(0.5) {
        (plan.first, second, relation)
    } else {
        (second, plan.first, relation.inverse())
    };
    let (first, second) = match rng.random_range(0..4) {
        0 => {
            let noun = noun_but(&nouns, rng);
            ((noun, one.1), Some((other, relation)))
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
        _ => {
            let colour = loop {
                let colour = colour_w(one.0, rng);
                if colour != one.1 {
                    break colour;
                }
            };
            ((one.0, colour), Some((other, relation)))
        }
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
    use crate::world::scene::Sprite;

    /// What is in a picture, but for places within the relation; objects in the order of their nouns.
    fn content(scene: &Scene) -> (Vec<(Noun, Option<crate::world::Colour>)>, Option<Relation>) {
        let mut objects: Vec<_> = scene.main().map(|s: &Sprite| (s.noun, s.colour)).collect();
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
        for _ in 0..3000 {
            let scenes = family(noise.rng());
            let contents = scenes.map(|s| content(&s));
            for i in 1..4 {
                assert_ne!(contents[i], contents[0], "{scenes:?}");
            }
            if scenes[0].second.is_some() {
                let colours = |i: usize| {
                    let mut colours: Vec<_> = contents[i].0.iter().map(|o| o.1).collect();
                    colours.sort();
                    colours
                };
                let nouns = |i: usize| -> Vec<Noun> { contents[i].0.iter().map(|o| o.0).collect() };
                assert_eq!(nouns(1), nouns(0));
                assert_eq!(contents[1].1, contents[0].1);
                if contents[0].0[0].1 != contents[0].0[1].1 {
                    assert_eq!(colours(1), colours(0));
                }
                assert_eq!(contents[2].0, contents[0].0);
                assert_eq!(contents[2].1, contents[0].1.map(Relation::inverse));
            }
        }
    }
}
