use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::prelude::*;
use burn::train::TrainStep;

use super::trainer::HIDDEN;
use super::*;
use crate::data::encode::scene_image;
use crate::diffusion::Schedule;
use crate::models::clip::ImageEncoder;
use crate::models::unet::UNet;
use crate::train::micro_batches::{Losses, MicroBatches};
use crate::train::trainer::EMA;
use crate::world::{Scene, World};

fn device() -> Device {
    crate::device::DeviceSpec::default()
        .device()
        .expect("the default device exists")
}

fn batches(recipe: &DecoderRecipe) -> DecoderBatches {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/emoji/clip");
    let encoder = ImageEncoder::load(&clip, &device()).expect("the committed CLIP loads");
    DecoderBatches::new(World::Emoji, recipe.clone(), encoder)
}

fn rows<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Images of W, and their z_x by the committed CLIP.
fn known(batches: &DecoderBatches, n: usize, seed: u64) -> (Vec<Scene>, Vec<f32>) {
    let scenes: Vec<Scene> = World::Emoji
        .sample_w(n, seed)
        .into_iter()
        .map(|pair| pair.scene)
        .collect();
    let images: Vec<_> = scenes.iter().map(scene_image).collect();
    let z_x = images
        .chunks(64)
        .flat_map(|chunk| batches.z_x(chunk).expect("encoded"));
    let z_x = z_x.collect();
    (scenes, z_x)
}

fn readout(batches: &DecoderBatches) -> Readout {
    let (scenes, z_x) = known(batches, 600, 1);
    Readout::new(World::Emoji, &scenes, &z_x)
}

#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: Vec<(String, usize)>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        self.found.push((self.path.join("."), D));
    }
}

#[test]
fn muon_has_the_weights_between_the_ends_and_the_ema_has_its_own_rule() {
    let recipe = DecoderRecipe::smoke();
    let z_x = readout(&batches(&recipe));
    let trainer = recipe.trainer(&z_x, None, &device().autodiff());
    let mut paths = Paths::default();
    trainer.visit(&mut paths);
    let group = |pattern| ParamGroup::from_regex(pattern).expect("a pattern");
    let (hidden, ema) = (group(HIDDEN), group(EMA));
    let id = burn::module::ParamId::new();
    let ends = [
        "prior.unet.conv_in.",
        "prior.unet.conv_out.",
        "prior.unet.time.",
        "prior.noun.",
        "prior.colour.",
        "prior.offset.",
    ];
    let mut n_hidden = 0;
    for (path, rank) in &paths.found {
        let follows = path.starts_with("average.");
        let wanted = !follows && *rank > 1 && !ends.iter().any(|end| path.starts_with(end));
        assert_eq!(hidden.matches(&id, Some(path)), wanted, "{path}");
        assert_eq!(ema.matches(&id, Some(path)), follows, "{path}");
        n_hidden += usize::from(wanted);
    }
    assert!(n_hidden > 30, "{n_hidden}");
}

#[test]
fn facts_are_read_off_new_images_and_stand_in_the_first_layers() {
    let recipe = DecoderRecipe {
        d_cross: 32,
        ..DecoderRecipe::smoke()
    };
    let batches = batches(&recipe);
    let (scenes, z_x) = known(&batches, 1500, 1);
    let readout = Readout::new(World::Emoji, &scenes, &z_x);
    let (scenes, z_x) = known(&batches, 40, 2);
    let nouns: Vec<usize> = (0..World::Emoji.n_nouns()).map(|noun| noun * 13).collect();
    let mut first = First::default();
    recipe
        .trainer(&readout, None, &device().autodiff())
        .network()
        .unet
        .visit(&mut first);
    assert_eq!(first.bias.len(), 32 * 32);
    let (mut right, mut asked) = (0, 0);
    for (scene, z) in scenes.iter().zip(z_x.chunks(readout.d_clip())) {
        let holds = start::facts(scene);
        let read = readout.read(z);
        assert_eq!(read.len(), start::n_facts(World::Emoji));
        for &noun in &nouns {
            asked += 1;
            right += usize::from((read[noun] > 0.5) == holds.contains(&noun));
            // Entry 0 of the noun's token is three times that.
            let at = noun / 13 * 32;
            let token: f32 = (0..z.len()).map(|i| z[i] * first.weight[i * 1024 + at]).sum();
            assert!((f64::from(token + first.bias[at]) - 3.0 * read[noun]).abs() < 1e-2);
        }
    }
    assert!(right as f64 > 0.98 * asked as f64, "{right} of {asked}");
}

#[test]
fn the_facts_of_a_scene_are_those_of_its_main_sprites() {
    for pair in World::ALL.into_iter().flat_map(|world| world.sample_w(50, 3)) {
        let n_facts = start::n_facts(pair.scene.world());
        let textured = pair.scene.main().filter(|s| s.texture.is_some()).count();
        let facts = start::facts(&pair.scene);
        let sprites = pair.scene.main().count();
        let coloured = pair.scene.main().filter(|s| s.colour.is_some()).count();
        let sided = if sprites == 2 { 2 } else { 0 };
        assert_eq!(facts.len(), 2 * sprites + coloured + sided + 2 * textured);
        let mut distinct = facts.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), facts.len());
        assert!(facts.iter().all(|&fact| fact < n_facts));
    }
}

#[test]
fn recipes_that_do_not_fit_are_refused_by_key() {
    let refused = |recipe: DecoderRecipe| recipe.check(World::Emoji).expect_err("refused");
    let base = DecoderRecipe::default;
    assert_eq!(base().check(World::Emoji), Ok(()));
    assert_eq!(DecoderRecipe::smoke().check(World::Emoji), Ok(()));
    assert_eq!(
        refused(DecoderRecipe { pool: 0, ..base() }),
        "pool: expected a whole number, 1 or above, found 0"
    );
    assert_eq!(
        refused(DecoderRecipe {
            n_cycles: 0,
            ..base()
        }),
        "n_cycles: expected a whole number, 1 or above, found 0"
    );
    assert_eq!(
        refused(DecoderRecipe { block: 3, ..base() }),
        "`block` x `pool`: expected a divisor of 64, found 6"
    );
    let one = vec![true];
    assert_eq!(
        refused(DecoderRecipe {
            attention: one,
            ..base()
        }),
        "`attention`: expected 2 values, one a size as in `channels`, found 1"
    );
    assert_eq!(
        refused(DecoderRecipe {
            cond_drop: 1.0,
            ..base()
        }),
        "cond_drop: expected a number from 0 to below 1, found 1"
    );
    // What the UNet says of its own sizes.
    let odd = refused(DecoderRecipe {
        channels: vec![60, 96],
        ..base()
    });
    assert!(odd.contains("60"), "{odd}");
}

#[test]
fn a_run_goes_on_for_more_cycles_and_for_nothing_else() {
    let recipe = |n_steps, n_cycles| DecoderRecipe {
        n_steps,
        n_cycles,
        ..DecoderRecipe::default()
    };
    let first = recipe(8000, 1);
    assert!(recipe(24000, 3).continues(&first, 250));
    assert!(recipe(24000, 3).continues(&recipe(16000, 2), 250));
    for other in [
        recipe(8000, 1),
        recipe(24000, 2),
        recipe(12000, 2),
        recipe(4000, 1),
    ] {
        assert!(!other.continues(&first, 250), "{other:?}");
    }
    assert!(!first.continues(&recipe(16000, 2), 250));
    // The last checkpoint would not be at the end of the cycle.
    assert!(!recipe(24000, 3).continues(&first, 300));
    let seed = DecoderRecipe {
        seed: 1,
        ..recipe(16000, 2)
    };
    assert!(!seed.continues(&first, 250));
    // And the rates of the steps that are done are those of the longer run.
    for step in [0, 49, 50, 4000, 7999] {
        assert_eq!(first.schedule().lr(step), recipe(24000, 3).schedule().lr(step));
    }
}

/// Weight and bias of `image.fc_tokens`.
#[derive(Default)]
struct First {
    path: Vec<String>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl ModuleVisitor for First {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.path.join(".").as_str() {
            "image.fc_tokens.weight" => self.weight = rows(param.val()),
            "image.fc_tokens.bias" => self.bias = rows(param.val()),
            _ => {}
        }
    }
}

#[test]
fn a_batch_is_noised_as_the_schedule_says_and_depends_on_its_step_alone() {
    let recipe = DecoderRecipe {
        batch: 8,
        cond_drop: 0.5,
        noisy_half: 0.75,
        ..DecoderRecipe::smoke()
    };
    let batches = batches(&recipe);
    let device = device();
    let batch = batches.batch(3, &device).expect("made");
    let again = batches.batch(3, &device).expect("made");
    assert_eq!(rows(batch.x_t.clone()), rows(again.x_t));
    assert_eq!(rows(batch.z_x.clone()), rows(again.z_x));
    let other = batches.batch(4, &device).expect("made");
    assert_ne!(rows(batch.x_0.clone()), rows(other.x_0));

    // Two timesteps from the first half, six from the second, evenly; their weights.
    let scheduler = recipe.scheduler();
    let schedule = Schedule::new(scheduler.betas, scheduler.n_train);
    let weight = rows(batch.weight);
    for (i, &t) in batch.t.iter().enumerate() {
        let (from, to) = match i {
            0..2 => (250 * i, 250 * (i + 1)),
            _ => (500 + 500 * (i - 2) / 6, 501 + 500 * (i - 1) / 6),
        };
        assert!((from..to).contains(&(t as usize)), "{i}: {t}");
        let a = schedule.alpha_bar(t as usize);
        let expected = (a / (1.0 - a)).clamp(1.0, 5.0);
        assert!((f64::from(weight[i]) - expected).abs() < 1e-4, "{t}");
        let [x_t, x_0] = [&batch.x_t, &batch.x_0].map(|x| rows(x.clone().narrow(0, i, 1)));
        let eps = x_t
            .iter()
            .zip(&x_0)
            .map(|(x_t, x_0)| (f64::from(*x_t) - a.sqrt() * f64::from(*x_0)) / (1.0 - a).sqrt());
        let square = eps.map(|e| e * e).sum::<f64>() / x_t.len() as f64;
        assert!((square - 1.0).abs() < 0.1, "{t}: {square}");
    }
    // Dropped conditions are the zero image's.
    let dropped = rows(batch.z_x)
        .chunks(batches.zero().len())
        .filter(|row| *row == batches.zero())
        .count();
    assert!((1..8).contains(&dropped), "{dropped}");
    // Images are light grey at the edge: in -1..1.
    let corner = rows(batch.x_0.slice([0..1, 0..1, 0..1, 0..1]))[0];
    assert!((0.3..0.8).contains(&corner), "{corner}");
}

#[test]
fn a_step_moves_the_network_and_its_ema_follows() {
    let recipe = DecoderRecipe::smoke();
    let batches = batches(&recipe);
    let device = device().autodiff();
    let mut trainer = recipe.trainer(&readout(&batches), None, &device);
    let mut optimizer = recipe.optimizer();
    let batch = batches.batch(1, &device).expect("made");
    let loss = |trainer: &DecoderTrainer| rows(trainer.losses(batch.clone()).swap_remove(0).1)[0];
    let values = |unet: &UNet| -> Vec<f32> {
        let mut all = Values(Vec::new());
        unet.visit(&mut all);
        all.0
    };
    let start = values(&trainer.network().unet);
    assert_eq!(start, values(&trainer.result().unet));
    let before = loss(&trainer);
    for step in 1..=30 {
        let output = TrainStep::step(&trainer, MicroBatches::one(step, batch.clone()));
        trainer = optimizer.step(recipe.lr, trainer, output.grads);
        if step == 1 {
            // (1 - 1/10) of the way to values that have not moved yet
            assert_eq!(start, values(&trainer.result().unet));
            assert_ne!(start, values(&trainer.network().unet));
        }
    }
    assert!(loss(&trainer) < 0.7 * before, "{before} to {}", loss(&trainer));
    let (now, average) = (values(&trainer.network().unet), values(&trainer.result().unet));
    let apart = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
    assert!(apart(&average, &now) < apart(&start, &now));
}

/// All values of a module.
struct Values(Vec<f32>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(rows(param.val()));
    }
}
