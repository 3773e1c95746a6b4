//! Repositories of weights: downloaded from a server in this process, found in the cache by name, and every way in which that fails.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use eclipse_t2i::files::sha256;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::program;
use crate::tiny::{prior_config, write_clip, write_karlo, write_prior};

/// The commit of every repository.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The connection ends after half of what is left of a large file, so many times.
    Cut(usize),
    /// The first bit of a large file is another.
    FlippedBit,
    /// Another status, with a code of the hub's, for descriptions.
    Refused(u16, &'static str),
    /// The same for files.
    FileRefused(u16, &'static str),
    /// A web page for descriptions.
    Page,
    /// A web page for files.
    FilePage,
    /// JSON that is no description.
    NoListing,
    /// A file that leaves the folder.
    Escape,
    /// No licence in the description.
    NoLicence,
    /// Ranges are ignored.
    NoRanges,
}

/// The Hugging Face Hub as far as this program asks it.
#[derive(Default)]
struct Hub {
    /// Files by repository and name.
    files: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    faults: Mutex<Vec<Fault>>,
    /// Requests: path, and the range if there is one.
    log: Mutex<Vec<String>>,
    /// Address of the server that large files are on.
    large: Mutex<String>,
}

impl Hub {
    /// Serves an empty hub until the process ends.
    fn serve() -> (Arc<Self>, String) {
        let hub = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        *hub.large.lock().expect("no panic") = format!("http://localhost:{port}");
        let router = Router::new().fallback(answer).with_state(hub.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                listener.set_nonblocking(true).expect("a listener");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("serves");
            });
        });
        (hub, format!("http://127.0.0.1:{port}"))
    }

    fn add(&self, repo: &str, name: &str, bytes: impl Into<Vec<u8>>) {
        let key = (repo.to_owned(), name.to_owned());
        self.files.lock().expect("no panic").insert(key, bytes.into());
    }

    /// Adds the files below `folder`.
    fn add_folder(&self, repo: &str, folder: &Path, below: &str) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => self.add_folder(repo, &entry.path(), &format!("{name}/")),
                false => self.add(repo, &name, std::fs::read(entry.path()).expect("a file")),
            }
        }
    }

    fn set(&self, faults: &[Fault]) {
        *self.faults.lock().expect("no panic") = faults.to_vec();
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.lock().expect("no panic").contains(&fault)
    }

    /// The requests since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().expect("no panic"))
    }

    fn describe(&self, repo: &str) -> Option<Value> {
        let files = self.files.lock().expect("no panic");
        let of_repo = files.iter().filter(|((of, _), _)| of == repo);
        let sibling = |((_, name), bytes): (&(String, String), &Vec<u8>)| {
            let name = if self.has(Fault::Escape) {
                format!("../{name}")
            } else {
                name.clone()
            };
            let mut hash = sha1_smol::Sha1::new();
            hash.update(format!("blob {}\0", bytes.len()).as_bytes());
            hash.update(bytes);
            let mut file =
                json!({"rfilename": name, "size": bytes.len(), "blobId": hash.digest().to_string()});
            if is_large(&name) {
                file["lfs"] = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
            }
            file
        };
        let siblings: Vec<Value> = of_repo.map(sibling).collect();
        let card = match self.has(Fault::NoLicence) {
            true => json!({}),
            false => json!({"license": "openrail"}),
        };
        let found = json!({"id": repo, "sha": COMMIT, "cardData": card, "siblings": siblings});
        (!siblings.is_empty()).then_some(found)
    }

    /// A file from the first byte that is asked for.
    fn send(&self, bytes: &[u8], headers: &HeaderMap) -> Response<Body> {
        let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
        let first = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let first: usize = first.filter(|_| !self.has(Fault::NoRanges)).unwrap_or(0);
        let mut rest = bytes[first..].to_vec();
        let mut answer = Response::builder().header(CONTENT_LENGTH, rest.len());
        if first > 0 {
            let (last, n) = (bytes.len() - 1, bytes.len());
            let range = format!("bytes {first}-{last}/{n}");
            answer = answer
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, range);
        }
        let mut faults = self.faults.lock().expect("no panic");
        for fault in faults.iter_mut() {
            match fault {
                Fault::FlippedBit => rest[0] ^= 1,
                Fault::Cut(n) if *n > 0 => {
                    *n -= 1;
                    rest.truncate(rest.len() / 2);
                    // The first half is on its way before the connection ends.
                    let parts = stream::iter([Ok(Bytes::from(rest)), Err(())]).then(async |part| {
                        if part.is_err() {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        part.map_err(|()| std::io::Error::other("cut"))
                    });
                    let body = Body::from_stream(parts);
                    return answer.body(body).expect("an answer");
                }
                _ => {}
            }
        }
        answer.body(rest.into()).expect("an answer")
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

async fn answer(State(hub): State<Arc<Hub>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let text = |name| {
        headers
            .get(name)
            .map(|v: &axum::http::HeaderValue| v.to_str().expect("text").to_owned())
    };
    let mut line = uri.path().to_owned();
    for value in [text(RANGE), text(AUTHORIZATION)].into_iter().flatten() {
        line += &format!(" {value}");
    }
    hub.log.lock().expect("no panic").push(line);
    let plain = |status: u16, code: &str| {
        let answer = Response::builder().status(status).header("x-error-code", code);
        answer.body(Body::empty()).expect("an answer")
    };
    let page = || {
        let answer = Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8");
        answer
            .body("<html>Please log in</html>".into())
            .expect("an answer")
    };
    let faults = hub.faults.lock().expect("no panic").clone();
    let path: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    match path.as_slice() {
        ["api", "models", owner, name, "revision", revision] => {
            for fault in faults {
                match fault {
                    Fault::Refused(status, code) => return plain(status, code),
                    Fault::Page => return page(),
                    Fault::NoListing => return Response::new("{\"siblings\": 3}".into()),
                    _ => {}
                }
            }
            match hub.describe(&format!("{owner}/{name}")) {
                None => plain(404, "RepoNotFound"),
                Some(_) if !["main", COMMIT].contains(revision) => plain(404, "RevisionNotFound"),
                Some(found) => Response::new(found.to_string().into()),
            }
        }
        [owner, name, "resolve", COMMIT, file @ ..] => {
            for fault in faults {
                match fault {
                    Fault::FileRefused(status, code) => return plain(status, code),
                    Fault::FilePage => return page(),
                    _ => {}
                }
            }
            let file = file.join("/");
            if is_large(&file) {
                let to = format!(
                    "{}/large/{owner}/{name}/{file}",
                    hub.large.lock().expect("no panic")
                );
                let answer = Response::builder().status(302).header(LOCATION, to);
                return answer.body(Body::empty()).expect("an answer");
            }
            let found = hub
                .files
                .lock()
                .expect("no panic")
                .get(&(format!("{owner}/{name}"), file))
                .cloned();
            found.map_or_else(
                || plain(404, "EntryNotFound"),
                |bytes| Response::new(bytes.into()),
            )
        }
        ["large", owner, name, file @ ..] => {
            let key = (format!("{owner}/{name}"), file.join("/"));
            let found = hub.files.lock().expect("no panic").get(&key).cloned();
            found.map_or_else(|| plain(404, ""), |bytes| hub.send(&bytes, &headers))
        }
        _ => plain(404, ""),
    }
}

/// A hub, and a folder to call the program in: its Hugging Face home is `hf` there.
struct Desk {
    hub: Arc<Hub>,
    endpoint: String,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let (hub, endpoint) = Hub::serve();
        let dir = tempfile::tempdir().expect("a folder");
        Self { hub, endpoint, dir }
    }

    fn command(&self, args: &str, env: &[(&str, &str)]) -> Command {
        let mut command = program::command(self.dir.path(), args.split(' '));
        for name in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_OFFLINE",
        ] {
            command.env_remove(name);
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env("HF_HOME", self.dir.path().join("hf"));
        command.env("HF_ENDPOINT", &self.endpoint);
        command.envs(env.iter().copied()).stdin(Stdio::null());
        command
    }

    /// Exit code, and what the call wrote, without this machine's names.
    fn call(&self, args: &str, env: &[(&str, &str)]) -> (i32, String, String) {
        let output = self.command(args, env).output().expect("the program starts");
        let clean = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let text = text.replace(&self.dir.path().display().to_string(), "DESK");
            let text = text
                .replace(&self.endpoint, "HUB")
                .replace("https://huggingface.co", "HUB");
            text.replace(&self.hub.large.lock().expect("no panic").to_string(), "LARGE")
        };
        let code = output.status.code().expect("not killed");
        (code, clean(&output.stdout), clean(&output.stderr))
    }

    /// A call that succeeds.
    fn good(&self, args: &str) -> String {
        let (code, out, err) = self.call(args, &[]);
        assert_eq!(code, 0, "{args}: {err}");
        out
    }

    fn repository(&self, name: &str) -> PathBuf {
        let folder = format!("hf/hub/models--{}", name.replace('/', "--"));
        self.dir.path().join(folder)
    }

    fn n_parts(&self, name: &str) -> usize {
        let blobs = std::fs::read_dir(self.repository(name).join("blobs")).expect("a folder");
        let names = blobs
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".incomplete")).count()
    }
}

/// The pipeline, the prior and the CLIP of three repositories, with files that are not read beside them.
fn tiny_karlo(desk: &Desk) {
    let made = tempfile::tempdir().expect("a folder");
    let at = |name: &str| made.path().join(name);
    write_karlo(&at("karlo"));
    write_prior(&at("prior"), &prior_config());
    write_clip(&at("clip"));
    for name in ["karlo", "prior", "clip"] {
        desk.hub.add_folder(&format!("tiny/{name}"), &at(name), "");
    }
    desk.hub
        .add("tiny/karlo", "README.md", "---\nlicense: mit\n---\n# Karlo");
    desk.hub.add("tiny/karlo", "cat.png", "an image");
    desk.hub.add(
        "tiny/karlo",
        "decoder/diffusion_pytorch_model.bin",
        "the same in PyTorch's format",
    );
    desk.hub.add(
        "tiny/karlo",
        "decoder/diffusion_pytorch_model.fp16.safetensors",
        "the same in f16",
    );
}

#[test]
fn a_repository_is_fetched_once_and_draws_by_its_name() {
    let desk = Desk::new();
    tiny_karlo(&desk);

    // Size and licence first: nothing but the description has been asked for.
    let (code, shown, err) = desk.call("fetch tiny/karlo", &[]);
    assert_eq!(
        (code, desk.hub.asked()),
        (2, vec!["/api/models/tiny/karlo/revision/main".to_owned()]),
        "{err}"
    );
    assert!(!desk.dir.path().join("hf").exists());
    let planned = desk.good("fetch tiny/karlo --dry-run --json");
    let planned: Value = serde_json::from_str(&planned).expect("JSON");
    assert_eq!(
        (&planned["licence"], &planned["revision"]),
        (&json!("openrail"), &json!(COMMIT))
    );
    assert_eq!(planned["bytes"], planned["to download"]);

    let fetched = desk.good("fetch tiny/karlo --yes");
    let asked = desk.hub.asked();
    assert!(
        !asked
            .iter()
            .any(|path| path.ends_with(".bin") || path.contains("fp16") || path.ends_with("README.md"))
    );
    insta::with_settings!({filters => vec![(r"\d+(\.\d+)? (k|M)?B\b", "SIZE")]}, {
        insta::assert_snapshot!("fetched", format!("{shown}{err}\n{fetched}"));
    });
    let repository = desk.repository("tiny/karlo");
    assert_eq!(
        std::fs::read_to_string(repository.join("refs/main")).expect("a ref"),
        COMMIT
    );
    let file = repository
        .join("snapshots")
        .join(COMMIT)
        .join("decoder/config.json");
    let link = std::fs::read_link(file).expect("a link");
    assert!(link.starts_with("../../../blobs"), "{}", link.display());

    // A second call downloads nothing and asks nothing.
    desk.hub.asked();
    let again = desk.good("fetch tiny/karlo");
    assert!(again.contains(", 0 B to download"), "{again}");
    assert_eq!(desk.hub.asked(), ["/api/models/tiny/karlo/revision/main"]);

    for name in ["prior", "clip"] {
        desk.good(&format!("fetch tiny/{name} --yes"));
    }
    // By name, by revision and by path, without the server.
    let draw = |pipeline: &str, out: &str| {
        let args = format!(
            "generate --pipeline {pipeline} --clip tiny/clip --prior tiny/prior --steps 3 --super-res-steps 2 --prompt cat --out {out}"
        );
        let (code, _, err) = desk.call(
            &args,
            &[("HF_ENDPOINT", "http://127.0.0.1:9"), ("HF_HUB_OFFLINE", "1")],
        );
        assert_eq!(code, 0, "{err}");
        std::fs::read(desk.dir.path().join(out).join("000000-cat.png")).expect("an image")
    };
    desk.hub.asked();
    let named = draw("tiny/karlo", "named");
    assert_eq!(named, draw(&format!("tiny/karlo@{}", &COMMIT[..8]), "pinned"));
    let path = repository.join("snapshots").join(COMMIT);
    assert_eq!(named, draw(&path.display().to_string(), "path"));
    assert_eq!(desk.hub.asked(), Vec::<String>::new());
    let side = std::fs::read(desk.dir.path().join("named/000000-cat.json")).expect("a side file");
    let side: Value = serde_json::from_slice(&side).expect("JSON");
    assert_eq!(
        side["weights"]["decoder"]["repository"],
        json!(format!("tiny/karlo@{COMMIT}"))
    );
    assert_eq!(
        side["weights"]["prior"]["repository"],
        json!(format!("tiny/prior@{COMMIT}"))
    );
    desk.good("generate --repeat named/000000-cat.json --out repeated");
    let inspected = desk.good("inspect tiny/prior");
    assert!(
        inspected.contains(&format!("repository: tiny/prior@{COMMIT}\n")),
        "{inspected}"
    );
    assert!(
        desk.good("params --pipeline tiny/karlo --prior tiny/prior --clip tiny/clip")
            .contains("| decoder |")
    );

    // A folder of the name wins.
    write_prior(&desk.dir.path().join("tiny/prior"), &prior_config());
    assert!(!desk.good("inspect tiny/prior").contains("repository"));

    // A comparison names repositories too.
    let spec = "[systems.karlo]\npipeline = 'tiny/karlo'\nclip = 'tiny/clip'\n[systems.other]\npipeline = 'tiny/none'\n\
        [prompts.words]\nsource = { kind = 'lines', path = 'words.txt' }\n[metrics.clip-score]\nclip = 'tiny/clip'\n\
        [table.columns]\nwords = { prompts = 'words', metric = 'clip-score' }\n";
    std::fs::write(desk.dir.path().join("words.txt"), "a red cat\n").expect("written");
    std::fs::write(desk.dir.path().join("spec.toml"), spec).expect("written");
    let listed = desk.call("sweep spec.toml --dry-run", &[]).1;
    let line = |name: &str| {
        listed
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or(&listed)
            .to_owned()
    };
    assert!(!line("karlo/words").contains("missing"), "{listed}");
    assert!(
        line("other/words").ends_with("missing: tiny/none is not there"),
        "{listed}"
    );
}

#[test]
fn an_interrupted_download_is_named_and_resumed() {
    let desk = Desk::new();
    let weights: Vec<u8> = (0..4000u32).flat_map(u32::to_le_bytes).collect();
    desk.hub
        .add("a/b", "config.json", r#"{"_class_name": "PriorTransformer"}"#);
    desk.hub.add("a/b", "model.safetensors", weights.clone());
    let ranges = || {
        let asked = desk.hub.asked().into_iter().filter_map(|line| {
            let (path, range) = line.split_once(' ').unwrap_or((&line, "whole"));
            path.starts_with("/large").then(|| range.to_owned())
        });
        asked.collect::<Vec<_>>()
    };
    desk.hub.set(&[Fault::Cut(3)]);
    let (code, _, cut) = desk.call("fetch a/b --yes", &[]);
    assert_eq!((code, desk.n_parts("a/b")), (1, 1), "{cut}");
    assert_eq!(ranges(), ["whole", "bytes=8000-", "bytes=12000-"]);
    let lookup = desk.call("inspect a/b", &[]).2;
    // Without the log of the tries, which has times.
    let cut: String = cut.lines().filter(|line| line.starts_with("error")).collect();
    insta::assert_snapshot!("interrupted", format!("{cut}\n\n{lookup}"));
    let shown = desk.good("fetch a/b --dry-run");
    assert!(
        shown.contains("model.safetensors  16.00 kB, 14.00 kB here already"),
        "{shown}"
    );
    // Resumed where it stood; the repository is recognised as far as its files allow.
    desk.good("fetch a/b --yes");
    assert_eq!(
        (ranges(), desk.n_parts("a/b")),
        (vec!["bytes=14000-".to_owned()], 0)
    );
    let file = desk
        .repository("a/b")
        .join("snapshots")
        .join(COMMIT)
        .join("model.safetensors");
    assert_eq!(std::fs::read(&file).expect("whole"), weights);

    // A server that knows no ranges begins anew.
    let blob = file.canonicalize().expect("a blob");
    let part = blob.with_extension("incomplete");
    std::fs::write(&part, &weights[..100]).expect("written");
    std::fs::remove_file(&blob).expect("there");
    desk.hub.set(&[Fault::NoRanges]);
    desk.good("fetch a/b --yes");
    assert_eq!(std::fs::read(&file).expect("whole"), weights);

    // A part of other bytes.
    std::fs::remove_file(&blob).expect("there");
    std::fs::write(&part, vec![7; 200]).expect("written");
    desk.hub.set(&[]);
    let (code, _, err) = desk.call("fetch a/b --yes", &[]);
    assert_eq!(
        (code, part.exists()),
        (1, false),
        "a part of other bytes is found out: {err}"
    );
    desk.good("fetch a/b --yes");
    assert_eq!(std::fs::read(&file).expect("whole"), weights);
}

#[test]
fn what_goes_wrong_is_said() {
    let desk = Desk::new();
    desk.hub.add("a/b", "README.md", "---\nlicense: mit\n---\n");
    desk.hub
        .add("a/b", "config.json", r#"{"_class_name": "PriorTransformer"}"#);
    desk.hub.add("a/b", "model.safetensors", vec![0; 64]);
    desk.hub.add("a/ckpt", "model.ckpt", vec![0; 64]);
    std::fs::write(desk.dir.path().join("file"), "").expect("written");
    let file = desk.dir.path().join("file").display().to_string();
    let closed = ("HF_ENDPOINT", "http://127.0.0.1:9");
    type Case<'a> = (&'a str, &'a str, Vec<Fault>, Vec<(&'a str, &'a str)>);
    let fetch = "fetch a/b --yes";
    let token = ("HF_TOKEN", "hf_secret");
    let cases: Vec<Case<'_>> = vec![
        ("no such name", "fetch karlo", vec![], vec![]),
        ("a path", "fetch ../karlo/x", vec![], vec![]),
        ("no such repository", "fetch a/none --yes", vec![], vec![]),
        ("no such revision", "fetch a/b@v9 --yes", vec![], vec![]),
        ("gated", fetch, vec![Fault::Refused(401, "GatedRepo")], vec![]),
        (
            "gated files, with a token",
            fetch,
            vec![Fault::FileRefused(403, "GatedRepo")],
            vec![token],
        ),
        (
            "private or misspelt",
            fetch,
            vec![Fault::Refused(401, "RepoNotFound")],
            vec![],
        ),
        ("the server fails", fetch, vec![Fault::Refused(503, "")], vec![]),
        ("a page for the description", fetch, vec![Fault::Page], vec![]),
        ("a page for a file", fetch, vec![Fault::FilePage], vec![]),
        ("no description", fetch, vec![Fault::NoListing], vec![]),
        (
            "a file that leaves the folder",
            fetch,
            vec![Fault::Escape],
            vec![],
        ),
        ("damaged bytes", fetch, vec![Fault::FlippedBit], vec![]),
        ("no network", fetch, vec![], vec![closed]),
        ("no address", fetch, vec![], vec![("HF_ENDPOINT", "mirror")]),
        ("offline", fetch, vec![], vec![("HF_HUB_OFFLINE", "1")]),
        (
            "a cache that cannot be made",
            fetch,
            vec![],
            vec![("HF_HOME", &file)],
        ),
        ("no weights that are read", "fetch a/ckpt --yes", vec![], vec![]),
        ("no terminal", "fetch a/b", vec![Fault::NoLicence], vec![]),
        (
            "not in the cache",
            "generate --pipeline no/karlo --prompt x",
            vec![],
            vec![],
        ),
        (
            "not in the cache, to inspect",
            "inspect no/karlo@v1",
            vec![],
            vec![],
        ),
    ];
    let mut said = String::new();
    for (name, args, faults, env) in cases {
        desk.hub.set(&faults);
        let (code, out, err) = desk.call(args, &env);
        let out = if name == "no terminal" { out } else { String::new() };
        said += &format!("# {name}\n{code}: {out}{err}\n");
        assert!(!err.contains("hf_secret") && code != 0);
    }
    insta::assert_snapshot!("mistakes", said);
    desk.hub.set(&[]);
    desk.hub.asked();
    let (code, _, err) = desk.call(fetch, &[token]);
    assert_eq!(code, 0, "what failed before leaves nothing in the way: {err}");
    // The token goes to the hub, and not to the server that it redirects to.
    let asked = desk.hub.asked();
    assert!(
        asked.contains(&format!(
            "/a/b/resolve/{COMMIT}/model.safetensors Bearer hf_secret"
        )),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"/large/a/b/model.safetensors".to_owned()),
        "{asked:?}"
    );
}

#[test]
fn a_signal_keeps_the_part() {
    let desk = Desk::new();
    desk.hub.add("a/b", "model.safetensors", vec![1; 40 << 20]);
    let mut child = desk
        .command("fetch a/b --yes", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let blobs = desk.repository("a/b").join("blobs");
    let began = std::time::Instant::now();
    while !blobs.is_dir() || desk.n_parts("a/b") == 0 {
        assert!(began.elapsed().as_secs() < 60, "no part");
        std::thread::sleep(Duration::from_millis(1));
    }
    let killed = Command::new("kill")
        .arg("-INT")
        .arg(child.id().to_string())
        .status();
    assert!(killed.expect("kill is there").success());
    let code = child.wait().expect("ends").code();
    let mut err = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut err)
        .expect("text");
    // A fast download may be complete before the signal comes.
    if code == Some(130) {
        assert!(err.contains("eclipse fetch a/b --yes"), "{err}");
        assert_eq!(desk.n_parts("a/b"), 1);
    }
    desk.good("fetch a/b --yes");
    assert_eq!(desk.n_parts("a/b"), 0);
}
