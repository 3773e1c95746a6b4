//! `tokenizer` and `preprocess`: what goes into CLIP.

use std::collections::BTreeMap;

use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::models::clip::preprocess::{Preprocess, read_image};
use crate::models::clip::tokenizer::Tokenizer;

/// Ids and masks of the golden's prompts, by every tokenizer folder of the fixture: all must give the same.
pub(super) fn tokenizer(context: &Context) -> Outcome {
    let prompts: Vec<String> = context.info_as("prompts")?;
    let expected = context.input("input_ids")?;
    let n_text = *expected.shape.last().ok_or("input_ids has no axes")?;
    let mut first: Option<Vec<Computed>> = None;
    for folder in context.folders_with("tokenizer", &["vocab.json", "merges.txt"])? {
        let tokenizer = Tokenizer::load(&folder, n_text)?;
        let tokens = tokenizer.encode_batch(&prompts)?;
        let shape = [prompts.len(), n_text];
        let ids = tokens
            .iter()
            .flat_map(|t| t.ids.iter().map(|&id| i64::from(id)))
            .collect();
        let mask = tokens
            .iter()
            .flat_map(|t| t.mask().into_iter().map(i64::from))
            .collect();
        let computed = vec![
            Computed::new("input_ids", Array::i64(shape, ids), Tolerance::Exact),
            Computed::new("attention_mask", Array::i64(shape, mask), Tolerance::Exact),
        ];
        if first.as_ref().is_some_and(|f| *f != computed) {
            return Err(format!("{}: differs from the fixture's other tokenizer", folder.display()).into());
        }
        first = Some(computed);
    }
    Ok(first.unwrap_or_default())
}

/// Scaled images and pixel values, by the fixture's own `preprocessor_config.json`.
pub(super) fn preprocess(context: &Context) -> Outcome {
    let files: BTreeMap<String, String> = context.info_as("files")?;
    let folders = context.folders_with("preprocessor_config.json", &["preprocessor_config.json"])?;
    let own = Preprocess::read(&folders[0])?;
    let mut out = Vec::new();
    for name in context.golden().keys() {
        if name.starts_with("installed_versions.") {
            // What newer libraries give; the reference proper stands beside it.
            context.set_aside(name);
            continue;
        }
        let (kind, picture) = name
            .split_once('.')
            .ok_or_else(|| format!("{name}: not a picture's name"))?;
        // `<picture>` at the fixture's size, or `<picture>_<size>`.
        let (file, settings) = match (files.get(picture), picture.rsplit_once('_')) {
            (Some(file), _) => (file, own.clone()),
            (None, Some((stem, size))) => {
                let file = files
                    .get(stem)
                    .ok_or_else(|| format!("{name}: no such picture"))?;
                (file, resized_to(&own, size.parse()?))
            }
            (None, None) => return Err(format!("{name}: no such picture").into()),
        };
        let pixels = read_image(context.root().join(file))?;
        out.push(match kind {
            "resized_u8" => {
                let small = settings.resize(&pixels);
                let shape = [small.height() as usize, small.width() as usize, 3];
                Computed::new(name, Array::u8(shape, small.into_raw()), Tolerance::Exact)
            }
            "pixel_values" => {
                let (w, h) = settings.crop.unwrap_or(pixels.dimensions());
                let shape = [1, 3, h as usize, w as usize];
                Computed::new(
                    name,
                    Array::f32(shape, settings.apply(&pixels)?),
                    Tolerance::Pixel,
                )
            }
            _ => return Err(format!("{name}: neither resized_u8 nor pixel_values").into()),
        });
    }
    Ok(out)
}

fn resized_to(settings: &Preprocess, size: u32) -> Preprocess {
    Preprocess {
        shortest_side: Some(size),
        crop: Some((size, size)),
        ..settings.clone()
    }
}
