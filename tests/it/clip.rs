//! The committed CLIP of the `emoji` world: what stands beside it is true of it.

use std::path::Path;

use eclipse_t2i::data::encode::FrozenClip;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::experiment::bars::{BarSizes, measure};
use eclipse_t2i::experiment::pretrain::PretrainRecord;
use eclipse_t2i::weights::read_json;
use eclipse_t2i::world::{CONTEXT, N_NOUNS};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/emoji/clip"))
}

#[test]
fn it_reaches_every_bar_and_still_does_on_this_machine() {
    let record: PretrainRecord = read_json(&folder().join("pretrain.json")).expect("how it was made");
    assert!(record.bars.reached(), "\n{}", record.bars);
    assert_eq!(record.n_nouns, N_NOUNS, "made for this world");
    let device = DeviceSpec::default().device().expect("the default device exists");
    let clip = FrozenClip::load(folder(), &device).expect("a published CLIP");
    assert_eq!(clip.n_text(), CONTEXT);
    // A fifth of the questions, others than those of the record, and probes on fewer pictures: a bar may be missed by the error of so few.
    let sizes = BarSizes {
        n_captions: 240,
        n_probe: 6000,
        n_asked: 300,
    };
    let bars = measure(&clip, sizes, record.recipe.seed + 1).expect("it encodes this world");
    for bar in &bars.0 {
        assert!(bar.accuracy > bar.bar - 0.02, "{bar:?}");
    }
}
