//! The documents name what exists: relative links, headings that links point at, and source files.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use eclipse_t2i::files::{list_folders, read_text};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents, as paths from the package root. Reports in `results/` are generated and have their own tests.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "experiments/PAPER.md",
        "experiments/LOG.md",
    ]
    .map(PathBuf::from)
    .into();
    let docs = std::fs::read_dir(root().join("docs")).expect("docs/ is readable");
    let pages = docs.flatten().map(|entry| entry.path());
    found.extend(pages.filter(|path| path.extension().is_some_and(|e| e == "md")));
    for parent in ["experiments", "datasets", "tests"] {
        let mut folders = vec![root().join(parent)];
        for folder in list_folders(root().join(parent)).expect("folders are readable") {
            folders.extend(list_folders(&folder).expect("folders are readable"));
            folders.push(folder);
        }
        let pages = folders.into_iter().map(|folder| folder.join("README.md"));
        found.extend(pages.filter(|page| page.is_file() && !page.ends_with("results/README.md")));
    }
    found
}

/// What a document names.
#[derive(Default)]
struct Contents {
    /// Destinations of links and images.
    links: Vec<String>,
    /// Text in code font, outside of code blocks.
    code: Vec<String>,
    /// Headings, as GitHub spells their anchors.
    anchors: BTreeSet<String>,
}

fn contents(markdown: &str) -> Contents {
    let mut found = Contents::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        if let (Some(heading), Event::Text(text) | Event::Code(text)) = (&mut heading, &event) {
            heading.push_str(text);
        }
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                found.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => found.anchors.extend(heading.take().as_deref().map(anchor)),
            Event::Code(text) => found.code.push(text.into_string()),
            _ => {}
        }
    }
    found
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What is wrong with the relative link `link` of the document at `path`.
fn broken(path: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => path.to_owned(),
        file => path.parent().expect("a file has a folder").join(file),
    };
    if !target.exists() {
        return Some("no such file".into());
    }
    if fragment.is_empty() || target.extension().is_none_or(|e| e != "md") {
        return None;
    }
    let anchors = contents(&read_text(&target).expect("the page is readable")).anchors;
    (!anchors.contains(fragment)).then(|| format!("no such heading; there are {anchors:?}"))
}

/// The path of a source file in `code`, such as `src/eval/fid.rs` or `src/eval/metrics/`; patterns and abbreviations are none.
fn source_path(code: &str) -> Option<&str> {
    let is_path = code.starts_with("src/") && !code.contains([' ', '*', '<', '{']) && !code.contains("..");
    is_path.then_some(code)
}

#[test]
fn relative_links_lead_somewhere() {
    let mut wrong = String::new();
    let mut n_links = 0;
    for document in documents() {
        let path = root().join(&document);
        let links = contents(&read_text(&path).expect("the page is readable")).links;
        n_links += links.len();
        for link in links {
            if let Some(why) = broken(&path, &link) {
                let _ = writeln!(wrong, "{}: {link}: {why}", document.display());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(n_links > 100, "{n_links} links found");
}

#[test]
fn source_files_that_documents_name_exist() {
    let mut wrong = String::new();
    let mut n_paths = 0;
    for document in documents() {
        let text = read_text(root().join(&document)).expect("the page is readable");
        for code in contents(&text).code {
            let Some(path) = source_path(&code) else { continue };
            n_paths += 1;
            if !root().join(path).exists() {
                let _ = writeln!(wrong, "{}: {path}", document.display());
            }
        }
    }
    assert!(wrong.is_empty(), "not there:\n{wrong}");
    assert!(n_paths > 10, "{n_paths} paths found");
}

#[test]
fn broken_links_and_headings_are_found() {
    let page = root().join("README.md");
    assert_eq!(broken(&page, "experiments/PAPER.md"), None);
    assert_eq!(broken(&page, "https://burn.dev"), None);
    assert!(broken(&page, "experiments/NOTHING.md").is_some());
    assert!(broken(&page, "CONTRIBUTING.md#nothing").is_some());
    assert_eq!(broken(&page, "CONTRIBUTING.md#add-a-data-source"), None);
    let found = contents("# A `b`, c\n[x](y.md#z) ![i](i.png) `src/lib.rs`\n\n    [no](link)\n");
    assert_eq!(found.links, ["y.md#z", "i.png"]);
    assert_eq!(found.code, ["b", "src/lib.rs"]);
    assert!(found.anchors.contains("a-b-c"));
    assert_eq!(source_path("src/lib.rs"), Some("src/lib.rs"));
    assert_eq!(source_path("src/.../toy*.rs"), None);
}
