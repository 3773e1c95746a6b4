//! A report as one self-contained HTML page: style, plots and images are embedded.

use maud::{Markup, PreEscaped, html};

use super::about::About;
use super::answer;
use super::claims::{self, Order, OrderClaim, OrderClaims};
use super::curves::curves_of;
use super::error::ReportError;
use super::gallery::Gallery;
use super::layout::{POLICY, breakable, contents, document, href, image, plots, section};
use super::metric_key::{MetricKey, split_title};
use super::preference::{self, Preference};
use super::results::{Report, System};
use super::text::{DIRECTIONS, interval_text, share_text};
use super::{dot_plot, training};
use crate::eval::metrics::MetricInfo;
use crate::experiment::convergence;
use crate::experiment::report_spec::ReportSpec;

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
        let has_images = !gallery.prompts.is_empty() || links.sheet.is_some();
        let sections = ["Scores", "Images", "Runs", "Details"];
        let sections: Vec<&str> = sections
            .into_iter()
            .filter(|s| has_images || *s != "Images")
            .collect();
        let body = html! {
            (links.nav(&self.experiment))
            h1 { (title) }
            @match &answer { Some(answer) => div.answer { (about.render(answer)) }, None => (about.claim()) }
            @if !self.missing.is_empty() { p { strong { (self.missing_text()) } } }
            @if let Some(text) = self.unconverged_text() { p { strong { (text) } } }
            (contents(&sections))
            @if let Some(lead) = &lead {
                div.lead { (plots(&lead.legend, &[(lead.title.clone(), lead.svg.clone())], &html! { (lead.caption) })) }
            }
            (section("Scores"))
            p.soft { "Mean and 95 % bootstrap interval over seeds and prompts" (self.runs_text()) ". " (DIRECTIONS) }
            (self.scores("scores", &short, false))
            (glossary(&short))
            (images(gallery))
            @if let Some(sheet) = &links.sheet {
                (section("Images"))
                p.soft { "A row a prompt, a column a system; a frame marks an image in which the checker finds all that the prompt asks for." }
                div.scroll.sheet { (PreEscaped(sheet)) }
            }
            (self.runs())
            (section("Details"))
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
            (self.citation(title))
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
            div.scroll.long { table id=(id) {
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
                    (plots(legend, drawn, &html! { "Bands are 95 % intervals. Dashed grey lines are systems without this key." }))
                }
            }
            @if !dots.is_empty() {
                details {
                    summary { "Plots, system by system" }
                    (plots(&dot_plot::legend_of(&keys), &dots, &html! { "Bars are 95 % intervals; within a row the splits stand in this order." }))
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
                        (plots(&kind.legend, &kind.panels, &html! {}))
                    }
                }
            }
        })
    }

    /// How to cite the result: BibTeX, with what identifies it.
    fn citation(&self, title: &str) -> Markup {
        let version = env!("CARGO_PKG_VERSION");
        html! {
            details {
                summary { "Cite this result" }
                pre {
                    "@misc{eclipse-t2i-" (self.experiment) ",\n  author = {The eclipse-t2i developers},\n  title = {" (title) "},\n"
                    "  howpublished = {eclipse-t2i " (version) ", experiment " (self.experiment) "},\n  note = {" (self.made) "}\n}\n"
                }
            }
        }
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

fn images(gallery: &Gallery) -> Markup {
    html! {
        @if !gallery.prompts.is_empty() {
            (section("Images"))
            p.soft {
                "One image a prompt and system, of the system's first seed, drawn from the same noise. Below each: what the checker looked for. "
                span.yes { "✓ there" } ", " span.no { "✗ not there" } "; a solid frame means that all of it is there, a dashed one that something is missing."
                @if !gallery.without.is_empty() { " Without images: " (gallery.without.join(", ")) "." }
            }
            @for asked in &gallery.prompts {
                div.prompt {
                    h3 { span.split { (split_title(&asked.split)) } (asked.prompt) }
                    div.row { @for shown in &asked.images {
                        (image(shown, &breakable(&shown.system), &format!("{}: {}", shown.system, asked.prompt)))
                    } }
                }
            }
        }
    }
}
