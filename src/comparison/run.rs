//! Draws what is not drawn and scores what is not scored.

use std::path::Path;
use std::rc::Rc;

use super::error::{ComparisonError, Failure};
use super::folders::Folders;
use super::options::RunOptions;
use super::prompts::PromptSet;
use super::score::Scorer;
use super::spec::Comparison;
use super::system::System;
use crate::eval::metrics::SharedNetworks;
use crate::files;
use crate::generate::layout::PipelineLayout;
use crate::generate::plan::Plan;
use crate::generate::recipe::Origin;
use crate::generate::render::RenderEvent;
use crate::generate::request::{ImageRequest, OutputOptions, Subject};

/// What a run tells while it works.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// So many images are to be there at the end, and so many are there.
    Images {
        /// Images that are there.
        done: usize,
        /// All images.
        total: usize,
    },
    /// A system draws a prompt set.
    Draw {
        /// The system.
        system: &'a System,
        /// The prompt set.
        prompts: &'a PromptSet,
        /// Images that it has to draw.
        left: usize,
    },
    /// An image was drawn.
    Drawn(&'a Path),
    /// A metric has seen images of a folder.
    Score {
        /// The system.
        system: &'a System,
        /// The prompt set.
        prompts: &'a PromptSet,
        /// The metric.
        metric: &'a str,
        /// Images that it has seen.
        done: usize,
        /// Images of the folder.
        total: usize,
    },
    /// Something failed; the rest goes on.
    Failed(&'a Failure),
}

/// What a run ended with.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What failed.
    pub failures: Vec<Failure>,
    /// Whether it was stopped on request.
    pub is_stopped: bool,
}

/// A system and a prompt set that it is to draw.
struct Task<'a> {
    system: &'a System,
    set: &'a PromptSet,
    n_images: usize,
    n_left: usize,
}

/// Draws and scores what is not finished, system by system, then metric by metric, so that one network at a time is in memory. `is_stopped` is asked between
/// chunks of images and between metrics.
///
/// # Errors
/// [`ComparisonError`] for prompts that cannot be kept. What fails for one system is in the [`Outcome`].
pub fn run(
    comparison: &Comparison,
    folders: &Folders,
    options: &RunOptions,
    is_stopped: &dyn Fn() -> bool,
    on_progress: &dyn Fn(Progress<'_>),
) -> Result<Outcome, ComparisonError> {
    let mut outcome = Outcome::default();
    let fail =
        |outcome: &mut Outcome, system: &System, set: &PromptSet, what: &str, error: ComparisonError| {
            let failure = Failure {
                system: system.name.clone(),
                prompts: set.name.clone(),
                what: what.into(),
                error,
            };
            on_progress(Progress::Failed(&failure));
            outcome.failures.push(failure);
        };
    for set in &comparison.prompts {
        if let Some(prompts) = set.prompts()? {
            let path = folders.prompts(set);
            files::create_dir(path.parent().unwrap_or(Path::new("")))?;
            files::write_atomic(&path, format!("{}\n", prompts.join("\n")).as_bytes())?;
        }
    }
    let has_images =
        |(system, set): &(&System, &PromptSet)| comparison.without_images(folders, system, set).is_none();
    let pairs = || comparison.pairs().filter(has_images);

    // What is wrong with any system is said before the first image is drawn.
    let mut tasks = Vec::new();
    for (system, set) in pairs().filter(|(system, _)| system.pipeline.is_some()) {
        match task(folders, system, set, options) {
            Ok(task) => tasks.push(task),
            Err(error) => fail(&mut outcome, system, set, "drawing", error),
        }
    }
    let total: usize = tasks.iter().map(|task| task.n_images).sum();
    let mut done = total - tasks.iter().map(|task| task.n_left).sum::<usize>();
    on_progress(Progress::Images { done, total });
    for task in &tasks {
        let Task {
            system, set, n_left, ..
        } = task;
        on_progress(Progress::Draw {
            system,
            prompts: set,
            left: *n_left,
        });
        let mut on_event = |event: RenderEvent| {
            if let RenderEvent::Image(path) = event {
                done += 1;
                on_progress(Progress::Drawn(path));
                on_progress(Progress::Images { done, total });
            }
        };
        // One plan at a time: that of 30,000 images takes memory.
        let drawn = plan(folders, system, set, options, usize::MAX).and_then(|plan| {
            Ok(plan.render_until(&options.device, options.render, &mut on_event, is_stopped)?)
        });
        match drawn {
            Ok(true) => (),
            Ok(false) => {
                outcome.is_stopped = true;
                return Ok(outcome);
            }
            Err(error) => fail(&mut outcome, system, set, "drawing", error),
        }
    }

    let mut metrics: Vec<&str> = Vec::new();
    for metric in comparison
        .pairs()
        .flat_map(|(system, set)| comparison.metrics_of(system, set))
    {
        if !metrics.contains(&metric) && comparison.without_metric(metric).is_none() {
            metrics.push(metric);
        }
    }
    for metric in metrics {
        let scorer = Scorer {
            comparison,
            folders,
            options,
            shared: Rc::new(SharedNetworks::default()),
        };
        for (system, set) in pairs().filter(|(system, set)| {
            let is_asked = comparison.metrics_of(system, set).contains(&metric);
            is_asked && comparison.without_score(folders, system, set, metric).is_none()
        }) {
            if is_stopped() {
                outcome.is_stopped = true;
                return Ok(outcome);
            }
            let on_image = |done, total| {
                on_progress(Progress::Score {
                    system,
                    prompts: set,
                    metric,
                    done,
                    total,
                });
            };
            let scored = comparison
                .images(folders, system, set)
                .and_then(|images| match images {
                    None => Ok(false),
                    Some(images) => scorer.score(metric, system, set, &images, &on_image),
                });
            if let Err(error) = scored {
                fail(&mut outcome, system, set, metric, error);
            }
        }
    }
    Ok(outcome)
}

/// Plans the first image of every system that can draw, which looks at all networks and settings and loads no weights.
///
/// # Errors
/// The first [`Failure`].
pub fn check(comparison: &Comparison, folders: &Folders, options: &RunOptions) -> Result<(), Failure> {
    for (system, set) in comparison.pairs().filter(|(system, _)| system.pipeline.is_some()) {
        if comparison.without_images(folders, system, set).is_none() {
            plan(folders, system, set, options, 1).map_err(|error| Failure {
                system: system.name.clone(),
                prompts: set.name.clone(),
                what: "drawing".into(),
                error,
            })?;
        }
    }
    Ok(())
}

/// What a system has to draw of a prompt set; its first image is planned, which looks at all networks and settings.
fn task<'a>(
    folders: &Folders,
    system: &'a System,
    set: &'a PromptSet,
    options: &RunOptions,
) -> Result<Task<'a>, ComparisonError> {
    plan(folders, system, set, options, 1)?;
    let prompts = set.prompts()?.unwrap_or_default();
    let folder = folders.images(system, set).unwrap_or_default();
    let is_there = |name: &String| folder.join(format!("{name}.png")).is_file();
    let names = || set.images_of(&prompts).map(|(_, name, _)| name);
    Ok(Task {
        system,
        set,
        n_images: names().count(),
        n_left: names().filter(|name| !is_there(name)).count(),
    })
}

/// Plans the first `n` images of a system on a prompt set, which is on this machine.
fn plan(
    folders: &Folders,
    system: &System,
    set: &PromptSet,
    options: &RunOptions,
    n: usize,
) -> Result<Plan, ComparisonError> {
    let pipeline = system.pipeline.as_deref().unwrap_or(Path::new(""));
    let layout = PipelineLayout::open(pipeline, system.prior.as_deref(), system.clip.as_deref())?;
    let prompts = set.prompts()?.unwrap_or_default();
    let subject = |(row, (prompt, name, seed)): (usize, (&String, String, u64))| Subject {
        name,
        origin: Origin::Prompt(prompt.clone()),
        seed,
        row,
    };
    let request = ImageRequest {
        command: "generate".into(),
        subjects: set.images_of(&prompts).enumerate().take(n).map(subject).collect(),
        negative: system.negative.clone(),
        init: None,
        latents: None,
        size: system.size,
        prior: system.prior_settings(),
        decoder: system.decoder_choice(),
        super_res_steps: system.super_res_steps(),
    };
    let output = OutputOptions {
        out: folders.images(system, set).unwrap_or_default(),
        overwrite: false,
        device: options.device_name.clone(),
        dtype: options.dtype.clone(),
    };
    Ok(Plan::new(&request, layout, &output)?)
}
