//! `k22_unet`, `noise_level_unet`, `karlo_decoder_unet`, `karlo_super_res_*`: one forward pass of each UNet.

use burn::prelude::*;

use super::{Computed, Context, Outcome, Tolerance};
use crate::models::unet::{Condition, UNet};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn noisy(context: &Context) -> Result<(Tensor<4>, Vec<f64>), Error> {
    let timesteps = context.whole_numbers("in.timestep")?;
    let timesteps = timesteps.into_iter().map(|t| t as f64).collect();
    Ok((context.float("in.sample")?, timesteps))
}

fn sample(name: &str, unet: &UNet, (x, t): (Tensor<4>, &[f64]), condition: Condition) -> Computed {
    Computed::tensor(name, unet.forward(x, t, condition), Tolerance::Float)
}

pub(super) fn kandinsky22(context: &Context) -> Outcome {
    let (_, unet) = UNet::load(&context.folder_named("unet")?, context.device())?;
    let (x, t) = noisy(context)?;
    let z_x = Condition::Image(context.float("in.image_embeds")?);
    Ok(vec![sample("out.sample", &unet, (x, &t), z_x)])
}

pub(super) fn noise_level(context: &Context) -> Outcome {
    let (_, unet) = UNet::load(&context.folder_named("noise_level_unet")?, context.device())?;
    let (x, t) = noisy(context)?;
    let levels = context.whole_numbers("in.noise_level")?;
    let condition = Condition::NoisyImage {
        z_x: context.float("in.image_embeds")?,
        levels: levels.into_iter().map(|level| level as f64).collect(),
    };
    Ok(vec![sample("out.sample", &unet, (x, &t), condition)])
}

pub(super) fn karlo_decoder(context: &Context) -> Outcome {
    let (_, unet) = UNet::load(&context.folder_named("decoder")?, context.device())?;
    let (x, t) = noisy(context)?;
    let mask = context.int::<2>("in.attention_mask")?.float();
    let (tokens, class) = (
        context.float("in.encoder_hidden_states")?,
        context.float("in.class_labels")?,
    );
    let condition = |mask: Option<Tensor<2>>| Condition::Tokens {
        tokens: Tensor::clone(&tokens),
        mask,
        class: Tensor::clone(&class),
    };
    Ok(vec![
        sample("out.sample", &unet, (x.clone(), &t), condition(Some(mask))),
        sample("out.no_mask", &unet, (x, &t), condition(None)),
    ])
}

pub(super) fn karlo_super_res(context: &Context) -> Outcome {
    // `karlo_super_res_first_unet` is of the folder `super_res_first`.
    let folder = context
        .name()
        .trim_start_matches("karlo_")
        .trim_end_matches("_unet");
    let (_, unet) = UNet::load(&context.folder_named(folder)?, context.device())?;
    let (x, t) = noisy(context)?;
    Ok(vec![sample("out.sample", &unet, (x, &t), Condition::None)])
}
