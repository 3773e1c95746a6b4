//! `noise_augmentation`: noise of several levels on image embeddings.

use super::{Computed, Context, Outcome, Tolerance};
use crate::models::noise_augmentation::{NORMALIZER, NoiseAugmentation};

pub(super) fn run(context: &Context) -> Outcome {
    let folder = context.folder_named(NORMALIZER)?;
    let pipeline = folder.parent().expect("a part lies in a pipeline");
    let z_x = context.float::<2>("in.image_embeds")?;
    let levels = context.whole_numbers("in.noise_level")?;
    let levels: Vec<usize> = levels
        .into_iter()
        .map(usize::try_from)
        .collect::<Result<_, _>>()?;
    let augmentation = NoiseAugmentation::load(pipeline, z_x.dims()[1])?;
    let noisy = augmentation.add(z_x, context.float("in.eps")?, &levels);
    Ok(vec![Computed::tensor(
        "out.image_embeds",
        noisy,
        Tolerance::Float,
    )])
}
