//! The routes without a network: limits, hosts, origins, tokens, the queue.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use super::catalogue::tests::catalogue;
use super::gallery::Gallery;
use super::guard::Guard;
use super::painter::{DrawnImage, ImageRecord, PaintError, Painter, Progress, PromptVerdict};
use super::queue::{Queue, Status};
use super::request::DrawRequest;
use super::router::{App, router};

/// Draws an image for each permit; without permits it waits.
struct Fake(Receiver<()>);

impl Painter for Fake {
    fn paint(&mut self, request: &DrawRequest, report: &mut dyn FnMut(Progress)) -> Result<(), PaintError> {
        if request.prompt == "panic" {
            panic!("a network panics");
        }
        for prior in &request.priors {
            let name = format!("{prior}: decoding");
            report(Progress::Stage { name, n_steps: 1 });
            for number in 0..request.images {
                self.0.recv()?;
                report(Progress::Step);
                let findings = vec![("object".to_owned(), number == 0)];
                report(Progress::Image(Box::new(DrawnImage {
                    png: b"png".to_vec(),
                    about: ImageRecord {
                        prior: prior.clone(),
                        number,
                        seed: request.seed_of(number),
                        verdicts: vec![PromptVerdict {
                            prompt: request.prompt.clone(),
                            findings,
                        }],
                        scores: Vec::new(),
                        neighbours: Vec::new(),
                    },
                })));
            }
        }
        Ok(())
    }
}

/// A playground with a queue of two places and no network.
struct Bench {
    app: Arc<App>,
    routes: Router,
    permits: SyncSender<()>,
    runtime: tokio::runtime::Runtime,
    _desk: tempfile::TempDir,
}

impl Bench {
    fn new(guard: Guard) -> Self {
        let desk = tempfile::tempdir().expect("a folder");
        let app = Arc::new(App {
            catalogue: catalogue(),
            gallery: Gallery::open(&desk.path().join("gallery"), 10, 1 << 20).expect("opened"),
            queue: Arc::new(Queue::new(2)),
        });
        let (permits, taken) = sync_channel(1000);
        let worker = app.clone();
        thread::spawn(move || {
            worker
                .queue
                .work(&mut Fake(taken), &worker.catalogue, &worker.gallery)
        });
        Self {
            routes: router(app.clone(), guard),
            app,
            permits,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
            _desk: desk,
        }
    }

    fn local() -> Self {
        Self::new(Guard {
            is_loopback: true,
            token: None,
        })
    }

    fn permit(&self, n: usize) {
        for _ in 0..n {
            self.permits.send(()).expect("the worker lives");
        }
    }

    /// Status, headers and text of an answer.
    fn ask(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, String) {
        self.runtime.block_on(async {
            let answer = self.routes.clone().oneshot(request).await.expect("infallible");
            let (parts, body) = answer.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("whole");
            (
                parts.status,
                parts.headers,
                String::from_utf8_lossy(&bytes).into_owned(),
            )
        })
    }

    fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header("host", "127.0.0.1:8321");
        let (status, _, text) = self.ask(request.body(Body::empty()).expect("a request"));
        (status, text)
    }

    fn post(&self, path: &str, form: &str) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header("host", "127.0.0.1:8321")
            .header("content-type", "application/x-www-form-urlencoded");
        let (status, _, text) = self.ask(request.body(Body::from(form.to_owned())).expect("a request"));
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    fn draw(&self, form: &str) -> String {
        let (status, answer) = self.post("/api/draw", form);
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["job"].as_str().expect("a job").to_owned()
    }

    fn wait(&self, job: &str, is: impl Fn(&Status) -> bool) {
        let job = self.app.queue.job(job).expect("known");
        while !is(&job.state().status) {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn a_request_is_drawn_once_and_shown_again() {
    let bench = Bench::local();
    bench.permit(4);
    let job = bench.draw("prompt=a+red+car&prior=a&prior=b&images=2&seed=7");
    let (status, events) = bench.get(&format!("/api/jobs/{job}/events"));
    assert_eq!(status, StatusCode::OK);
    let kinds: Vec<&str> = events
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "image").count(),
        4,
        "{events}"
    );
    assert_eq!(kinds.last(), Some(&"done"), "{events}");
    assert!(
        events.contains(r#""counts":[["a","1 of 2 right"],["b","1 of 2 right"]]"#),
        "{events}"
    );

    let (_, again) = bench.post("/api/draw", "prompt=a+red+car&prior=b&prior=a&images=2&seed=7");
    assert!(again["job"].is_null() && again["html"].as_str().expect("HTML").contains("1 of 2 right"));
    let query = again["query"].as_str().expect("a query");
    assert_eq!(query, "prompt=a%20red%20car&prior=a&prior=b&images=2&seed=7");
    let (status, page) = bench.get(&format!("/?{query}"));
    assert!(
        status == StatusCode::OK && page.contains("1 of 2 right") && page.contains(r#"value="a red car""#)
    );
    let id = again["result"].as_str().expect("an id");
    assert_eq!(
        bench.get(&format!("/images/{id}/3")),
        (StatusCode::OK, "png".into())
    );
    let item: Value = serde_json::from_str(&bench.get(&format!("/api/results/{id}")).1).expect("JSON");
    assert_eq!(
        (&item["request"]["seed"], item["images"].as_array().map(Vec::len)),
        (&7.into(), Some(4))
    );
    let (status, page) = bench.get("/gallery");
    assert!(status == StatusCode::OK && page.contains("a red car") && page.contains("Page 1 of 1"));
}

#[test]
fn wrong_requests_get_400_and_paths_reach_nothing() {
    let bench = Bench::local();
    let (status, answer) = bench.post("/api/draw", "prompt=wrong&prior=a");
    assert_eq!(
        (status, &answer["key"]),
        (StatusCode::BAD_REQUEST, &"prompt".into())
    );
    assert_eq!(answer["error"], "wrong is unknown");
    let huge = format!("prompt={}&prior=a", "x".repeat(20_000));
    assert_eq!(bench.post("/api/draw", &huge).0, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, page) = bench.get("/?prompt=%3Cscript%3Ealert(1)%3C/script%3E&prior=nothing");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        !page.contains("<script>alert") && page.contains("&lt;script&gt;alert"),
        "{page}"
    );
    assert!(page.contains("is not one of the priors"), "{page}");
    for path in [
        "/images/../../Cargo.toml/0",
        "/images/..%2f..%2fCargo.toml/0",
        "/images/0000000000000000/0",
        "/images/0000000000000000/..%2fitem.json",
        "/api/results/..%2f..%2fCargo.toml",
        "/api/jobs/x/events",
        "/pairs/0",
        "/pairs/-1",
        "/etc/passwd",
    ] {
        let (status, text) = bench.get(path);
        let refused = [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST].contains(&status);
        assert!(refused && !text.contains("[package]"), "{path}: {status}");
    }
    for query in ["page=0", "page=2", "page=x", "other=1"] {
        assert_eq!(
            bench.get(&format!("/gallery?{query}")).0,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
    // Drawing is by POST, of a form, only.
    assert_eq!(
        bench.get("/api/draw?prompt=x&prior=a").0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let request = Request::post("/api/draw")
        .header("host", "localhost")
        .header("content-type", "text/plain");
    let (status, ..) = bench.ask(request.body(Body::from("prompt=x&prior=a")).expect("a request"));
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[test]
fn the_queue_is_bounded_and_jobs_are_cancelled() {
    let bench = Bench::local();
    let form = |seed: usize| format!("prompt=x&prior=a&images=2&seed={seed}");
    let first = bench.draw(&form(1));
    bench.wait(&first, |status| matches!(status, Status::Drawing { .. }));
    let (second, third) = (bench.draw(&form(2)), bench.draw(&form(3)));
    let place = |job: &str| bench.app.queue.job(job).expect("known").state().status;
    assert_eq!(
        (place(&second), place(&third)),
        (Status::Queued(2), Status::Queued(3))
    );
    let request = Request::post("/api/draw")
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded");
    let (status, headers, text) = bench.ask(request.body(Body::from(form(4))).expect("a request"));
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        headers["retry-after"] == "5" && text.contains("2 requests are waiting already"),
        "{text}"
    );

    // By the button, while it waits; by leaving the page, while it is drawn.
    assert_eq!(
        bench.post(&format!("/api/jobs/{second}/cancel"), "").0,
        StatusCode::OK
    );
    assert_eq!(
        (place(&second), place(&third)),
        (Status::Cancelled, Status::Queued(2))
    );
    bench.runtime.block_on(async {
        let request = Request::get(format!("/api/jobs/{first}/events")).header("host", "localhost");
        let request = request.body(Body::empty()).expect("a request");
        let answer = bench.routes.clone().oneshot(request).await.expect("infallible");
        let mut body = answer.into_body().into_data_stream();
        assert!(body.next().await.is_some());
    });
    bench.permit(1);
    bench.wait(&first, |status| *status == Status::Cancelled);
    // What was cancelled left nothing, and the next one is drawn.
    bench.permit(2);
    bench.wait(&third, |status| *status == Status::Done);
    assert_eq!(bench.app.gallery.len(), 1);
    let (status, answer) = bench.post("/api/jobs/0123/cancel", "");
    assert_eq!(
        (status, answer["error"].as_str()),
        (StatusCode::NOT_FOUND, Some("there is no such job"))
    );
}

#[test]
fn addresses_take_turns_and_another_machine_has_a_share_of_the_places() {
    use std::net::IpAddr;
    let queue = Queue::new(8);
    let request = |seed: u64| {
        let pairs = [
            ("prompt", "x".to_owned()),
            ("prior", "a".into()),
            ("seed", seed.to_string()),
        ];
        let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value)).into();
        DrawRequest::parse(&pairs, &catalogue()).expect("valid")
    };
    let [one, two] = ["192.168.0.1", "192.168.0.2"].map(|address| address.parse::<IpAddr>().expect("one"));
    let mut jobs = Vec::new();
    let mut push = |client, name: &str| {
        let job = queue.push(name.to_owned(), name.to_owned(), request(0), client);
        job.map(|job| jobs.push(job))
    };
    for name in ["a1", "a2"] {
        push(one, name).expect("a place");
    }
    let full = push(one, "a3").expect_err("it has its share");
    assert_eq!(
        full.to_string(),
        "2 requests are waiting already; try again in 5 seconds"
    );
    for name in ["b1", "b2"] {
        push(two, name).expect("a place");
    }
    let local = IpAddr::from([127, 0, 0, 1]);
    for name in ["c1", "c2", "c3"] {
        push(local, name).expect("a place");
    }
    let mut places: Vec<(usize, &str)> = Vec::new();
    for job in &jobs {
        if let Status::Queued(place) = job.state().status {
            places.push((place, &job.name));
        }
    }
    places.sort_unstable();
    let order: Vec<&str> = places.iter().map(|(_, name)| *name).collect();
    assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "c2", "c3"], "{places:?}");
}

#[test]
fn a_panic_of_a_network_ends_its_job_only() {
    let bench = Bench::local();
    let job = bench.draw("prompt=panic&prior=a&images=1");
    bench.wait(&job, |status| matches!(status, Status::Failed(_)));
    bench.permit(1);
    let job = bench.draw("prompt=x&prior=a&images=1");
    bench.wait(&job, |status| *status == Status::Done);
    bench.app.queue.close();
}

#[test]
fn every_answer_has_the_headers_and_a_token_opens_the_page() {
    let bench = Bench::new(Guard {
        is_loopback: false,
        token: Some("0123".into()),
    });
    let get = |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(path).header("host", "192.168.0.7:8321");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        bench.ask(request.body(Body::empty()).expect("a request"))
    };
    for (path, expected) in [
        ("/", 401),
        ("/playground.js", 401),
        ("/?token=0124", 401),
        ("/?token=0123&seed=5", 303),
    ] {
        let (status, headers, _) = get(path, &[]);
        assert_eq!(status, expected, "{path}");
        assert!(
            headers["content-security-policy"]
                .to_str()
                .expect("text")
                .starts_with("default-src 'none'; script-src 'self';")
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    let (_, headers, _) = get("/?token=0123&seed=5", &[]);
    assert_eq!(headers["location"], "/?seed=5");
    let cookie = headers["set-cookie"].to_str().expect("text");
    assert_eq!(cookie, "eclipse_token_8321=0123; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(
        get("/", &[("cookie", "eclipse_token_8321=0123")]).0,
        StatusCode::OK
    );
    assert_eq!(
        get("/playground.css", &[("authorization", "Bearer 0123")]).0,
        StatusCode::OK
    );
    assert_eq!(
        get(
            "/",
            &[
                ("cookie", "eclipse_token_8321=0123"),
                ("origin", "http://evil.example")
            ]
        )
        .0,
        StatusCode::FORBIDDEN
    );
}
