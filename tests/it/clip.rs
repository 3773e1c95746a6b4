//! The committed CLIPs of the worlds: what stands beside them is true of them.

use std::path::PathBuf;

use eclipse_t2i::data::encode::FrozenClip;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::testbed::ClipRecord;
use eclipse_t2i::testbed::acceptance::{MeasureSizes, measure};
use eclipse_t2i::weights::read_json;
use eclipse_t2i::world::World;

fn folder(world: World) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "datasets", world.name(), "clip"]
        .iter()
        .collect()
}

#[test]
fn that_of_emoji_reaches_every_threshold_and_still_does_on_this_machine() {
    reaches_every_threshold(World::Emoji);
}

#[test]
fn that_of_shapes_reaches_every_threshold_and_still_does_on_this_machine() {
    reaches_every_threshold(World::Shapes);
}

fn reaches_every_threshold(world: World) {
    let folder = folder(world);
    let record: ClipRecord = read_json(&folder.join("pretrain.json")).expect("how it was made");
    assert!(record.thresholds.reached(), "\n{}", record.thresholds);
    assert_eq!(
        (record.training.world.as_str(), record.training.n_nouns),
        (world.name(), world.n_nouns())
    );
    let device = DeviceSpec::default().device().expect("the default device exists");
    let clip = FrozenClip::load(&folder, &device).expect("a published CLIP");
    assert_eq!(clip.n_text(), world.context());
    // A fifth of the questions, others than those of the record, and probes on fewer pictures: a threshold may be missed by the error of so few.
    let sizes = MeasureSizes {
        n_captions: 240,
        n_probe: 6000,
        n_asked: 300,
    };
    let measured = measure(world, &clip, sizes, record.recipe.seed + 1).expect("it encodes this world");
    for threshold in &measured.0 {
        assert!(threshold.accuracy > threshold.threshold - 0.02, "{threshold:?}");
    }
}
