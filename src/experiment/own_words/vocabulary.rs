//! The words of a world, for messages.

use crate::world::{Colour, Noun, Relation, Texture, World};

/// The words that a prompt can have, by kind.
pub fn word_lists(world: World) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut lists = vec![
        ("objects", world.nouns().map(Noun::word).collect()),
        (
            "colours",
            Colour::ALL.iter().map(|colour| colour.word()).collect(),
        ),
        (
            "textures",
            world
                .textures()
                .iter()
                .map(|texture: &Texture| texture.word())
                .collect(),
        ),
        (
            "places",
            Relation::ALL.iter().map(|relation| relation.word()).collect(),
        ),
    ];
    lists.retain(|(_, words): &(_, Vec<_>)| !words.is_empty());
    lists
}

/// The vocabulary and grammar of a world.
pub(super) fn vocabulary(world: World) -> String {
    let lists = word_lists(world);
    let lists: Vec<String> = lists
        .iter()
        .map(|(name, words)| format!("the {name} {}", words.join(", ")))
        .collect();
    format!("It knows {}; as in \"{}\"", lists.join("; "), example(world))
}

/// A prompt of the world's words only.
pub fn example(world: World) -> &'static str {
    world.example()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_their_world() {
        for world in World::ALL {
            assert!(world.parse(example(world)).is_some(), "{world}");
            let known = vocabulary(world);
            let words = world.vocabulary();
            let small = ["a", "and", "is", "of", "on", "picture", "the", "there"];
            for word in words
                .iter()
                .filter(|word| !small.contains(word) && !word.starts_with('<'))
            {
                assert!(known.contains(word), "{world}: {word} is not listed");
            }
        }
    }
}
