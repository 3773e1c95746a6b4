//! The emoji world as everyone else sees it: pinned byte by byte, consistent with itself, and documented as it is.

use std::fmt::Write;

use eclipse_t2i::files::sha256;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::world::{
    CaptionMix, Category, Colour, N_NOUNS, Noun, Object, PairOptions, Relation, Source, Split, Statement,
    Truth, caption, family, held_out_colour, pairs, sample_w, scene_w, test_prompts, truth, usual_colour,
    usual_company, variants,
};
use proptest::prelude::*;

/// Everything drawn from a seed, captions and pixels, is the same on every machine. A deliberate change of the world changes these
/// hashes; the committed CLIP and every committed result then belong to another world.
#[test]
fn pictures_and_captions_are_pinned() {
    let hash_pairs = |pairs: &[eclipse_t2i::world::Pair]| {
        let mut bytes = Vec::new();
        for pair in pairs {
            bytes.extend(pair.caption.as_bytes());
            bytes.extend(pair.scene.render());
        }
        sha256(&bytes)
    };
    let prompts: String = test_prompts()
        .iter()
        .map(|p| format!("{} {} {}\n", p.id, p.split.name(), p.text))
        .collect();
    let mut noise = Noise::new(11);
    let mut bytes = Vec::new();
    for _ in 0..100 {
        for scene in family(noise.rng()) {
            bytes.extend(scene.render());
        }
    }
    let found = [
        ("w", hash_pairs(&sample_w(300, 0))),
        ("pairs", hash_pairs(&pairs(300, 0, &PairOptions::default()))),
        ("families", sha256(&bytes)),
        ("prompts", sha256(prompts.as_bytes())),
    ]
    .map(|(name, hash)| format!("{name} {}", &hash[..16]));
    assert_eq!(
        found,
        [
            "w 318c6d2a187cf5e0",
            "pairs cc6964355b0b6ded",
            "families 4fa08a25cbe07222",
            "prompts 26f5f561c3ba7ab8"
        ]
    );
}

fn any_object() -> impl Strategy<Value = Object> {
    (0..N_NOUNS, 0..=Colour::ALL.len()).prop_map(|(noun, colour)| Object {
        noun: Noun::new(noun).expect("an index below the number of nouns"),
        colour: Colour::ALL.get(colour).copied(),
    })
}

fn any_statement() -> impl Strategy<Value = Statement> {
    (any_object(), proptest::option::of((any_object(), 0..5_usize)))
        .prop_map(|(first, other)| match other {
            None => Statement {
                first,
                second: None,
                relation: None,
            },
            Some((second, relation)) => Statement {
                first,
                second: Some(second),
                relation: Relation::ALL.get(relation).copied(),
            },
        })
        .prop_filter("two different nouns", |s| {
            s.second.is_none_or(|second| second.noun != s.first.noun)
        })
}

proptest! {
    #[test]
    fn statements_read_back_from_their_text(statement in any_statement()) {
        let text = statement.to_string();
        prop_assert_eq!(Statement::parse(&text), Some(statement));
        prop_assert_eq!(Statement::parse(&format!(" There is {text}. ")), Some(statement));
    }

    #[test]
    fn saying_it_the_other_way_round_changes_nothing(statement in any_statement(), seed in 0..u64::MAX) {
        let mut noise = Noise::new(seed);
        for _ in 0..20 {
            let scene = scene_w(noise.rng());
            let holds = truth(&statement, &scene);
            prop_assert_eq!(truth(&statement.reversed(), &scene), holds);
            prop_assert_eq!(truth(&statement.canonical(), &scene), holds);
        }
        prop_assert_eq!(statement.reversed().canonical(), statement.canonical());
    }

    /// What a caption leaves out cannot make it false, and what it says of a picture does not hold of the picture's variants.
    #[test]
    fn variants_contradict_the_caption(seed in 0..u64::MAX) {
        let mut noise = Noise::new(seed);
        let scene = scene_w(noise.rng());
        let (text, statement) = caption(&scene, &CaptionMix::FULL, noise.rng());
        for variant in variants(&scene, &statement, noise.rng()) {
            let expected = if variant.kind.name() == "bystander" { Truth::True } else { Truth::False };
            prop_assert_eq!(truth(&statement, &variant.scene), expected, "{}: {:?}", text, variant);
        }
    }
}

/// The tables in the data set's README are made from the code.
#[test]
fn the_readme_is_current() {
    let mut expected = Vec::new();
    let mut table = String::from("| | CompBench | own |\n|---|---|---|\n");
    for category in Category::ALL {
        for split in Split::ALL {
            let n = |source| {
                test_prompts()
                    .iter()
                    .filter(|p| p.category == category && p.split == split && p.source == source)
                    .count()
            };
            let (theirs, ours) = (n(Source::CompBench), n(Source::Own));
            if theirs + ours > 0 {
                let _ = writeln!(
                    table,
                    "| {}, {} | {theirs} | {ours} |",
                    category.name(),
                    split.name()
                );
            }
        }
    }
    expected.push(table);
    let mut table =
        String::from("| noun | held-out colours | usual colour | usual company |\n|---|---|---|---|\n");
    for noun in Noun::all() {
        let held: Vec<&str> = Colour::ALL
            .iter()
            .filter(|c| held_out_colour(noun, **c))
            .map(|c| c.word())
            .collect();
        let usual = usual_colour(noun).map_or("", Colour::word);
        let company = usual_company(noun).map_or("", Noun::word);
        let _ = writeln!(
            table,
            "| {} | {} | {usual} | {company} |",
            noun.word(),
            held.join(", ")
        );
    }
    expected.push(table);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/emoji/README.md");
    let readme = eclipse_t2i::files::read_text(path).expect("the README is there");
    for table in expected {
        assert!(
            readme.contains(&table),
            "datasets/emoji/README.md should have this table:\n{table}"
        );
    }
}
