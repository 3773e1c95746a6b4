//! The routes: pages, drawing, progress, images.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Form, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as AnyResponse};
use axum::routing::{get, post};
use futures_util::Stream;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::connections::Client;
use super::gallery::Gallery;
use super::guard::{Guard, guard, random_name};
use super::pages::{self, PER_PAGE};
use super::queue::{Queue, Status, Watcher};
use super::request::DrawRequest;

/// Bytes of a form: a prompt of [`super::request::MAX_PROMPT`] characters has at most 12 bytes each when it is escaped.
const MAX_BODY: usize = 16 << 10;
/// Interval of comments that keep a stream of events open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Pairs = Vec<(String, String)>;

/// What every answer is made from.
#[derive(Debug)]
pub struct App {
    /// What is offered.
    pub catalogue: Catalogue,
    /// What was drawn.
    pub gallery: Gallery,
    /// What is being drawn.
    pub queue: Arc<Queue>,
}

/// The routes of `app`, behind the checks of `who`.
pub fn router(app: Arc<App>, who: Guard) -> Router {
    Router::new()
        .route("/", get(draw_page))
        .route("/gallery", get(gallery_page))
        .route(
            "/playground.css",
            get(async || text("text/css; charset=utf-8", pages::STYLE)),
        )
        .route(
            "/playground.js",
            get(async || text("text/javascript; charset=utf-8", pages::SCRIPT)),
        )
        .route("/images/{id}/{n}", get(image))
        .route("/pairs/{n}", get(pair))
        .route("/api/draw", post(draw))
        .route("/api/results/{id}", get(result))
        .route("/api/jobs/{name}/events", get(events))
        .route("/api/jobs/{name}/cancel", post(cancel))
        .fallback(async || pages::refusal(StatusCode::NOT_FOUND, "There is no such page."))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(who, guard))
        .with_state(app)
}

fn text(kind: &'static str, text: &'static str) -> AnyResponse {
    ([(CONTENT_TYPE, kind)], text).into_response()
}

fn json_answer(status: StatusCode, value: &Value) -> AnyResponse {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn error(status: StatusCode, key: Option<&str>, reason: &str) -> AnyResponse {
    json_answer(status, &json!({ "error": reason, "key": key }))
}

fn png(bytes: Option<Vec<u8>>) -> AnyResponse {
    match bytes {
        // An id names one content.
        Some(bytes) => {
            let headers = [
                (CONTENT_TYPE, "image/png"),
                (CACHE_CONTROL, "private, max-age=86400, immutable"),
            ];
            (headers, bytes).into_response()
        }
        None => pages::refusal(StatusCode::NOT_FOUND, "There is no such image."),
    }
}

async fn draw_page(
    State(app): State<Arc<App>>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Response<Body> {
    let Ok(Query(pairs)) = pairs else {
        return pages::refusal(
            StatusCode::BAD_REQUEST,
            "The address of this page cannot be read.",
        );
    };
    let request = match pairs.is_empty() {
        true => None,
        false => Some(DrawRequest::parse(&pairs, &app.catalogue)),
    };
    let (status, request, wrong) = match request {
        None => (StatusCode::OK, None, None),
        Some(Ok(request)) => (StatusCode::OK, Some(request), None),
        Some(Err(wrong)) => (StatusCode::BAD_REQUEST, None, Some(wrong)),
    };
    let item = request.and_then(|request| app.gallery.item(&request.id(&app.catalogue)));
    let form = pages::Form {
        pairs: &pairs,
        error: wrong.as_ref(),
    };
    pages::page(
        status,
        pages::draw(&app.catalogue, &app.gallery, &form, item.as_ref()),
    )
}

async fn gallery_page(
    State(app): State<Arc<App>>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Response<Body> {
    let n_pages = app.gallery.len().div_ceil(PER_PAGE).max(1);
    let page = match pairs.as_deref().map(Vec::as_slice) {
        Ok([]) => Some(1),
        Ok([(key, n)]) if key == "page" => n.parse().ok().filter(|n| (1..=n_pages).contains(n)),
        _ => None,
    };
    match page {
        Some(page) => pages::page(StatusCode::OK, pages::gallery(&app.gallery, page)),
        None => pages::refusal(
            StatusCode::BAD_REQUEST,
            &format!("page: expected a number from 1 to {n_pages}"),
        ),
    }
}

async fn image(State(app): State<Arc<App>>, Path((id, n)): Path<(String, usize)>) -> AnyResponse {
    png(app.gallery.image(&id, n))
}

async fn pair(State(app): State<Arc<App>>, Path(n): Path<usize>) -> AnyResponse {
    png((app.catalogue.pair_image)(n))
}

/// Draws: answers with the result if it was drawn before, else with the name of the job.
async fn draw(
    State(app): State<Arc<App>>,
    client: Option<Extension<Client>>,
    pairs: Result<Form<Pairs>, FormRejection>,
) -> AnyResponse {
    let pairs = match pairs {
        Ok(Form(pairs)) => pairs,
        Err(rejection) => return error(rejection.status(), None, &rejection.body_text()),
    };
    let request = match DrawRequest::parse(&pairs, &app.catalogue) {
        Ok(request) => request,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, Some(&wrong.key), &wrong.reason),
    };
    let (id, query) = (request.id(&app.catalogue), request.query());
    let item = app.gallery.item(&id);
    let html = pages::result(&app.catalogue, &id, &request, item.as_ref()).into_string();
    let mut answer = json!({ "result": id, "query": query, "html": html });
    if item.is_none() {
        let Ok(name) = random_name() else {
            return error(
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                "the system gives no randomness",
            );
        };
        let client = client.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Extension(Client(address))| {
            address
        });
        match app.queue.push(name, id, request, client) {
            Ok(job) => answer["job"] = job.name.clone().into(),
            Err(full) => {
                let mut response = error(StatusCode::SERVICE_UNAVAILABLE, None, &full.to_string());
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from(full.seconds));
                return response;
            }
        }
    }
    json_answer(StatusCode::OK, &answer)
}

async fn result(State(app): State<Arc<App>>, Path(id): Path<String>) -> AnyResponse {
    match app.gallery.item(&id) {
        Some(item) => json_answer(StatusCode::OK, &json!(item)),
        None => error(StatusCode::NOT_FOUND, None, "there is no such result"),
    }
}

async fn cancel(State(app): State<Arc<App>>, Path(name): Path<String>) -> AnyResponse {
    match app.queue.job(&name) {
        Some(job) => {
            app.queue.cancel(&job);
            json_answer(StatusCode::OK, &json!({}))
        }
        None => error(StatusCode::NOT_FOUND, None, "there is no such job"),
    }
}

async fn events(State(app): State<Arc<App>>, Path(name): Path<String>) -> AnyResponse {
    match app.queue.job(&name) {
        Some(job) => {
            let watcher = app.queue.watch(job);
            Sse::new(job_events(app, watcher))
                .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
                .into_response()
        }
        None => error(StatusCode::NOT_FOUND, None, "there is no such job"),
    }
}

/// How far the events of a job were sent.
struct Cursor {
    app: Arc<App>,
    watcher: Watcher,
    changes: watch::Receiver<()>,
    images: usize,
    skipped: usize,
    status: Option<Status>,
}

/// Everything that a job reports, from its beginning to its end.
fn job_events(app: Arc<App>, watcher: Watcher) -> impl Stream<Item = Result<Event, Infallible>> {
    let cursor = Cursor {
        app,
        changes: watcher.job.changes(),
        watcher,
        images: 0,
        skipped: 0,
        status: None,
    };
    stream::unfold(cursor, |mut cursor| async {
        loop {
            if let Some((kind, data)) = cursor.next() {
                return Some((Ok(Event::default().event(kind).data(data.to_string())), cursor));
            }
            if cursor.status.as_ref().is_some_and(Status::is_end) {
                return None;
            }
            cursor.changes.changed().await.ok()?;
        }
    })
}

impl Cursor {
    /// The next event, if there is one that was not sent.
    fn next(&mut self) -> Option<(&'static str, Value)> {
        let job = &self.watcher.job;
        // From now on, further changes wake up the stream.
        self.changes.mark_unchanged();
        let state = job.state();
        let catalogue = &self.app.catalogue;
        if let Some(image) = state.images.get(self.images) {
            let html = pages::image(catalogue, &job.id, &job.request, self.images, image);
            self.images += 1;
            return Some(("image", json!({ "prior": image.prior, "html": html })));
        }
        if let Some((prior, reason)) = state.skipped.get(self.skipped) {
            self.skipped += 1;
            return Some(("skipped", json!({ "prior": prior, "reason": reason })));
        }
        if self.status.as_ref() == Some(&state.status) {
            return None;
        }
        let event = match &state.status {
            Status::Queued(place) => {
                let text = match place {
                    1 => "Starting…".to_owned(),
                    n => format!("Waiting: place {n} in the queue."),
                };
                ("status", json!({ "text": text }))
            }
            Status::Drawing { stage, done, of } => {
                ("status", json!({ "text": stage, "done": done, "of": of }))
            }
            Status::Done => match self.app.gallery.item(&job.id) {
                Some(item) => {
                    let counts = job
                        .request
                        .priors
                        .iter()
                        .map(|prior| (prior, pages::count(&item, prior)));
                    let counts: Vec<_> = counts.collect();
                    (
                        "done",
                        json!({ "summary": pages::summary(&item), "counts": counts, "items": self.app.gallery.len() }),
                    )
                }
                None => (
                    "failed",
                    json!({ "error": "the result was removed from the gallery" }),
                ),
            },
            Status::Failed(reason) => ("failed", json!({ "error": reason })),
            Status::Cancelled => ("cancelled", json!({})),
        };
        self.status = Some(state.status);
        Some(event)
    }
}
