//! Where P_XY differs from W: its holes and its biases. Both are fixed tables, the same for all seeds.

use super::attributes::{Colour, Texture};
use super::noun::Noun;
use super::statement::Statement;

/// Why P_XY never shows what a statement names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hole {
    /// A noun in a colour that it never has.
    Colour,
    /// A noun in a texture that it never has.
    Texture,
    /// Two nouns that are never in one image.
    Nouns,
}

/// Whether P_XY never shows `noun` in `colour`: true for a quarter of all pairs, for each noun two of eight colours.
pub fn held_out_colour(noun: Noun, colour: Colour) -> bool {
    (5 * noun.index() + 3 * colour.index()).is_multiple_of(4)
}

/// Whether P_XY never shows `noun` in `texture`: true for each noun and one of four textures.
pub fn held_out_texture(noun: Noun, texture: Texture) -> bool {
    (noun.index() + texture.index()) % 4 == 1
}

/// Whether P_XY never shows the two nouns together: true for about a quarter of all pairs.
pub fn held_out_nouns(a: Noun, b: Noun) -> bool {
    (a.index() + b.index()).is_multiple_of(4)
}

/// The hole that `statement` falls into, one of a colour first, then of a texture.
pub fn held_out(statement: &Statement) -> Option<Hole> {
    if statement
        .objects()
        .any(|o| o.colour.is_some_and(|colour| held_out_colour(o.noun, colour)))
    {
        return Some(Hole::Colour);
    }
    if statement
        .objects()
        .any(|o| o.texture.is_some_and(|texture| held_out_texture(o.noun, texture)))
    {
        return Some(Hole::Texture);
    }
    let second = statement.second?;
    held_out_nouns(statement.first.noun, second.noun).then_some(Hole::Nouns)
}

/// How often a noun that has a usual colour has it in P_XY.
pub const USUAL_COLOUR: f64 = 0.8;
/// How often a noun that has a usual texture has it in P_XY.
pub const USUAL_TEXTURE: f64 = 0.8;
/// How often a noun that has a spurious distractor has it in P_XY.
pub const SPURIOUS_DISTRACTOR: f64 = 0.9;
/// How often P_XY's captions leave a usual colour or texture out.
pub const USUAL_UNSAID: f64 = 0.8;

/// The colour that `noun` usually has in P_XY, for the few nouns that have one.
pub fn usual_colour(noun: Noun) -> Option<Colour> {
    entry(noun.world().tables().usual_colours, noun)
}

/// The texture that `noun` usually has in P_XY, for the few nouns that have one.
pub fn usual_texture(noun: Noun) -> Option<Texture> {
    entry(noun.world().tables().usual_textures, noun)
}

/// The distractor that P_XY mostly puts beside `noun` (a spurious co-occurrence), for the few nouns that have one.
pub fn spurious_distractor(noun: Noun) -> Option<Noun> {
    let distractor = entry(noun.world().tables().spurious_distractors, noun)?;
    noun.world().noun_called(distractor)
}

fn entry<T: Copy>(table: &[(&str, T)], noun: Noun) -> Option<T> {
    table
        .iter()
        .find(|(word, _)| *word == noun.word())
        .map(|(_, usual)| *usual)
}

/// Whether `statement` is counter-bias: it names a noun in another colour or texture than its usual one.
pub fn is_counter_bias(statement: &Statement) -> bool {
    fn differ<T: PartialEq>(said: Option<T>, usual: Option<T>) -> bool {
        said.is_some() && usual.is_some() && said != usual
    }
    statement
        .objects()
        .any(|o| differ(o.colour, usual_colour(o.noun)) || differ(o.texture, usual_texture(o.noun)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn about_a_quarter_is_held_out_evenly() {
        for world in World::ALL {
            for noun in world.nouns() {
                let colours = Colour::ALL.into_iter().filter(|&c| held_out_colour(noun, c));
                assert_eq!(colours.count(), 2, "{}", noun.word());
                let textures = Texture::ALL.into_iter().filter(|&t| held_out_texture(noun, t));
                assert_eq!(textures.count(), 1, "{}", noun.word());
            }
            let nouns: Vec<Noun> = world.nouns().collect();
            let all = nouns.len() * (nouns.len() - 1) / 2;
            let pairs = || {
                nouns
                    .iter()
                    .enumerate()
                    .flat_map(|(i, &a)| nouns[..i].iter().map(move |&b| (a, b)))
            };
            let held = pairs().filter(|&(a, b)| held_out_nouns(a, b)).count();
            assert!(
                (0.2..0.3).contains(&(held as f64 / all as f64)),
                "{held} of {all}"
            );
            assert!(pairs().all(|(a, b)| held_out_nouns(a, b) == held_out_nouns(b, a)));
        }
    }

    #[test]
    fn biases_do_not_ask_for_what_is_held_out() {
        for world in World::ALL {
            let mut n = [0, 0];
            for noun in world.nouns() {
                let (colour, texture, distractor) =
                    (usual_colour(noun), usual_texture(noun), spurious_distractor(noun));
                let kinds = [colour.is_some(), texture.is_some(), distractor.is_some()];
                assert!(
                    kinds.iter().filter(|k| **k).count() <= 1,
                    "{} has several biases",
                    noun.word()
                );
                n[0] += usize::from(colour.is_some() || texture.is_some());
                n[1] += usize::from(distractor.is_some());
                assert!(
                    !colour.is_some_and(|c| held_out_colour(noun, c)),
                    "{}",
                    noun.word()
                );
                assert!(
                    !texture.is_some_and(|t| held_out_texture(noun, t)),
                    "{}",
                    noun.word()
                );
                assert!(
                    !distractor.is_some_and(|c| c == noun || held_out_nouns(noun, c)),
                    "{}",
                    noun.word()
                );
            }
            let tables = world.tables();
            assert_eq!(
                n,
                [
                    tables.usual_colours.len() + tables.usual_textures.len(),
                    tables.spurious_distractors.len()
                ],
                "a table names what the world does not have"
            );
            assert!(n[0] >= 2 && n[1] >= 2, "{n:?}");
        }
    }
}
