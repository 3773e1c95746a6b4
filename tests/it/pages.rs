//! Pages that people read say what is so: the README's table is the committed result, the ledger's tests exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use eclipse_t2i::eval::metrics::info;
use eclipse_t2i::files::{list_folders, read_text};
use eclipse_t2i::report::index;

fn page(path: &str) -> String {
    read_text(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the page is there")
}

/// `metric@split` of each column, and its heading.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("picture/all", "seen", "images right, seen"),
    ("picture/all", "unseen", "images right, unseen"),
    ("picture/all", "against", "images right, counter-bias"),
    ("forced_choice/all", "unseen", "embeddings right, unseen"),
    ("cos/z_x", "all", "cos z_x"),
    ("frechet_relative", "all", "Frechet"),
    ("norm_ratio", "all", "norm ratio"),
];

#[test]
fn the_readme_shows_the_committed_result() {
    let text = page("experiments/objectives/results/scores.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut systems = Vec::new();
    let mut cells = BTreeMap::new();
    for record in reader.records() {
        let record = record.expect("a row");
        let field = |i: usize| record.get(i).expect("a field").to_owned();
        if !systems.contains(&field(0)) {
            systems.push(field(0));
        }
        let number = |i: usize| field(i).parse::<f64>().ok();
        let value = number(3).expect("a value");
        let shown = match (number(4), number(5)) {
            (Some(low), Some(high)) => format!("{value:.3} [{low:.3}, {high:.3}]"),
            _ => format!("{value:.3}"),
        };
        cells.insert((field(0), field(1), field(2)), shown);
    }
    let headings: Vec<&str> = COLUMNS.iter().map(|c| c.2).collect();
    let mut table = format!(
        "| | {} |\n|{}\n",
        headings.join(" | "),
        "---|".repeat(headings.len() + 1)
    );
    for system in systems {
        let cell = |(metric, split, _): &(&str, &str, &str)| {
            let key = (system.clone(), (*metric).to_owned(), (*split).to_owned());
            cells.get(&key).cloned().expect("the metric was measured")
        };
        let row: Vec<String> = COLUMNS.iter().map(cell).collect();
        let _ = writeln!(table, "| {system} | {} |", row.join(" | "));
    }
    let readme = page("README.md");
    assert!(
        readme.contains(&table),
        "README.md should have this table:\n{table}"
    );
}

/// Tables, tooltips and claims follow from the row of a metric, so every committed number needs one.
#[test]
fn committed_scores_are_of_metrics_that_have_rows() {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut names = BTreeSet::new();
    for folder in list_folders(experiments).expect("folders are readable") {
        let Ok(text) = read_text(folder.join("results/scores.csv")) else {
            continue;
        };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for record in reader.records() {
            names.insert(record.expect("a row")[1].to_owned());
        }
    }
    assert!(names.len() > 40, "{names:?}");
    let unknown: Vec<&String> = names.iter().filter(|name| info(name).is_none()).collect();
    assert!(unknown.is_empty(), "no row in src/eval/metrics: {unknown:?}");
}

#[test]
fn every_test_that_the_ledger_names_exists() {
    fn sources(dir: PathBuf, text: &mut String) {
        for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(path, text);
            } else if path.extension().is_some_and(|e| e == "rs") {
                text.push_str(&read_text(&path).expect("a source file"));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(root.join("src"), &mut code);
    sources(root.join("tests"), &mut code);
    let ledger = page("experiments/PAPER.md");
    let rows = ledger.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut named = 0;
    for row in rows {
        let test = row
            .split('|')
            .nth(3)
            .expect("a test column")
            .trim()
            .trim_matches('`');
        if test != "-" {
            named += 1;
            assert!(code.contains(&format!("fn {test}(")), "no test `{test}`: {row}");
        }
    }
    assert!(named > 5, "{named} tests named");
}

#[test]
fn the_page_of_all_experiments_is_what_their_folders_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let now = index(&folder).expect("folders are readable");
    assert!(
        page("experiments/index.html") == now,
        "experiments/index.html is of an earlier state: eclipse report --index"
    );
    assert!(now.contains("objectives/results/"), "{now}");
}
