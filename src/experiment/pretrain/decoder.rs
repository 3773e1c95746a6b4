//! Making a built-in world's small decoder: train on pictures of W and their z_x, publish the moving average, measure what it draws.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::DType;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CHECKPOINT_EVERY, PretrainError, claim, curve, journal, seconds};
use crate::data::encode::picture;
use crate::device::DeviceSpec;
use crate::experiment::metrics::MetricsLog;
use crate::files;
use crate::generate::decoder::DecoderSettings;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::images::{grid, write_png};
use crate::generate::zero_image::{ZERO_IMAGE, keep_zero_image};
use crate::models::clip::ImageEncoder;
use crate::models::noise_augmentation::NoiseAugmentation;
use crate::models::unet::{self, Conditioning, UNet, UNetConfig};
use crate::train::decoder::{DecoderBatches, DecoderRecipe, Readout};
use crate::train::schedule::SteppedLr;
use crate::train::session::{self, Session, SessionOptions, Workers};
use crate::train::stop::Stop;
use crate::weights::{self, Checkpoint, WeightsError, write_json};
use crate::world::checker::{Checker, Verdict, verdict};
use crate::world::{Scene, Statement, World};

/// Pictures of W from which it is measured how to read z_x.
const N_READ: usize = 6000;
/// Pictures drawn at once.
const BATCH: usize = 32;
/// Pictures on the contact sheet, and in one of its rows.
const N_SHOWN: usize = 36;
const N_COLUMNS: usize = 12;

/// What is to be made, and where.
#[derive(Debug, Clone)]
pub struct DecoderPretrain {
    /// The world.
    pub world: World,
    /// How.
    pub recipe: DecoderRecipe,
    /// Folder of the frozen CLIP whose z_x is read.
    pub clip: PathBuf,
    /// New pictures that are drawn and measured in the end.
    pub n_asked: usize,
    /// The model's folder, in the published layout of a Kandinsky 2.2 decoder.
    pub out: PathBuf,
    /// Folder of a trained decoder of this recipe, whose UNet training starts from; it may have been trained without noise augmentation.
    pub start_from: Option<PathBuf>,
    /// Checkpoints and metrics; a run that was stopped goes on from here.
    pub run_dir: PathBuf,
    /// What computes.
    pub device: DeviceSpec,
    /// What stops it between two steps.
    pub stop: Stop,
}

/// What `pretrain.json` beside a decoder says of how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderRecord {
    /// Its name.
    pub world: String,
    /// Nouns of the world.
    pub n_nouns: usize,
    /// Version of this program.
    pub version: String,
    /// Device.
    pub device: String,
    /// Seconds of training, of all processes that had a part in it.
    pub seconds: f64,
    /// Fingerprint of the CLIP's weights.
    pub clip: String,
    /// How it was trained.
    pub recipe: DecoderRecipe,
    /// Fingerprint of the UNet that training started from, if it did not start from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<String>,
    /// Parameters of the UNet.
    pub n_parameters: usize,
    /// What the published half-precision model draws.
    pub scores: DecoderScores,
}

/// What the checker finds of what pictures should show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Share of the main objects that are there.
    pub object: f64,
    /// Share of the painted ones that are there in their colour.
    pub colour: f64,
    /// Share of the objects that are there in their texture; `None` in worlds without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texture: Option<f64>,
    /// Share of the pairs that are there and stand as they should.
    pub relation: f64,
    /// Share of the pictures in which all objects are right in all that is said of them.
    pub picture: f64,
}

/// How pictures that are drawn from true z_x compare with the pictures that z_x was made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecoderScores {
    /// Sampling.
    pub settings: DecoderSettings,
    /// New pictures of W.
    pub n_pictures: usize,
    /// Main objects in them.
    pub n_objects: usize,
    /// What the checker finds in what was drawn.
    pub drawn: Found,
    /// What it finds in the true pictures: the ceiling.
    pub truth: Found,
    /// Root mean squared error of the pixels, of 255.
    pub rmse: f64,
    /// Mean cosine of z_x and the z_x of what was drawn.
    pub cosine: f64,
}

impl DecoderScores {
    /// What a decoder of `world` lacks to take the place of the published one: as many of the images right as the one that was trained on
    /// exact z_x alone, for 24,000 steps (`emoji`) or 6,000 (`shapes`): the tables in their READMEs.
    pub fn missed(&self, world: World) -> Option<String> {
        let least = match world {
            World::Emoji => 0.868,
            World::Shapes => 0.562,
        };
        let found = self.drawn.picture;
        (found < least).then(|| {
            format!("all objects are right in {found:.3} of the drawn images, expected at least {least}")
        })
    }
}

impl std::fmt::Display for DecoderScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            settings,
            n_pictures,
            n_objects,
            ..
        } = self;
        writeln!(
            f,
            "{n_pictures} new pictures, {n_objects} objects; {} steps, guidance {}",
            settings.n_steps, settings.guidance
        )?;
        for (name, found) in [("drawn", &self.drawn), ("true pictures", &self.truth)] {
            write!(
                f,
                "{name}: object {:.3}  colour {:.3}  ",
                found.object, found.colour
            )?;
            if let Some(texture) = found.texture {
                write!(f, "texture {texture:.3}  ")?;
            }
            writeln!(
                f,
                "relation {:.3}  all objects of a picture {:.3}",
                found.relation, found.picture
            )?;
        }
        writeln!(f, "pixels off by {:.1} of 255", self.rmse)?;
        writeln!(f, "cosine of z_x {:.3}", self.cosine)
    }
}

/// Trains a world's decoder (or goes on training it), writes it to `request.out` and measures what was written. `progress` gets
/// every step's number and loss.
///
/// # Errors
/// [`PretrainError`]. The model's folder is touched only when training is over.
pub fn pretrain_decoder(
    request: &DecoderPretrain,
    progress: impl FnMut(usize, f32) + Send + 'static,
) -> Result<DecoderRecord, PretrainError> {
    let DecoderPretrain {
        world,
        recipe,
        clip,
        n_asked,
        out,
        start_from,
        run_dir,
        device: spec,
        stop,
    } = request;
    let world = *world;
    let device = spec.device()?;
    let encoder = ImageEncoder::load(clip, &device)?;
    let fingerprint = Checkpoint::open(clip)?.fingerprint();
    let start_from = start_from.as_ref().map(|dir| dir.join("unet"));
    let started = match &start_from {
        Some(unet) => Some(Checkpoint::open(unet)?.fingerprint()),
        None => None,
    };
    files::create_dir(run_dir)?;
    claim(
        run_dir,
        &Claimed {
            n_nouns: world.n_nouns(),
            clip: fingerprint.clone(),
            recipe: recipe.clone(),
            start_from: started.clone(),
        },
        |found: &Claimed| {
            (found.n_nouns, &found.clip, &found.start_from) == (world.n_nouns(), &fingerprint, &started)
                && recipe.continues(&found.recipe, CHECKPOINT_EVERY)
        },
    )?;
    let d_clip = encoder.config().projection_dim;
    let batches = DecoderBatches::new(world, recipe.clone(), encoder);
    let trainable = device.clone().autodiff();
    let trained = match &start_from {
        Some(unet) => Some(start_unet(unet, &recipe.model(world, d_clip), &trainable)?),
        None => None,
    };
    let zero = batches.zero().to_vec();
    let mut z_x = Vec::with_capacity(N_READ * d_clip);
    let (scenes, known) = pictures(world, N_READ, recipe.seed + (1 << 43));
    for pictures in known.chunks(BATCH) {
        z_x.extend(batches.z_x(pictures)?);
    }
    let augmentation = NoiseAugmentation::of(&z_x, d_clip);
    let batches = batches.with_augmentation(augmentation.clone());
    let options = SessionOptions::new(recipe.n_steps, CHECKPOINT_EVERY);
    let resumed_after = session::resumable_step(run_dir, &options);
    let metrics = run_dir.join("metrics.jsonl");
    let log = MetricsLog::open_after(&metrics, resumed_after)?;
    let trained = session::fit(
        recipe.trainer(&Readout::new(world, &scenes, &z_x), trained, &trainable),
        recipe.optimizer(),
        SteppedLr::new(recipe.schedule()),
        move |step, _, device| {
            batches
                .batch(step, device)
                .expect("pictures could be encoded before, and all are alike")
        },
        None,
        Session {
            dir: run_dir,
            options,
            workers: Workers::One,
            sink: journal(log, progress),
            stop: stop.clone(),
        },
    )?;

    publish(world, recipe, &trained.average, d_clip, out)?;
    if recipe.max_noise_level > 0 {
        augmentation.save(out)?;
    }
    keep_zero_image(
        &zero,
        &fingerprint,
        "f32",
        &out.join(IMAGE_ENCODER).join(ZERO_IMAGE),
    )?;
    let scores = measure(world, out, clip, *n_asked, recipe.seed, &device)?;
    let record = DecoderRecord {
        world: world.name().into(),
        n_nouns: world.n_nouns(),
        version: env!("CARGO_PKG_VERSION").into(),
        device: spec.to_string(),
        seconds: seconds(&metrics)?,
        clip: fingerprint,
        recipe: recipe.clone(),
        start_from: started,
        n_parameters: trained.average.num_params(),
        scores,
    };
    files::write_atomic(out.join("curve.csv"), curve(&metrics)?.as_bytes())?;
    write_json(&out.join("pretrain.json"), &record)?;
    Ok(record)
}

/// What a run directory holds: another world, CLIP or recipe cannot go on from its checkpoints.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    n_nouns: usize,
    clip: String,
    recipe: DecoderRecipe,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_from: Option<String>,
}

/// The trained UNet in `dir`, which may differ from `config` in knowing nothing of noise levels.
fn start_unet(dir: &Path, config: &UNetConfig, device: &Device) -> Result<UNet, PretrainError> {
    let (found, unet) = UNet::load(dir, device)?;
    let expected = [true, false].map(|with_levels| {
        let mut config = config.clone();
        if let Conditioning::Image { noise_level, .. } = &mut config.conditioning {
            *noise_level &= with_levels;
        }
        config
    });
    match expected.contains(&found) {
        true => Ok(unet),
        false => Err(WeightsError::Config {
            path: dir.join("config.json"),
            reason: "expected the sizes of this recipe; --start-from goes on with the same network".into(),
        }
        .into()),
    }
}

/// Folder of the zero picture's embedding, where the pipeline's vision tower would stand.
const IMAGE_ENCODER: &str = "image_encoder";

/// Writes a pipeline that `eclipse generate` draws with.
fn publish(
    world: World,
    recipe: &DecoderRecipe,
    unet: &UNet,
    d_clip: usize,
    out: &Path,
) -> Result<(), PretrainError> {
    let dir = out.join("unet");
    files::create_dir(&dir)?;
    let file = dir.join("diffusion_pytorch_model.safetensors");
    weights::save(unet, &file, &unet::MAPPING, DType::F16)?;
    write_json(&dir.join("config.json"), &recipe.model(world, d_clip))?;
    let dir = out.join("scheduler");
    files::create_dir(&dir)?;
    write_json(&dir.join("scheduler_config.json"), &recipe.scheduler().to_json())?;
    recipe.space().save(&out.join("pixel_space"))?;
    files::create_dir(out.join(IMAGE_ENCODER))?;
    let index = json!({
        "_class_name": "KandinskyV22Pipeline",
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "pixel_space": ["eclipse_t2i", "PixelSpace"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    });
    Ok(write_json(&out.join("model_index.json"), &index)?)
}

/// New pictures of W and their scenes.
fn pictures(world: World, n: usize, seed: u64) -> (Vec<Scene>, Vec<RgbImage>) {
    world
        .sample_w(n, seed)
        .into_iter()
        .map(|pair| (pair.scene, picture(&pair.scene)))
        .unzip()
}

/// Draws `n` new pictures of W from their true z_x with the pipeline in `dir`, leaves a contact sheet there (true pictures over drawn ones), and
/// compares.
fn measure(
    world: World,
    dir: &Path,
    clip: &Path,
    n: usize,
    seed: u64,
    device: &Device,
) -> Result<DecoderScores, PretrainError> {
    let decoder = FrozenDecoder::load(dir, device)?;
    let encoder = ImageEncoder::load(clip, device)?;
    let settings = decoder.own_settings();
    let (scenes, truth) = pictures(world, n, seed + (1 << 44));
    let (mut drawn, mut cosine) = (Vec::new(), 0.0);
    for (i, truth) in truth.chunks(BATCH).enumerate() {
        let z_x = encoder.encode(truth)?;
        let seeds: Vec<u64> = (0..truth.len())
            .map(|row| seed + (i * BATCH + row) as u64)
            .collect();
        let pictures = decoder.draw(&z_x, &seeds, settings)?;
        cosine += cosines(z_x, encoder.encode(&pictures)?);
        drawn.extend(pictures);
    }
    let rows = truth.chunks(N_COLUMNS).zip(drawn.chunks(N_COLUMNS));
    let shown: Vec<RgbImage> = rows
        .take(N_SHOWN / N_COLUMNS)
        .flat_map(|(truth, drawn)| [truth, drawn].concat())
        .collect();
    write_png(&dir.join("sheet.png"), &grid(&shown, N_COLUMNS), &[])?;

    let square: f64 = truth.iter().zip(&drawn).map(|(a, b)| distance(a, b)).sum();
    let n_values = truth.iter().map(|picture| picture.as_raw().len()).sum::<usize>();
    let checker = Checker::new(world);
    Ok(DecoderScores {
        settings,
        n_pictures: n,
        n_objects: scenes.iter().map(|scene| scene.main().count()).sum(),
        drawn: find(&checker, &scenes, &drawn),
        truth: find(&checker, &scenes, &truth),
        rmse: (square / n_values as f64).sqrt(),
        cosine: cosine / n as f64,
    })
}

/// Reads pictures that should show `scenes`.
fn find(checker: &Checker, scenes: &[Scene], pictures: &[RgbImage]) -> Found {
    let verdicts: Vec<Verdict> = scenes
        .par_iter()
        .zip(pictures)
        .map(|(scene, picture)| verdict(&Statement::describing(scene), &checker.read(picture.as_raw())))
        .collect();
    let objects = || verdicts.iter().flat_map(|v| &v.objects);
    let is_right = |v: &Verdict| v.objects.iter().all(|o| o.all());
    let has_textures = !checker.world().textures().is_empty();
    Found {
        object: share(objects().map(|o| o.object)),
        colour: share(objects().filter_map(|o| o.colour)),
        texture: has_textures.then(|| share(objects().filter_map(|o| o.texture))),
        relation: share(verdicts.iter().filter_map(|v| v.relation)),
        picture: share(verdicts.iter().map(is_right)),
    }
}

/// The share that is true; 0 of none.
fn share(values: impl Iterator<Item = bool>) -> f64 {
    let (hits, n) = values.fold((0, 0), |(hits, n), hit| (hits + usize::from(hit), n + 1));
    hits as f64 / f64::from(n.max(1))
}

/// Sum of squared differences.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    let pairs = a.as_raw().iter().zip(b.as_raw());
    pairs.map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2)).sum()
}

/// Sum of the rows' cosines.
fn cosines(a: Tensor<2>, b: Tensor<2>) -> f64 {
    let norm = |x: &Tensor<2>| x.clone().square().sum_dim(1).sqrt();
    let cosines = (a.clone() * b.clone()).sum_dim(1) / (norm(&a) * norm(&b));
    f64::from(cosines.sum().into_scalar::<f32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::embeddings::embedding_origins;
    use crate::generate::layout::PipelineLayout;
    use crate::generate::plan::Plan;
    use crate::generate::prior::PriorSettings;
    use crate::generate::render::RenderOptions;
    use crate::generate::request::{DecoderChoice, ImageRequest, OutputOptions, SUPER_RES_STEPS, Subject};
    use crate::weights::read_json;
    use safetensors::tensor::{Dtype, TensorView};

    /// The whole way, in small: what it writes is a pipeline that draws; another recipe is refused.
    #[test]
    fn from_nothing_to_a_published_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let request = DecoderPretrain {
            world: World::Emoji,
            recipe: DecoderRecipe::smoke(),
            clip: Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/emoji/clip"),
            n_asked: 3,
            out: dir.path().join("decoder"),
            start_from: None,
            run_dir: dir.path().join("run"),
            device: DeviceSpec::default(),
            stop: Stop::default(),
        };
        let record = pretrain_decoder(&request, |_, _| {}).expect("it can be made");
        let scores = record.scores;
        assert_eq!(scores.n_pictures, 3);
        assert!((3..=6).contains(&scores.n_objects));
        let Found {
            object,
            colour,
            texture,
            relation,
            picture,
        } = scores.truth;
        assert_eq!(texture, None);
        // The checker reads true pictures; a decoder of four steps draws nothing.
        assert_eq!([object, colour, relation, picture], [1.0; 4]);
        assert_eq!(scores.drawn.picture, 0.0);
        let written: DecoderRecord = read_json(&request.out.join("pretrain.json")).expect("it says how");
        assert_eq!(written.recipe, request.recipe);
        let curve = files::read_text(request.out.join("curve.csv")).expect("written");
        assert!(
            curve.starts_with("step,loss,loss/picture,loss/x0,loss/cells,grad_norm,seconds\n4,"),
            "{curve}"
        );
        assert!(request.out.join("sheet.png").is_file());

        // It draws from embeddings without the CLIP, and the side file makes the same picture again.
        let device = DeviceSpec::default().device().expect("the default device exists");
        let z_x = dir.path().join("z_x.safetensors");
        let values: Vec<u8> = (0..128).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 128], &values).expect("fits");
        std::fs::write(
            &z_x,
            safetensors::serialize([("z_x_hat", view)], None).expect("fits"),
        )
        .expect("written");
        let origins = embedding_origins(&z_x).expect("one row");
        let call = ImageRequest {
            command: "generate".into(),
            subjects: origins
                .into_iter()
                .map(|origin| Subject {
                    name: "one".into(),
                    origin,
                    seed: 3,
                    row: 0,
                })
                .collect(),
            negative: None,
            init: None,
            latents: None,
            size: None,
            prior: PriorSettings::default(),
            decoder: DecoderChoice {
                n_steps: Some(2),
                ..DecoderChoice::default()
            },
            super_res_steps: SUPER_RES_STEPS,
        };
        let to = |folder: &str| OutputOptions {
            out: dir.path().join(folder),
            overwrite: false,
            device: "flex".into(),
            dtype: "f32".into(),
        };
        let how = RenderOptions {
            batch: 1,
            chunk: 1,
            save_steps: false,
        };
        let layout = PipelineLayout::open(&request.out, None, None).expect("a pipeline");
        let plan = Plan::new(&call, layout, &to("once")).expect("it can be drawn");
        let recipe = &plan.images[0].recipe;
        assert_eq!(recipe.size.to_string(), "64 x 64");
        assert_eq!(recipe.decoder.settings.guidance, 2.0);
        plan.render(&device, how, &mut |_| {}).expect("drawn");
        let plan = Plan::repeat(recipe, "one", &to("twice")).expect("it can be drawn again");
        plan.render(&device, how, &mut |_| {}).expect("drawn");
        let drawn =
            ["once", "twice"].map(|f| std::fs::read(dir.path().join(f).join("one.png")).expect("there"));
        assert_eq!(drawn[0], drawn[1]);

        let again =
            pretrain_decoder(&request, |step, _| panic!("step {step} is done")).expect("nothing to do");
        assert_eq!((again.seconds, again.scores), (record.seconds, scores));
        assert!(record.seconds > 0.0);

        // Trained further with noise on z_x: the same network that is told the level, and that a level can be asked of.
        let noisy = DecoderPretrain {
            recipe: DecoderRecipe {
                max_noise_level: 600,
                ..request.recipe.clone()
            },
            start_from: Some(request.out.clone()),
            out: dir.path().join("noisy"),
            run_dir: dir.path().join("noisy-run"),
            ..request.clone()
        };
        let record = pretrain_decoder(&noisy, |_, _| {}).expect("it goes on");
        assert!(record.start_from.is_some());
        let draw = |out: &Path, noise_level: usize| {
            let decoder = FrozenDecoder::load(out, &device).expect("a decoder");
            let values: Vec<f32> = (0..128).map(|i| (i as f32).sin()).collect();
            let z_x = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([1, 128]);
            let settings = DecoderSettings {
                n_steps: 2,
                noise_level,
                ..decoder.own_settings()
            };
            decoder.draw(&z_x, &[3], settings).map_err(|e| e.to_string())
        };
        let levels = [0, 100, 999].map(|level| draw(&noisy.out, level).expect("drawn"));
        assert!(levels[0] != levels[1] && levels[1] != levels[2]);
        let error = draw(&request.out, 100).expect_err("it knows no levels");
        assert!(error.contains("not trained with noise augmentation"), "{error}");
        let error = pretrain_decoder(
            &DecoderPretrain {
                start_from: Some(dir.path().join("once")),
                ..noisy
            },
            |_, _| {},
        );
        assert!(error.is_err(), "no decoder there");

        let other = DecoderPretrain {
            recipe: DecoderRecipe {
                seed: 9,
                ..request.recipe.clone()
            },
            ..request
        };
        let error = pretrain_decoder(&other, |_, _| {})
            .expect_err("refused")
            .to_string();
        assert!(error.contains("holds a run of another recipe"), "{error}");
    }

    /// What is drawn is compared with the scene: true renderings are all right, those of other scenes are not.
    #[test]
    fn true_renderings_score_full_marks() {
        for world in World::ALL {
            let (scenes, truth) = pictures(world, 20, 5);
            let checker = Checker::new(world);
            let right = find(&checker, &scenes, &truth);
            assert_eq!(
                [right.object, right.colour, right.relation, right.picture],
                [1.0; 4]
            );
            assert_eq!(right.texture, (!world.textures().is_empty()).then_some(1.0));
            let mut others = truth.clone();
            others.rotate_left(1);
            let wrong = find(&checker, &scenes, &others);
            // There are few shapes: some are there by chance.
            let by_chance = if world == World::Shapes { 0.6 } else { 0.3 };
            assert!(
                wrong.object < by_chance && wrong.picture < 0.2,
                "{world} {wrong:?}"
            );
            assert_eq!(distance(&truth[0], &truth[0]), 0.0);
            assert!(distance(&truth[0], &others[0]) > 0.0);
        }
    }
}
