//! The comparison with PyTorch: the arithmetic of its script, and the table that the documents quote.

use std::path::Path;
use std::process::{Command, ExitStatus};

use eclipse_t2i::files::read_text;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The script needs only Python's standard library for this; without Python there is nothing to test.
#[test]
fn the_script_computes_and_prints_its_tables() {
    let mut command = Command::new("python3");
    command
        .arg(root().join("benches/compare_pytorch.py"))
        .arg("--self-test");
    match command.output() {
        Ok(output) => assert_eq!(
            (output.status, String::from_utf8_lossy(&output.stdout).trim()),
            (ExitStatus::default(), "self-test passed"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("skipped: python3: {error}"),
    }
}

/// The first table of a page.
fn first_table(page: &str) -> String {
    let lines = page.lines().skip_while(|line| !line.starts_with('|'));
    let table: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    table.join("\n")
}

#[test]
fn the_documents_quote_the_comparison_as_it_was_measured() {
    let results = root().join("benches/RESULTS.md");
    let docs = read_text(root().join("docs/devices.md")).expect("the page is readable");
    let (_, quoted) = docs
        .split_once("<!-- table: benches/RESULTS.md -->")
        .expect("docs/devices.md marks the table");
    let (quoted, _) = quoted
        .split_once("<!-- end of table -->")
        .expect("docs/devices.md marks the end of the table");
    if results.exists() {
        let results = read_text(&results).expect("the page is readable");
        assert!(!results.contains("loaded machine"), "measured on a busy machine");
        assert_eq!(quoted.trim(), first_table(&results), "from benches/RESULTS.md");
    } else {
        assert_eq!(first_table(quoted), "", "there is no benches/RESULTS.md");
    }
}
