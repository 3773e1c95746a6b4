//! What every prior of a world is asked: the test prompts with a true picture, wrong pictures and another true picture each.

use crate::data::encode::{EncodeError, FrozenClip};
use crate::data::pairs::Texts;
use crate::eval::forced_choice::{Candidates, Kind};
use crate::eval::{Embeddings, EvalError, Split};
use crate::noise::Noise;
use crate::world::{self, Scene};

/// Streams of the evaluation seed: pictures here, noise of the predictions from 1 on.
const PICTURES: u64 = 0;

/// Encoded test prompts.
#[derive(Debug)]
pub struct Questions {
    /// The prompts as priors read them.
    pub texts: Texts,
    /// `[n, d_clip]`
    pub z_y: Embeddings,
    /// True and wrong pictures.
    pub candidates: Candidates,
    /// Another true picture of each scene: what the oracle answers.
    pub other_renders: Embeddings,
    /// Seen, unseen or against the bias.
    pub splits: Vec<Split>,
}

/// The questions cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The frozen CLIP does not encode them.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// They cannot be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl Questions {
    /// Draws a true picture for each test prompt and encodes everything. `n_per_split` prompts of each split at most, 0 for all.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn of_emoji(clip: &FrozenClip, n_per_split: usize, seed: u64) -> Result<Self, QuestionError> {
        let mut taken = [0; 3];
        let prompts = world::test_prompts().iter().filter(|p| {
            let n = &mut taken[p.split as usize];
            *n += 1;
            n_per_split == 0 || *n <= n_per_split
        });
        let mut noise = Noise::stream(seed, PICTURES);
        let (mut texts, mut splits) = (Vec::new(), Vec::new());
        let (mut truth, mut other, mut wrong, mut labels) =
            (Vec::new(), Vec::new(), Vec::<Scene>::new(), Vec::new());
        for (i, prompt) in prompts.enumerate() {
            let rng = noise.rng();
            let scene = world::realise(&prompt.statement, rng);
            for variant in world::variants(&scene, &prompt.statement, rng) {
                wrong.push(variant.scene);
                labels.push((i, Kind::from(variant.kind)));
            }
            truth.push(scene);
            other.push(world::realise(&prompt.statement, rng));
            texts.push(prompt.text.as_str());
            splits.push(Split::from(prompt.split));
        }
        let (n, d) = (truth.len(), clip.d_clip());
        let embed = |scenes: &[Scene]| -> Result<Embeddings, QuestionError> {
            Ok(Embeddings::new(scenes.len(), d, clip.scenes(scenes)?)?)
        };
        let texts = clip.texts(&texts)?;
        Ok(Self {
            z_y: Embeddings::new(n, d, texts.z_y.clone())?,
            texts,
            candidates: Candidates::new(embed(&truth)?, embed(&wrong)?, labels)?,
            other_renders: embed(&other)?,
            splits,
        })
    }
}
