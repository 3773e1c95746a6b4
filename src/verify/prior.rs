//! `prior_*`: one forward pass of each prior, with and without mask, and configs with other switches.

use burn::prelude::*;

use super::{Computed, Context, Outcome, Tolerance};
use crate::models::prior::{DiffusionPrior, Prior, PriorConfig, TextCondition};
use crate::weights::Checkpoint;

/// The golden's caption; its mask is present in some goldens only.
fn text(context: &Context, masked: bool) -> Result<TextCondition, Box<dyn std::error::Error + Send + Sync>> {
    let mask = match masked {
        true => Some(context.int::<2>("in.attention_mask")?.float().into()),
        false => None,
    };
    let z_y = context.float("in.proj_embedding")?;
    Ok(TextCondition {
        z_y,
        tokens: context.float("in.encoder_hidden_states")?,
        mask,
    })
}

fn timesteps(context: &Context) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(context
        .whole_numbers("in.timestep")?
        .into_iter()
        .map(|t| t as f64)
        .collect())
}

pub(super) fn eclipse(context: &Context) -> Outcome {
    let (_, prior) = Prior::load(&context.folder_named("eclipse_prior")?, context.device())?;
    let noise: Tensor<2> = context.float("in.hidden_states")?;
    let masked = prior.forward(noise.clone(), text(context, true)?);
    let plain = prior.forward(noise.clone(), text(context, false)?);
    Ok(vec![
        Computed::tensor("out.masked", masked, Tolerance::Float),
        Computed::tensor("out.no_mask", plain, Tolerance::Float),
        Computed::tensor("out.post_processed", prior.unwhiten(noise), Tolerance::Float),
    ])
}

pub(super) fn diffusion(context: &Context) -> Outcome {
    let (_, prior) = DiffusionPrior::load(&context.folder_named("prior")?, context.device())?;
    let (x_t, t): (Tensor<2>, _) = (context.float("in.hidden_states")?, timesteps(context)?);
    let masked = prior.forward(x_t.clone(), &t, text(context, true)?);
    let plain = prior.forward(x_t.clone(), &t, text(context, false)?);
    Ok(vec![
        Computed::tensor("out.masked", masked, Tolerance::Float),
        Computed::tensor("out.no_mask", plain, Tolerance::Float),
        Computed::tensor("out.post_processed", prior.unwhiten(x_t), Tolerance::Float),
    ])
}

/// Other switches of the same classes: config and weights are in the golden.
pub(super) fn variant(context: &Context) -> Outcome {
    let config: PriorConfig = context.info_as("config")?;
    config.check()?;
    let checkpoint = Checkpoint::open(context.path())?.under("weights.");
    for name in context
        .golden()
        .keys()
        .filter(|name| name.starts_with("weights."))
    {
        context.input(name)?;
    }
    let text = text(context, context.golden().contains_key("in.attention_mask"))?;
    let noise = context.float("in.hidden_states")?;
    let predicted = match context.info_as::<bool>("time_conditioned")? {
        false => Prior::from_checkpoint(&config, &checkpoint, context.device())?.forward(noise, text),
        true => {
            let prior = DiffusionPrior::from_checkpoint(&config, &checkpoint, context.device())?;
            prior.forward(noise, &timesteps(context)?, text)
        }
    };
    Ok(vec![Computed::tensor(
        "out.predicted",
        predicted,
        Tolerance::Float,
    )])
}
