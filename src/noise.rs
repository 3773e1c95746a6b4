//! Seeded random numbers, passed as an argument, and the table of all random streams.
//!
//! Draws happen on the host, in order, from ChaCha8: the same seed gives the same numbers on every backend, with every number of threads.
//! Nothing else in the project draws random numbers. One seed has 2^64 independent streams; [`Stream`] says which part of the program
//! draws from which of them.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// A seeded generator. `Clone` copies its position too.
#[derive(Debug, Clone)]
pub struct Noise {
    rng: ChaCha8Rng,
}

impl Noise {
    /// A generator for a `seed` from which nothing else is drawn: its stream 0.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The generator of a stream of `seed`. The numbers of two streams are independent.
    pub fn of(seed: u64, stream: Stream) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream.number());
        Self { rng }
    }

    /// The underlying generator, for `rand`'s own methods (`random_range`, shuffles).
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// `n` draws from N(0, 1).
    pub fn normal_vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| StandardNormal.sample(&mut self.rng)).collect()
    }

    /// A tensor of draws from N(0, 1).
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let data = TensorData::new(self.normal_vec(shape.iter().product()), shape);
        Tensor::from_data(data, (device, DType::F32))
    }

    /// The generator's position in its stream, to be stored in a checkpoint.
    pub fn position(&self) -> u128 {
        self.rng.get_word_pos()
    }

    /// Moves the generator to a [`Noise::position`] of the same seed and stream.
    pub fn seek(&mut self, position: u128) {
        self.rng.set_word_pos(position);
    }
}

/// The seeds that streams belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seed {
    /// `seed` of a run.
    Run,
    /// `eval.seed` of a run: its test prompts, its samples, and the batches of its validation.
    Evaluation,
    /// The seed of a sample of pairs: `data.seed` of a run, and the seeds of samples of W.
    Data,
    /// `seed` of the recipe of a built-in world's CLIP or decoder.
    Pretraining,
    /// The seed of one generated image. Where many are drawn it is another seed plus the image's number, so that the first image's seed is
    /// that seed.
    Image,
    /// The seed of a statistic: of resamples, subsets, held-out rows.
    Statistic,
    /// The seed of the images on which a scene checker is measured.
    Checker,
    /// A seed in a test.
    Test,
}

/// A row of the table: one kind of stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// The variant of [`Stream`].
    pub name: &'static str,
    /// The seeds that it belongs to.
    pub seeds: &'static [Seed],
    /// The numbers of its streams.
    pub numbers: Range<u64>,
}

macro_rules! streams {
    ($($(#[$doc:meta])+ $name:ident $(($($field:ident: $ty:ty),+))? of [$($seed:ident),+], first $first:expr, width $width:expr, at $index:expr;)+) => {
        /// What draws from which stream of a seed: the table of all streams.
        ///
        /// The numbers are part of every committed result: they never change, and a new kind of stream takes numbers that no other kind
        /// of the same seed has.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Stream {
            $($(#[$doc])+ $name $(($($ty),+))?,)+
        }

        impl Stream {
            /// The whole table.
            pub const TABLE: &[StreamRow] = &[
                $(StreamRow {
                    name: stringify!($name),
                    seeds: &[$(Seed::$seed),+],
                    numbers: $first..$first + $width,
                },)+
            ];

            /// The number of this stream among all streams of its seed.
            pub fn number(self) -> u64 {
                match self {
                    $(Self::$name $(($($field),+))? => {
                        let index: u64 = $index;
                        debug_assert!(index < $width, "{self:?} is outside of its range");
                        $first + index
                    })+
                }
            }
        }
    };
}

streams! {
    /// The order of the examples in a pass over them, from 0.
    DataOrder(pass: u64) of [Run, Evaluation], first 0, width 1 << 32, at pass;
    /// Noise, timesteps and dropped captions of a training step of a prior, from 1.
    StepNoise(step: u64) of [Run, Evaluation], first 1 << 40, width 1 << 40, at step;
    /// The initial weights of a prior.
    InitialWeights of [Run], first 1 << 41, width 1, at 0;
    /// The pairs whose texts stand for those of other devices, by part of the whole training, from 1.
    OtherDevices(part: u64) of [Run], first 1 << 42, width (1 << 62) - (1 << 42), at part;
    /// Which of its captions an image of a store has: by pass (below 2^30) and image (below 2^32).
    CaptionChoice(pass: u64, image: u64) of [Run, Evaluation], first 1 << 62, width 1 << 62, at (pass << 32) + image;

    /// The scenes of the test prompts.
    TestScenes of [Evaluation], first 0, width 1, at 0;
    /// The noise from which a prior samples for the test prompts, by draw, from 0.
    PriorSampling(draw: u64) of [Evaluation], first 1, width (1 << 32) - 1, at draw;
    /// The further scenes of each test prompt over which a mean is taken.
    MeanScenes of [Evaluation], first 1 << 32, width 1, at 0;
    /// The noise on the answers of a baseline.
    BaselineNoise of [Evaluation], first 1 << 33, width 1, at 0;

    /// Pairs of a world's P_XY to train on.
    TrainingPairs of [Data], first 0x70_78_79, width 1, at 0;
    /// Pairs of a world's P_XY to validate on.
    ValidationPairs of [Data], first 0x76_78_79, width 1, at 0;
    /// Pairs of a world's W.
    PairsOfW of [Data], first 0x77, width 1, at 0;
    /// A world's own test prompts (of seed 0, always).
    TestPrompts of [Data], first 0x70_72_6f_6d, width 1, at 0;

    /// A batch of a world's CLIP or decoder, by step, from 1.
    PretrainBatch(step: u64) of [Pretraining], first 0, width 1 << 40, at step;
    /// The initial weights of a world's CLIP or decoder.
    PretrainWeights of [Pretraining], first 1 << 40, width 1, at 0;
    /// Captions and scenes of the zero-shot forced choice that a world's CLIP is accepted by.
    ZeroShotCaptions of [Pretraining], first 1 << 41, width 1, at 0;
    /// Noise augmentation of a decoder's batch, by step, from 1.
    PretrainAugmentation(step: u64) of [Pretraining], first 1 << 45, width 1 << 40, at step;

    /// The noise of one stage of an image's generation, by the stage's number.
    ImageStage(stage: u64) of [Image, Evaluation, Pretraining], first 0, width 5, at stage;

    /// A resample, a subset or another repetition of a statistic, from 0.
    Repetition(number: u64) of [Statistic], first 0, width 1 << 32, at number;
    /// A damaged image on which a scene checker is measured, from 0.
    CheckedImage(number: u64) of [Checker], first 0x63_68_65, width 1 << 62, at number << 32;

    /// Any stream, in tests.
    Test(number: u64) of [Test], first 0, width u64::MAX, at number;
}

/// Seeds of samples of W that come from the pretraining seed by addition: samples that differ from each other and from what a seed below
/// 2^42 gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerivedSeed {
    /// The images on which the probes of a CLIP are fitted and scored.
    ProbeImages,
    /// The images by which embeddings are scaled, and from which a decoder's first layer learns to read them.
    ReadImages,
    /// The images that a finished decoder draws.
    DrawnImages,
}

impl DerivedSeed {
    /// The derived seed.
    pub fn of(self, pretraining: u64) -> u64 {
        let offset: u64 = match self {
            Self::ProbeImages => 1 << 42,
            Self::ReadImages => 1 << 43,
            Self::DrawnImages => 1 << 44,
        };
        pretraining + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_keeps_its_number() {
        let numbers = [
            (Stream::DataOrder(3), 3),
            (Stream::StepNoise(5), 1_099_511_627_776 + 5),
            (Stream::InitialWeights, 2_199_023_255_552),
            (Stream::OtherDevices(7), 4_398_046_511_104 + 7),
            (
                Stream::CaptionChoice(2, 9),
                4_611_686_018_427_387_904 + 2 * 4_294_967_296 + 9,
            ),
            (Stream::TestScenes, 0),
            (Stream::PriorSampling(0), 1),
            (Stream::PriorSampling(4), 5),
            (Stream::MeanScenes, 4_294_967_296),
            (Stream::BaselineNoise, 8_589_934_592),
            (Stream::TrainingPairs, 7_370_873),
            (Stream::ValidationPairs, 7_764_089),
            (Stream::PairsOfW, 119),
            (Stream::TestPrompts, 1_886_547_821),
            (Stream::PretrainBatch(6), 6),
            (Stream::PretrainWeights, 1_099_511_627_776),
            (Stream::ZeroShotCaptions, 2_199_023_255_552),
            (Stream::PretrainAugmentation(8), 35_184_372_088_832 + 8),
            (Stream::ImageStage(4), 4),
            (Stream::Repetition(11), 11),
            (Stream::CheckedImage(3), 6_514_789 + 3 * 4_294_967_296),
            (Stream::Test(13), 13),
        ];
        for (stream, number) in numbers {
            assert_eq!(stream.number(), number, "{stream:?}");
        }
        for row in Stream::TABLE {
            let named =
                |(stream, _): &(Stream, u64)| format!("{stream:?}").split('(').next() == Some(row.name);
            assert!(numbers.iter().any(named), "{} is not pinned here", row.name);
        }
        let derived = [
            DerivedSeed::ProbeImages,
            DerivedSeed::ReadImages,
            DerivedSeed::DrawnImages,
        ];
        assert_eq!(
            derived.map(|seed| seed.of(1)),
            [4_398_046_511_105, 8_796_093_022_209, 17_592_186_044_417]
        );
    }

    /// Kinds of streams that share numbers of one seed. All are committed results by now, and in each the same numbers serve unlike ends: the
    /// order in which a validation sees its examples; scenes; the noise of priors; the noise of decoders.
    const OVERLAPS: &[(Seed, &str, &str)] = &[
        (Seed::Evaluation, "DataOrder", "TestScenes"),
        (Seed::Evaluation, "DataOrder", "PriorSampling"),
        (Seed::Evaluation, "DataOrder", "ImageStage"),
        (Seed::Evaluation, "TestScenes", "ImageStage"),
        (Seed::Evaluation, "PriorSampling", "ImageStage"),
        (Seed::Pretraining, "PretrainBatch", "ImageStage"),
    ];

    #[test]
    fn streams_of_a_seed_are_disjoint() {
        let mut found = Vec::new();
        for (i, a) in Stream::TABLE.iter().enumerate() {
            for b in &Stream::TABLE[i + 1..] {
                let meet = a.numbers.start.max(b.numbers.start) < a.numbers.end.min(b.numbers.end);
                let shared = a.seeds.iter().filter(|seed| meet && b.seeds.contains(seed));
                found.extend(shared.map(|seed| (*seed, a.name, b.name)));
            }
        }
        assert_eq!(found, OVERLAPS);
    }

    #[test]
    fn the_first_stream_is_that_of_a_seed_alone() {
        let draws = |mut noise: Noise| noise.normal_vec(3);
        assert_eq!(draws(Noise::new(5)), draws(Noise::of(5, Stream::Test(0))));
        assert_ne!(draws(Noise::new(5)), draws(Noise::of(5, Stream::Test(1))));
    }
}
