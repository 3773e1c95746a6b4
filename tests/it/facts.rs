//! What several documents state stands once in `docs/facts.toml`; a document that contradicts it, or that tells of something missing without quoting it, is found.

use std::path::{Path, PathBuf};

use eclipse_t2i::files::read_text;
use serde::Deserialize;

use super::documents::{documents, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    open: Vec<String>,
    open_in_sources: Vec<String>,
    fact: Vec<Fact>,
    version: Vec<Version>,
    count: Vec<Count>,
    allowed: Vec<Allowed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    id: String,
    say: String,
    evidence: PathBuf,
    proof: String,
    #[serde(default)]
    contrary: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    name: String,
    value: String,
    evidence: PathBuf,
    proof: String,
    #[serde(default)]
    other: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    noun: String,
    of: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    file: String,
    text: String,
    #[expect(dead_code, reason = "for readers of the file")]
    why: String,
}

const WORDS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
];

fn facts() -> Facts {
    let text = read_text(root().join("docs/facts.toml")).expect("readable");
    toml::from_str(&text).expect("docs/facts.toml has the keys of its head")
}

/// Paragraphs, list items, table rows and lines of code, each on one line.
fn blocks(markdown: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in markdown.lines() {
        let begins = ["|", "- ", "* ", "#", "    "]
            .iter()
            .any(|start| line.starts_with(start));
        match found.last_mut() {
            Some(last) if !begins && !line.trim().is_empty() => *last += &format!("{} ", line.trim()),
            _ => found.push(format!("{} ", line.trim())),
        }
    }
    found
}

/// The comments of a source file, as [`blocks`].
fn comments(source: &str) -> Vec<String> {
    let lines = source.lines().map(|line| {
        let line = line.trim();
        let text = line
            .strip_prefix("//")
            .map(|rest| rest.trim_start_matches(['/', '!']).trim());
        text.unwrap_or_default().to_owned() + "\n"
    });
    blocks(&lines.collect::<String>())
}

/// Where `needle` stands in `text` as whole words, with what is before and after it.
fn occurrences<'a>(text: &'a str, needle: &str) -> Vec<(&'a str, &'a str)> {
    let at = text
        .match_indices(needle)
        .map(|(i, _)| (&text[..i], &text[i + needle.len()..]));
    at.filter(|(before, after)| {
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
    })
    .collect()
}

/// The number that `text` ends with, in digits or as a word.
fn last_number(text: &str) -> Option<usize> {
    let word = text.trim_end().rsplit([' ', '(']).next()?.to_lowercase();
    let by_word = WORDS.iter().position(|&name| name == word);
    by_word.or_else(|| word.replace(',', "").parse().ok())
}

/// The contradictions between `facts` and one block of a document.
fn contradictions(facts: &Facts, counts: &[usize], file: &str, block: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lower = block.to_lowercase();
    let quoted: Vec<&str> = block
        .split("<!-- fact: ")
        .skip(1)
        .filter_map(|rest| rest.split(" -->").next())
        .collect();
    for id in &quoted {
        match facts.fact.iter().find(|fact| fact.id == *id) {
            None => wrong.push(format!("no fact {id} in docs/facts.toml")),
            Some(fact) if !block.contains(&fact.say) => {
                wrong.push(format!("quotes {id} without saying {:?}", fact.say))
            }
            Some(_) => {}
        }
    }
    for fact in &facts.fact {
        let against = fact.contrary.iter().filter(|text| lower.contains(*text));
        wrong.extend(against.map(|text| format!("{text:?} contradicts the fact {}", fact.id)));
    }
    let is_source = file.ends_with(".rs");
    let open = if is_source {
        &facts.open_in_sources
    } else {
        &facts.open
    };
    let is_allowed = || {
        facts
            .allowed
            .iter()
            .any(|a| a.file == file && block.contains(&a.text))
    };
    for phrase in open
        .iter()
        .filter(|phrase| !occurrences(&lower, phrase).is_empty())
    {
        if quoted.is_empty() && !is_allowed() {
            wrong.push(format!(
                "{phrase:?}: still so? Quote a fact, or give the place under `allowed` with a reason"
            ));
        }
    }
    if is_source {
        return wrong;
    }
    for version in &facts.version {
        for (_, after) in occurrences(block, &version.name) {
            let found: String = after
                .trim_start()
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            let found = found.trim_end_matches('.');
            let is_right = version.value == found || version.value.starts_with(&format!("{found}."));
            if !found.is_empty() && !is_right && !version.other.iter().any(|other| other == found) {
                wrong.push(format!(
                    "{} {found}: {} has {}",
                    version.name,
                    version.evidence.display(),
                    version.value
                ));
            }
        }
    }
    for (count, &n) in facts.count.iter().zip(counts) {
        let numbers = occurrences(&lower, &count.noun)
            .into_iter()
            .filter_map(|(before, _)| last_number(before));
        wrong.extend(
            numbers
                .filter(|&found| found != n && !is_allowed())
                .map(|found| format!("{found} {}: {} has {n}", count.noun, count.of)),
        );
    }
    wrong
}

/// How many files match a pattern; of manifests, how many goldens they list.
fn count(pattern: &str) -> usize {
    let paths = glob::glob(&root().join(pattern).to_string_lossy()).expect("a pattern");
    let of = |path: &Path| match path.ends_with("manifest.json") {
        false => 1,
        true => {
            let manifest: serde_json::Value =
                serde_json::from_str(&read_text(path).expect("readable")).expect("JSON");
            manifest["goldens"].as_object().map_or(0, serde_json::Map::len)
        }
    };
    paths.map(|path| of(&path.expect("readable"))).sum()
}

fn sources() -> Vec<PathBuf> {
    let all = glob::glob(&root().join("src/**/*.rs").to_string_lossy()).expect("a pattern");
    all.map(|path| {
        path.expect("readable")
            .strip_prefix(root())
            .expect("below the root")
            .to_owned()
    })
    .collect()
}

#[test]
fn documents_and_facts_agree() {
    let facts = facts();
    let one_line = |path: &Path| {
        let text = read_text(root().join(path)).expect("the evidence is there");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let facts_with_proof = facts.fact.iter().map(|f| (&f.id, &f.evidence, &f.proof));
    for (name, evidence, proof) in
        facts_with_proof.chain(facts.version.iter().map(|v| (&v.name, &v.evidence, &v.proof)))
    {
        assert!(
            one_line(evidence).contains(proof),
            "{name}: {} does not have {proof:?}",
            evidence.display()
        );
    }
    let counts: Vec<usize> = facts.count.iter().map(|c| count(&c.of)).collect();
    let pages: Vec<PathBuf> = documents()
        .into_iter()
        .map(|page| page.strip_prefix(root()).unwrap_or(&page).to_owned())
        .collect();
    let (mut wrong, mut text_of_all) = (Vec::new(), String::new());
    // The log is dated: its statements were true on their day.
    for path in pages
        .into_iter()
        .chain(sources())
        .filter(|path| !path.ends_with("LOG.md"))
    {
        let text = read_text(root().join(&path)).expect("readable");
        let name = path.to_string_lossy();
        let blocks = if name.ends_with(".rs") {
            comments(&text)
        } else {
            blocks(&text)
        };
        for block in blocks {
            let found = contradictions(&facts, &counts, &name, &block);
            wrong.extend(found.into_iter().map(|why| format!("{name}: {why}\n    {block}")));
            text_of_all += &block;
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let unused = |id: &String| !text_of_all.contains(&format!("<!-- fact: {id} -->"));
    let unused: Vec<_> = facts.fact.iter().map(|f| &f.id).filter(|id| unused(id)).collect();
    assert!(unused.is_empty(), "quoted nowhere: {unused:?}");
    let stale: Vec<_> = facts
        .allowed
        .iter()
        .map(|a| &a.text)
        .filter(|text| !text_of_all.contains(*text))
        .collect();
    assert!(stale.is_empty(), "allowed, and not there: {stale:?}");
}

/// Statements that were wrong in earlier versions of the documents, and others of their kind.
#[test]
fn planted_contradictions_are_found() {
    let facts = facts();
    let counts: Vec<usize> = facts.count.iter().map(|c| count(&c.of)).collect();
    let found = |file: &str, text: &str| -> Vec<String> {
        let blocks = if file.ends_with(".rs") {
            comments(text)
        } else {
            blocks(text)
        };
        blocks
            .iter()
            .flat_map(|block| contradictions(&facts, &counts, file, block))
            .collect()
    };
    for (file, text, part) in [
        (
            "x.md",
            "These recipes have not been\nrun here, for lack of GPUs.",
            "contradicts the fact gpu",
        ),
        (
            "x.md",
            "One GPU <!-- fact: gpu -->.",
            "without saying \"one NVIDIA H200\"",
        ),
        ("x.md", "<!-- fact: unknown --> x", "no fact unknown"),
        ("x.md", "Flow matching is not implemented.", "still so?"),
        ("x.md", "| `metal` | not run |", "still so?"),
        ("x.rs", "/// Guidance is not\n/// implemented.", "still so?"),
        ("x.md", "With Rust 1.85 or later", "Cargo.toml has 1.95"),
        ("x.md", "as diffusers 0.42.0 does", "0.42.1"),
        (
            "x.md",
            "There are 20 committed experiments.",
            "20 committed experiments",
        ),
        ("x.md", "and three short\nprograms", "3 short programs"),
        ("x.md", "all 1,062 committed goldens", "1062 committed goldens"),
    ] {
        let wrong = found(file, text);
        assert!(wrong.iter().any(|why| why.contains(part)), "{text:?}: {wrong:?}");
    }
    let n = count("experiments/*/sweep.toml");
    for (file, text) in [
        (
            "x.md",
            "It ran on one NVIDIA H200 <!-- fact: gpu -->, with Rust 1.95 and transformers 5.23.",
        ),
        (
            "x.md",
            &format!("{n} committed experiments; experiments vary; four short programs"),
        ),
        ("x.md", "The `metal` backend was not run <!-- fact: metal -->."),
        ("x.rs", "let x = \"not implemented\";"),
    ] {
        assert_eq!(found(file, text), Vec::<String>::new(), "{text:?}");
    }
}
