//! `eclipse serve` in a real browser: type, draw, see, cancel; two users, a phone, hostile input.
//!
//! Runs where `ECLIPSE_CHROMIUM` names a Chromium; `.ci/run` sets it. With `ECLIPSE_SCREENSHOTS=DIR` the images of the documents are written there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use image::RgbImage;
use serde_json::{Value, json};

use crate::devtools::{Browser, Tab};
use crate::program::{command, eclipse};
use crate::tiny::{prior_config, write_clip, write_karlo, write_prior, write_time_prior};

const DESK: [u32; 2] = [1280, 900];
const PHONE: [u32; 2] = [390, 844];

/// A running playground.
pub struct Playground {
    child: Child,
    url: String,
    desk: PathBuf,
    /// Removed with it.
    _temporary: Option<tempfile::TempDir>,
}

impl Playground {
    /// Without finished runs.
    fn start() -> Self {
        let desk = tempfile::tempdir().expect("a folder");
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
        std::os::unix::fs::symlink(datasets, desk.path().join("datasets")).expect("linked");
        let mut playground = Self::start_in(desk.path(), &[]);
        playground._temporary = Some(desk);
        playground
    }

    /// In the project's folder `desk`, with further options.
    pub fn start_in(desk: &Path, options: &[&str]) -> Self {
        Self::start_with(desk, options, Stdio::inherit())
    }

    fn start_with(desk: &Path, options: &[&str], log: Stdio) -> Self {
        let mut child = command(desk, [&["serve", "--port", "0"], options].concat())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line").expect("text");
        let url = first.strip_prefix("playground: ").expect("a URL").to_owned();
        Self {
            child,
            url,
            desk: desk.to_owned(),
            _temporary: None,
        }
    }

    fn address(&self) -> &str {
        self.url.split('/').nth(2).expect("http://ADDRESS/..")
    }

    /// The status, head and body of the answer to a request.
    fn raw(&self, request: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        stream.write_all(request.as_bytes()).expect("sent");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("set");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer to {request:.80}"));
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), head, answer[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let address = self.address();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let (status, _, body) = self.raw(&request);
        (status, body)
    }

    /// Draws without a browser: the item, and its images.
    pub fn draw(&self, form: &str) -> (Value, Vec<RgbImage>) {
        let (address, n) = (self.address(), form.len());
        let head = "content-type: application/x-www-form-urlencoded\r\nconnection: close";
        let request = format!(
            "POST /api/draw HTTP/1.1\r\nhost: {address}\r\n{head}\r\ncontent-length: {n}\r\n\r\n{form}"
        );
        let (status, _, body) = self.raw(&request);
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(status, 200, "{answer}");
        let (_, events) = self.get(&format!(
            "/api/jobs/{}/events",
            answer["job"].as_str().expect("a job")
        ));
        let events = String::from_utf8_lossy(&events);
        assert!(events.contains("event: done"), "{events}");
        let id = answer["result"].as_str().expect("an id");
        let item: Value = serde_json::from_slice(&self.get(&format!("/api/results/{id}")).1).expect("JSON");
        let image = |n: usize| {
            let (status, png) = self.get(&format!("/images/{id}/{n}"));
            assert_eq!(status, 200);
            image::load_from_memory(&png).expect("a PNG").into_rgb8()
        };
        let n = item["images"].as_array().expect("a list").len();
        let images = (0..n).map(image).collect();
        (item, images)
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(browser: &mut Browser, tab: &Tab) -> String {
    let text = browser.value(tab, "document.getElementById('status').textContent");
    text.as_str().expect("text").to_owned()
}

/// What a page shows of its result.
fn shown(browser: &mut Browser, tab: &Tab) -> Value {
    browser.value(
        tab,
        "({
            images: [...document.querySelectorAll('.row img')].filter(image => image.naturalWidth === 64).length,
            verdicts: document.querySelectorAll('.row .yes, .row .no').length,
            neighbours: document.querySelectorAll('.neighbours li').length,
            counts: [...document.querySelectorAll('.count')].map(count => count.textContent.replace(/[0-9]+/, 'N')),
            overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        })",
    )
}

fn click(browser: &mut Browser, tab: &Tab, selector: &str) {
    browser.value(tab, &format!("document.querySelector('{selector}').click()"));
}

/// Ticks these priors and no others.
fn tick(browser: &mut Browser, tab: &Tab, priors: &[&str]) {
    let priors = json!(priors);
    browser.value(
        tab,
        &format!("for (const box of document.querySelectorAll('[name=prior]')) box.checked = {priors}.includes(box.value)"),
    );
}

#[test]
fn the_playground_draws_in_a_browser() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let playground = Playground::start();
    let page = &mut browser;

    // A first visitor: an example is filled in, and Enter draws it.
    let tab = page.open(&playground.url, DESK);
    let value = page.value(&tab, "document.getElementById('prompt').value");
    assert_eq!(value, "a red car on the left of a blue dog");
    let text = page.value(&tab, "document.body.innerText");
    assert!(
        text.as_str()
            .is_some_and(|text| text.contains("eclipse sweep objectives")),
        "{text}"
    );
    page.type_into(&tab, "#prompt", "a yellow bird and a green car");
    tick(page, &tab, &["ridge", "oracle", "nearest_caption"]);
    page.type_into(&tab, "#images", "2");
    page.type_into(&tab, "#prompt", "a yellow bird and a green car");
    page.press(&tab, "Enter", 13);
    page.wait(&tab, "document.getElementById('status').textContent === 'Done.'");
    let seen = shown(page, &tab);
    assert_eq!(
        (&seen["images"], &seen["neighbours"], &seen["overflow"]),
        (&6.into(), &18.into(), &0.into()),
        "{seen}"
    );
    // Two objects, two colours and the binding: three findings for each image.
    assert_eq!(
        (&seen["verdicts"], &seen["counts"]),
        (
            &18.into(),
            &json!(["N of 2 right", "N of 2 right", "N of 2 right"])
        ),
        "{seen}"
    );

    // The URL restores the request, and shows what was drawn at once.
    let url = page.value(&tab, "location.href");
    let url = url.as_str().expect("a URL").to_owned();
    let other = page.open(&url, PHONE);
    let again = shown(page, &other);
    assert_eq!(
        (&again["images"], &again["counts"], &again["overflow"]),
        (&seen["images"], &seen["counts"], &0.into())
    );
    let ticked = page.value(
        &other,
        "[...document.querySelectorAll('[name=prior]:checked')].map(box => box.value).sort().join()",
    );
    assert_eq!(ticked, "nearest_caption,oracle,ridge");
    page.value(
        &other,
        "for (const fold of document.querySelectorAll('details')) fold.open = true",
    );
    assert_eq!(shown(page, &other)["overflow"], 0, "with all folds open");
    page.go(&other, &format!("{}gallery", playground.url));
    assert_eq!(shown(page, &other)["overflow"], 0);
    assert_eq!(page.value(&other, "document.querySelectorAll('.card').length"), 1);
    // They are loaded lazily.
    page.wait(
        &other,
        "[...document.images].every(image => image.naturalWidth === 64)",
    );

    // Wrong words are told, with a suggestion, at their field.
    page.type_into(&tab, "#prompt", "a yelow bird");
    page.press(&tab, "Enter", 13);
    page.wait(
        &tab,
        "document.getElementById('error').textContent.includes('did you mean')",
    );
    assert_eq!(page.value(&tab, "document.activeElement.id"), "prompt");

    // An interpolation, and its slider.
    page.go(&tab, &playground.url);
    tick(page, &tab, &["ridge"]);
    page.value(
        &tab,
        "document.getElementById('to').closest('details').open = true",
    );
    page.type_into(&tab, "#to", "a blue dog");
    page.type_into(&tab, "#images", "3");
    click(page, &tab, "#draw");
    page.wait(&tab, "document.getElementById('status').textContent === 'Done.'");
    let visible = "[...document.querySelectorAll('.row figure')].filter(f => !f.hidden).map(f => f.dataset.number).join()";
    assert_eq!(page.value(&tab, visible), "1");
    page.value(&tab, "{ const at = document.getElementById('at'); at.value = 2; at.dispatchEvent(new Event('input', { bubbles: true })); }");
    assert_eq!(page.value(&tab, visible), "2");
    click(page, &tab, "#all");
    assert_eq!(page.value(&tab, visible), "0,1,2");
    // A wrong word makes the browser log its 400; nothing else is wrong.
    let complaints = page.complaints();
    let is_expected = |text: &String| text.contains("400 (Bad Request)");
    assert!(complaints.iter().all(is_expected), "{complaints:#?}");

    let entries = std::fs::read_dir(playground.desk.join("runs/playground")).expect("the gallery");
    assert_eq!(entries.count(), 2);
}

#[test]
fn two_users_wait_for_each_other_and_cancel_their_own() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let playground = Playground::start();
    let page = &mut browser;
    let slow = format!(
        "{}?prompt=a+red+car&prior=ridge&images=16&steps=200",
        playground.url
    );
    let (one, two) = (page.open(&slow, DESK), page.open(&playground.url, DESK));
    click(page, &one, "#draw");
    page.wait(
        &one,
        "document.getElementById('status').textContent.includes('decoding')",
    );
    page.type_into(&two, "#prompt", "a blue dog");
    tick(page, &two, &["mean_shift"]);
    page.type_into(&two, "#images", "1");
    click(page, &two, "#draw");
    page.wait(
        &two,
        "document.getElementById('status').textContent.startsWith('Waiting: place 2')",
    );
    // Each sees its own.
    assert!(status(page, &one).starts_with("ridge regression: "));
    click(page, &one, "#cancel");
    page.wait(
        &one,
        "document.getElementById('status').textContent === 'Cancelled.'",
    );
    page.wait(&two, "document.getElementById('status').textContent === 'Done.'");
    assert_eq!(shown(page, &two)["images"], 1);

    // Leaving the page cancels too.
    page.value(&one, "document.getElementById('seed').value = 9");
    click(page, &one, "#draw");
    page.wait(
        &one,
        "document.getElementById('status').textContent.includes('decoding')",
    );
    page.go(&one, &format!("{}gallery", playground.url));
    page.type_into(&two, "#prompt", "a green dog");
    click(page, &two, "#draw");
    page.wait(&two, "document.querySelector('#result h2').textContent === 'a green dog' && document.getElementById('status').textContent === 'Done.'");
    assert!(page.complaints().is_empty());
    let entries = std::fs::read_dir(playground.desk.join("runs/playground")).expect("the gallery");
    assert_eq!(entries.count(), 2, "what was cancelled left nothing");
}

#[test]
fn hostile_input_reaches_nothing() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let playground = Playground::start();
    let page = &mut browser;
    let script = "%3Cimg%20src=x%20onerror=%22document.title='owned'%22%3E%3Cscript%3Edocument.title='owned'%3C/script%3E";
    let tab = page.open(&format!("{}?prompt={script}&prior=ridge", playground.url), DESK);
    let value = page.value(&tab, "document.getElementById('prompt').value");
    assert!(
        value
            .as_str()
            .is_some_and(|value| value.starts_with("<img src=x")),
        "{value}"
    );
    page.value(
        &tab,
        "document.getElementById('prompt').removeAttribute('maxlength')",
    );
    click(page, &tab, "#draw");
    page.wait(
        &tab,
        "document.getElementById('error').textContent.includes('does not know')",
    );
    assert_eq!(
        page.value(
            &tab,
            "document.title + document.querySelectorAll('#error img, #result img').length"
        ),
        "Playground0"
    );
    page.type_into(&tab, "#prompt", &"car ".repeat(1000));
    click(page, &tab, "#draw");
    page.wait(
        &tab,
        "document.getElementById('error').textContent.includes('at most 300 characters')",
    );
    // Inline scripts do not run, even if one got into the page.
    page.value(&tab, "{ const s = document.createElement('script'); s.textContent = \"document.title = 'owned'\"; document.body.append(s); }");
    assert_eq!(page.value(&tab, "document.title"), "Playground");
    assert!(
        page.complaints()
            .iter()
            .any(|text| text.contains("Content Security Policy"))
    );

    // Another site: its forms are refused, and its scripts read nothing.
    let evil = format!(
        "data:text/html,<form method=post action='{}api/draw'><input name=prompt value='a red car'><input name=prior value=ridge></form>",
        playground.url
    );
    let other = page.open(&evil, DESK);
    page.value(&other, "document.forms[0].submit()");
    page.wait(
        &other,
        "document.body?.innerText.includes('comes from another site') === true",
    );

    let address = playground.address().to_owned();
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 22\r\nconnection: close\r\n\r\nprompt=car&prior=ridge";
    for (request, expected) in [
        (
            "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".to_owned(),
            421,
        ),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 421),
        (
            format!("POST /api/draw HTTP/1.1\r\nhost: {address}\r\norigin: http://evil.example\r\n{form}"),
            403,
        ),
        (
            format!("POST /api/draw HTTP/1.1\r\nhost: {address}\r\nsec-fetch-site: cross-site\r\n{form}"),
            403,
        ),
        (
            format!(
                "GET /images/../../../../etc/passwd HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            ),
            404,
        ),
        (
            format!(
                "GET /images/..%2f..%2fdatasets/0 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            ),
            404,
        ),
    ] {
        let (status, head, _) = playground.raw(&request);
        assert_eq!(status, expected, "{request}");
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{head}"
        );
    }
    assert!(
        !playground
            .desk
            .join("runs/playground")
            .read_dir()
            .expect("a folder")
            .any(|_| true)
    );
}

/// The address that this machine sends from, which is not its loopback; without a network, all addresses. Nothing is sent.
fn own_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        Ok::<_, std::io::Error>(socket.local_addr()?.ip())
    };
    let found = probe().ok().filter(|address| !address.is_loopback());
    found.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

#[test]
fn a_playground_for_other_machines_asks_for_its_token() {
    let desk = tempfile::tempdir().expect("a folder");
    let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    std::os::unix::fs::symlink(datasets, desk.path().join("datasets")).expect("linked");
    let log = desk.path().join("log.txt");
    let stderr = Stdio::from(std::fs::File::create(&log).expect("made"));
    let bind = own_address().to_string();
    let playground = Playground::start_with(desk.path(), &["--bind", &bind, "-vv"], stderr);
    let address = playground.address().to_owned();
    let url = playground.url.clone();
    let (start, token) = url.split_once("/?token=").expect("the URL holds a token");
    assert!(
        token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit()),
        "{token}"
    );

    let ask = |method: &str, path: &str, headers: &str, body: &str| {
        let n = body.len();
        playground.raw(&format!(
            "{method} {path} HTTP/1.1\r\n{headers}content-length: {n}\r\nconnection: close\r\n\r\n{body}"
        ))
    };
    let host = format!("host: {address}\r\n");
    let form = format!("{host}content-type: application/x-www-form-urlencoded\r\n");
    let (_, port) = address.rsplit_once(':').expect("an address with a port");
    let name = format!("eclipse_token_{port}");
    let cookie = format!("cookie: other=1; {name}={token}\r\n");
    let bearer = format!("authorization: Bearer {token}\r\n");
    let drawing = "prompt=a+red+car&prior=ridge&images=1&steps=1";
    let wrong = "0".repeat(32);
    // Without the token, or with a wrong one, nothing answers: pages, script, images, events, drawing.
    for path in [
        "/",
        "/gallery",
        "/playground.js",
        "/images/0000000000000000/0",
        "/pairs/0",
        "/api/results/0000000000000000",
        "/api/jobs/0123/events",
        "/nothing",
        &format!("/?token={wrong}"),
        &format!("/gallery?token={token}"),
    ] {
        let (status, head, body) = ask("GET", path, &host, "");
        assert_eq!(status, 401, "{path}");
        let text = format!("{head}{}", String::from_utf8_lossy(&body));
        assert!(
            !text.contains(token) && !text.contains("set-cookie"),
            "{path}: {text}"
        );
    }
    assert_eq!(ask("POST", "/api/draw", &form, drawing).0, 401);
    assert_eq!(ask("POST", "/api/jobs/0123/cancel", &host, "").0, 401);
    let half = format!("{host}cookie: {name}={}\r\n", &token[..31]);
    assert_eq!(ask("GET", "/", &half, "").0, 401);
    let of_another = format!("{host}cookie: eclipse_token_1={token}\r\n");
    assert_eq!(
        ask("GET", "/", &of_another, "").0,
        401,
        "the cookie of another playground"
    );
    // With the token, other hosts and other sites are refused as ever.
    let opened = format!("/?token={token}&prompt=a+red+car&prior=ridge");
    assert_eq!(ask("GET", &opened, "host: evil.example\r\n", "").0, 421);
    assert_eq!(
        ask("GET", "/", &format!("host: evil.example\r\n{cookie}"), "").0,
        421
    );
    let evil = format!("{form}{cookie}origin: http://evil.example\r\n");
    assert_eq!(ask("POST", "/api/draw", &evil, drawing).0, 403);
    let evil = format!("{form}{cookie}sec-fetch-site: same-site\r\n");
    assert_eq!(
        ask("POST", "/api/draw", &evil, drawing).0,
        403,
        "another port of this machine"
    );

    // The URL gives a cookie and leaves the address bar.
    let (status, head, _) = ask("GET", &opened, &host, "");
    assert_eq!(status, 303);
    assert!(
        head.contains("location: /?prompt=a+red+car&prior=ridge\r\n"),
        "{head}"
    );
    let given = format!("set-cookie: {name}={token}; Path=/; HttpOnly; SameSite=Lax");
    assert!(
        head.contains(&given) && head.contains("referrer-policy: no-referrer"),
        "{head}"
    );
    for with in [&cookie, &bearer] {
        let (status, _, body) = ask("GET", "/", &format!("{host}{with}"), "");
        let page = String::from_utf8_lossy(&body);
        assert!(status == 200 && page.contains("Playground: ") && !page.contains(token));
    }
    let (status, _, body) = ask("POST", "/api/draw", &format!("{form}{bearer}"), drawing);
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(status, 200, "{answer}");
    let events = format!("/api/jobs/{}/events", answer["job"].as_str().expect("a job"));
    assert_eq!(ask("GET", &events, &host, "").0, 401);
    let (_, _, body) = ask("GET", &events, &format!("{host}{cookie}"), "");
    assert!(String::from_utf8_lossy(&body).contains("event: done"));

    if let Some(mut browser) = Browser::start() {
        let page = &mut browser;
        let reachable = |url: &str| url.replacen("0.0.0.0", "127.0.0.1", 1);
        let tab = page.open(&reachable(&playground.url), DESK);
        let here = page.value(
            &tab,
            "location.href + document.cookie + document.documentElement.outerHTML",
        );
        assert!(here.as_str().is_some_and(|text| !text.contains(token)), "{here}");
        page.type_into(&tab, "#images", "1");
        tick(page, &tab, &["mean_shift"]);
        click(page, &tab, "#draw");
        page.wait(&tab, "document.getElementById('status').textContent === 'Done.'");
        page.wait(
            &tab,
            "[...document.querySelectorAll('.row img')].some(image => image.naturalWidth === 64)",
        );
        let link = page.value(&tab, "document.getElementById('share').href");
        let link = link.as_str().expect("a link").to_owned();
        assert!(!link.contains(token), "{link}");
        // Links work with the cookie, and say nothing about where they come from.
        click(page, &tab, "a[href=\"/gallery\"]");
        page.wait(&tab, "document.querySelectorAll('.card').length === 2");
        assert_eq!(page.value(&tab, "document.referrer + location.search"), "");
        page.go(&tab, &link);
        assert_eq!(
            page.value(&tab, "document.querySelectorAll('.row figure').length"),
            1
        );
        // Another person with the link, and without the token.
        let other = page.open(&link, DESK);
        let text = page.value(&other, "document.body.innerText");
        assert!(
            text.as_str().is_some_and(|text| text.contains("needs its token")),
            "{text}"
        );
    }
    assert!(start.starts_with("http://") && start.ends_with(&address));
    drop(playground);
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(!said.contains(token), "{said}");
    for file in walk(&desk.path().join("runs/playground")) {
        let bytes = std::fs::read(&file).expect("readable");
        let has = bytes.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(!has, "{}", file.display());
    }
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

#[test]
fn published_weights_draw_as_generate_does() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_time_prior(&at("time"));
    write_karlo(&at("karlo"));
    let models = ["--pipeline", "karlo", "--clip", "clip", "--prior"];
    let both = [&models[..], &["prior", "--prior", "time"]].concat();
    let playground = Playground::start_in(desk.path(), &both);
    let (item, images) =
        playground.draw("prompt=a+red+cat&prior=prior&prior=time&images=2&seed=3&steps=2&prior_steps=3");
    assert_eq!((images.len(), &item["labels"]["time"]), (4, &"time".into()));
    for (i, prior) in ["prior", "time"].iter().enumerate() {
        let draw = [
            "--prompt",
            "a red cat",
            "--images",
            "2",
            "--seed",
            "3",
            "--steps",
            "2",
            "--prior-steps",
            "3",
        ];
        let out = format!("drawn-{prior}");
        let (code, _, err) = eclipse(
            desk.path(),
            [&["generate"], &models[..], &[prior], &draw, &["--out", &out]].concat(),
        );
        assert_eq!(code, 0, "{err}");
        for n in 0..2 {
            let path = at(&out).join(format!("{n:06}-a-red-cat.png"));
            let drawn = image::open(path).expect("an image").into_rgb8();
            assert_eq!(drawn, images[2 * i + n], "{prior}, image {n}");
        }
    }
    let (item, frames) =
        playground.draw("prompt=a+red+cat&to=a+blue+dog&prior=prior&images=2&seed=3&steps=2");
    assert_eq!(item["images"][1]["seed"], 3);
    assert_ne!(frames[0], frames[1]);
    drop(playground);

    std::fs::remove_dir_all(at("karlo/decoder")).expect("removed");
    let (code, _, err) = eclipse(desk.path(), [&["serve", "--port", "0"], &both[..]].concat());
    assert!(code == 1 && err.contains("no decoder/ in karlo"), "{code}: {err}");
}

#[test]
fn the_images_of_the_documents() {
    let Ok(folder) = std::env::var("ECLIPSE_SCREENSHOTS") else {
        return;
    };
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let playground = Playground::start();
    let page = &mut browser;
    let keep = |page: &mut Browser, tab: &Tab, name: &str| {
        let shot = page.screenshot(tab);
        std::fs::write(Path::new(&folder).join(name), shot).expect("written");
    };
    let tab = page.open(&playground.url, [1100, 1390]);
    click(page, &tab, "#draw");
    page.wait(&tab, "document.getElementById('status').textContent === 'Done.'");
    page.value(&tab, "scrollTo(0, 0)");
    keep(page, &tab, "playground.png");
    let url = page.value(&tab, "location.href");
    let phone = page.open(url.as_str().expect("a URL"), [390, 1300]);
    keep(page, &phone, "playground-phone.png");
    page.tell(
        &tab,
        "Emulation.setEmulatedMedia",
        json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] }),
    );
    page.value(&tab, "document.querySelector('.system details').open = true");
    page.value(&tab, "document.querySelector('#result').scrollIntoView()");
    page.wait(
        &tab,
        "[...document.querySelectorAll('.neighbours img')].slice(0, 6).every(image => image.complete)",
    );
    keep(page, &tab, "playground-dark.png");
}
