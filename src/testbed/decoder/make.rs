//! Making a built-in world's small decoder: train on images of W and their z_x, publish the moving average, measure what it draws.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::batch::DecoderBatches;
use super::recipe::DecoderRecipe;
use super::scores::{self, BATCH, DecoderScores};
use super::start::Readout;
use crate::device::DeviceSpec;
use crate::files;
use crate::generate::zero_image::{ZERO_IMAGE, keep_zero_image};
use crate::models::clip::ImageEncoder;
use crate::models::noise_augmentation::NoiseAugmentation;
use crate::models::unet::{self, Conditioning, UNet, UNetConfig};
use crate::noise::DerivedSeed;
use crate::testbed::error::PretrainError;
use crate::testbed::run::{CHECKPOINT_EVERY, ClaimedRun, TrainingRecord};
use crate::train::micro_batches::MicroBatches;
use crate::train::schedule::SteppedLr;
use crate::train::session::{self, Validation};
use crate::train::stop::Stop;
use crate::weights::{self, Checkpoint, WeightsError, write_json};
use crate::world::World;

/// Images of W from which it is measured how to read z_x.
const N_READ: usize = 6000;

/// A decoder to be made, and where.
#[derive(Debug, Clone)]
pub struct MakeDecoder {
    /// The world.
    pub world: World,
    /// Its recipe.
    pub recipe: DecoderRecipe,
    /// Folder of the frozen CLIP whose z_x is read.
    pub clip: PathBuf,
    /// New images that are drawn and measured in the end.
    pub n_asked: usize,
    /// The model's folder, in the published layout of a Kandinsky 2.2 decoder.
    pub out: PathBuf,
    /// Folder of a trained decoder of this recipe, whose UNet training starts from; it may have been trained without noise augmentation.
    pub start_from: Option<PathBuf>,
    /// Checkpoints and metrics; a run that was stopped resumes from here.
    pub run_dir: PathBuf,
    /// What computes.
    pub device: DeviceSpec,
    /// What stops it between two steps.
    pub stop: Stop,
}

/// What `pretrain.json` beside a decoder says of how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderRecord {
    /// World, version, device and time.
    #[serde(flatten)]
    pub training: TrainingRecord,
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

/// Trains a world's decoder (or resumes its training), writes it to `request.out` and measures what was written. `progress` gets
/// every step's number and loss.
///
/// # Errors
/// [`PretrainError`]. The model's folder is touched only when training is over.
pub fn make_decoder(
    request: &MakeDecoder,
    progress: impl FnMut(usize, f32) + Send + 'static,
) -> Result<DecoderRecord, PretrainError> {
    let MakeDecoder {
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
    let wanted = Claimed {
        n_nouns: world.n_nouns(),
        clip: fingerprint.clone(),
        recipe: recipe.clone(),
        start_from: started.clone(),
    };
    let run = ClaimedRun::claim(run_dir, &wanted, |found: &Claimed| {
        (found.n_nouns, &found.clip, &found.start_from) == (world.n_nouns(), &fingerprint, &started)
            && recipe.continues(&found.recipe, CHECKPOINT_EVERY)
    })?;
    let d_clip = encoder.config().projection_dim;
    let batches = DecoderBatches::new(world, recipe.clone(), encoder);
    let trainable = device.clone().autodiff();
    let trained = match &start_from {
        Some(unet) => Some(start_unet(unet, &recipe.model(world, d_clip), &trainable)?),
        None => None,
    };
    let zero = batches.zero().to_vec();
    let mut z_x = Vec::with_capacity(N_READ * d_clip);
    let (scenes, known) = scores::images(world, N_READ, DerivedSeed::ReadImages.of(recipe.seed));
    for images in known.chunks(BATCH) {
        z_x.extend(batches.z_x(images)?);
    }
    let augmentation = NoiseAugmentation::of(&z_x, d_clip);
    let batches = batches.with_augmentation(augmentation.clone());
    let trained = session::fit(
        recipe.trainer(&Readout::new(world, &scenes, &z_x), trained, &trainable),
        recipe.optimizer(),
        SteppedLr::new(recipe.schedule()),
        move |step, _, device| {
            let batch = batches.batch(step, device);
            MicroBatches::one(
                step,
                batch.expect("images could be encoded before, and all are alike"),
            )
        },
        None::<Validation<_>>,
        run.session(recipe.n_steps, stop, progress)?,
    )?;
    let trained = &trained.result().unet;

    publish(world, recipe, trained, d_clip, out)?;
    if recipe.max_noise_level > 0 {
        augmentation.save(out)?;
    }
    keep_zero_image(
        &zero,
        &fingerprint,
        "f32",
        &out.join(IMAGE_ENCODER).join(ZERO_IMAGE),
    )?;
    let scores = scores::measure(world, out, clip, *n_asked, recipe.seed, &device)?;
    run.finish(out, world, spec, |training| DecoderRecord {
        training,
        clip: fingerprint,
        recipe: recipe.clone(),
        start_from: started,
        n_parameters: trained.num_params(),
        scores,
    })
}

/// What a run directory holds: no other world, CLIP or recipe can resume from its checkpoints.
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

/// Folder of the zero image's embedding, where the pipeline's vision tower would stand.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::decoder::DecoderSettings;
    use crate::generate::embeddings::embedding_origins;
    use crate::generate::frozen::FrozenDecoder;
    use crate::generate::layout::PipelineLayout;
    use crate::generate::plan::Plan;
    use crate::generate::prior::PriorSettings;
    use crate::generate::render::RenderOptions;
    use crate::generate::request::{DecoderChoice, ImageRequest, OutputOptions, SUPER_RES_STEPS, Subject};
    use crate::testbed::decoder::Found;
    use crate::weights::read_json;
    use safetensors::tensor::{Dtype, TensorView};

    /// The whole way, in small: what it writes is a pipeline that draws; another recipe is refused.
    #[test]
    fn from_nothing_to_a_published_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let request = MakeDecoder {
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
        let record = make_decoder(&request, |_, _| {}).expect("it can be made");
        let scores = record.scores;
        assert_eq!(scores.n_images, 3);
        assert!((3..=6).contains(&scores.n_objects));
        let Found {
            object,
            colour,
            texture,
            relation,
            image,
        } = scores.truth;
        assert_eq!(texture, None);
        // The checker reads true images; a decoder of four steps draws nothing.
        assert_eq!([object, colour, relation, image], [1.0; 4]);
        assert_eq!(scores.drawn.image, 0.0);
        let written: DecoderRecord = read_json(&request.out.join("pretrain.json")).expect("it says how");
        assert_eq!(written.recipe, request.recipe);
        let curve = files::read_text(request.out.join("curve.csv")).expect("written");
        assert!(
            curve.starts_with("step,loss,loss/picture,loss/x0,loss/cells,grad_norm,seconds\n4,"),
            "{curve}"
        );
        assert!(request.out.join("sheet.png").is_file());

        // It draws from embeddings without the CLIP, and the side file makes the same image again.
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

        let again = make_decoder(&request, |step, _| panic!("step {step} is done")).expect("nothing to do");
        assert_eq!(
            (again.training.seconds, again.scores),
            (record.training.seconds, scores)
        );
        assert!(record.training.seconds > 0.0);

        // Trained further with noise on z_x: the same network that is told the level, and that a level can be asked of.
        let noisy = MakeDecoder {
            recipe: DecoderRecipe {
                max_noise_level: 600,
                ..request.recipe.clone()
            },
            start_from: Some(request.out.clone()),
            out: dir.path().join("noisy"),
            run_dir: dir.path().join("noisy-run"),
            ..request.clone()
        };
        let record = make_decoder(&noisy, |_, _| {}).expect("it goes on");
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
        let error = make_decoder(
            &MakeDecoder {
                start_from: Some(dir.path().join("once")),
                ..noisy
            },
            |_, _| {},
        );
        assert!(error.is_err(), "no decoder there");

        let other = MakeDecoder {
            recipe: DecoderRecipe {
                seed: 9,
                ..request.recipe.clone()
            },
            ..request
        };
        let error = make_decoder(&other, |_, _| {}).expect_err("refused").to_string();
        assert!(error.contains("holds a run of another recipe"), "{error}");
    }
}
