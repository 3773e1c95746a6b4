//! Test prompts: what T2I-CompBench asks for and the world can draw, and prompts of our own where those are too few.

use std::collections::HashSet;
use std::sync::OnceLock;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::attributes::{Colour, Texture};
use super::biases::{
    held_out, held_out_colour, held_out_nouns, held_out_texture, is_counter_bias, usual_colour, usual_texture,
};
use super::categories::{Category, Split};
use super::chance::{noun, noun_but, relation};
use super::statement::{Object, Statement};
use super::worlds::World;
use crate::noise::{Noise, Stream};

/// Who wrote a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// T2I-CompBench (Huang et al., 2023).
    CompBench,
    /// This project: drawn at random, in the same grammar.
    Own,
}

/// A test prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// `compbench/color_val/12`, the line counted from 1, or `own/colour/unseen/7`.
    pub id: String,
    /// The prompt, verbatim.
    pub text: String,
    /// What it says.
    pub statement: Statement,
    /// What it tests.
    pub category: Category,
    /// How it relates to P_XY.
    pub split: Split,
    /// Who wrote it.
    pub source: Source,
}

impl World {
    /// All test prompts: T2I-CompBench's drawable ones first, then ours. No two have the same meaning, and no training caption has the meaning of one.
    pub fn test_prompts(self) -> &'static [Prompt] {
        &collection(self).0
    }
}

/// Whether a test prompt has the meaning of `statement`.
pub fn is_test_statement(statement: &Statement) -> bool {
    statement.second.is_some() && collection(statement.world()).1.contains(&statement.canonical())
}

/// How a statement relates to P_XY.
fn split_of(statement: &Statement) -> Split {
    match held_out(statement) {
        Some(_) => Split::Unseen,
        None if is_counter_bias(statement) => Split::CounterBias,
        None => Split::Seen,
    }
}

fn collection(world: World) -> &'static (Vec<Prompt>, HashSet<Statement>) {
    static CACHE: [OnceLock<(Vec<Prompt>, HashSet<Statement>)>; World::ALL.len()] =
        [const { OnceLock::new() }; World::ALL.len()];
    CACHE[world as usize].get_or_init(|| {
        let mut said = HashSet::new();
        let mut prompts = Vec::new();
        for &(file, text, category) in world.tables().compbench {
            for (line, text) in text.lines().enumerate() {
                let Some(statement) = drawable(world, text, category) else {
                    continue;
                };
                if said.insert(statement.canonical()) {
                    let id = format!("compbench/{file}/{}", line + 1);
                    let (split, text) = (split_of(&statement), text.trim().to_owned());
                    prompts.push(Prompt {
                        id,
                        text,
                        statement,
                        category,
                        split,
                        source: Source::CompBench,
                    });
                }
            }
        }
        let mut noise = Noise::of(0, Stream::TestPrompts);
        for category in Category::ALL {
            for split in Split::ALL {
                let wanted = (world.tables().n_prompts)(category, split);
                let there = prompts
                    .iter()
                    .filter(|p| p.category == category && p.split == split)
                    .count();
                let mut n = 0;
                while there + n < wanted {
                    let statement = own(world, category, split, noise.rng());
                    if said.insert(statement.canonical()) {
                        n += 1;
                        let id = format!("own/{}/{}/{n}", category.name(), split.name());
                        let text = statement.to_string();
                        prompts.push(Prompt {
                            id,
                            text,
                            statement,
                            category,
                            split,
                            source: Source::Own,
                        });
                    }
                }
            }
        }
        (prompts, said)
    })
}

/// The meaning of a line of T2I-CompBench, if the world can draw it and it tests what its file is for.
fn drawable(world: World, text: &str, category: Category) -> Option<Statement> {
    let statement = world.parse(text)?;
    statement.second?;
    let fits = match category {
        Category::Colour => statement.relation.is_none() && statement.objects().all(|o| o.colour.is_some()),
        Category::Spatial => statement.relation.is_some(),
        Category::Shape | Category::Texture => false, // no world draws these yet
    };
    fits.then_some(statement)
}

/// A prompt of our own: two objects, with what its category tests and exactly what its split asks for: unseen prompts fall into one hole,
/// and not into one for two nouns if they are about colours or textures; counter-bias prompts name one noun that has a bias, all others
/// none whose bias they would touch.
fn own(world: World, category: Category, split: Split, rng: &mut ChaCha8Rng) -> Statement {
    loop {
        let nouns = {
            let first = noun(world, rng);
            [first, noun_but(&[first], rng)]
        };
        let mut statement = Statement {
            first: Object::plain(nouns[0]),
            second: None,
            relation: None,
        };
        let mut other = Object::plain(nouns[1]);
        let (first, second) = (&mut statement.first, &mut other);
        let colour = |rng: &mut ChaCha8Rng| Some(Colour::ALL[rng.random_range(0..Colour::ALL.len())]);
        let texture = |rng: &mut ChaCha8Rng| Some(Texture::ALL[rng.random_range(0..Texture::ALL.len())]);
        match category {
            Category::Colour => {
                first.colour = colour(rng);
                second.colour = colour(rng);
            }
            Category::Shape => {
                first.colour = colour(rng);
                first.texture = texture(rng);
                (second.colour, second.texture) = (first.colour, first.texture);
            }
            Category::Texture => {
                first.texture = texture(rng);
                second.texture = texture(rng);
                // There are few pairs of textures: most prompts name a colour too, the same for both.
                if !rng.random_bool(PLAIN_TEXTURES) {
                    first.colour = colour(rng);
                    second.colour = first.colour;
                }
            }
            Category::Spatial => {
                statement.relation = Some(relation(rng));
                if world.tables().coloured_relations {
                    first.colour = colour(rng);
                    second.colour = colour(rng);
                }
            }
        }
        statement.second = Some(other);

        let objects = || statement.objects();
        let holed = |o: Object| {
            usize::from(o.colour.is_some_and(|colour| held_out_colour(o.noun, colour)))
                + usize::from(o.texture.is_some_and(|texture| held_out_texture(o.noun, texture)))
        };
        let biased = |o: &Object| {
            (o.colour.is_some() && usual_colour(o.noun).is_some())
                || (o.texture.is_some() && usual_texture(o.noun).is_some())
        };
        let n_holed: usize = objects().map(holed).sum();
        let apart = held_out_nouns(nouns[0], nouns[1]);
        let fits = match category {
            Category::Colour => !apart && statement.first.colour != other.colour,
            Category::Texture => !apart && statement.first.texture != other.texture,
            Category::Shape => true,
            Category::Spatial => {
                n_holed == 0 && (other.colour.is_none() || statement.first.colour != other.colour)
            }
        };
        let one_hole = n_holed + usize::from(apart) <= 1;
        let one_bias = objects().filter(biased).count() == usize::from(split == Split::CounterBias);
        if fits && one_hole && one_bias && split_of(&statement) == split {
            return statement;
        }
    }
}

/// The share of prompts about textures that are drawn without a colour. Of those that are kept it is more, as they fall into fewer holes.
const PLAIN_TEXTURES: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_has_enough_prompts_and_no_two_say_the_same() {
        for world in World::ALL {
            let prompts = world.test_prompts();
            for category in Category::ALL {
                for split in Split::ALL {
                    let these = || {
                        prompts
                            .iter()
                            .filter(|p| p.category == category && p.split == split)
                    };
                    let wanted = (world.tables().n_prompts)(category, split);
                    assert!(these().count() >= wanted, "{world} {category:?} {split:?}");
                    // Prompts are few against all that can be said so, or captions would have nothing left to say.
                    if category == Category::Texture && wanted > 0 {
                        let plain = these().filter(|p| p.statement.first.colour.is_none()).count();
                        assert!((4..=20).contains(&plain), "{split:?}: {plain}");
                    }
                }
            }
            let said: HashSet<Statement> = prompts.iter().map(|p| p.statement.canonical()).collect();
            assert_eq!(said.len(), prompts.len());
            let ids: HashSet<&str> = prompts.iter().map(|p| p.id.as_str()).collect();
            assert_eq!(ids.len(), prompts.len());
            for prompt in prompts {
                assert_eq!(
                    world.parse(&prompt.text),
                    Some(prompt.statement),
                    "{}",
                    prompt.text
                );
                assert!(is_test_statement(&prompt.statement.reversed()), "{}", prompt.text);
            }
        }
    }

    #[test]
    fn prompts_about_shapes_leave_nothing_else_to_tell_objects_apart() {
        let prompts = World::Shapes.test_prompts();
        for prompt in prompts.iter().filter(|p| p.category == Category::Shape) {
            let objects: Vec<Object> = prompt.statement.objects().collect();
            let [a, b] = objects[..] else {
                panic!("{}", prompt.text)
            };
            assert!(a.colour.is_some() && a.texture.is_some(), "{}", prompt.text);
            assert_eq!((a.colour, a.texture), (b.colour, b.texture), "{}", prompt.text);
            assert_ne!(a.noun, b.noun);
        }
    }
}
