//! The pages and their parts.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::catalogue::{Catalogue, System};
use super::gallery::{Gallery, Item};
use super::painter::{ImageRecord, PromptVerdict};
use super::request::{
    BadRequest, DEFAULT_FRAMES, DEFAULT_IMAGES, DrawRequest, MAX_GUIDANCE, MAX_IMAGES, MAX_PROMPT, MAX_STEPS,
};

/// The style of the report's pages, and what the playground adds to it.
pub(super) const STYLE: &str = concat!(
    include_str!("../report/style.css"),
    include_str!("playground.css")
);
/// The program of the page.
pub(super) const SCRIPT: &str = include_str!("playground.js");
/// Items on a page of the gallery.
pub(super) const PER_PAGE: usize = 12;
/// Groups of priors that are not folded.
const N_GROUPS: usize = 2;
/// Images of an item on a page of the gallery.
const THUMBNAILS: usize = 8;

/// A whole page; `draws`: it has the form.
fn document(title: &str, draws: bool, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Without an icon a browser requests one from the server.
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/playground.css";
                @if draws { script src="/playground.js" defer {} }
                title { (title) }
            }
            body { main.playground { (body) } }
        }
    };
    page.into_string()
}

/// An answer that refuses a request, as a page.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    let body = html! {
        h1 { "Playground" }
        p { strong { (reason) } }
    };
    page(status, document("Playground", false, &body))
}

/// An answer with a page or a part of one.
pub(super) fn page(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let value = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

fn navigation(here: &str, gallery: &Gallery) -> Markup {
    let current = |name: &str| (name == here).then_some("page");
    html! {
        nav.links aria-label="Pages" {
            a href="/" aria-current=[current("draw")] { "Draw" }
            a href="/gallery" aria-current=[current("gallery")] { "Gallery (" span #n-items { (gallery.len()) } ")" }
        }
    }
}

/// The values of the form: those of a URL, also of one that is refused, else the page's own.
pub(super) struct Form<'a> {
    pub(super) pairs: &'a [(String, String)],
    pub(super) error: Option<&'a BadRequest>,
}

impl Form<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(other, _)| other == key);
        found.map(|(_, value)| value.as_str())
    }

    fn is_ticked(&self, system: &System) -> bool {
        let mut asked = self.pairs.iter().filter(|(key, _)| key == "prior").peekable();
        match asked.peek() {
            None => system.is_default,
            Some(_) => asked.any(|(_, id)| *id == system.id),
        }
    }

    fn is_wrong(&self, key: &str) -> Option<&'static str> {
        self.error.filter(|error| error.key == key).map(|_| "true")
    }

    /// The priors under one heading.
    fn group(&self, catalogue: &Catalogue, group: &str) -> Markup {
        html! {
            div.group role="group" aria-label=(group) {
                span.soft { (group) }
                @for system in catalogue.systems.iter().filter(|system| system.group == group) {
                    label.tick title=(system.about) {
                        input type="checkbox" name="prior" value=(system.id) checked[self.is_ticked(system)];
                        (system.label)
                    }
                }
            }
        }
    }

    fn number(&self, key: &str, label: &str, limits: (&str, &str, &str), default: &str, own: &str) -> Markup {
        let (least, most, step) = limits;
        html! {
            label.number for=(key) {
                span { (label) }
                input type="number" id=(key) name=(key) min=(least) max=(most) step=(step) inputmode="decimal"
                    value=(self.value(key).unwrap_or(default)) placeholder=(own) aria-invalid=[self.is_wrong(key)];
            }
        }
    }
}

/// The page that draws; `item` is the result that it shows at first.
pub(super) fn draw(catalogue: &Catalogue, gallery: &Gallery, form: &Form<'_>, item: Option<&Item>) -> String {
    let is_fresh = form.pairs.is_empty();
    let prompt = form
        .value("prompt")
        .unwrap_or(if is_fresh { &catalogue.example } else { "" });
    let images = format!("{DEFAULT_IMAGES}");
    let (most_images, most_steps, most_guidance) = (
        MAX_IMAGES.to_string(),
        MAX_STEPS.to_string(),
        MAX_GUIDANCE.to_string(),
    );
    let (steps, guidance) = &catalogue.own_sampling;
    let body = html! {
        (navigation("draw", gallery))
        h1 { "Playground: " (catalogue.title) }
        p { "A " em { "prior" } " turns a prompt into an image embedding, and one decoder turns every embedding into an image: what differs between "
            "the rows below is the prior. " (catalogue.about) }
        @if let Some(hint) = &catalogue.hint { p.note { (with_code(hint)) } }
        form #form action="/" method="get" {
            label for="prompt" { "Prompt" }
            div.go {
                input #prompt type="text" name="prompt" maxlength=(MAX_PROMPT) required autocomplete="off" spellcheck="false"
                    value=(prompt) aria-invalid=[form.is_wrong("prompt")] aria-describedby="error";
                button #draw type="submit" { "Draw" }
                button #cancel type="button" hidden { "Cancel" }
            }
            p #error role="alert" { @if let Some(error) = form.error { (error.reason) } }
            fieldset aria-describedby="error" {
                legend { "Priors" }
                @let groups = catalogue.groups();
                @for group in groups.iter().take(N_GROUPS) { (form.group(catalogue, group)) }
                @if groups.len() > N_GROUPS {
                    details {
                        summary { "More trained priors" }
                        @for group in &groups[N_GROUPS..] { (form.group(catalogue, group)) }
                    }
                }
            }
            div.numbers {
                (form.number("images", "Images", ("1", &most_images, "1"), if is_fresh { &images } else { "" }, &images))
                (form.number("seed", "Seed", ("0", "4294967295", "1"), if is_fresh { "0" } else { "" }, "0"))
                button #other type="button" { "Another seed" }
            }
            div.folds {
                details open[form.value("to").is_some_and(|to| !to.is_empty())] {
                    summary { "Interpolate to a second prompt" }
                    label for="to" { "Second prompt" }
                    input #to type="text" name="to" maxlength=(MAX_PROMPT) autocomplete="off" spellcheck="false"
                        value=(form.value("to").unwrap_or_default()) placeholder=(catalogue.example_to)
                        aria-invalid=[form.is_wrong("to")] aria-describedby="to-about";
                    p #to-about .soft { "The images are then frames of the way between the two embeddings, on the sphere, from one noise; a slider walks "
                        "through them. " (DEFAULT_FRAMES) " frames are a good number." }
                }
                details open[["steps", "guidance", "prior_steps", "prior_guidance"].iter().any(|key| form.value(key).is_some_and(|v| !v.is_empty()))] {
                    summary { "Steps and guidance" }
                    div.numbers {
                        (form.number("steps", "Decoder steps", ("1", &most_steps, "1"), "", steps))
                        (form.number("guidance", "Decoder guidance", ("0", &most_guidance, "any"), "", guidance))
                        (form.number("prior_steps", "Prior steps", ("1", &most_steps, "1"), "", "own"))
                        (form.number("prior_guidance", "Prior guidance", ("0", &most_guidance, "any"), "", "own"))
                    }
                    p.soft { "Empty fields take each prior's own settings. The last two apply to diffusion priors. Guidance up to 1 is none." }
                }
                details {
                    summary { "What these priors are" }
                    dl { @for system in &catalogue.systems { dt { (system.label) } dd { (system.about) } } }
                }
                @if !catalogue.vocabulary.is_empty() {
                    details {
                        summary { "Words that this world knows" }
                        dl { @for list in &catalogue.vocabulary { dt { (list.name) } dd { (list.words.join(", ")) } } }
                        p.soft { "As in: \"" (catalogue.example) "\"." }
                    }
                }
            }
            noscript { p { strong { "This page needs JavaScript to draw; the gallery works without." } } }
        }
        div #progress hidden { progress aria-label="Progress" max="1" value="0" {} " " small #steps {} }
        p #status role="status" {}
        div #result { @if let Some(item) = item { (result(catalogue, &item.id, &item.request, Some(item))) } }
    };
    document("Playground", true, &body)
}

/// `text` with what stands in backticks in code font.
fn with_code(text: &str) -> Markup {
    html! { @for (i, part) in text.split('`').enumerate() { @if i % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// A result: with its images if it is drawn, else with room for them.
pub(super) fn result(catalogue: &Catalogue, id: &str, request: &DrawRequest, item: Option<&Item>) -> Markup {
    let label = |prior: &str| match item.and_then(|item| item.labels.get(prior)) {
        Some(label) => label.clone(),
        None => catalogue.label(prior).to_owned(),
    };
    let middle = request.images / 2;
    html! {
        h2 { (request.title()) }
        p.soft {
            span #summary { @if let Some(item) = item { (summary(item)) } }
            " " a #share href=(format!("/?{}", request.query())) { "Link to this result" }
            " " button #copy type="button" { "Copy link" }
        }
        @if catalogue.has_checker {
            p.soft { "Below each image: what the checker looked for. " span.yes { "✓ there" } ", " span.no { "✗ not there" }
                "; a solid frame means that all of it is there, a dashed one that something is missing." }
        }
        @if let Some(to) = &request.to {
            div.slider {
                label for="at" { "Position between the prompts" }
                div.ends {
                    span { (request.prompt) }
                    input #at type="range" min="0" max=(request.images - 1) value=(middle) step="1";
                    span { (to) }
                }
                label.tick { input #all type="checkbox"; "Show all frames" }
            }
        }
        div.systems.pixels[catalogue.has_checker].frames[request.to.is_some()] {
            @for prior in &request.priors {
                section.system data-prior=(prior) {
                    h3 { (label(prior)) " " small.count { @if let Some(item) = item { (count(item, prior)) } } }
                    p.skipped { @if let Some(item) = item { (skipped(item, prior)) } }
                    div.row data-part="images" {
                        @if let Some(item) = item { @for (n, image) in of_prior(item, prior) { (figure(id, request, &label(prior), n, image)) } }
                    }
                    details.embedding {
                        summary { "Scores and nearest training images" }
                        div data-part="embeddings" {
                            @if let Some(item) = item { @for (_, image) in of_prior(item, prior) { (embedding(request, image)) } }
                        }
                    }
                }
            }
        }
    }
}

fn of_prior<'a>(item: &'a Item, prior: &'a str) -> impl Iterator<Item = (usize, &'a ImageRecord)> {
    item.images
        .iter()
        .enumerate()
        .filter(move |(_, image)| image.prior == prior)
}

/// How a result was drawn, in a line.
pub(super) fn summary(item: &Item) -> String {
    let sampling = &item.request.sampling;
    let mut parts = vec![format!("{} images in {:.1} s", item.images.len(), item.seconds)];
    parts.push(format!("seed {}", item.request.seed));
    let mut add =
        |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name} {value}")));
    add("steps", sampling.steps.map(|n| n.to_string()));
    add("guidance", sampling.guidance.map(|x| x.to_string()));
    add("prior steps", sampling.prior_steps.map(|n| n.to_string()));
    add("prior guidance", sampling.prior_guidance.map(|x| x.to_string()));
    format!("{}.", parts.join(", "))
}

/// How many images of a prior are right, where the checker reads the prompt.
pub(super) fn count(item: &Item, prior: &str) -> String {
    let checked: Vec<bool> = of_prior(item, prior)
        .filter_map(|(_, image)| is_right(image))
        .collect();
    match (checked.len(), &item.request.to) {
        (0, _) | (_, Some(_)) => String::new(),
        (n, None) => format!("{} of {n} right", checked.iter().filter(|right| **right).count()),
    }
}

fn skipped<'a>(item: &'a Item, prior: &str) -> &'a str {
    let found = item.skipped.iter().find(|(other, _)| other == prior);
    found.map_or("", |(_, reason)| reason)
}

/// Whether an image shows all that one of its prompts asks for; `None` where the checker reads none.
fn is_right(image: &ImageRecord) -> Option<bool> {
    (!image.verdicts.is_empty()).then(|| image.verdicts.iter().any(PromptVerdict::is_right))
}

/// The name of an image within its prior's.
fn place(request: &DrawRequest, image: &ImageRecord) -> String {
    match request.to {
        Some(_) => format!("{:.0} %", 100.0 * request.at(image.number)),
        None => format!("seed {}", image.seed),
    }
}

/// An image and what is known about its embedding: what a page adds when image `n` of a result is finished.
pub(super) fn image(
    catalogue: &Catalogue,
    id: &str,
    request: &DrawRequest,
    n: usize,
    image: &ImageRecord,
) -> String {
    let label = catalogue.label(&image.prior);
    html! { (figure(id, request, label, n, image)) (embedding(request, image)) }.into_string()
}

fn figure(id: &str, request: &DrawRequest, label: &str, n: usize, image: &ImageRecord) -> Markup {
    let place = place(request, image);
    html! {
        figure.is-wrong[is_right(image) == Some(false)].is-unchecked[image.verdicts.is_empty()] data-to="images" data-number=(image.number) {
            img src=(format!("/images/{id}/{n}")) alt=(format!("{label}, {place}: {}", request.title()));
            figcaption {
                (place)
                @for verdict in &image.verdicts {
                    div title=(verdict.prompt) {
                        @if request.to.is_some() { span.soft { @if verdict.prompt == request.prompt { "first: " } @else { "second: " } } }
                        @for (what, right) in &verdict.findings {
                            @if *right { span.yes { "✓ " (what) } " " } @else { span.no { "✗ " (what) } " " }
                        }
                    }
                }
            }
        }
    }
}

fn embedding(request: &DrawRequest, image: &ImageRecord) -> Markup {
    html! {
        div.near data-to="embeddings" data-number=(image.number) {
            b { (place(request, image)) }
            @for score in &image.scores { " " span.score title=(score.meaning) { (score.name) " " b { (score.value) } } }
            @if !image.neighbours.is_empty() {
                ul.neighbours {
                    @for neighbour in &image.neighbours {
                        li {
                            img src=(format!("/pairs/{}", neighbour.pair)) alt="" loading="lazy";
                            span { (neighbour.caption) " " small { (format!("{:.3}", neighbour.cosine)) } }
                        }
                    }
                }
            }
        }
    }
}

/// A page of what was drawn, from 1.
pub(super) fn gallery(gallery: &Gallery, page: usize) -> String {
    let n_pages = gallery.len().div_ceil(PER_PAGE).max(1);
    let items = gallery.newest((page - 1) * PER_PAGE, PER_PAGE);
    let body = html! {
        (navigation("gallery", gallery))
        h1 { "Gallery" }
        @if items.is_empty() { p { "Nothing was drawn yet: " a href="/" { "draw something" } "." } }
        div.cards {
            @for item in &items {
                section.card {
                    h2 { a href=(format!("/?{}", item.request.query())) { (item.request.title()) } }
                    p.soft { (item.labels.values().cloned().collect::<Vec<_>>().join(", ")) ". " (summary(item)) " " (drawn_at(item)) }
                    div.thumbnails {
                        @for n in thumbnails(item) { img src=(format!("/images/{}/{n}", item.id)) alt="" loading="lazy"; }
                    }
                }
            }
        }
        nav.links aria-label="Pages of the gallery" {
            @if page > 1 { a href=(format!("/gallery?page={}", page - 1)) rel="prev" { "Newer" } }
            span { "Page " (page) " of " (n_pages) }
            @if page < n_pages { a href=(format!("/gallery?page={}", page + 1)) rel="next" { "Older" } }
        }
    };
    document("Gallery", false, &body)
}

/// Images that stand for an item: the first of each prior in turn.
fn thumbnails(item: &Item) -> Vec<usize> {
    let mut order: Vec<usize> = (0..item.images.len()).collect();
    order.sort_by_key(|&n| (item.images[n].number, n));
    order.truncate(THUMBNAILS);
    order
}

fn drawn_at(item: &Item) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(item.drawn_at.min(i32::MAX as u64));
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace('T', " ")
        .replace('Z', " UTC")
}
