//! Pages that people read say what is so: the README's table is the committed result, the ledger's tests exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use eclipse_t2i::eval::metrics::info;
use eclipse_t2i::experiment::SweepSpec;
use eclipse_t2i::files::{list_folders, read_gzip, read_text};
use eclipse_t2i::report::{Report, write_site};

fn page(path: &str) -> String {
    read_text(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the page is there")
}

/// `metric@split` of each column, and its heading, in `docs/results.md`.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("picture/all", "seen", "images right, seen"),
    ("picture/all", "unseen", "images right, unseen"),
    ("picture/all", "against", "images right, counter-bias"),
    ("forced_choice/all", "unseen", "embeddings right, unseen"),
    ("cos/z_x", "all", "cos z_x"),
    ("frechet_relative", "all", "Frechet"),
    ("norm_ratio", "all", "norm ratio"),
];

/// The rows of the README's table: name there, and label in the results.
const ROWS: [(&str, &str); 5] = [
    ("ECLIPSE", "eclipse"),
    ("Projection", "projection"),
    ("Diffusion-Baseline, guidance 4", "diffusion"),
    ("Diffusion-Baseline, guidance 1.5", "diffusion_g15"),
    ("*none: the true embedding*", "oracle"),
];

#[test]
fn documents_show_the_committed_result() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = read_gzip(root.join("experiments/objectives/results/scores.csv.gz")).expect("committed");
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
        let interval = match (number(4), number(5)) {
            (Some(low), Some(high)) => format!(" [{low:.3}, {high:.3}]"),
            _ => String::new(),
        };
        cells.insert((field(0), field(1), field(2)), (value, interval));
    }
    let cell = |system: &str, metric: &str, split: &str| {
        let key = (system.to_owned(), metric.to_owned(), split.to_owned());
        cells.get(&key).cloned().expect("the metric was measured")
    };
    let headings: Vec<&str> = COLUMNS.iter().map(|c| c.2).collect();
    let mut table = format!(
        "| | {} |\n|{}\n",
        headings.join(" | "),
        "---|".repeat(headings.len() + 1)
    );
    for system in &systems {
        let shown = |(metric, split, _): &(&str, &str, &str)| {
            let (value, interval) = cell(system, metric, split);
            format!("{value:.3}{interval}")
        };
        let row: Vec<String> = COLUMNS.iter().map(shown).collect();
        let _ = writeln!(table, "| {system} | {} |", row.join(" | "));
    }
    assert!(
        page("docs/results.md").contains(&table),
        "docs/results.md should have this table:\n{table}"
    );

    let mut table = "| prior | images right | embeddings right |\n|---|---|---|\n".to_owned();
    for (name, system) in ROWS {
        let shown = ["picture/all", "forced_choice/all"].map(|metric| {
            let of = |(_, system): &(&str, &str)| cell(system, metric, "unseen").0;
            let best = ROWS[..4].iter().map(of).fold(f64::NEG_INFINITY, f64::max);
            let (value, interval) = cell(system, metric, "unseen");
            match system != "oracle" && value == best {
                true => format!("**{value:.3}**{interval}"),
                false => format!("{value:.3}{interval}"),
            }
        });
        let _ = writeln!(table, "| {name} | {} |", shown.join(" | "));
    }
    assert!(
        page("README.md").contains(&table),
        "README.md should have this table:\n{table}"
    );
}

/// Tables, tooltips and claims follow from the row of a metric, so every committed number needs one.
#[test]
fn committed_scores_are_of_metrics_that_have_rows() {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut names = BTreeSet::new();
    for folder in list_folders(experiments).expect("folders are readable") {
        let Ok(text) = read_gzip(folder.join("results/scores.csv.gz")) else {
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
fn every_committed_experiment_has_a_page_with_its_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let site = tempfile::tempdir().expect("a folder");
    let list = read_text(write_site(&folder, site.path()).expect("writable")).expect("written");
    let mut n = 0;
    for path in list_folders(&folder).expect("folders are readable") {
        let is_comparison = path.join("sweep.toml").is_file()
            && eclipse_t2i::comparison::is_comparison(&path.join("sweep.toml")).expect("readable");
        if is_comparison || !path.join("results/scores.csv.gz").is_file() {
            continue;
        }
        n += 1;
        let spec = SweepSpec::read(&path.display().to_string(), &[], false).expect("valid");
        let trials = spec.expand().expect("valid");
        let report = Report::committed(&spec, &trials)
            .expect("readable")
            .expect("committed");
        let name = spec.name();
        let page = read_text(site.path().join(&name).join("index.html")).expect("written");
        let answer = &spec.report().answer;
        let sentences = answer.replace("\n", " ").matches(". ").count() + 1;
        assert!(
            !answer.is_empty() && sentences <= 3,
            "{name}: {sentences} sentences: {answer}"
        );
        assert!(
            page.contains("<div class=\"answer\">"),
            "{name}: a number of its answer is not in its scores: {answer}"
        );
        assert!(
            page.contains("need the run directories, which are not committed"),
            "{name}: where are the curves of its runs?"
        );
        for metric in spec.report().summary() {
            assert!(
                !report.select(std::slice::from_ref(metric)).is_empty(),
                "{name}: no {metric}"
            );
        }
        assert!(
            list.contains(&format!("href=\"{name}/index.html\"")),
            "{name} is not listed"
        );
    }
    assert!(n >= 20, "{n} experiments have results");
    let place = |name: &str| list.find(&format!("href=\"{name}/")).expect("listed");
    assert!(
        place("objectives") < place("conditioning"),
        "main results stand first"
    );
}
