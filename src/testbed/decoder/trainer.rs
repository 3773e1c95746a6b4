//! The network and the criterion of a small decoder's training.

use burn::module::{Module, ParamGroup};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::optim::ModuleOptimizer;
use burn::prelude::*;

use super::batch::DecoderBatch;
use super::recipe::DecoderRecipe;
use super::start::{self, Readout};
use crate::models::unet::{Condition, UNet};
use crate::noise::{Noise, Stream};
use crate::objective::diffusion::weighted;
use crate::testbed::cells::{self, cross_entropy, offset_error};
use crate::train::ema::EmaUpdate;
use crate::train::micro_batches::{Batch, Values};
use crate::train::muon::{HiddenMuon, adamw_and_muon};
use crate::train::trainer::{Criterion, EMA, Trainer, UpdateOptions};

/// Paths of Muon's weights (norms' parameters are `gamma` and `beta`).
pub(super) const HIDDEN: &str = concat!(
    r"^prior\.unet\.(image|(down|mid|up)\..*)",
    r"\.(fc_tokens|fc_time|conv_1|conv_2|shortcut|proj_time|query|key|value|context_key|context_value|output)",
    r"\.weight$"
);

/// A small decoder in training.
pub type DecoderTrainer = Trainer<DecoderNetwork, DecoderCriterion>;

/// The UNet and its training heads, which are dropped in the end. A head reads off one position what covers it.
#[derive(Module, Debug)]
pub struct DecoderNetwork {
    /// The model; its EMA is published.
    pub unet: UNet,
    /// The noun.
    pub noun: Linear,
    /// Its colour.
    pub colour: Linear,
    /// Its texture, in worlds with textures.
    pub texture: Option<Linear>,
    /// Where its middle is.
    pub offset: Linear,
}

/// The weighted error of the clean image, and the losses of the heads.
#[derive(Debug, Clone, Copy)]
pub struct DecoderCriterion {
    /// Weight of the heads' losses.
    pub cell_weight: f64,
}

impl Batch for DecoderBatch {
    fn device(&self) -> Device {
        self.x_t.device()
    }

    fn n_examples(&self) -> usize {
        self.t.len()
    }
}

impl Criterion<DecoderNetwork> for DecoderCriterion {
    type Batch = DecoderBatch;

    /// `loss/x0` is the mean squared error of the clean image without weights.
    fn values(&self, network: &DecoderNetwork, batch: DecoderBatch) -> Values {
        let condition = Condition::NoisyImage {
            z_x: batch.z_x,
            levels: batch.levels,
        };
        let (x_0_hat, features) = network.unet.forward_with_features(batch.x_t, &batch.t, condition);
        let [n, channels, h, w] = features.dims();
        let places = features.permute([0, 2, 3, 1]).reshape([n * h * w, channels]);
        let cells = cross_entropy(&network.noun, places.clone(), &batch.cells.noun)
            + cross_entropy(&network.colour, places.clone(), &batch.cells.colour)
            + offset_error(&network.offset, places.clone(), &batch.cells);
        let cells = match (&network.texture, &batch.cells.texture) {
            (Some(head), Some(target)) => cells + cross_entropy(head, places, target),
            _ => cells,
        };
        let image = weighted(x_0_hat.clone(), batch.x_0.clone(), batch.weight);
        let error = (x_0_hat.detach() - batch.x_0).square().mean();
        let loss = image.clone() + cells.clone().mul_scalar(self.cell_weight);
        vec![
            ("loss", loss),
            ("loss/picture", image),
            ("loss/x0", error),
            ("loss/cells", cells),
        ]
    }
}

impl DecoderRecipe {
    /// AdamW, but Muon for the weights inside the UNet's blocks and those that z_x goes through first; the EMA has an update rule of its own.
    pub fn optimizer(&self) -> ModuleOptimizer {
        let ema = ParamGroup::from_regex(EMA).expect("a valid regular expression");
        adamw_and_muon(HIDDEN, HiddenMuon::new(self.muon_factor, 0.0)).with_group(ema, EmaUpdate, None)
    }

    /// The trainer of a new model on `device` (with autodiff), with initial weights drawn from the recipe's seed; or, with `trained`, of a UNet of
    /// this recipe that may not know of noise levels yet.
    pub fn trainer(&self, z_x: &Readout, trained: Option<UNet>, device: &Device) -> DecoderTrainer {
        let world = z_x.world();
        let config = self.model(world, z_x.d_clip());
        let network = |unet: UNet| {
            let head = |d_out: usize| {
                let head = LinearConfig::new(config.d_features(), d_out).with_initializer(Initializer::Zeros);
                head.init(device)
            };
            DecoderNetwork {
                unet,
                noun: head(cells::n_nouns(world)),
                colour: head(cells::N_COLOURS),
                texture: cells::n_textures(world).map(head),
                offset: head(2),
            }
        };
        let unet = match trained {
            Some(unet) if self.max_noise_level > 0 => unet.with_noise_level(device),
            Some(unet) => unet,
            None => {
                let mut noise = Noise::of(self.seed, Stream::PretrainWeights);
                start::start_values(UNet::init(&config, device), z_x, &mut noise)
            }
        };
        let criterion = DecoderCriterion {
            cell_weight: self.cell_weight,
        };
        let update = UpdateOptions {
            grad_clip: Some(self.grad_clip),
            ema_decay: Some(self.ema_decay),
            ..UpdateOptions::default()
        };
        Trainer::new(network(unet), criterion, update, || {
            network(UNet::init(&config, device))
        })
    }
}
