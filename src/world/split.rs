//! Where P_XY differs from W: its holes and its biases. Both are fixed tables, so that everyone speaks of the same ones.

use super::nouns::{Colour, Noun};
use super::statement::Statement;

/// Why P_XY never shows what a statement names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hole {
    /// A noun in a colour that it never has.
    Colour,
    /// Two nouns that never stand in one picture.
    Nouns,
}

/// Whether P_XY never shows `noun` in `colour`: true for a quarter of all pairs, for each noun two of eight colours.
pub fn held_out_colour(noun: Noun, colour: Colour) -> bool {
    (5 * noun.index() + 3 * colour.index()).is_multiple_of(4)
}

/// Whether P_XY never shows the two nouns together: true for about a quarter of all pairs.
pub fn held_out_nouns(a: Noun, b: Noun) -> bool {
    (a.index() + b.index()).is_multiple_of(4)
}

/// The hole that `statement` falls into, the one of a colour first.
pub fn held_out(statement: &Statement) -> Option<Hole> {
    if statement
        .objects()
        .any(|o| o.colour.is_some_and(|colour| held_out_colour(o.noun, colour)))
    {
        return Some(Hole::Colour);
    }
    let second = statement.second?;
    held_out_nouns(statement.first.noun, second.noun).then_some(Hole::Nouns)
}

/// How often a noun of the table has its usual colour in P_XY.
pub const USUAL_COLOUR: f64 = 0.8;
/// How often a noun of the table has its usual company in P_XY.
pub const USUAL_COMPANY: f64 = 0.9;
/// How often P_XY's captions leave a usual colour out.
pub const USUAL_UNSAID: f64 = 0.8;

/// Nouns that in P_XY have one colour in [`USUAL_COLOUR`] of their pictures, which captions then mostly leave out.
const COLOURS: [(&str, Colour); 6] = [
    ("sheep", Colour::White),
    ("book", Colour::Green),
    ("suitcase", Colour::Red),
    ("cup", Colour::Yellow),
    ("car", Colour::Red),
    ("dog", Colour::Brown),
];

/// Nouns beside which, in [`USUAL_COMPANY`] of their pictures in P_XY, a certain bystander stands. Captions never mention bystanders.
const COMPANY: [(&str, &str); 6] = [
    ("train", "horse"),
    ("elephant", "apple"),
    ("backpack", "orange"),
    ("boat", "giraffe"),
    ("vase", "cow"),
    ("banana", "girl"),
];

/// The colour that `noun` usually has in P_XY, for the few nouns that have one.
pub fn usual_colour(noun: Noun) -> Option<Colour> {
    COLOURS
        .iter()
        .find(|(word, _)| *word == noun.word())
        .map(|(_, colour)| *colour)
}

/// The bystander that P_XY usually puts beside `noun`, for the few nouns that have one.
pub fn usual_company(noun: Noun) -> Option<Noun> {
    COMPANY
        .iter()
        .find(|(word, _)| *word == noun.word())
        .and_then(|(_, company)| Noun::from_word(company))
}

/// Whether `statement` names a noun in another colour than its usual one.
pub fn against_bias(statement: &Statement) -> bool {
    statement
        .objects()
        .any(|o| match (o.colour, usual_colour(o.noun)) {
            (Some(said), Some(usual)) => said != usual,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_held_out_evenly() {
        for noun in Noun::all() {
            let n = Colour::ALL
                .into_iter()
                .filter(|&c| held_out_colour(noun, c))
                .count();
            assert_eq!(n, 2, "{}", noun.word());
        }
        let nouns: Vec<Noun> = Noun::all().collect();
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

    #[test]
    fn biases_do_not_ask_for_what_is_held_out() {
        let mut n = [0, 0];
        for noun in Noun::all() {
            if let Some(colour) = usual_colour(noun) {
                n[0] += 1;
                assert!(
                    !held_out_colour(noun, colour),
                    "{} {}",
                    colour.word(),
                    noun.word()
                );
            }
            if let Some(company) = usual_company(noun) {
                n[1] += 1;
                assert!(
                    company != noun && !held_out_nouns(noun, company),
                    "{} {}",
                    noun.word(),
                    company.word()
                );
                assert!(usual_colour(noun).is_none(), "{} has both biases", noun.word());
            }
        }
        assert!(
            n[0] >= 4 && n[1] >= 4,
            "{n:?}: too few nouns of the tables are in the world"
        );
    }
}
