//! Pages in a real browser: nothing fails, every image loads, nothing is wider than a phone.
//!
//! Runs where `ECLIPSE_CHROMIUM` names a Chromium; `.ci/run` sets it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use eclipse_t2i::files::read_text;
use eclipse_t2i::report::write_site;
use serde_json::{Value, json};

use crate::devtools::Browser;
use crate::sweep::{Bench, Pretend};

/// Put first into a page: collects what goes wrong and tells the frame around it.
const PROBE: &str = r#"<script>
const said = [];
addEventListener('error', e => said.push(e.message || 'did not load: ' + e.target.tagName), true);
addEventListener('securitypolicyviolation', e => said.push('blocked: ' + e.blockedURI));
for (const kind of ['error', 'warn']) console[kind] = (...words) => said.push(words.join(' '));
addEventListener('load', () => setTimeout(() => parent.postMessage({
  page: location.pathname.split('/').pop(),
  width: innerWidth,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  images: [...document.images].map(image => image.naturalWidth),
  tables: document.querySelectorAll('table').length,
  rows: document.querySelectorAll('#scores tbody tr').length,
  plots: document.querySelectorAll('figure svg').length,
  said,
}, '*'), 100));
</script>"#;

/// Shows pages in frames as wide as a screen and writes what they tell into the document.
fn around(frames: &[(&str, usize)]) -> String {
    let frame = |(page, width): &(&str, usize)| {
        format!("<iframe src='{page}' style='width:{width}px;height:800px;border:0'></iframe>\n")
    };
    format!(
        "<!doctype html><meta charset=utf-8><script>
const told = [];
addEventListener('message', e => {{
  told.push(e.data);
  if (told.length < {}) return;
  const answer = document.createElement('pre');
  answer.id = 'told';
  answer.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(told))));
  document.body.append(answer);
}});
</script><body>{}",
        frames.len(),
        frames.iter().map(frame).collect::<String>()
    )
}

/// The document after `page` has loaded, and what the browser logged.
fn load(browser: &str, page: &Path) -> (String, String) {
    let profile = tempfile::tempdir().expect("temporary folder");
    let out = profile.path().join("dom.html");
    let log = profile.path().join("log.txt");
    let file = |path: &Path| Stdio::from(std::fs::File::create(path).expect("made"));
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--no-first-run",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            profile.path().join("profile").display()
        ))
        .arg(format!("file://{}", page.display()))
        .stdout(file(&out))
        .stderr(file(&log))
        .spawn()
        .unwrap_or_else(|e| panic!("ECLIPSE_CHROMIUM={browser} cannot be started: {e}"));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            child.kill().expect("killed");
            child.wait().expect("reaped");
            panic!("{browser} did not finish {}", page.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let log = read_text(&log).expect("a log");
    assert!(status.success(), "{browser}: {status}\n{log}");
    (read_text(&out).expect("a document"), log)
}

/// Lines of the browser's log that pages caused.
fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(":CONSOLE")).collect()
}

/// What the probes in `frames` tell, pages of `root` with widths.
fn answers(browser: &str, root: &Path, frames: &[(&str, usize)]) -> Vec<Value> {
    put(root, "around.html", &around(frames));
    let (document, log) = load(browser, &root.join("around.html"));
    let told = document
        .split_once("<pre id=\"told\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .unwrap_or_else(|| panic!("not every page answered:\n{log}\n{document}"));
    serde_json::from_slice(&STANDARD.decode(told.0).expect("base64")).expect("JSON")
}

fn put(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

#[test]
fn pages_show_in_a_browser_and_on_a_phone() {
    let Ok(browser) = std::env::var("ECLIPSE_CHROMIUM") else {
        eprintln!("not run: ECLIPSE_CHROMIUM does not name a Chromium (.ci/run sets it)");
        return;
    };
    let (words, numbers) = (Bench::new(), Bench::over_numbers());
    for bench in [&words, &numbers] {
        bench.sweep(&Pretend::default(), 2);
    }
    let root = words.root();
    let page = words.report().1.join("index.html");
    let curves = read_text(numbers.report().1.join("index.html")).expect("written");
    let index = write_site(root, &root.join("site")).expect("writable");
    let site = root.join("site/toy/index.html");

    // As they are: the browser has nothing to say.
    for page in [&page, &index, &site] {
        let (document, log) = load(&browser, page);
        assert!(document.contains("</html>"), "{document}");
        assert!(
            complaints(&log).is_empty(),
            "{}: {:#?}",
            page.display(),
            complaints(&log)
        );
    }

    // With a probe, in frames as wide as a phone and a desk.
    let page = read_text(&page).expect("written");
    let probed = |text: &str| text.replacen("<head>", &format!("<head>{PROBE}"), 1);
    put(root, "page.html", &probed(&page));
    put(root, "curves.html", &probed(&curves));
    let systems = crate::comparison::write_table_1(&root.join("table1"));
    let systems = read_text(systems.join("index.html")).expect("written");
    put(root, "systems.html", &probed(&systems));
    put(root, "all.html", &probed(&read_text(&index).expect("written")));
    put(root, "site.html", &probed(&read_text(&site).expect("written")));
    let run = words.report().1.join("runs");
    let run = run.join(format!("{}.html", words.trials[0].name()));
    put(root, "run.html", &probed(&read_text(&run).expect("written")));
    // What the probe must find: an image that is none, something wide, something from outside, an error.
    let broken = probed(&page)
        .replacen("data:image/png;base64,", "data:image/png;base64,AAAA", 1)
        .replacen(
            "</main>",
            "<div style='width:900px'>wide</div><img src='https://example.invalid/x.png'></main>",
            1,
        )
        .replacen(
            "</script>",
            "addEventListener('load', () => { throw new Error('planted'); });</script>",
            1,
        );
    put(root, "broken.html", &broken);
    let frames = [
        ("page.html", 390),
        ("page.html", 1280),
        ("curves.html", 390),
        ("all.html", 390),
        ("all.html", 1280),
        ("systems.html", 390),
        ("site.html", 390),
        ("run.html", 390),
        ("broken.html", 390),
    ];
    let told = answers(&browser, root, &frames);
    let find = |page: &str, width: usize| {
        told.iter()
            .find(|t| t["page"] == page && t["width"] == width)
            .unwrap_or_else(|| panic!("no answer of {page} at {width}: {told:#?}"))
    };
    let images = |t: &Value| t["images"].as_array().map_or(0, Vec::len);
    for (page, width) in &frames[..8] {
        let t = find(page, *width);
        assert_eq!(t["said"], serde_json::json!([]), "{page} at {width}");
        assert_eq!(t["overflow"], 0, "{page} at {width} is too wide");
        let loaded = t["images"].as_array().expect("a list");
        assert!(
            loaded.iter().all(|w| w.as_u64() > Some(0)),
            "{page} at {width}: {loaded:?}"
        );
    }
    let phone = find("page.html", 390);
    assert_eq!(
        (images(phone), &phone["rows"], &phone["plots"]),
        (6, &Value::from(3), &Value::from(1 + 2 + 4))
    );
    assert_eq!(find("curves.html", 390)["plots"], 1 + 2 + 2 + 2);
    let systems = find("systems.html", 390);
    assert_eq!(
        (&systems["rows"], &systems["plots"]),
        (&Value::from(12), &Value::from(1))
    );
    assert_eq!(
        (images(find("all.html", 390)), images(find("site.html", 390))),
        (0, 0)
    );
    assert_eq!(find("site.html", 390)["rows"], 3);
    // Its two losses and the learning rate; two images; a row for each score.
    let run = find("run.html", 390);
    assert_eq!((&run["plots"], images(run)), (&Value::from(3), 2), "{run:#}");
    assert!(run["rows"].as_u64() > Some(3), "{run:#}");

    let t = find("broken.html", 390);
    assert!(t["overflow"].as_i64() > Some(0), "{t:#?}");
    let loaded = t["images"].as_array().expect("a list");
    assert!(loaded.iter().filter(|w| **w == 0).count() >= 2, "{t:#?}");
    let said = t["said"].to_string();
    for part in [
        "planted",
        "blocked: https://example.invalid/x.png",
        "did not load: IMG",
    ] {
        assert!(said.contains(part), "{t:#?}");
    }
}

#[test]
fn runs_are_reached_from_the_page_and_lines_are_switched_off_without_a_script() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let bench = Bench::new();
    bench.sweep(&Pretend::default(), 2);
    let page = bench.report().1.join("index.html");
    let browser = &mut browser;
    let tab = browser.open(&format!("file://{}", page.display()), [390, 844]);
    browser.tell(
        &tab,
        "Emulation.setEmulatedMedia",
        json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] }),
    );
    // The legend of the first plot: a switch hides the marks of its split, and shows them again.
    let hidden = "[...document.querySelectorAll('.lead .panels svg [fill=\"#0072B2\"]')].filter(mark => getComputedStyle(mark).visibility === 'hidden').length";
    assert_eq!(browser.value(&tab, hidden), 0);
    let switch = "document.querySelector('.lead .legend input[value=\"0\"]').click()";
    browser.value(&tab, switch);
    assert!(browser.value(&tab, hidden).as_u64() > Some(0));
    browser.value(&tab, switch);
    assert_eq!(browser.value(&tab, hidden), 0);
    // Every mark says its value.
    let said = browser.value(
        &tab,
        "document.querySelector('.lead .panels svg .hover title').textContent",
    );
    assert!(
        said.as_str()
            .is_some_and(|text| text.contains(": 0.") && text.contains('[')),
        "{said}"
    );

    // To a run and back; there, text of plots is light on dark, and nothing is wider than the screen.
    let n = browser.value(&tab, "document.querySelectorAll('td a[href^=\"runs/\"]').length");
    assert_eq!(n, 5);
    browser.value(&tab, "document.querySelector('td a[href^=\"runs/\"]').click()");
    browser.wait(
        &tab,
        "location.pathname.includes('/runs/') && document.readyState === 'complete'",
    );
    let seen = browser.value(
        &tab,
        "({
            paper: getComputedStyle(document.body).backgroundColor,
            ink: getComputedStyle(document.querySelector('.panels svg text')).fill,
            overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
            captions: [...document.querySelectorAll('figure figcaption b')].map(name => name.textContent).slice(0, 3),
            text: document.body.innerText,
        })",
    );
    assert_eq!(
        (&seen["paper"], &seen["ink"]),
        (&"rgb(23, 24, 26)".into(), &"rgb(232, 232, 234)".into())
    );
    assert_eq!(seen["overflow"], 0);
    assert_eq!(
        seen["captions"],
        json!(["held-out loss", "training loss", "learning rate"])
    );
    let text = seen["text"].as_str().expect("text");
    for part in [
        "The lowest held-out loss is 1.0000, at step 12 of 12",
        "[train]",
        "eclipse train --config runs/toy/",
        "Seeds: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    browser.value(&tab, "document.querySelector('nav a').click()");
    browser.wait(&tab, "location.pathname.endsWith('/results/index.html')");
    assert!(browser.complaints().is_empty());
}

#[test]
fn the_site_of_the_committed_experiments_fits_a_phone() {
    let Ok(browser) = std::env::var("ECLIPSE_CHROMIUM") else {
        eprintln!("not run: ECLIPSE_CHROMIUM does not name a Chromium (.ci/run sets it)");
        return;
    };
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let site = tempfile::tempdir().expect("a folder");
    let list = write_site(&experiments, site.path()).expect("writable");
    let mut pages = vec![("list.html".to_owned(), list)];
    for folder in eclipse_t2i::files::list_folders(site.path()).expect("readable") {
        let name = folder.file_name().expect("a name").to_string_lossy();
        pages.push((format!("{name}.html"), folder.join("index.html")));
    }
    for (name, page) in &pages {
        // Folds are opened: nothing in them may be wider than a phone either.
        let text = read_text(page)
            .expect("written")
            .replace("<details", "<details open");
        put(
            site.path(),
            name,
            &text.replacen("<head>", &format!("<head>{PROBE}"), 1),
        );
    }
    let frames: Vec<(&str, usize)> = pages.iter().map(|(name, _)| (name.as_str(), 390)).collect();
    let told = answers(&browser, site.path(), &frames);
    assert_eq!(told.len(), pages.len());
    assert!(told.len() > 20, "{} pages", told.len());
    for t in &told {
        assert_eq!(t["said"], serde_json::json!([]), "{t:#?}");
        assert_eq!(t["overflow"], 0, "{} is too wide", t["page"]);
    }
}
