//! The noun phrases of a prompt, about which BLIP-VQA asks.
//!
//! The benchmark takes spaCy's noun chunks, without "top", "the side", "the left" and "the right", at most eight. For its own validation prompts of colours,
//! shapes, textures and the complex category they stand in a table: of spaCy 3.6.1 with en_core_web_sm 3.6.0 (the benchmark pins spaCy 3.5.0), mistakes
//! included. Prompts of others are parted by rules on words, which know no parts of speech: a phrase begins at a determiner and ends at a preposition, a
//! conjunction, a common verb or punctuation.
//!
//! How many of 300 official prompts have the same phrases as in the table, by the rules and by another spaCy (3.8.18, model 3.8.0):
//!
//! | category | rules | other spaCy |
//! |---|---|---|
//! | color | 270 | 287 |
//! | shape | 264 | 284 |
//! | texture | 266 | 277 |
//! | complex | 227 | 269 |

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Category;
use crate::eval::blip_vqa::MAX_PHRASES;

/// Phrases that the benchmark does not ask about.
const EXCLUDED: [&str; 4] = ["top", "the side", "the left", "the right"];

/// Words that begin a phrase.
const DETERMINERS: &str = "a an the this that these those its his her their my your our some any each every another two three four five six seven \
eight nine ten several many one both";
/// Words that stand between phrases.
const BETWEEN: &str = "and or but nor while as with without of in on at by for from to into onto over under above below near beside between behind \
beneath against through across along around inside outside atop upon off up down during before after than that which who whose where when like next \
front is are was were be been being has have had do does did can could will would may might must shall should not very so then there here it sits sat \
stands stood lies lay lays hangs hung runs ran walks walked holds held wears wore wearing sitting standing lying hanging holding riding flying looking \
eating shines shone contrasts contrasted rests rested resting looks looked makes made goes went stretches stretched reaches adds added leans leaned \
glows glowed floats floated covers covered surrounds surrounded blooms bloomed grows grew sways swayed rises rose wraps wrapped hugs hugged";
/// Colours, of which two may be joined by "and" within a phrase.
const COLOURS: &str =
    "black white red green blue yellow brown orange purple pink gray grey silver gold golden tan";

/// The phrases of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrases {
    /// In the order of the prompt, at most [`MAX_PHRASES`].
    pub phrases: Vec<String>,
    /// Whether they come from the table of the official prompts.
    pub is_official: bool,
}

static OFFICIAL: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    macro_rules! list {
        ($name:literal) => {
            include_str!(concat!(
                "../../../datasets/t2i_compbench/",
                $name,
                "_val_noun_phrases.txt"
            ))
        };
    }
    let lists = [
        (Category::Color, list!("color")),
        (Category::Shape, list!("shape")),
        (Category::Texture, list!("texture")),
        (Category::Complex, list!("complex")),
    ];
    let rows = lists
        .into_iter()
        .flat_map(|(category, phrases)| category.prompts().iter().copied().zip(phrases.lines()));
    rows.collect()
});

/// The phrases of `prompt`.
pub fn of(prompt: &str) -> Phrases {
    match OFFICIAL.get(prompt) {
        Some(row) => Phrases {
            phrases: row.split('|').map(str::to_owned).collect(),
            is_official: true,
        },
        None => Phrases {
            phrases: by_words(prompt),
            is_official: false,
        },
    }
}

fn is_in(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

fn by_words(prompt: &str) -> Vec<String> {
    let words = words(prompt);
    let low: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let (mut phrases, mut current): (_, Vec<usize>) = (Vec::new(), Vec::new());
    for (i, word) in low.iter().enumerate() {
        let next = low.get(i + 1).map_or(".", String::as_str);
        let goes_on = is_word(next) && !is_in(DETERMINERS, next) && !is_in(BETWEEN, next);
        let begun = match current[..] {
            [] => None,
            [first, ..] => Some((low[first].as_str(), low[i - 1].as_str(), current.len())),
        };
        // "the soft, fluffy snow"; "a black and white cat".
        let joins = match begun {
            Some(("a" | "an" | "the", _, 2)) if word == "," => goes_on && !next.ends_with("ing"),
            Some((_, last, 1 | 2)) if word == "and" => is_in(COLOURS, last) && is_in(COLOURS, next),
            _ => false,
        };
        let is_between = !is_word(word) || is_in(BETWEEN, word);
        let begins = !is_between && is_in(DETERMINERS, word) && begun.is_some();
        if joins {
            current.push(i);
        } else if is_between || begins {
            phrases.extend(phrase(&words, &low, &current, begins));
            current.clear();
            if !is_between {
                current.push(i);
            }
        } else {
            current.push(i);
        }
    }
    phrases.extend(phrase(&words, &low, &current, false));
    phrases.retain(|phrase| !EXCLUDED.contains(&phrase.as_str()));
    phrases.truncate(MAX_PHRASES);
    phrases
}

/// The phrase of the words `places`, if it is one. Its last word is a verb where a determiner follows.
fn phrase(words: &[&str], low: &[String], places: &[usize], before_determiner: bool) -> Option<String> {
    let is_noun = |i: &&usize| is_word(&low[**i]) && !is_in(DETERMINERS, &low[**i]);
    let mut places = places;
    if let [own @ .., last] = places
        && places.iter().filter(is_noun).count() >= 2
        && (before_determiner || (low[*last].len() > 5 && low[*last].ends_with("ed")))
    {
        places = own;
    }
    // "parked", "creating", "running quickly"
    let is_verbal = |i: &usize| ["ed", "ing", "ly"].iter().any(|end| low[*i].ends_with(end));
    if places.iter().all(is_verbal) || !places.iter().any(|i| is_noun(&i)) {
        return None;
    }
    let text: Vec<&str> = places.iter().map(|i| words[*i]).collect();
    Some(text.join(" ").replace(" ,", ","))
}

fn is_word(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

/// Words, with hyphens and apostrophes in them, and marks of punctuation.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let mut end = first.len_utf8();
        if first.is_alphanumeric() {
            let is_inside = |(at, c): (usize, char)| {
                let joins = c == '-' && is_word(&rest[at + 1..]);
                c.is_alphanumeric() || c == '\'' || c == '’' || joins
            };
            let after = rest.char_indices().find(|place| !is_inside(*place));
            end = after.map_or(rest.len(), |(at, _)| at);
        }
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The module's table, and that every official prompt has a phrase.
    #[test]
    fn rules_agree_with_the_table_as_often_as_the_documentation_says() {
        let same = |category: Category| {
            let prompts = category.prompts().iter();
            let same = prompts.filter(|prompt| {
                let official = of(prompt);
                assert!(official.is_official && !official.phrases.is_empty(), "{prompt}");
                assert!(!official.phrases.contains(&String::new()), "{prompt}");
                by_words(prompt) == official.phrases
            });
            same.count()
        };
        use Category::{Color, Complex, Shape, Texture};
        assert_eq!([Color, Shape, Texture, Complex].map(same), [270, 264, 266, 227]);
    }

    #[test]
    fn prompts_of_others_have_phrases() {
        let of = |prompt: &str| {
            let found = of(prompt);
            assert!(!found.is_official);
            found.phrases.join("|")
        };
        assert_eq!(
            of("A red cat and two blue-green dogs on the left of a box"),
            "A red cat|two blue-green dogs|a box"
        );
        assert_eq!(
            of("the soft, warm glow of café lights"),
            "the soft, warm glow|café lights"
        );
        assert_eq!(
            of("a black and white cat that chased the mouse"),
            "a black and white cat|the mouse"
        );
        assert_eq!(of("running quickly, of it"), "");
        assert_eq!(of(""), "");
        assert_eq!(of("a b, c, d, e, f, g, h, i, j, k").matches('|').count(), 7);
    }
}
