use burn::prelude::*;

use super::*;
use crate::device::DeviceSpec;
use crate::files::FileError;
use crate::models::clip::tokenizer::Tokenizer;
use crate::noise::Noise;
use crate::testbed::facts::n_facts;
use crate::train::micro_batches::MicroBatches;
use crate::train::schedule::{LrSchedule, SteppedLr};
use crate::train::session::{self, Session, SessionOptions, Workers};
use crate::train::stop::Stop;
use crate::world::World;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn device() -> Device {
    DeviceSpec::default().device().expect("the default device exists")
}

fn maker(world: World, recipe: &ClipRecipe, dir: &Path) -> (BatchMaker, usize) {
    let n_vocab = write_word_tokenizer(&world.vocabulary(), world.context(), dir).expect("writable");
    let tokenizer = Tokenizer::load(dir, world.context()).expect("just written");
    (
        BatchMaker::new(world, recipe.clone(), tokenizer, recipe.preprocess()),
        n_vocab,
    )
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

#[test]
fn a_batch_says_what_its_images_show() {
    for world in World::ALL {
        a_batch_says_what_images_show(world);
    }
}

fn a_batch_says_what_images_show(world: World) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let recipe = ClipRecipe {
        n_families: 6,
        ..ClipRecipe::of(world)
    };
    let (maker, _) = maker(world, &recipe, dir.path());
    let batch = maker.batch(7, &device()).expect("a batch");
    let [n, _, side, _] = batch.pixels.dims();
    assert_eq!((n, side), (24, recipe.image_size));
    // Each caption is true of its own image, and no pair is true and false.
    let holds = values(batch.truth.holds.clone());
    let fails = values(batch.truth.fails.clone());
    for caption in 0..2 * n {
        assert_eq!(holds[caption * n + caption % n], 1.0);
    }
    assert!(holds.iter().zip(&fails).all(|(t, f)| t * f == 0.0));
    assert!(fails.iter().sum::<f32>() > 0.5 * fails.len() as f32);
    // Normalised targets.
    for target in [&batch.patches.noun, &batch.patches.colour] {
        assert!((values(target.clone()).iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }
    let blocks = if world.textures().is_empty() { 6.0 } else { 8.0 };
    for facts in [&batch.image_facts, &batch.caption_facts] {
        assert_eq!(
            facts.holds.dims(),
            [
                if std::ptr::eq(facts, &batch.image_facts) {
                    n
                } else {
                    2 * n
                },
                n_facts(world)
            ]
        );
        assert!(
            (values(facts.weight.clone()).iter().sum::<f32>() - blocks).abs() < 1e-3,
            "blocks of weight 2"
        );
        assert!((values(facts.colour.clone()).iter().sum::<f32>() - 0.25).abs() < 1e-4);
        assert!((values(facts.side.clone()).iter().sum::<f32>() - 0.25).abs() < 1e-4);
        let textures = facts.texture.clone().map(values);
        assert_eq!(textures.is_some(), !world.textures().is_empty());
        assert!(textures.is_none_or(|t| (t.iter().sum::<f32>() - 0.25).abs() < 1e-4));
    }
    let mean = values(batch.pixels.clone()).iter().sum::<f32>() / batch.pixels.shape().num_elements() as f32;
    assert!(mean.abs() < 1.0, "normalised, but the mean is {mean}");
    assert_eq!(
        values(maker.batch(7, &device()).expect("a batch").pixels),
        values(batch.pixels.clone())
    );
    assert_ne!(
        values(maker.batch(8, &device()).expect("a batch").pixels),
        values(batch.pixels)
    );
}

#[test]
fn matrices_of_the_blocks_are_muons_and_nothing_else_is() {
    struct Paths(Vec<String>, Vec<String>);
    impl burn::module::ModuleVisitor for Paths {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _: &burn::module::Param<Tensor<D>>) {
            self.1.push(self.0.join("."));
        }
    }
    let trainer = ClipRecipe::smoke(World::Emoji).trainer(World::Emoji, 50, &device());
    let mut paths = Paths(Vec::new(), Vec::new());
    burn::module::Module::visit(&trainer, &mut paths);
    let (muons, rest): (Vec<_>, Vec<_>) = paths.1.iter().partition(|path| optimizer::is_hidden(path));
    assert_eq!(muons.len(), 6 * (2 + 2), "{rest:?}");
    for own in [
        "prior.clip.logit_scale",
        "prior.clip.text.projection.weight",
        "prior.clip.vision.patches.weight",
        "prior.heads.patch_noun.weight",
    ] {
        assert!(rest.iter().any(|path| *path == own), "{own} not in {rest:?}");
    }
}

fn train(recipe: &ClipRecipe, dir: &Path, until: usize) -> (ClipTrainer, Vec<(usize, f32)>) {
    let (maker, n_vocab) = maker(World::Emoji, recipe, dir);
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let log = log.clone();
        Box::new(move |_, step: usize, values: &[(&str, f32)]| {
            log.lock().expect("one thread").push((step, values[0].1));
            Ok::<(), FileError>(())
        })
    };
    let trainer = session::fit(
        recipe.trainer(World::Emoji, n_vocab, &device().autodiff()),
        optimizer(recipe),
        SteppedLr::new(recipe.schedule()),
        move |step, _, device| {
            let batch = maker.batch(step, device);
            MicroBatches::one(step, batch.expect("the world's own captions and images"))
        },
        None::<session::Validation<_>>,
        Session {
            dir,
            options: SessionOptions::new(until, 4),
            workers: Workers::One,
            sink,
            stop: Stop::default(),
        },
    )
    .expect("the run ends well");
    let log = log.lock().expect("one thread").clone();
    (trainer, log)
}

#[test]
fn the_loss_falls() {
    let recipe = ClipRecipe {
        n_steps: 40,
        n_families: 4,
        warmup: 4,
        ..ClipRecipe::smoke(World::Emoji)
    };
    let dir = tempfile::tempdir().expect("folder");
    let (_, log) = train(&recipe, dir.path(), 40);
    let mean = |steps: std::ops::Range<usize>| log[steps].iter().map(|l| l.1).sum::<f32>() / 8.0;
    assert!(mean(32..40) < 0.9 * mean(0..8), "{log:?}");
}

#[test]
fn a_run_that_stops_and_goes_on_ends_as_one_that_does_not() {
    let recipe = ClipRecipe {
        n_steps: 12,
        ..ClipRecipe::smoke(World::Emoji)
    };
    assert!(matches!(recipe.schedule(), LrSchedule::Cosine { total: 12, .. }));
    let (whole, stopped) = (
        tempfile::tempdir().expect("folder"),
        tempfile::tempdir().expect("folder"),
    );
    let (a, log) = train(&recipe, whole.path(), 12);
    train(&recipe, stopped.path(), 8);
    let (b, rest) = train(&recipe, stopped.path(), 12);
    assert_eq!(rest.first().map(|r| r.0), Some(9), "goes on after step 8");
    assert_eq!(log[8..], rest[..]);
    let embedding = |trainer: &ClipTrainer| {
        let pixels: Tensor<4> = Noise::new(1).normal([2, 3, 48, 48], &device());
        values(trainer.network().clip.vision.forward(pixels).z_x)
    };
    assert_eq!(embedding(&a), embedding(&b));
}

#[test]
fn recipes_that_do_not_fit_are_refused_by_key() {
    let refused = |recipe: ClipRecipe| recipe.check().expect_err("refused");
    for world in World::ALL {
        assert_eq!(ClipRecipe::of(world).check(), Ok(()));
        assert_eq!(ClipRecipe::smoke(world).check(), Ok(()));
    }
    let base = ClipRecipe::default;
    assert_eq!(
        refused(ClipRecipe {
            n_vision_blocks: 1,
            ..base()
        }),
        "n_vision_blocks: expected a whole number, 2 or above, found 1"
    );
    assert_eq!(
        refused(ClipRecipe {
            d_model: 48,
            ..base()
        }),
        "`d_model`: expected a multiple of 32, the width of a head, found 48"
    );
    assert_eq!(
        refused(ClipRecipe {
            patch_size: 7,
            ..base()
        }),
        "`patch_size`: expected a divisor of `image_size`, 48, found 7"
    );
    assert_eq!(
        refused(ClipRecipe {
            canonical: 1.5,
            ..base()
        }),
        "canonical: expected a share between 0 and 1, found 1.5"
    );
}
