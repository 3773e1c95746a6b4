//! The test set of a world: prompts, each with a true image, wrong images and another true image, encoded by CLIP.

use std::sync::OnceLock;

use crate::data::encode::{EncodeError, FrozenClip};
use crate::eval::forced_choice::Candidates;
use crate::eval::{Embeddings, EvalError, Split};
use crate::models::text::EncodedTexts;
use crate::noise::{Noise, Stream};
use crate::world::{self, Prompt, Scene, World};

/// Scenes per prompt for the mean embedding: the error of the mean is below a fifth of their spread.
pub const N_MANY: usize = 32;

/// Encoded test prompts.
#[derive(Debug)]
pub struct TestSet {
    /// The prompts and their splits.
    pub prompts: Vec<Prompt>,
    /// The encoded prompts.
    pub texts: EncodedTexts,
    /// `[n, d_clip]`
    pub z_y: Embeddings,
    /// Embeddings of true and wrong images.
    pub candidates: Candidates,
    /// Another true image of each prompt: the oracle's prediction.
    pub other_renders: Embeddings,
    mean_renders: OnceLock<Embeddings>,
    seed: u64,
    /// Split of each prompt: seen, unseen or counter-bias.
    pub splits: Vec<Split>,
}

/// The test set cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TestSetError {
    /// The frozen CLIP cannot encode it.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It cannot be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl TestSet {
    /// Draws a true image for each test prompt and encodes everything. At most `n_per_split` prompts of each split, evenly spread over
    /// it, 0 for all.
    ///
    /// # Errors
    /// [`TestSetError`].
    pub fn new(world: World, clip: &FrozenClip, n_per_split: usize, seed: u64) -> Result<Self, TestSetError> {
        let all = world.test_prompts();
        let of_all: Vec<Split> = all.iter().map(|p| p.split).collect();
        let n = if n_per_split == 0 { all.len() } else { n_per_split };
        let prompts: Vec<Prompt> = spread(&of_all, n).into_iter().map(|i| all[i].clone()).collect();
        let mut noise = Noise::of(seed, Stream::TestScenes);
        let (mut texts, mut splits) = (Vec::new(), Vec::new());
        let (mut truth, mut other, mut wrong, mut labels) =
            (Vec::new(), Vec::new(), Vec::<Scene>::new(), Vec::new());
        for (i, prompt) in prompts.iter().enumerate() {
            let rng = noise.rng();
            let scene = world::realise(&prompt.statement, rng);
            for variant in world::variants(&scene, &prompt.statement, rng) {
                wrong.push(variant.scene);
                labels.push((i, variant.kind));
            }
            truth.push(scene);
            other.push(world::realise(&prompt.statement, rng));
            texts.push(prompt.text.as_str());
            splits.push(prompt.split);
        }
        let (n, d) = (truth.len(), clip.d_clip());
        let embed = |scenes: &[Scene]| -> Result<Embeddings, TestSetError> {
            Ok(Embeddings::new(scenes.len(), d, clip.scenes(scenes)?)?)
        };
        let texts = clip.texts(&texts)?;
        Ok(Self {
            z_y: Embeddings::new(n, d, texts.z_y().to_vec())?,
            texts,
            candidates: Candidates::new(embed(&truth)?, embed(&wrong)?, labels)?,
            other_renders: embed(&other)?,
            mean_renders: OnceLock::new(),
            seed,
            splits,
            prompts,
        })
    }

    /// Mean of z_x over many other true images of each prompt, `[n, d_clip]`; computed at the first call.
    ///
    /// # Errors
    /// [`TestSetError`].
    pub fn mean_renders(&self, clip: &FrozenClip) -> Result<&Embeddings, TestSetError> {
        if let Some(mean) = self.mean_renders.get() {
            return Ok(mean);
        }
        let mut noise = Noise::of(self.seed, Stream::MeanScenes);
        let (n, d) = (self.prompts.len(), clip.d_clip());
        let mut sum = vec![0.0f64; n * d];
        for _ in 0..N_MANY {
            let prompts = self.prompts.iter();
            let scenes: Vec<Scene> = prompts
                .map(|p| world::realise(&p.statement, noise.rng()))
                .collect();
            for (sum, value) in sum.iter_mut().zip(clip.scenes(&scenes)?) {
                *sum += f64::from(value);
            }
        }
        let mean = sum.into_iter().map(|sum| (sum / N_MANY as f64) as f32).collect();
        let mean = Embeddings::new(n, d, mean)?;
        Ok(self.mean_renders.get_or_init(|| mean))
    }
}

/// The indices of `n` members of each split, evenly spread over it (all members of a smaller split), in ascending order.
pub(super) fn spread(splits: &[Split], n: usize) -> Vec<usize> {
    let of_split = |split| {
        let places: Vec<usize> = (0..splits.len()).filter(|i| splits[*i] == split).collect();
        let n = n.min(places.len());
        (0..n).map(move |i| places[i * places.len() / n])
    };
    let mut places: Vec<usize> = Split::ALL.into_iter().flat_map(of_split).collect();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn the_mean_over_images_is_nearer_than_any_image() {
        let device = DeviceSpec::default().device().expect("the default device");
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/emoji/clip");
        let clip = FrozenClip::load(Path::new(clip), &device).expect("the committed one");
        let asked = TestSet::new(World::Emoji, &clip, 6, 3).expect("asked");
        let truth = asked.candidates.truth();
        let error = |answers: &Embeddings| -> f64 {
            let pairs = answers.values().iter().zip(truth.values());
            pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        let mean = error(asked.mean_renders(&clip).expect("drawn"));
        // Against another image: the expected squared distance is a variance and a 32nd instead of two variances.
        let ratio = mean / error(&asked.other_renders);
        assert!((0.4..0.65).contains(&ratio), "{ratio}");
    }

    #[test]
    fn prompts_are_spread_over_their_split() {
        use Split::{CounterBias as Against, Seen, Unseen};
        let splits = [Seen, Seen, Unseen, Seen, Seen, Seen, Against, Seen, Unseen];
        assert_eq!(spread(&splits, 2), [0, 2, 4, 6, 8]);
        assert_eq!(spread(&splits, 100), (0..9).collect::<Vec<_>>());
        assert_eq!(spread(&splits, 0), [0; 0]);
    }
}
