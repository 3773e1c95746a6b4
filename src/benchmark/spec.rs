//! `[data]` and `[eval]` of a run: the keys, their defaults and units, and their checks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::InvalidValue;
use crate::config::check::{Bound, at_least, at_most, bounded, non_negative, require};
use crate::eval::rescale::DecoderInput;
use crate::limits;
use crate::models::noise_augmentation::N_LEVELS;
use crate::world::{CaptionMix, PairOptions, Slice};

/// `[data]`: the training distribution P_XY.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// Number of captioned training images.
    pub n_pairs: usize,
    /// Seed of the images and captions. Separate from `seed`, so that runs with several seeds share one training set.
    pub seed: u64,
    /// Exclude the held-out attribute-object pairs from P_XY (the paper's "orange square", Fig. 2).
    pub holes: bool,
    /// Add spurious co-occurrences and skewed attributes to P_XY (the paper's "young tiger", Fig. 6).
    pub bias: bool,
    /// The set of images: `whole`, `singles` (one object each) or `half_the_nouns`.
    pub slice: Slice,
    /// Level of detail of the captions.
    pub captions: CaptionSpec,
    /// A store of encoded pairs (`eclipse encode`) to train on instead of a world's pairs. `world` and the keys above are then ignored, and there are no
    /// test prompts: the run is scored on held-out pairs. Relative to the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// Another store for validation, at every checkpoint and at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Pairs held out for validation at every checkpoint. For a world: this many further pairs of P_XY, which are not trained on. For a store
    /// without `validation`: this many of its images, evenly spread over the store.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub n_validation: usize,
    /// Show each image once per pass, with one of its captions; otherwise each of its captions is an example. Several captions of one image in a batch
    /// are false negatives of Eq. 4.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub one_caption: bool,
}

/// Level of detail of the captions of P_XY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaptionSpec {
    /// Objects, colours and relations are often omitted, as in captions from the web.
    #[default]
    Sparse,
    /// Less is omitted: the captions of W.
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
    /// Checks every value except the number of pairs of a store, which is known when the store is opened.
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
            let one = "false, because data.store is not set: a world's images have one caption each";
            return require("data.one_caption", !self.one_caption, one, self.one_caption);
        }
        require(
            "data.n_validation",
            self.validation.is_none() || self.n_validation == 0,
            "0, because data.validation is what the run is validated on",
            self.n_validation,
        )
    }

    /// Training pairs; `usize::MAX` for a store, whose size the specification does not contain.
    pub fn n_training_pairs(&self) -> usize {
        match self.store {
            Some(_) => usize::MAX,
            None => self.n_pairs,
        }
    }

    /// Whether examples are held out.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSpec {
    /// Most test prompts of each split; 0 for all.
    pub n_prompts: usize,
    /// Noise samples per prompt (scores are means over them; diversity needs at least two).
    pub n_noise: usize,
    /// Seed of the rendered scenes and of the noise. Separate from `seed`, so that all runs share one test set.
    pub seed: u64,
    /// Test prompts of each split, evenly spread over it, whose first prediction is decoded and parsed by the checker. 0: none.
    pub n_pictures: usize,
    /// Number of these images, of each split, that are kept for the report.
    pub n_shown: usize,
    /// The scored parameters: `last`, or `best`, those at the minimum of the validation loss.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub checkpoint: ScoredCheckpoint,
    /// Scaling of predictions for the decoder: `as_predicted` (none), or to the scale of the training pairs' z_x by `true_norm` or `true_spread`.
    pub decoder_input: DecoderInput,
    /// Steps of the decoder.
    pub decoder_steps: usize,
    /// Classifier-free guidance of the decoder; 1 is none.
    pub decoder_guidance: f64,
    /// Level of the noise that a decoder with noise augmentation adds to predictions, below 1000; 0 is none.
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
            "0, because data.store is set and the content of its images is not known",
            self.n_pictures,
        )?;
        at_least("eval.n_noise", 1, self.n_noise)?;
        bounded(
            "eval.n_pictures",
            &[Bound::Not(1.0)],
            "0, or 2 and above (a Frechet distance needs two)",
            self.n_pictures as f64,
        )?;
        at_least("eval.decoder_steps", 1, self.decoder_steps)?;
        non_negative("eval.decoder_guidance", self.decoder_guidance)?;
        bounded(
            "eval.decoder_noise_level",
            &[Bound::Below(N_LEVELS as f64)],
            format!("a whole number from 0 to {}", N_LEVELS - 1),
            self.decoder_noise_level as f64,
        )
    }
}

/// The parameters of a finished training that are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoredCheckpoint {
    /// The parameters after the last step.
    #[default]
    Last,
    /// The parameters at the minimum of the validation loss.
    Best,
}
