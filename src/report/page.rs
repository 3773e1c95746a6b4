//! A report as one self-contained HTML page: style, plots and images are embedded.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use toml::Table;

use super::about::About;
use super::answer;
use super::claims::{self, Order, OrderClaim, OrderClaims};
use super::curves::curves_of;
use super::error::ReportError;
use super::gallery::{Gallery, GalleryImage};
use super::lead::Lead;
use super::metric_key::{MetricKey, split_title};
use super::preference::{self, Preference};
use super::results::{Report, System};
use super::text::{DIRECTIONS, interval_text, share_text};
use super::{dot_plot, training};
use crate::eval::metrics::MetricInfo;
use crate::experiment::convergence;
use crate::experiment::report_spec::{ReportSpec, flatten};

/// The style of every page.
const STYLE: &str = include_str!("style.css");
/// The content security policy: a page loads only embedded content.
pub(super) const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A whole page; `policy` is its content security policy.
pub(super) fn document(title: &str, policy: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                // Without an icon a browser requests one from the server.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    };
    page.into_string() + "\n"
}

/// A relative URL of `parts`, which are names of files and folders: special characters are escaped.
pub(super) fn href(parts: &[&str]) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    let parts = parts.iter().flat_map(|part| part.split('/'));
    parts
        .map(|part| utf8_percent_encode(part, KEPT).to_string())
        .collect::<Vec<_>>()
        .join("/")
}

/// What a page links to, relative to it.
#[derive(Default)]
pub(super) struct PageLinks {
    /// The list of experiments.
    pub(super) index: Option<String>,
    /// The specification.
    pub(super) specification: Option<String>,
    /// Files beside the page.
    pub(super) files: Vec<String>,
    /// The sheet of images as SVG, where the images themselves are not there.
    pub(super) sheet: Option<String>,
}

impl PageLinks {
    /// The links at the head of the page of `experiment`, with the command that repeats it.
    pub(super) fn nav(&self, experiment: &str) -> Markup {
        html! {
            nav.links {
                @if let Some(index) = &self.index { a href=(index) { "All experiments" } }
                @if let Some(specification) = &self.specification { a href=(specification) { "Specification" } }
                span { "Run it: " code { "eclipse sweep " (experiment) } }
            }
        }
    }
}

impl Report {
    /// The page: answer, plot, short table, images; the rest is folded.
    ///
    /// # Errors
    /// [`ReportError::Draw`] if the drawing library fails.
    pub(super) fn page(
        &self,
        spec: &ReportSpec,
        about: &About,
        links: &PageLinks,
        gallery: &Gallery,
    ) -> Result<String, ReportError> {
        let (short, keys) = (self.select(spec.summary()), self.select(&spec.columns));
        let title = about.title_or(&self.experiment);
        let (lead, answer) = (self.lead(spec)?, self.answer(spec));
        let body = html! {
            (links.nav(&self.experiment))
            h1 { (title) }
            @match &answer { Some(answer) => div.answer { (about.render(answer)) }, None => (about.claim()) }
            @if !self.missing.is_empty() { p { strong { (self.missing_text()) } } }
            @if let Some(text) = self.unconverged_text() { p { strong { (text) } } }
            @if let Some(lead) = &lead { (figure_of(lead)) }
            h2 { "Scores" }
            p.soft { "Mean and 95 % bootstrap interval over seeds and prompts" (self.runs_text()) ". " (DIRECTIONS) }
            (self.scores("scores", &short, false))
            (glossary(&short))
            (images(gallery))
            @if let Some(sheet) = &links.sheet {
                h2 { "Images" }
                p.soft { "A row a prompt, a column a system; a frame marks an image in which the checker finds all that the prompt asks for." }
                div.scroll.sheet { (PreEscaped(sheet)) }
            }
            h2 { "Details" }
            @if !keys.is_empty() {
                details { summary { "All metrics" } (self.scores("all-scores", &keys, true)) (glossary(&keys)) }
            }
            (self.protocols(&keys))
            (self.plots(spec)?)
            (self.training()?)
            (self.claims_of_order(&keys))
            @for one in &self.preferences { (self.preference(one)) }
            @if let Some(rest) = about.rest() {
                details { summary { "About this experiment" } @if answer.is_some() { (about.claim()) } (rest) }
            }
            (self.configuration())
            details {
                summary { "Convergence and provenance" }
                p { (convergence::RULE) }
                dl {
                    @for (what, values) in &self.provenance {
                        dt { (what) }
                        dd { @for value in values { div { (value) } } @if values.is_empty() { "not recorded" } }
                    }
                }
                @if self.provenance.is_empty() && !self.made.is_empty() { p { (self.made) } }
            }
            @if !links.files.is_empty() {
                p.links { "Files: " @for file in &links.files { a href=(href(&[file])) { (file) } } }
            }
            p.soft { "Made by " code { "eclipse report" } "." }
        };
        Ok(document(title, POLICY, &body))
    }

    /// How many runs a trained system has, and whether all had converged; empty without trained systems.
    fn runs_text(&self) -> String {
        let trained = || self.systems.iter().filter(|s| s.convergence.is_some());
        let runs = || trained().map(|s| s.n_runs);
        let (Some(fewest), Some(most)) = (runs().min(), runs().max()) else {
            return String::new();
        };
        let each = match fewest == most {
            true => most.to_string(),
            false => format!("{fewest} to {most}"),
        };
        let converged = match trained().all(System::may_be_compared) {
            true => ", all converged",
            false => "",
        };
        format!(" ({each} runs of each trained system{converged})")
    }

    /// The answer of `spec` with its numbers, for complete results; `None` without one.
    pub(super) fn answer(&self, spec: &ReportSpec) -> Option<String> {
        if spec.answer.is_empty() || !self.missing.is_empty() {
            return None;
        }
        match answer::fill(self, &spec.answer) {
            Ok(text) => Some(text),
            Err(why) => {
                tracing::warn!("{}: report.answer is left out: {why}", self.experiment);
                None
            }
        }
    }

    /// A row a system, a column a metric of `keys`; `with_runs` adds the number of runs and whether they converged.
    fn scores(&self, id: &str, keys: &[MetricKey], with_runs: bool) -> Markup {
        html! {
            div.scroll { table id=(id) {
                thead { tr {
                    th { "system" }
                    @if with_runs { th { "runs" } th { "converged" } }
                    @for key in keys { (heading(key)) }
                } }
                tbody {
                    @for system in &self.systems {
                        tr {
                            th scope="row" { (breakable(&system.title)) }
                            @if with_runs { td { (system.n_runs) } td { (system.converged()) } }
                            @for key in keys { (self.score(key, system)) }
                        }
                    }
                }
            } }
        }
    }

    fn score(&self, key: &MetricKey, system: &System) -> Markup {
        let digits = key.decimals();
        html! {
            @match system.cells.get(key) {
                None => td { "-" },
                Some(cell) => td.far[self.is_best(key, system)] {
                    (format!("{:.digits$}", cell.interval.value))
                    @if cell.has_interval {
                        small { (format!("[{:.digits$}, {:.digits$}]", cell.interval.low, cell.interval.high)) }
                    }
                },
            }
        }
    }

    /// How the metrics of images among `keys` were computed.
    fn protocols(&self, keys: &[MetricKey]) -> Markup {
        let shown: Vec<_> = self
            .protocols
            .iter()
            .filter(|protocol| keys.iter().any(|key| key.name == protocol.metric))
            .collect();
        html! {
            @for protocol in shown {
                details {
                    summary { "Protocol of " (protocol.metric) }
                    dl { @for (key, value) in &protocol.keys { dt { (key) } dd { (value) } } }
                }
            }
        }
    }

    fn plots(&self, spec: &ReportSpec) -> Result<Markup, ReportError> {
        let keys = self.plotted(spec);
        let dots = dot_plot::score_panels(self, &keys)?;
        let mut curves = Vec::new();
        for curve in curves_of(self, spec) {
            curves.push((
                curve.x().to_owned(),
                curve.only(),
                curve.legend()?,
                curve.panels()?,
            ));
        }
        Ok(html! {
            @for (x, only, legend, drawn) in &curves {
                details {
                    summary { "Curves over " code { (x) } @if !only.is_empty() { " at " code { (only) } } }
                    (legend_list(legend))
                    p.soft { "Bands are 95 % intervals. Dashed grey lines are systems without this key." }
                    (panels(drawn))
                }
            }
            @if !dots.is_empty() {
                details {
                    summary { "Plots, system by system" }
                    (legend_list(&dot_plot::legend_of(&keys)))
                    p.soft { "Bars are 95 % intervals; within a row the splits stand in this order." }
                    (panels(&dots))
                }
            }
        })
    }

    fn training(&self) -> Result<Markup, ReportError> {
        let kinds = training::kinds(self)?;
        Ok(html! {
            @if !kinds.is_empty() {
                details {
                    summary { "Training curves" }
                    p.soft { "A line is a run. Training losses are smoothed, the raw ones are pale; losses of different objectives are not comparable." }
                    @for kind in &kinds {
                        h3 { (kind.name) }
                        ul.legend {
                            @for (system, colour) in &kind.legend {
                                li { svg width="12" height="12" { circle cx="6" cy="6" r="4" fill=(colour) {} } (system) }
                            }
                        }
                        (panels(&kind.panels))
                    }
                }
            }
        })
    }

    fn claims_of_order(&self, keys: &[MetricKey]) -> Markup {
        let all = self.claims(keys);
        html! {
            @if !all.is_empty() {
                details {
                    summary { "Claims of order" }
                    p.soft { (claims::HOW) }
                    @for claims in &all { (self.claims_about(claims)) }
                }
            }
        }
    }

    fn claims_about(&self, OrderClaims { reference, metrics }: &OrderClaims) -> Markup {
        let others = self
            .systems
            .iter()
            .filter(|s| s.compared_with.as_ref() == Some(reference));
        let claim = |key: &MetricKey, claims: &[OrderClaim], other: &str| {
            html! {
                @match claims.iter().find(|c| c.other == other) {
                    None => td { "-" },
                    Some(claim) => td.open[!matches!(claim.order, Order::Above | Order::Below)] {
                        (short_words(claim.order))
                        small { (interval_text(&claim.difference, true, true, key.decimals())) }
                    },
                }
            }
        };
        html! {
            div.scroll { table.claims {
                thead { tr { th { (breakable(self.title_of(reference))) " against" } @for (key, _) in metrics { (heading(key)) } } }
                tbody {
                    @for system in others {
                        tr {
                            th scope="row" { (breakable(&system.title)) }
                            @for (key, claims) in metrics { (claim(key, claims, &system.label)) }
                        }
                    }
                }
            } }
        }
    }

    /// The configuration keys that all trained systems share, and the other keys of each system.
    fn configuration(&self) -> Markup {
        let flat: Vec<Vec<(String, String)>> = self.systems.iter().map(|s| own_keys(&s.config)).collect();
        let is_trained = |pairs: &&Vec<(String, String)>| !pairs.contains(&baseline());
        let mut trained: Vec<_> = flat.iter().filter(is_trained).collect();
        if trained.is_empty() {
            trained = flat.iter().collect();
        }
        let shared = |pair: &&(String, String)| trained.iter().all(|other| other.contains(pair));
        let common: Vec<_> = trained
            .first()
            .map_or(&[][..], |p| p.as_slice())
            .iter()
            .filter(shared)
            .collect();
        html! {
            details {
                summary { "Configuration" }
                h3 { "What the systems share" }
                (lines(common.iter().copied()))
                @if self.systems.len() > 1 {
                    @for (system, pairs) in self.systems.iter().zip(&flat) {
                        h3 { "Only " (system.title) }
                        (lines(pairs.iter().filter(|pair| !common.contains(pair))))
                    }
                }
            }
        }
    }

    fn preference(&self, one: &Preference) -> Markup {
        let title = |label| breakable(self.title_of(label));
        html! {
            details { summary { "Preferences by " (one.key.called()) }
            p.soft {
                (preference::HOW)
                @if one.tolerance > 0.0 { " Differences up to " (one.tolerance) " are ties." }
            }
            @if !one.of_reference().is_empty() {
                div.scroll { table {
                    thead { tr {
                        th {} th { "wins" } th { "ties" } th { "loses" } th { "wins and half the ties" }
                    } }
                    tbody {
                        @for met in one.of_reference() {
                            tr {
                                th scope="row" { (title(&met.system)) " against " (title(&met.opponent)) }
                                @for share in [met.wins.win, met.wins.tie, met.wins.loss, met.wins.rate] { td { (share_text(&share)) } }
                            }
                        }
                    }
                } }
            }
            @if one.round_robin {
                p.soft { "Round robin: wins and half the ties of the row against the column; bold where the interval excludes 50 %." }
                div.scroll { table {
                    thead { tr { th {} @for opponent in &one.systems { th { (title(opponent)) } } } }
                    tbody {
                        @for system in &one.systems {
                            tr {
                                th scope="row" { (title(system)) }
                                @for opponent in &one.systems {
                                    @match one.between(system, opponent) {
                                        None => td { "-" },
                                        Some(met) => td.far[!met.wins.rate.contains(0.5)] { (share_text(&met.wins.rate)) },
                                    }
                                }
                            }
                        }
                    }
                } }
            }
            }
        }
    }
}

/// The text of an order in a table cell.
fn short_words(order: Order) -> &'static str {
    match order {
        Order::Above => "above",
        Order::Below => "below",
        Order::NotToldApart => "not told apart",
        Order::NotClaimed => "not claimed",
    }
}

/// The key and value that mark a baseline.
fn baseline() -> (String, String) {
    ("objective.kind".into(), "\"baseline\"".into())
}

/// The keys of a configuration that affect a system: model and training keys do not affect a baseline.
fn own_keys(config: &Table) -> Vec<(String, String)> {
    let values = flatten(config).into_iter();
    let mut pairs: Vec<(String, String)> = values.map(|(key, value)| (key, value.to_string())).collect();
    if pairs.contains(&baseline()) {
        pairs.retain(|(key, _)| !key.starts_with("model.") && !key.starts_with("train."));
    }
    pairs
}

/// A name that may break after underscores.
fn breakable(name: &str) -> Markup {
    html! {
        @for word in name.split_inclusive(' ') {
            @if word.len() > 13 {
                @for (i, part) in word.split_inclusive('_').enumerate() { @if i > 0 { wbr; } (part) }
            } @else { (word) }
        }
    }
}

fn heading(key: &MetricKey) -> Markup {
    html! {
        th title=[key.info().map(MetricInfo::sentence)] {
            (breakable(key.short())) (key.better().arrow()) @if key.split != "all" { br; (split_title(&key.split)) }
        }
    }
}

/// The meaning of each metric.
fn glossary(keys: &[MetricKey]) -> Markup {
    let mut rows: Vec<(&str, &MetricInfo)> = Vec::new();
    for key in keys {
        if let Some(info) = key
            .info()
            .filter(|_| rows.iter().all(|(name, _)| *name != key.short()))
        {
            rows.push((key.short(), info));
        }
    }
    html! {
        @if !rows.is_empty() {
            dl.glossary { @for (name, info) in rows { dt { (name) } dd { (info.sentence()) "." } } }
        }
    }
}

fn legend_list(legend: &[(String, String)]) -> Markup {
    html! {
        @if legend.len() > 1 {
            ul.legend { @for (name, mark) in legend { li { (PreEscaped(mark)) (name) } } }
        }
    }
}

fn figure_of(lead: &Lead) -> Markup {
    html! {
        (legend_list(&lead.legend))
        (panels(&[(lead.title.clone(), lead.svg.clone())]))
    }
}

/// Plots, each with a description for screen readers.
pub(super) fn panels(drawn: &[(String, String)]) -> Markup {
    html! {
        div.panels {
            @for (name, svg) in drawn {
                figure {
                    (PreEscaped(svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", plain(name)), 1)))
                }
            }
        }
    }
}

/// Escapes `text` for an attribute.
fn plain(text: &str) -> String {
    html! { (text) }.into_string()
}

fn images(gallery: &Gallery) -> Markup {
    html! {
        @if !gallery.prompts.is_empty() {
            h2 { "Images" }
            p.soft {
                "One image a prompt and system, of the system's first seed, drawn from the same noise. Below each: what the checker looked for. "
                span.yes { "✓ there" } ", " span.no { "✗ not there" } "; a solid frame means that all of it is there, a dashed one that something is missing."
                @if !gallery.without.is_empty() { " Without images: " (gallery.without.join(", ")) "." }
            }
            @for asked in &gallery.prompts {
                div.prompt {
                    h3 { span.split { (split_title(&asked.split)) } (asked.prompt) }
                    div.row { @for shown in &asked.images { (image(shown, &asked.prompt)) } }
                }
            }
        }
    }
}

fn image(shown: &GalleryImage, prompt: &str) -> Markup {
    html! {
        figure.is-wrong[!shown.is_right()] {
            img src=(shown.data()) width="64" height="64" alt=(format!("{}: {prompt}", shown.system));
            figcaption {
                b { (breakable(&shown.system)) }
                @for (what, right) in &shown.verdict {
                    @if *right { span.yes { "✓ " (what) } " " } @else { span.no { "✗ " (what) } " " }
                }
            }
        }
    }
}

fn lines<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> Markup {
    let text = pairs
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect::<String>();
    html! { pre { (text) } }
}
