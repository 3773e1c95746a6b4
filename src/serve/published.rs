//! Draws with a published decoder and published or exported priors, as `eclipse generate` does.

use std::path::{Path, PathBuf};

use super::catalogue::{Catalogue, System, unique_id};
use super::painter::{DrawnImage, ImageRecord, PaintError, Painter, Progress};
use super::request::{DrawRequest, Sampling};
use crate::device::{DeviceSpec, Precision};
use crate::files;
use crate::generate::error::RenderError;
use crate::generate::layout::PipelineLayout;
use crate::generate::parts::Part;
use crate::generate::plan::Plan;
use crate::generate::prior::PriorSettings;
use crate::generate::recipe::{Origin, slug};
use crate::generate::render::{RenderEvent, RenderOptions};
use crate::generate::request::{DecoderChoice, ImageRequest, OutputOptions, SUPER_RES_STEPS, Subject};
use crate::hub::repository_of;
use crate::weights::Checkpoint;

/// A first prompt.
const EXAMPLE: &str = "black apples in a basket";

/// A decoder and its priors.
#[derive(Debug)]
pub struct PublishedPriors {
    title: String,
    identity: String,
    priors: Vec<(System, PipelineLayout)>,
    device: DeviceSpec,
    precision: Precision,
}

impl PublishedPriors {
    /// The decoder of `pipeline` with each of `priors` (its own if there is none); `clip` holds the towers, if others do not.
    ///
    /// # Errors
    /// [`RenderError`], naming the folder, the part or the key: everything is planned once, so that nothing is missing at the first request.
    pub fn open(
        pipeline: &Path,
        priors: &[PathBuf],
        clip: Option<&Path>,
        device: DeviceSpec,
        precision: Precision,
    ) -> Result<Self, RenderError> {
        let asked: Vec<Option<&Path>> = match priors {
            [] => vec![None],
            priors => priors.iter().map(|prior| Some(prior.as_path())).collect(),
        };
        let mut found: Vec<(System, PipelineLayout)> = Vec::new();
        for (i, prior) in asked.into_iter().enumerate() {
            let layout = PipelineLayout::open(pipeline, prior, clip)?;
            let dir = layout.part(Part::PRIOR)?;
            let named = prior.unwrap_or(pipeline);
            // A repository's folder in the Hugging Face cache has the name of a commit.
            let label = match repository_of(named)
                .as_deref()
                .and_then(|name| name.split_once('@'))
            {
                Some((repo, _)) => repo.to_owned(),
                None => named
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            };
            let system = System {
                id: unique_id(&slug(&label), |id| found.iter().any(|(other, _)| other.id == id)),
                label,
                about: dir.display().to_string(),
                group: "Priors".into(),
                identity: Checkpoint::open(dir)?.fingerprint(),
                is_default: i < 2,
            };
            let sample = DrawRequest {
                prompt: EXAMPLE.into(),
                to: None,
                priors: vec![system.id.clone()],
                images: 1,
                seed: 0,
                sampling: Sampling::default(),
            };
            let nowhere = output(PathBuf::from("playground"), device, precision);
            Plan::new(&image_request(&sample), layout.clone(), &nowhere)?;
            found.push((system, layout));
        }
        let layout = &found[0].1;
        let decoder = match layout.part(Part::DECODER) {
            Ok(dir) => Checkpoint::open(dir)?.fingerprint(),
            Err(_) => String::new(),
        };
        Ok(Self {
            title: layout.stack().about().name.into(),
            identity: files::sha256(format!("{} {decoder}", pipeline.display()).as_bytes()),
            priors: found,
            device,
            precision,
        })
    }

    /// What the playground offers.
    pub fn catalogue(&self) -> Catalogue {
        let (steps, guidance) = self.priors[0].1.stack().about().sampling.unzip();
        let own = |value: Option<String>| value.unwrap_or_else(|| "own".into());
        Catalogue {
            title: self.title.clone(),
            about: "Prompts are free text. On a CPU an image takes minutes to an hour.".into(),
            identity: self.identity.clone(),
            systems: self.priors.iter().map(|(system, _)| system.clone()).collect(),
            hint: None,
            vocabulary: Vec::new(),
            example: EXAMPLE.into(),
            example_to: "a bowl of oranges".into(),
            own_sampling: (
                own(steps.map(|n| n.to_string())),
                own(guidance.map(|x| x.to_string())),
            ),
            has_checker: false,
            check: Box::new(|_| Ok(())),
            pair_image: Box::new(|_| None),
        }
    }

    /// What draws.
    pub fn painter(self) -> PublishedPainter {
        PublishedPainter(self)
    }
}

/// Draws with a published decoder.
#[derive(Debug)]
pub struct PublishedPainter(PublishedPriors);

/// Where a call writes, and what computes it.
fn output(out: PathBuf, device: DeviceSpec, precision: Precision) -> OutputOptions {
    OutputOptions {
        out,
        overwrite: false,
        device: device.to_string(),
        dtype: precision.to_string(),
    }
}

impl Painter for PublishedPainter {
    fn paint(&mut self, request: &DrawRequest, report: &mut dyn FnMut(Progress)) -> Result<(), PaintError> {
        let published = &self.0;
        let device = published.device.device_in(published.precision)?;
        // On a CPU an image takes longer than loading its networks.
        let batch = if published.device.is_cpu() { 1 } else { 4 };
        let options = RenderOptions {
            batch,
            chunk: batch,
            save_steps: false,
        };
        let asked = published
            .priors
            .iter()
            .filter(|(system, _)| request.priors.contains(&system.id));
        for (system, layout) in asked {
            let out = tempfile::tempdir()?;
            let output = output(out.path().to_path_buf(), published.device, published.precision);
            let plan = Plan::new(&image_request(request), layout.clone(), &output)?;
            let mut number = 0;
            let mut failed = None;
            plan.render(&device, options, &mut |event| match event {
                RenderEvent::Stage { name, n_steps } => report(Progress::Stage {
                    name: format!("{}: {name}", system.label),
                    n_steps,
                }),
                RenderEvent::Step => report(Progress::Step),
                RenderEvent::Skipped(path) | RenderEvent::Image(path) => match files::read(path) {
                    Ok(png) => {
                        report(Progress::Image(Box::new(DrawnImage {
                            png,
                            about: ImageRecord {
                                prior: system.id.clone(),
                                number,
                                seed: request.seed_of(number),
                                verdicts: Vec::new(),
                                scores: Vec::new(),
                                neighbours: Vec::new(),
                            },
                        })));
                        number += 1;
                    }
                    Err(error) => failed = Some(error),
                },
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// The request as `eclipse generate` and `eclipse interpolate` make it.
fn image_request(request: &DrawRequest) -> ImageRequest {
    let own = PriorSettings::default();
    let sampling = &request.sampling;
    let from = Origin::Prompt(request.prompt.clone());
    let origin = |i: usize| match &request.to {
        None => from.clone(),
        Some(to) => Origin::Between {
            from: Box::new(from.clone()),
            to: Box::new(Origin::Prompt(to.clone())),
            at: request.at(i),
        },
    };
    let subject = |i: usize| Subject {
        name: format!("{i:06}"),
        origin: origin(i),
        seed: request.seed_of(i),
        row: i,
    };
    let command = if request.to.is_some() {
        "interpolate"
    } else {
        "generate"
    };
    ImageRequest {
        command: command.into(),
        subjects: (0..request.images).map(subject).collect(),
        negative: None,
        init: None,
        latents: None,
        size: None,
        prior: PriorSettings {
            n_steps: sampling.prior_steps.unwrap_or(own.n_steps),
            guidance: sampling.prior_guidance.unwrap_or(own.guidance),
            ..own
        },
        decoder: DecoderChoice {
            n_steps: sampling.steps,
            guidance: sampling.guidance,
            ..DecoderChoice::default()
        },
        super_res_steps: SUPER_RES_STEPS,
    }
}
