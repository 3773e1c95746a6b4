//! The documents name what exists: relative links, headings that links point at, and source files.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use eclipse_t2i::files::{list_folders, read_text};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents, as paths from the package root. Reports in `results/` are generated and have their own tests.
pub fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
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

/// The files of the repository: those that git tracks, or without git all but what builds and runs leave.
fn tracked() -> Vec<PathBuf> {
    let git = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    if let Ok(told) = git
        && told.status.success()
    {
        let names = String::from_utf8(told.stdout).expect("names are UTF-8");
        let paths = names.split_terminator('\0').map(|name| root().join(name));
        return paths.filter(|path| path.is_file()).collect();
    }
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for path in std::fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .map(|e| e.path())
        {
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    let left = ["target", "runs", "weights", "references", "images", ".git"].map(|name| root().join(name));
    found.retain(|path| left.iter().all(|folder| !path.starts_with(folder)));
    found
}

/// A clone is small: results are committed without images and pages, fixtures without what no test reads.
#[test]
fn the_repository_is_small() {
    let size = |path: &PathBuf| std::fs::metadata(path).expect("a file").len();
    let mut files: Vec<(u64, PathBuf)> = tracked().into_iter().map(|path| (size(&path), path)).collect();
    files.sort();
    assert!(files.len() > 300, "{} files", files.len());
    let (sum, (largest, path)) = (
        files.iter().map(|f| f.0).sum::<u64>(),
        files.last().expect("files"),
    );
    assert!(
        *largest <= 6 << 20,
        "{}: {largest} bytes, at most 6 MiB",
        path.display()
    );
    assert!(
        sum <= 40_000_000,
        "{sum} bytes, at most 40,000,000; the largest files: {:#?}",
        files.iter().rev().take(20).collect::<Vec<_>>()
    );
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

/// The commands of the program in the code blocks of `markdown`, one string each.
fn commands(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => block = Some(String::new()),
            Event::Text(text) if block.is_some() => block.as_mut().expect("a block").push_str(&text),
            Event::End(TagEnd::CodeBlock) => {
                let text = block.take().unwrap_or_default().replace("\\\n", " ");
                found.extend(text.lines().flat_map(own_commands));
            }
            _ => {}
        }
    }
    found
}

/// The calls of the program in one line of a shell.
fn own_commands(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let calls = line.split("; ").map(|call| call.trim().trim_end_matches(" &"));
    let own = |call: &str| {
        let rest = call
            .strip_prefix("eclipse ")
            .or_else(|| call.strip_prefix("cargo run --release -- "));
        rest.map(str::to_owned)
    };
    calls.filter_map(own).collect()
}

/// The words of a command, as a shell splits them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.trim().chars() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            _ => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// What the command line says against a command, if it knows no such option, command or combination. Values such as paths are not checked.
fn refused(command: &str) -> Option<String> {
    use clap::error::ErrorKind;
    let argv = std::iter::once("eclipse".to_owned()).chain(words(command));
    let error = eclipse_t2i::cli::command().try_get_matches_from(argv).err()?;
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        _ => Some(error.to_string()),
    }
}

#[test]
fn commands_that_documents_show_exist() {
    let (mut wrong, mut n) = (String::new(), 0);
    for document in documents() {
        let text = read_text(root().join(&document)).expect("the page is readable");
        for command in commands(&text) {
            n += 1;
            // A pattern such as NAME or COMMAND is a placeholder of a command.
            if command.starts_with("COMMAND") {
                continue;
            }
            if let Some(why) = refused(&command) {
                let _ = writeln!(wrong, "{}: eclipse {command}\n{why}", document.display());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(n > 80, "{n} commands found");
}

#[test]
fn commands_are_read_as_a_shell_does() {
    let page = "x\n\n    eclipse sweep a --set 'b=[0, 1]' \\\n        --smoke   # eclipse no\n    eclipse list; eclipse inspect x\n    cargo test\n";
    assert_eq!(
        commands(page),
        ["sweep a --set 'b=[0, 1]'      --smoke", "list", "inspect x"]
    );
    assert_eq!(
        words("sweep a --set 'b=[0, 1]'   --smoke"),
        ["sweep", "a", "--set", "b=[0, 1]", "--smoke"]
    );
    assert_eq!(refused("sweep objectives --smoke"), None);
    assert!(refused("sweep objectives --smok").is_some_and(|why| why.contains("--smok")));
    assert!(refused("sweeep").is_some());
}

/// The map of `docs/architecture.md` is that of the crate's documentation, and has every module.
#[test]
fn the_module_map_is_the_same_everywhere_and_complete() {
    let block = |text: &str| -> String {
        let from = text.find("cli          the program").expect("a map");
        let text = &text[from..];
        text[..text.find("```").expect("its end")].trim_end().to_owned()
    };
    let library = read_text(root().join("src/lib.rs")).expect("readable");
    let library: Vec<&str> = library
        .lines()
        .map(|line| line.trim_start_matches("//!").trim_start())
        .collect();
    let page = read_text(root().join("docs/architecture.md")).expect("readable");
    let map = block(&page);
    assert_eq!(map, block(&library.join("\n")));
    let words: BTreeSet<&str> = map.split_whitespace().collect();
    for entry in std::fs::read_dir(root().join("src")).expect("readable").flatten() {
        let path = entry.path();
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(
            ["lib", "main"].contains(&&*module) || words.contains(&*module),
            "{module} is not on the map"
        );
    }
}

/// The package has sources and documents: no test data, results, weights or images.
#[test]
fn the_package_is_small_and_names_its_address_before_it_is_published() {
    let list = std::process::Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let files = String::from_utf8(list.stdout).expect("paths");
    let is_data = |file: &&str| {
        let ends = [".safetensors", ".png", ".svg", ".csv", ".npz", ".pth", ".cast"];
        let folders = ["tests/", "runs/", "target/", "docs/images/", "docs/recording/"];
        let small = file.starts_with("src/") || file.starts_with("datasets/");
        file.contains("/results/")
            || folders.iter().any(|f| file.starts_with(f))
            || (!small && ends.iter().any(|e| file.ends_with(e)))
    };
    let data: Vec<&str> = files.lines().filter(is_data).collect();
    assert!(data.is_empty(), "in the package: {data:?}");
    for needed in [
        "src/lib.rs",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "experiments/objectives/sweep.toml",
    ] {
        assert!(
            files.lines().any(|file| file == needed),
            "not in the package: {needed}"
        );
    }
    let bytes: u64 = files
        .lines()
        .filter_map(|file| root().join(file).metadata().ok())
        .map(|m| m.len())
        .sum();
    assert!(bytes < 8 << 20, "{bytes} bytes");

    let manifest: toml::Table =
        toml::from_str(&read_text(root().join("Cargo.toml")).expect("readable")).expect("TOML");
    let package = &manifest["package"];
    let is_closed = package.get("publish").and_then(toml::Value::as_bool) == Some(false);
    assert!(
        is_closed || package.get("repository").is_some(),
        "a package that can be published names its repository"
    );
}

/// Every line of prose wraps: a table's row or a block of code may be longer.
#[test]
fn prose_has_no_long_lines() {
    let mut wrong = String::new();
    for document in documents() {
        let text = read_text(root().join(&document)).expect("the page is readable");
        for (i, line) in text.lines().enumerate() {
            if !line.starts_with(['|', ' ']) && line.chars().count() > 170 {
                let _ = writeln!(wrong, "{}:{}", document.display(), i + 1);
            }
        }
    }
    assert!(wrong.is_empty(), "longer than 170 characters:\n{wrong}");
}

/// Blocks of shell commands below the comment `<!-- runnable -->`.
fn runnable(markdown: &str) -> Vec<String> {
    let (mut found, mut is_next, mut block) = (Vec::new(), false, None::<String>);
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Html(text) if text.trim() == "<!-- runnable -->" => is_next = true,
            Event::Start(Tag::CodeBlock(_)) if is_next => block = Some(String::new()),
            Event::Text(text) if block.is_some() => block.as_mut().expect("a block").push_str(&text),
            Event::End(TagEnd::CodeBlock) => {
                found.extend(block.take());
                is_next = false;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn blocks_that_are_marked_as_runnable_run() {
    let desk = tempfile::tempdir().expect("a folder");
    for name in ["experiments", "datasets", "tests", "docs"] {
        std::os::unix::fs::symlink(root().join(name), desk.path().join(name)).expect("linked");
    }
    let mut n = 0;
    for document in documents() {
        let text = read_text(root().join(&document)).expect("the page is readable");
        for block in runnable(&text) {
            n += 1;
            let script = format!(
                "set -eu\neclipse() {{ '{}' \"$@\"; }}\n{block}",
                env!("CARGO_BIN_EXE_eclipse")
            );
            let script = script.replace("cargo run --release --", "eclipse");
            let run = std::process::Command::new("sh")
                .args(["-c", &script])
                .current_dir(desk.path())
                .env("ECLIPSE_HOME", desk.path())
                .output()
                .expect("a shell");
            assert!(
                run.status.success(),
                "{}: {}\n{block}\n{}",
                document.display(),
                run.status,
                String::from_utf8_lossy(&run.stderr)
            );
        }
    }
    assert!(n >= 5, "{n} blocks run");
}
