//! The page of one run: status, verdict, curves, images, scores, configuration and the commands that repeat it.

use std::path::PathBuf;

use maud::{Markup, html};
use toml::Table;

use super::error::ReportError;
use super::finished::scored_checkpoint;
use super::gallery::GalleryImage;
use super::layout::{POLICY, breakable, contents, described, document, href, image, section};
use super::metric_key::split_title;
use super::plot_style::number;
use super::provenance::{commit, seconds_of};
use super::results::{Report, RunEntry, System};
use super::step_plot::{Line, Points, SMOOTHING, StepPlot, smoothed, thinned};
use crate::eval::kept_images::KeptImages;
use crate::eval::metrics::MetricInfo;
use crate::experiment::convergence::{self, Convergence};
use crate::experiment::provenance::{Provenance, SessionRecord};
use crate::experiment::{MetricRow, MetricsLog};
use crate::files;
use crate::train::spec::TrainSpec;

/// The folder of these pages, beside the experiment's page.
pub(super) const FOLDER: &str = "runs";
/// Most points of a line.
const POINTS: usize = 240;
/// From this number of values on, held-out losses have a smoothed line too: below, they are means over many pairs and few.
const MANY: usize = 60;
/// Most images of a page.
const IMAGES: usize = 16;

/// Name of the page of `run`, in [`FOLDER`].
pub(super) fn name(run: &RunEntry) -> String {
    format!("{}.html", run.name())
}

impl Report {
    /// The page of every run: `(name, page)`.
    ///
    /// # Errors
    /// [`ReportError`], naming the file that cannot be read.
    pub(super) fn run_pages(&self) -> Result<Vec<(String, String)>, ReportError> {
        let all = self.systems.iter();
        all.flat_map(|system| system.runs.iter().map(move |run| (system, run)))
            .map(|(system, run)| Ok((name(run), RunPage::read(self, system, run)?.page()?)))
            .collect()
    }

    /// Links from the experiment's page to its runs; without run directories, how to get them.
    pub(super) fn runs(&self) -> Markup {
        let has_pages = self.systems.iter().any(|s| !s.runs.is_empty());
        html! {
            (section("Runs"))
            @if has_pages {
                p.soft { "Curves, configuration, scores and images of each run, by its seed." }
                div.scroll.long { table {
                    thead { tr { th { "system" } th { "converged" } th { "runs" } } }
                    tbody { @for system in &self.systems {
                        tr {
                            th scope="row" { (breakable(&system.title)) }
                            td { (system.converged()) }
                            td { @for run in &system.runs {
                                a href=(href(&[FOLDER, &name(run)])) { (run.seed()) } " "
                            } }
                        }
                    } }
                } }
            } @else {
                p {
                    "Training curves and pages of the single runs need the run directories, which are not committed. "
                    code { "eclipse sweep " (self.experiment) } " makes both: " code { "runs/" (self.experiment) "/results/index.html" } "."
                }
            }
        }
    }
}

/// What a page is made from.
struct RunPage<'a> {
    report: &'a Report,
    system: &'a System,
    run: &'a RunEntry,
    /// `config.toml`.
    config: String,
    rows: Vec<MetricRow>,
    images: Vec<(String, GalleryImage)>,
    training: Option<TrainSpec>,
    chosen: Option<usize>,
    /// The verdict with what it rests on; `None` for a baseline.
    verdict: Option<(Convergence, String)>,
}

impl<'a> RunPage<'a> {
    fn read(report: &'a Report, system: &'a System, run: &'a RunEntry) -> Result<Self, ReportError> {
        let dir = &run.dir;
        let config = files::read_text(dir.config_path())?;
        let rows = MetricsLog::read(dir.metrics_path())?;
        let table: Table = config.parse().unwrap_or_default();
        // A configuration of another version, or of a run of another kind, has its text only.
        let part = |key: &str| table.get(key).cloned();
        let is_trained = run.convergence.is_some();
        let training = part("train").and_then(|train| train.try_into().ok());
        let scored = scored_checkpoint(&table);
        let folder = dir.images_dir();
        let kept = KeptImages::read(&folder).map_err(|source| ReportError::Images {
            dir: dir.path().to_path_buf(),
            source,
        })?;
        let mut images = Vec::new();
        for kept in kept.iter().flat_map(|kept| &kept.images).take(IMAGES) {
            let caption = format!("{}, {}", kept.prompt, split_title(&kept.split));
            images.push((caption, GalleryImage::read(&system.label, &folder, kept)?));
        }
        Ok(Self {
            report,
            system,
            run,
            verdict: run
                .convergence
                .map(|verdict| (verdict, Convergence::reason(&rows, scored))),
            chosen: convergence::scored_step(&rows, scored).filter(|_| is_trained),
            training: training.filter(|_| is_trained),
            config,
            rows,
            images,
        })
    }

    fn title(&self) -> String {
        format!("{}, seed {}", self.system.title, self.run.seed())
    }

    fn page(&self) -> Result<String, ReportError> {
        let title = format!("{}: {}", self.report.experiment, self.title());
        let curves = self.curves()?;
        let mut sections = vec!["Status", "Scores", "Configuration", "Repeat it"];
        if !curves.0.is_empty() {
            sections.insert(1, "Curves");
        }
        if !self.images.is_empty() {
            sections.insert(sections.len() - 3, "Images");
        }
        let body = html! {
            nav.links {
                a href="../index.html" { "All systems of " (self.report.experiment) }
                @if self.system.runs.len() > 1 {
                    span { "Seeds: " @for other in &self.system.runs {
                        @if other.name() == self.run.name() { b { (other.seed()) } } @else { a href=(href(&[&name(other)])) { (other.seed()) } } " "
                    } }
                }
            }
            h1 { (title) }
            p.soft { "Run " code { (breakable(&self.run.name())) } }
            (contents(&sections))
            (section("Status"))
            (self.status())
            @if !curves.0.is_empty() { (section("Curves")) (curves) }
            @if !self.images.is_empty() {
                (section("Images"))
                p.soft {
                    "The images that the run kept. " span.yes { "✓ found" } ", " span.no { "✗ not found" }
                    " by the checker; a solid frame means that all of it is there."
                }
                div.row { @for (caption, shown) in &self.images { (image(shown, &html! { (caption) }, caption)) } }
            }
            (section("Scores"))
            (self.scores())
            (section("Configuration"))
            p.soft { code { "config.toml" } " of the run, fully resolved: every key, with defaults." }
            pre { (self.config) }
            (section("Repeat it"))
            (self.commands())
        };
        Ok(document(&title, POLICY, &body))
    }

    fn status(&self) -> Markup {
        let provenance = &self.run.provenance;
        let last = self.rows.iter().map(|row| row.step).max();
        html! {
            dl {
                dt { "state" }
                dd { "finished" @if let Some(end) = provenance.sessions.last().and_then(|s| s.end.as_ref()) { " " (end) } }
                @match &self.verdict {
                    None => { dt { "converged" } dd { "a baseline: nothing was trained" } }
                    Some((verdict, reason)) => { dt { "converged" } dd { b { (verdict.words()) } ". " (reason) } }
                }
                @if let (Some(last), Some(training)) = (last, &self.training) {
                    dt { "steps" }
                    dd {
                        (last) " of at most " (training.steps)
                        @if last < training.steps { ": stopped early, " (training.patience) " validations without a lower loss" }
                    }
                }
                @if let Some(step) = self.chosen { dt { "scored parameters" } dd { "those of step " (step) } }
                @if let Some(seconds) = seconds_of(provenance) {
                    dt { "run time" }
                    dd {
                        (seconds) " s in " (provenance.sessions.len()) @if provenance.sessions.len() == 1 { " session" } @else { " sessions" }
                        @if let (Some(last), true) = (last, self.verdict.is_some()) {
                            ", " (format!("{:.1}", 1000.0 * seconds as f64 / last as f64))
                            " ms a step: training with drawing and scoring; without the training where the prior of an equal run was taken"
                        }
                    }
                }
                dt { "device" } dd { (distinct(provenance, |s| s.device.clone())) }
                dt { "code" } dd { (distinct(provenance, commit)) ", version " (provenance.package_version) }
            }
        }
    }

    /// The values `name` of `split`.
    fn values(&self, split: &str, name: &str) -> Points {
        let rows = self
            .rows
            .iter()
            .filter(|row| row.split == split && row.name == name);
        rows.filter_map(|row| Some((row.step as f64, row.value?)))
            .collect()
    }

    /// Plots with captions: losses, learning rate, norm of the gradient; the rest is folded.
    fn curves(&self) -> Result<Markup, ReportError> {
        let mut first = Vec::new();
        for (name, split) in [("held-out loss", "valid"), ("training loss", "train")] {
            let what = match split {
                "valid" => {
                    "Each value is a mean over all held-out pairs. The dashed line marks the scored parameters."
                }
                _ => "Each value is that of one batch.",
            };
            first.extend(self.figure(name, self.values(split, "loss"), split == "train", what)?);
        }
        first.extend(self.figure(
            "learning rate",
            self.learning_rate(),
            false,
            "The schedule of the configuration.",
        )?);
        let what = "Before clipping: the norm over all parameters.";
        first.extend(self.figure(
            "norm of the gradient",
            self.values("train", "grad_norm"),
            true,
            what,
        )?);
        let mut others: Vec<(&str, &str)> = Vec::new();
        for row in self
            .rows
            .iter()
            .filter(|row| !["loss", "grad_norm"].contains(&row.name.as_str()))
        {
            if !others.contains(&(&row.split, &row.name)) {
                others.push((&row.split, &row.name));
            }
        }
        let mut rest = Vec::new();
        for (split, name) in others {
            let title = match split {
                "valid" => format!("held-out {name}"),
                _ => name.to_owned(),
            };
            rest.extend(self.figure(&title, self.values(split, name), split == "train", "")?);
        }
        Ok(html! {
            @if !first.is_empty() || !rest.is_empty() {
                p.soft {
                    "Pale lines are the logged values, strong ones their exponential moving average with the weight " (SMOOTHING)
                    " for the previous value. Where values span a decade, the axis is logarithmic. Point at a line for its values."
                }
                div.panels { @for figure in &first { (figure) } }
                @if !rest.is_empty() {
                    details { summary { "Other logged values" } div.panels { @for figure in &rest { (figure) } } }
                }
            }
        })
    }

    /// A plot with a caption; `None` for fewer than two values.
    fn figure(
        &self,
        name: &str,
        values: Points,
        is_noisy: bool,
        what: &str,
    ) -> Result<Option<Markup>, ReportError> {
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return Ok(None);
        };
        if values.len() < 2 {
            return Ok(None);
        }
        let line = |points: &[(f64, f64)], is_raw| Line {
            system: 0,
            points: thinned(points, POINTS),
            is_raw,
        };
        let is_smoothed = is_noisy || values.len() >= MANY && name != "learning rate";
        let lines = match is_smoothed {
            true => vec![line(&values, true), line(&smoothed(&values), false)],
            false => vec![line(&values, false)],
        };
        let plot = StepPlot {
            y: name,
            lines: &lines,
            chosen: self.chosen,
        };
        let lowest = values.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first);
        Ok(Some(html! {
            figure {
                (described(name, &plot.svg()?))
                figcaption {
                    b { (name) } ": " (number(first.1)) " at step " (first.0) ", " (number(last.1)) " at step " (last.0)
                    "; lowest " (number(lowest.1)) " at step " (lowest.0) ". " (what)
                }
            }
        }))
    }

    /// The learning rate of each step that is shown.
    fn learning_rate(&self) -> Points {
        let last = self.rows.iter().map(|row| row.step).max();
        let (Some(training), Some(last)) = (&self.training, last) else {
            return Points::new();
        };
        let schedule = training.schedule.build(training.lr, training.steps);
        let every = last.div_ceil(POINTS).max(1);
        let steps = (1..=last).step_by(every);
        steps.map(|step| (step as f64, schedule.lr(step - 1))).collect()
    }

    fn scores(&self) -> Markup {
        html! {
            @if self.run.scores.is_empty() { p { "The run has no scores." } } @else {
                p.soft { "This run, and the mean with its 95 % interval over all runs of the system." }
                div.scroll.long { table id="scores" {
                    thead { tr { th { "metric" } th { "this run" } th { "all runs of the system" } } }
                    tbody { @for (key, value) in &self.run.scores {
                        @let digits = key.decimals();
                        tr {
                            th scope="row" title=[key.info().map(MetricInfo::sentence)] { (breakable(&key.called())) (key.better().arrow()) }
                            td { (format!("{value:.digits$}")) }
                            td { @match self.system.cells.get(key) {
                                None => "-",
                                Some(cell) => {
                                    (format!("{:.digits$}", cell.interval.value))
                                    @if cell.has_interval { (format!(" [{:.digits$}, {:.digits$}]", cell.interval.low, cell.interval.high)) }
                                }
                            } }
                        }
                    } }
                } }
            }
        }
    }

    fn commands(&self) -> Markup {
        let run: PathBuf = ["runs", &self.run.provenance.experiment, &self.run.name()]
            .iter()
            .collect();
        let run = run.display();
        html! {
            pre {
                "eclipse sweep " (self.run.provenance.experiment) "\n"
                @if self.verdict.is_some() {
                    "eclipse train --config " (run) "/config.toml\n"
                    "eclipse draw \"a red car\" --run " (run) "\n"
                }
                "eclipse inspect " (run) "\n"
            }
            p.soft { "The first repeats the whole experiment and skips finished runs" @if self.verdict.is_some() { ", the second trains this run again" } "." }
        }
    }
}

/// The distinct values of the sessions.
fn distinct(provenance: &Provenance, of: impl Fn(&SessionRecord) -> String) -> String {
    let all: std::collections::BTreeSet<String> = provenance.sessions.iter().map(of).collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}
