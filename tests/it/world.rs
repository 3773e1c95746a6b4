//! The built-in worlds as everyone else sees them: pinned byte by byte, consistent with themselves, and documented as they are.

use std::fmt::Write;

use eclipse_t2i::files::sha256;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::world::{
    CaptionMix, Category, Colour, Noun, Object, PairOptions, Relation, Source, Split, Statement, Texture,
    Truth, World, caption, held_out_colour, held_out_texture, spurious_distractor, truth, usual_colour,
    usual_texture, variants,
};
use proptest::prelude::*;

/// Everything drawn from a seed, captions and pixels, is the same on every machine. A deliberate change of a world changes its
/// hashes; its committed CLIP and every committed result then belong to another world.
#[test]
fn pictures_and_captions_are_pinned() {
    assert_eq!(
        pins(World::Emoji),
        [
            "w 318c6d2a187cf5e0",
            "pairs cc6964355b0b6ded",
            "families 4fa08a25cbe07222",
            "prompts 26f5f561c3ba7ab8"
        ]
    );
    assert_eq!(
        pins(World::Shapes),
        [
            "w 1cbe12e44bfef601",
            "pairs 5301c3475593a938",
            "families a986e270f0a2ae20",
            "prompts ed45122fe828b818"
        ]
    );
}

fn pins(world: World) -> [String; 4] {
    let hash_pairs = |pairs: &[eclipse_t2i::world::Pair]| {
        let mut bytes = Vec::new();
        for pair in pairs {
            bytes.extend(pair.caption.as_bytes());
            bytes.extend(pair.scene.render());
        }
        sha256(&bytes)
    };
    let prompts: String = world
        .test_prompts()
        .iter()
        .map(|p| format!("{} {} {}\n", p.id, p.split.name(), p.text))
        .collect();
    let mut noise = Noise::new(11);
    let mut bytes = Vec::new();
    for _ in 0..100 {
        for scene in world.family(noise.rng()) {
            bytes.extend(scene.render());
        }
    }
    [
        ("w", hash_pairs(&world.sample_w(300, 0))),
        ("pairs", hash_pairs(&world.pairs(300, 0, &PairOptions::default()))),
        ("families", sha256(&bytes)),
        ("prompts", sha256(prompts.as_bytes())),
    ]
    .map(|(name, hash)| format!("{name} {}", &hash[..16]))
}

fn any_world() -> impl Strategy<Value = World> {
    proptest::sample::select(World::ALL.to_vec())
}

fn any_object(world: World) -> impl Strategy<Value = Object> {
    let n_textures = world.textures().len();
    (0..world.n_nouns(), 0..=Colour::ALL.len(), 0..=n_textures).prop_map(move |(noun, colour, texture)| {
        Object {
            noun: world.noun(noun).expect("an index below the number of nouns"),
            colour: Colour::ALL.get(colour).copied(),
            texture: world.textures().get(texture).copied(),
        }
    })
}

fn any_statement() -> impl Strategy<Value = Statement> {
    any_world().prop_flat_map(statement_of)
}

fn statement_of(world: World) -> impl Strategy<Value = Statement> {
    (
        any_object(world),
        proptest::option::of((any_object(world), 0..5_usize)),
    )
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
        let world = statement.world();
        prop_assert_eq!(world.parse(&text), Some(statement));
        prop_assert_eq!(world.parse(&format!(" There is {text}. ")), Some(statement));
    }

    #[test]
    fn saying_it_the_other_way_round_changes_nothing(statement in any_statement(), seed in 0..u64::MAX) {
        let mut noise = Noise::new(seed);
        for _ in 0..20 {
            let scene = statement.world().scene_w(noise.rng());
            let holds = truth(&statement, &scene);
            prop_assert_eq!(truth(&statement.reversed(), &scene), holds);
            prop_assert_eq!(truth(&statement.canonical(), &scene), holds);
        }
        prop_assert_eq!(statement.reversed().canonical(), statement.canonical());
    }

    /// What a caption leaves out cannot make it false, and what it says of a picture does not hold of the picture's variants.
    #[test]
    fn variants_contradict_the_caption(world in any_world(), seed in 0..u64::MAX) {
        let mut noise = Noise::new(seed);
        let scene = world.scene_w(noise.rng());
        let (text, statement) = caption(&scene, &CaptionMix::FULL, noise.rng());
        for variant in variants(&scene, &statement, noise.rng()) {
            let expected = if variant.kind.name() == "bystander" { Truth::True } else { Truth::False };
            prop_assert_eq!(truth(&statement, &variant.scene), expected, "{}: {:?}", text, variant);
        }
    }
}

/// The tables in the data sets' READMEs are made from the code.
#[test]
fn the_readmes_are_current() {
    for world in World::ALL {
        let path = format!("{}/datasets/{world}/README.md", env!("CARGO_MANIFEST_DIR"));
        let readme = eclipse_t2i::files::read_text(&path).expect("the README is there");
        for table in [prompts_table(world), nouns_table(world)] {
            assert!(
                readme.contains(&table),
                "datasets/{world}/README.md should have this table:\n{table}"
            );
        }
    }
}

fn prompts_table(world: World) -> String {
    let mut table = String::from("| | CompBench | own |\n|---|---|---|\n");
    for category in Category::ALL {
        for split in Split::ALL {
            let n = |source| {
                world
                    .test_prompts()
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
    table
}

fn nouns_table(world: World) -> String {
    let has_textures = !world.textures().is_empty();
    let mut titles = vec!["noun", "held-out colours", "usual colour"];
    if has_textures {
        titles.extend(["held-out texture", "usual texture"]);
    }
    titles.push("spurious distractor");
    let mut table = format!("| {} |\n{}|\n", titles.join(" | "), "|---".repeat(titles.len()));
    for noun in world.nouns() {
        let colours = Colour::ALL.into_iter().filter(|c| held_out_colour(noun, *c));
        let textures = Texture::ALL.into_iter().filter(|t| held_out_texture(noun, *t));
        let join = |words: Vec<&str>| words.join(", ");
        let mut cells = vec![
            noun.word().to_owned(),
            join(colours.map(Colour::word).collect()),
            usual_colour(noun).map_or("", Colour::word).to_owned(),
        ];
        if has_textures {
            cells.push(join(textures.map(Texture::word).collect()));
            cells.push(usual_texture(noun).map_or("", Texture::word).to_owned());
        }
        cells.push(spurious_distractor(noun).map_or("", Noun::word).to_owned());
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}
