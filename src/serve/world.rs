//! Draws in a built-in world: with the priors of finished runs, and with baselines, which need no training.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;

use super::catalogue::{Catalogue, System, Words, unique_id};
use super::painter::{
    DrawnImage, ImageRecord, Neighbour, PaintError, Painter, Progress, PromptVerdict, Score,
};
use super::request::DrawRequest;
use crate::benchmark::test_set::N_MANY;
use crate::benchmark::{DataSpec, EvalSpec};
use crate::data::encode::{FrozenClip, scene_image};
use crate::device::DeviceSpec;
use crate::eval::Embeddings;
use crate::eval::baselines::{BaselineKind, FittedBaseline};
use crate::eval::embedding::{cosines, nearest};
use crate::eval::forced_choice::{Candidates, Kind, forced_choice};
use crate::eval::metrics::findings;
use crate::experiment::own_words::{
    DrawError, Studio, TrainedRun, decoder_settings, newest, priors_at, word_lists,
};
use crate::experiment::report_spec::ReportSpec;
use crate::files;
use crate::generate::decoder::DecoderSettings;
use crate::generate::images::encode_png;
use crate::generate::prior::PriorSettings;
use crate::generate::recipe::slug;
use crate::generate::slerp::slerp;
use crate::models::clip::ClipTextConfig;
use crate::models::clip::tokenizer::Tokenizer;
use crate::noise::{Noise, Stream};
use crate::train::objectives::PriorObjective;
use crate::train::session::Failure;
use crate::weights::Checkpoint;
use crate::world::{self, Pair, Scene, Statement, World};

/// Training pairs that are encoded at once.
const BATCH: usize = 50;
/// Neighbours of an embedding.
const N_NEIGHBOURS: usize = 3;
/// Trained priors that the page ticks at first.
const N_TICKED: usize = 4;
/// Suggestions for an unknown word are at least so similar to it (Jaro-Winkler).
const SIMILAR: f64 = 0.75;
/// The heading of the baselines.
const BASELINES: &str = "Without training";

/// The priors at hand in a built-in world.
#[derive(Debug)]
pub struct WorldPriors {
    world: World,
    clip: PathBuf,
    decoder: PathBuf,
    data: DataSpec,
    systems: Vec<System>,
    runs: HashMap<String, TrainedRun>,
    pairs: Arc<Vec<Pair>>,
}

impl WorldPriors {
    /// The priors of the finished runs of `world` in `runs` (a folder of experiments, an experiment or a run), and the baselines.
    ///
    /// # Errors
    /// A folder or a run's configuration that cannot be read, weights that are missing.
    pub fn open(world: World, runs: &Path) -> Result<Self, Failure> {
        let built_in = Path::new("datasets").join(world.name());
        let clip = built_in.join("clip");
        // The names that reports have.
        let names = ReportSpec::default();
        let mut systems: Vec<System> = Vec::new();
        let mut found: HashMap<String, TrainedRun> = HashMap::new();
        for (group, run) in runs_of(world, &clip, runs)? {
            let name = format!("{}.{}", slug(&group), slug(&run.label));
            let id = unique_id(&name, |id| found.contains_key(id));
            let of_group = systems
                .iter()
                .filter(|other| other.group == trained(&group))
                .count();
            let is_first = of_group == systems.len();
            systems.push(System {
                id: id.clone(),
                label: names.name_of(&run.label),
                about: format!(
                    "{}, trained on {} pairs; {}",
                    run.run().objective().label(),
                    run.run().data().n_pairs,
                    run.dir.display()
                ),
                group: trained(&group),
                identity: Checkpoint::open(run.prior_dir())?.fingerprint(),
                is_default: is_first && of_group < N_TICKED,
            });
            found.insert(id, run);
        }
        let data = systems.first().and_then(|first| found.get(&first.id));
        let data = data.map_or_else(DataSpec::default, |run| run.run().data().clone());
        let baselines = BaselineKind::ALL.map(|kind| System {
            id: kind.name().into(),
            label: names.name_of(kind.name()),
            about: about(kind).into(),
            group: BASELINES.into(),
            identity: String::new(),
            is_default: match kind {
                BaselineKind::Ridge | BaselineKind::Oracle => true,
                BaselineKind::TextAsPrior | BaselineKind::MeanShift => found.is_empty(),
                _ => false,
            },
        });
        // After the first experiment, so that what is ticked stands together.
        let first = systems.first().map(|first| first.group.clone());
        let end = systems
            .iter()
            .position(|system| Some(&system.group) != first.as_ref());
        let at = end.unwrap_or(systems.len());
        systems.splice(at..at, baselines);
        Ok(Self {
            pairs: Arc::new(world.pairs(data.n_pairs, data.seed, &data.pair_options())),
            decoder: built_in.join("decoder"),
            world,
            clip,
            data,
            systems,
            runs: found,
        })
    }

    /// What the playground offers.
    ///
    /// # Errors
    /// The world's CLIP or decoder cannot be read.
    pub fn catalogue(&self) -> Result<Catalogue, Failure> {
        let world = self.world;
        let n_text = ClipTextConfig::read(&self.clip)?.max_position_embeddings;
        let tokenizer = Tokenizer::load(&self.clip, n_text)?;
        let pairs = self.pairs.clone();
        let unet = Checkpoint::open(self.decoder.join("unet"))?.fingerprint();
        let clip = Checkpoint::open(&self.clip)?.fingerprint();
        let own = EvalSpec::default();
        Ok(Catalogue {
            title: format!("the {world} world"),
            about: format!(
                "Images have {0} x {0} pixels; an exact checker reads in them what is there. The baselines and the nearest images come from {1} training \
                 pairs.",
                world.image_size(),
                self.pairs.len()
            ),
            identity: files::sha256(format!("{world} {clip} {unet} {:?}", self.data).as_bytes()),
            systems: self.systems.clone(),
            hint: self.runs.is_empty().then(|| {
                "There are no trained priors yet, so these are baselines, which need none. Train the paper's three priors with `eclipse sweep \
                 objectives` (ten minutes on two cores), then start the playground again."
                    .into()
            }),
            vocabulary: word_lists(world)
                .into_iter()
                .map(|(name, words)| Words { name, words })
                .collect(),
            example: world.example().into(),
            example_to: example_to(world),
            own_sampling: (own.decoder_steps.to_string(), own.decoder_guidance.to_string()),
            has_checker: true,
            check: Box::new(move |prompt| check_prompt(world, &tokenizer, prompt)),
            pair_image: Box::new(move |n| {
                let pair = pairs.get(n)?;
                encode_png(&scene_image(&pair.scene), &[]).ok()
            }),
        })
    }

    /// What draws.
    pub fn painter(self, device: DeviceSpec) -> WorldPainter {
        WorldPainter {
            priors: self,
            device,
            tools: None,
        }
    }
}

/// The finished runs of `world` in `runs` whose priors read the CLIP in `clip`, with the names of their experiments; the newest experiment first.
fn runs_of(world: World, clip: &Path, runs: &Path) -> Result<Vec<(String, TrainedRun)>, Failure> {
    let folders = match priors_at(runs) {
        Ok(_) => vec![runs.to_path_buf()],
        Err(DrawError::NoRun(_)) if runs.is_dir() => {
            let mut folders = files::list_folders(runs)?;
            let newest = newest(runs).ok();
            // A miniature is not what anyone wants to see first.
            let is_smoke = |folder: &Path| folder.to_string_lossy().ends_with("-smoke");
            folders.sort_by_key(|folder| (is_smoke(folder), Some(folder) != newest.as_ref()));
            folders
        }
        Err(DrawError::NoRun(_)) => Vec::new(),
        Err(other) => return Err(other.into()),
    };
    let mut found = Vec::new();
    for folder in folders {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let priors = match name.starts_with('.') {
            true => Vec::new(),
            false => priors_at(&folder).unwrap_or_default(),
        };
        for run in priors {
            if run.run().world() == world && run.run().clip() == clip {
                found.push((name.clone(), run));
            }
        }
    }
    Ok(found)
}

fn trained(experiment: &str) -> String {
    format!("Trained by the experiment {experiment}")
}

/// What a baseline is, in a sentence.
fn about(kind: BaselineKind) -> &'static str {
    match kind {
        BaselineKind::TextAsPrior => "The text embedding itself, at the norm of image embeddings",
        BaselineKind::MeanShift => {
            "The text embedding, moved by the mean difference of image and text embeddings"
        }
        BaselineKind::ScaledMeanShift => {
            "Like mean_shift, after scaling the text embedding to the norm of image embeddings"
        }
        BaselineKind::Ridge => "The best linear map from text to image embeddings, on the training pairs",
        BaselineKind::NearestCaption => {
            "The image embedding of the training pair with the most similar caption"
        }
        BaselineKind::Oracle => {
            "The embedding of a true image of the prompt: the ceiling that the decoder sets"
        }
        BaselineKind::OracleMean => {
            "The mean embedding of 32 true images of the prompt: the ceiling of priors with one answer"
        }
    }
}

/// A second prompt, with the objects of the first the other way round.
fn example_to(world: World) -> String {
    let words: Vec<&str> = world.example().split_whitespace().collect();
    match words.iter().position(|word| *word == "of") {
        Some(at) if at + 1 < words.len() => words[at + 1..].join(" "),
        _ => world.example().into(),
    }
}

/// Refuses words that the text tower does not know, with suggestions, and prompts that it would cut.
fn check_prompt(world: World, tokenizer: &Tokenizer, prompt: &str) -> Result<(), String> {
    let unknown = tokenizer.unknown_words(prompt);
    if !unknown.is_empty() {
        let words = unknown.iter().take(5).map(|word| match suggestion(world, word) {
            Some(known) => format!("\"{word}\" (did you mean \"{known}\"?)"),
            None => format!("\"{word}\""),
        });
        return Err(format!(
            "the {world} world does not know {}; see the list of its words",
            words.collect::<Vec<_>>().join(", ")
        ));
    }
    match tokenizer.encode(prompt).map_err(|e| e.to_string())?.n_words_cut {
        0 => Ok(()),
        n => Err(format!(
            "the last {n} words do not fit the text tower: expected at most {} words",
            world.max_words()
        )),
    }
}

fn suggestion(world: World, word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let known = word_lists(world).into_iter().flat_map(|(_, words)| words);
    let scored = known.map(|known| (strsim::jaro_winkler(&word, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= SIMILAR).then_some(best.1)
}

/// What is encoded once: CLIP, the training pairs and the networks that draw.
struct Tools {
    device: Device,
    clip: FrozenClip,
    z_y: Embeddings,
    z_x: Embeddings,
    /// Fitted when they are first used.
    baselines: HashMap<BaselineKind, Box<dyn FittedBaseline>>,
    studio: Studio,
}

/// Draws in a world.
pub struct WorldPainter {
    priors: WorldPriors,
    device: DeviceSpec,
    tools: Option<Tools>,
}

impl Painter for WorldPainter {
    fn paint(&mut self, request: &DrawRequest, report: &mut dyn FnMut(Progress)) -> Result<(), PaintError> {
        let priors = &self.priors;
        let tools = match &mut self.tools {
            Some(tools) => tools,
            none => none.insert(priors.tools(self.device, report)?),
        };
        let job = Job::new(priors, tools, request)?;
        for prior in &request.priors {
            job.paint(prior, tools, report)?;
        }
        Ok(())
    }
}

impl WorldPriors {
    /// Loads CLIP and encodes the training pairs.
    fn tools(&self, device: DeviceSpec, report: &mut dyn FnMut(Progress)) -> Result<Tools, Failure> {
        let device = device.device()?;
        report(Progress::Stage {
            name: format!("Encoding the {} training pairs, once", self.pairs.len()),
            n_steps: self.pairs.len().div_ceil(BATCH),
        });
        let clip = FrozenClip::load(&self.clip, &device)?;
        let (mut z_y, mut z_x) = (Vec::new(), Vec::new());
        for pairs in self.pairs.chunks(BATCH) {
            let scenes: Vec<Scene> = pairs.iter().map(|pair| pair.scene).collect();
            let captions: Vec<&str> = pairs.iter().map(|pair| pair.caption.as_str()).collect();
            z_x.extend(clip.scenes(&scenes)?);
            z_y.extend(clip.texts(&captions)?.z_y());
            report(Progress::Step);
        }
        let (n, d) = (self.pairs.len(), clip.d_clip());
        Ok(Tools {
            z_y: Embeddings::new(n, d, z_y)?,
            z_x: Embeddings::new(n, d, z_x)?,
            baselines: HashMap::new(),
            studio: Studio::new(device.clone()),
            clip,
            device,
        })
    }
}

/// A prompt of a request.
struct Asked {
    prompt: String,
    statement: Option<Statement>,
    z_y: Embeddings,
}

/// A request with its encoded prompts.
struct Job<'a> {
    priors: &'a WorldPriors,
    request: &'a DrawRequest,
    /// The prompt, and the second one of an interpolation.
    asked: Vec<Asked>,
    /// Of a single prompt that the checker reads: a true image and wrong ones.
    candidates: Option<Candidates>,
}

impl<'a> Job<'a> {
    fn new(priors: &'a WorldPriors, tools: &Tools, request: &'a DrawRequest) -> Result<Self, Failure> {
        let (clip, d) = (&tools.clip, tools.clip.d_clip());
        let mut asked = Vec::new();
        for prompt in std::iter::once(&request.prompt).chain(&request.to) {
            asked.push(Asked {
                statement: priors.world.parse(prompt),
                z_y: Embeddings::new(1, d, clip.texts(&[prompt])?.z_y().to_vec())?,
                prompt: prompt.clone(),
            });
        }
        let candidates = match &asked[..] {
            [
                Asked {
                    statement: Some(statement),
                    ..
                },
            ] => {
                let mut noise = Noise::of(request.seed.into(), Stream::TestScenes);
                let scene = world::realise(statement, noise.rng());
                let wrong = world::variants(&scene, statement, noise.rng());
                let labels = wrong.iter().map(|variant| (0, variant.kind)).collect();
                let wrong: Vec<Scene> = wrong.iter().map(|variant| variant.scene).collect();
                let truth = Embeddings::new(1, d, clip.scenes(&[scene])?)?;
                let wrong = Embeddings::new(wrong.len(), d, clip.scenes(&wrong)?)?;
                Some(Candidates::new(truth, wrong, labels)?)
            }
            _ => None,
        };
        Ok(Self {
            priors,
            request,
            asked,
            candidates,
        })
    }

    /// Draws the images of one prior.
    fn paint(&self, prior: &str, tools: &mut Tools, report: &mut dyn FnMut(Progress)) -> Result<(), Failure> {
        let (request, priors) = (self.request, self.priors);
        let label = priors.systems.iter().find(|system| system.id == prior);
        let label = label.map_or(prior, |system| &system.label);
        report(Progress::Stage {
            name: format!("{label}: embedding"),
            n_steps: 1,
        });
        let z_x_hat = match self.embeddings(prior, tools)? {
            Ok(z_x_hat) => z_x_hat,
            Err(reason) => {
                let prior = prior.to_owned();
                report(Progress::Skipped { prior, reason });
                return Ok(());
            }
        };
        for (number, z) in z_x_hat.rows().enumerate() {
            let decoder = tools
                .studio
                .decoder(&priors.decoder, &priors.clip, &priors.decoder)?;
            let own = decoder_settings(&EvalSpec::default(), decoder);
            let settings = DecoderSettings {
                n_steps: request.sampling.steps.unwrap_or(own.n_steps),
                guidance: request.sampling.guidance.unwrap_or(own.guidance),
                ..own
            };
            report(Progress::Stage {
                name: format!("{label}: image {} of {}, decoding", number + 1, request.images),
                n_steps: settings.n_steps,
            });
            let seed = request.seed_of(number);
            let z = TensorData::new(z.to_vec(), [1, z_x_hat.d()]);
            let z = Tensor::from_data(z, &tools.device);
            let drawn = decoder.draw_with(&z, &[seed], settings, || report(Progress::Step))?;
            let image = drawn.first().ok_or("the decoder drew nothing")?;
            let z = z_x_hat.select(&[number]);
            let verdicts = self.asked.iter().filter_map(|asked| {
                let verdict = tools.studio.verdict(asked.statement.as_ref()?, image);
                let findings = findings(&verdict).into_iter();
                Some(PromptVerdict {
                    prompt: asked.prompt.clone(),
                    findings: findings.map(|(what, right)| (what.to_owned(), right)).collect(),
                })
            });
            let verdicts: Vec<PromptVerdict> = verdicts.collect();
            let z_drawn = Embeddings::new(1, z.d(), tools.clip.images(&drawn)?)?;
            let texts = [
                ("prompt".to_owned(), request.title()),
                ("prior".to_owned(), label.to_owned()),
                ("seed".to_owned(), seed.to_string()),
            ];
            report(Progress::Image(Box::new(DrawnImage {
                png: encode_png(image, &texts)?,
                about: ImageRecord {
                    prior: prior.to_owned(),
                    number,
                    seed,
                    verdicts,
                    scores: self.scores(&z, &z_drawn, tools)?,
                    neighbours: self.neighbours(&z, tools)?,
                },
            })));
        }
        Ok(())
    }

    /// z_x_hat of every image, or why this prior has none.
    fn embeddings(&self, prior: &str, tools: &mut Tools) -> Result<Result<Embeddings, String>, Failure> {
        let request = self.request;
        let n = match request.to {
            Some(_) => 1,
            None => request.images,
        };
        let mut ends = Vec::new();
        for asked in &self.asked {
            match self.predicted(prior, asked, n, tools)? {
                Ok(z_x_hat) => ends.push(z_x_hat),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(match &ends[..] {
            [from, to] => {
                let frames = (0..request.images).map(|i| slerp(from.row(0), to.row(0), request.at(i)));
                Embeddings::from_rows(&frames.collect::<Vec<_>>())?
            }
            _ => ends.swap_remove(0),
        }))
    }

    /// z_x_hat of `n` images of a prompt, `[n, d_clip]`.
    fn predicted(
        &self,
        prior: &str,
        asked: &Asked,
        n: usize,
        tools: &mut Tools,
    ) -> Result<Result<Embeddings, String>, Failure> {
        if let Some(run) = self.priors.runs.get(prior) {
            let (own, sampling) = (run.run().objective().sampler(), &self.request.sampling);
            let settings = PriorSettings {
                n_steps: sampling.prior_steps.unwrap_or(own.n_steps),
                guidance: sampling.prior_guidance.unwrap_or(own.guidance),
                ..own
            };
            let seed = self.request.seed.into();
            let predicted = tools.studio.predict(run, &asked.prompt, n, seed, settings)?;
            return Ok(Ok(Embeddings::new(n, predicted.d_clip, predicted.z_x_hat)?));
        }
        let kind: BaselineKind = prior.parse()?;
        let z_x_hat = match (kind, &asked.statement) {
            (BaselineKind::Oracle | BaselineKind::OracleMean, None) => {
                return Ok(Err(format!(
                    "Draws true images of what the prompt says, so it needs a prompt of the world's grammar, such as \"{}\".",
                    self.priors.world.example()
                )));
            }
            (BaselineKind::Oracle, Some(statement)) => self.true_images(statement, n, tools)?,
            (BaselineKind::OracleMean, Some(statement)) => {
                let mean = self.true_images(statement, N_MANY, tools)?.mean();
                let mean: Vec<f32> = mean.iter().map(|v| *v as f32).collect();
                Embeddings::from_rows(&vec![mean; n])?
            }
            _ => {
                let fitted = match tools.baselines.entry(kind) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    // What an oracle would answer is not read.
                    Entry::Vacant(entry) => entry.insert(kind.fit(&tools.z_y, &tools.z_x, &asked.z_y)?),
                };
                fitted.predict(&asked.z_y.select(&vec![0; n]))?
            }
        };
        Ok(Ok(z_x_hat))
    }

    /// Embeddings of `n` true images.
    fn true_images(&self, statement: &Statement, n: usize, tools: &Tools) -> Result<Embeddings, Failure> {
        let mut noise = Noise::of(self.request.seed.into(), Stream::MeanScenes);
        let scenes: Vec<Scene> = (0..n).map(|_| world::realise(statement, noise.rng())).collect();
        Ok(Embeddings::new(
            n,
            tools.clip.d_clip(),
            tools.clip.scenes(&scenes)?,
        )?)
    }

    fn scores(&self, z: &Embeddings, z_drawn: &Embeddings, tools: &Tools) -> Result<Vec<Score>, Failure> {
        let score = |name: &str, value: String, meaning: &str| Score {
            name: name.into(),
            value,
            meaning: meaning.into(),
        };
        let cosine = |a: &Embeddings, b: &Embeddings| -> Result<String, Failure> {
            Ok(format!("{:.3}", cosines(a, b)?[0]))
        };
        let mut scores = Vec::new();
        for (i, asked) in self.asked.iter().enumerate() {
            let name = ["cos z_y", "cos second z_y"][i];
            scores.push(score(
                name,
                cosine(z, &asked.z_y)?,
                "Cosine of the predicted image embedding to CLIP's embedding of the prompt",
            ));
        }
        scores.push(score(
            "cos drawn",
            cosine(z, z_drawn)?,
            "Cosine of the predicted embedding to CLIP's embedding of the drawn image: how much of it the decoder shows",
        ));
        scores.push(score(
            "norm",
            format!("{:.2}", z.mean_norm() / tools.z_x.mean_norm()),
            "Norm of the predicted embedding, divided by the mean norm of the training images' embeddings",
        ));
        if let Some(candidates) = &self.candidates {
            let outcomes = forced_choice(z, candidates)?;
            let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Distractor);
            let wrong = kinds.filter(|kind| outcomes.correct(*kind)[0] == Some(false));
            let wrong: Vec<&str> = wrong.map(Kind::name).collect();
            let value = match wrong.is_empty() {
                true => "right".to_owned(),
                false => format!("wrong ({})", wrong.join(", ")),
            };
            scores.push(score(
                "forced choice",
                value,
                "Whether the predicted embedding is nearer to a true image than to every image that is wrong in one way",
            ));
        }
        Ok(scores)
    }

    fn neighbours(&self, z: &Embeddings, tools: &Tools) -> Result<Vec<Neighbour>, Failure> {
        let found = nearest(z, &tools.z_x, N_NEIGHBOURS)?;
        let of = |(pair, cosine): (usize, f64)| Neighbour {
            pair,
            caption: self.priors.pairs[pair].caption.clone(),
            cosine,
        };
        Ok(found.into_iter().flatten().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_get_suggestions() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/emoji/clip");
        let n_text = ClipTextConfig::read(&dir)
            .expect("a configuration")
            .max_position_embeddings;
        let tokenizer = Tokenizer::load(&dir, n_text).expect("a tokenizer");
        let check = |prompt: &str| check_prompt(World::Emoji, &tokenizer, prompt);
        assert_eq!(check("a red car on the left of a blue dog"), Ok(()));
        assert_eq!(
            check("a redd car and a <script>"),
            Err("the emoji world does not know \"redd\" (did you mean \"red\"?), \"<script>\"; see the list of its words".into())
        );
        let long = vec!["a red car"; 20].join(" and ");
        let said = check(&long).expect_err("too long");
        assert!(said.contains("do not fit the text tower"), "{said}");
        for world in World::ALL {
            assert!(
                world.parse(&example_to(world)).is_some(),
                "{world}: {}",
                example_to(world)
            );
        }
    }
}
