//! `[data]` and `[eval]` of a run: the keys, their defaults and units, and their checks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::InvalidValue;
use crate::config::check::{at_least, at_most, non_negative, require};
use crate::eval::rescale::DecoderInput;
use crate::limits;
use crate::models::noise_augmentation::N_LEVELS;
use crate::world::{CaptionMix, PairOptions, Slice};

/// `[data]`: the training distribution P_XY.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// Captioned images to train on.
    pub n_pairs: usize,
    /// Seed of the images and captions. Apart from `seed`, so that runs of several seeds share one training set.
    pub seed: u64,
    /// Leave the held-out attribute-object pairs out of P_XY (the paper's "orange square", Fig. 2).
    pub holes: bool,
    /// Give P_XY its spurious co-occurrences and skewed attributes (the paper's "young tiger", Fig. 6).
    pub bias: bool,
    /// Which images there are at all: `whole`, `singles` (one object each) or `half_the_nouns`.
    pub slice: Slice,
    /// How much captions say.
    pub captions: CaptionSpec,
    /// A store of encoded pairs (`eclipse encode`) to train on in the place of a world's. Then `world` and the keys above do not count, and there are no
    /// test prompts: the run is scored on what it holds out. Relative to the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// Another store to validate on, at every checkpoint and in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Pairs held out for validation at every checkpoint. Of a world: so many further pairs of P_XY, none of which is trained on. Of a store
    /// without `validation`: so many of its images, evenly spread over it.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub n_validation: usize,
    /// Show each image once a pass, with one of its captions; else each of its captions makes an example. Several captions of one image in a batch
    /// are false negatives of Eq. 4.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub one_caption: bool,
}

/// How much the captions of P_XY say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptionSpec {
    /// Objects, colours and relations are often left out, as in captions from the web.
    #[default]
    Sparse,
    /// Less is left out: the captions of W.
    Rich,
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            n_pairs: 1000,
            seed: 0,
            holes: true,
            bias: true,
            slice: Slice::Whole,
            captions: CaptionSpec::Sparse,
            store: None,
            validation: None,
            n_validation: 0,
            one_caption: false,
        }
    }
}

impl DataSpec {
    /// Checks every value. How many pairs a store has shows when it is opened.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is out of range.
    pub fn check(&self) -> Result<(), InvalidValue> {
        at_most("data.n_pairs", limits::MAX_WORLD_PAIRS, self.n_pairs)?;
        at_most("data.n_validation", limits::MAX_WORLD_PAIRS, self.n_validation)?;
        at_least("data.n_pairs", 2, self.n_pairs)?;
        if self.store.is_none() {
            let none = "nothing, because data.store is not set: data.n_validation holds pairs of a world out";
            require("data.validation", self.validation.is_none(), none, "a path")?;
            let one = "false, because data.store is not set: a world's pictures have one caption each";
            return require("data.one_caption", !self.one_caption, one, self.one_caption);
        }
        require(
            "data.n_validation",
            self.validation.is_none() || self.n_validation == 0,
            "0, because data.validation is what the run is validated on",
            self.n_validation,
        )
    }

    /// Training pairs; `usize::MAX` of a store, as far as the specification tells.
    pub fn n_training_pairs(&self) -> usize {
        match self.store {
            Some(_) => usize::MAX,
            None => self.n_pairs,
        }
    }

    /// Whether anything is held out.
    pub fn is_validated(&self) -> bool {
        self.n_validation > 0 || self.validation.is_some()
    }

    /// The distribution of a world's pairs.
    pub fn pair_options(&self) -> PairOptions {
        PairOptions {
            holes: self.holes,
            bias: self.bias,
            slice: self.slice,
            captions: match self.captions {
                CaptionSpec::Sparse => CaptionMix::PAIRS,
                CaptionSpec::Rich => CaptionMix::W,
            },
        }
    }
}

/// `[eval]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSpec {
    /// Test prompts of each split at most; 0 is all of them.
    pub n_prompts: usize,
    /// Noise draws for each prompt (scores are means over them; two or more give the diversity).
    pub n_noise: usize,
    /// Seed of the rendered scenes and of the noise. Apart from `seed`, so that all runs answer the same questions.
    pub seed: u64,
    /// Test prompts of each split, evenly spread over it, whose first prediction is drawn by the decoder and read by the checker. 0: none.
    pub n_pictures: usize,
    /// How many of those images, of each split, are kept for the report.
    pub n_shown: usize,
    /// Which of the run's parameters are scored: `last`, or `best`, those at the minimum of the validation loss.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub checkpoint: ScoredCheckpoint,
    /// What the decoder gets of a prediction: `as_predicted`, or scaled to the size of the training pairs' z_x by `true_norm` or `true_spread`.
    pub decoder_input: DecoderInput,
    /// Steps of the decoder.
    pub decoder_steps: usize,
    /// Classifier-free guidance of the decoder; 1 is none.
    pub decoder_guidance: f64,
    /// Level of the noise that a decoder with noise augmentation adds to predictions before it draws them, below 1000; 0 is none.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub decoder_noise_level: usize,
}

impl Default for EvalSpec {
    fn default() -> Self {
        Self {
            n_prompts: 0,
            n_noise: 4,
            seed: 0,
            n_pictures: 0,
            n_shown: 8,
            checkpoint: ScoredCheckpoint::Last,
            decoder_input: DecoderInput::AsPredicted,
            decoder_steps: 4,
            decoder_guidance: 2.0,
            decoder_noise_level: 0,
        }
    }
}

impl EvalSpec {
    /// Checks every value, for a run on this data.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is out of range.
    pub fn check(&self, data: &DataSpec) -> Result<(), InvalidValue> {
        at_most("eval.n_noise", limits::MAX_REPEATS, self.n_noise)?;
        at_most("eval.n_prompts", limits::MAX_IMAGES, self.n_prompts)?;
        at_most("eval.n_pictures", limits::MAX_IMAGES, self.n_pictures)?;
        at_most("eval.decoder_steps", limits::MAX_STEPS, self.decoder_steps)?;
        require(
            "eval.n_pictures",
            data.store.is_none() || self.n_pictures == 0,
            "0, because data.store is set and nobody knows what the pictures show",
            self.n_pictures,
        )?;
        at_least("eval.n_noise", 1, self.n_noise)?;
        require(
            "eval.n_pictures",
            self.n_pictures != 1,
            "0, or 2 and above (a Frechet distance needs two)",
            self.n_pictures,
        )?;
        at_least("eval.decoder_steps", 1, self.decoder_steps)?;
        non_negative("eval.decoder_guidance", self.decoder_guidance)?;
        require(
            "eval.decoder_noise_level",
            self.decoder_noise_level < N_LEVELS,
            format!("a whole number from 0 to {}", N_LEVELS - 1),
            self.decoder_noise_level,
        )
    }
}

/// Which parameters of a finished training are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoredCheckpoint {
    /// Those after the last step.
    #[default]
    Last,
    /// Those at the minimum of the validation loss.
    Best,
}
