//! `fid_inception_*`, `fid_preprocess_*`, `fid_folders_*`: the FID's network and what it is given, against pytorch-fid and clean-fid.

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::TensorData;
use image::RgbImage;

use super::distances::{Failed, compared_folders, mean_std};
use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::eval::Embeddings;
use crate::eval::fid::Resize;
use crate::files;
use crate::models::clip::preprocess::read_image;
use crate::models::inception::{Inception, SIDE, spatial_mean};
use crate::weights::Checkpoint;

/// The images that `info` lists under `key`, paths from the fixture's folder.
pub(super) fn images(context: &Context, key: &str) -> Result<Vec<RgbImage>, Failed> {
    let names: Vec<String> = context.info_as(key)?;
    names
        .iter()
        .map(|name| Ok(read_image(context.root().join(name))?))
        .collect()
}

/// The published weights are recipes here: a name's hash begins a stream of numbers.
mod stream {
    /// Number `i` of 24 bits of the stream of `name`.
    pub(super) fn number(seed: u64, name: &str, i: u64) -> u64 {
        let fnv = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        });
        let mut z = (seed ^ fnv).wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) >> 40
    }

    /// The first `n` values of tensor `name`, whose values have `fan_in` inputs.
    pub(super) fn values(seed: u64, name: &str, fan_in: usize, n: usize) -> Vec<f32> {
        let scale = (6.0 / fan_in as f64).sqrt() as f32;
        let value = |i: usize| {
            // Exact in f32, never 0.
            let r =
                (2.0 * number(seed, name, i as u64) as f64 + 1.0 - f64::from(1 << 24)) / f64::from(1 << 24);
            match name {
                _ if name.ends_with(".bn.weight") => (1.0 + 0.25 * r) as f32,
                _ if name.ends_with(".running_var") => (1.0 + 0.5 * r) as f32,
                _ if name.ends_with("weight") => r as f32 * scale,
                _ => (0.25 * r) as f32,
            }
        };
        (0..n).map(value).collect()
    }
}

/// The keys of a network: name, shape, hash of its bytes.
fn keys(context: &Context, file: &str) -> Result<Vec<(String, Vec<usize>, String)>, Failed> {
    let text = files::read_text(context.root().join(file))?;
    let rows = text.lines().skip(1).filter(|row| row.contains("float32"));
    rows.map(|row| match row.split('\t').collect::<Vec<_>>()[..] {
        [name, _, shape, hash] => {
            let shape = shape
                .split(',')
                .map(str::parse)
                .collect::<Result<Vec<usize>, _>>()?;
            Ok((name.to_owned(), shape, hash.to_owned()))
        }
        _ => Err(format!("{file}: expected four columns in {row:?}").into()),
    })
    .collect()
}

fn seed(context: &Context) -> Result<u64, Failed> {
    Ok(context.info_as::<String>("recipe_seed")?.parse()?)
}

/// The recipe itself, at its first values.
pub(super) fn recipe(context: &Context) -> Outcome {
    let seed = seed(context)?;
    let keys = keys(context, &context.info_as::<String>("keys_file")?)?;
    let mut computed = Vec::new();
    for name in context.golden().keys() {
        let Some(key) = name.strip_prefix("out.first8.") else {
            continue;
        };
        let found = keys.iter().find(|(known, ..)| known == key);
        let (_, shape, _) = found.ok_or_else(|| format!("no key {key}"))?;
        let values = stream::values(seed, key, shape[1..].iter().product(), 8);
        computed.push(Computed::new(name, Array::f32([8], values), Tolerance::Exact));
    }
    let numbers = (0..8).map(|i| stream::number(seed, "Conv2d_1a_3x3.conv.weight", i) as i64);
    computed.push(Computed::new(
        "out.stream.u24",
        Array::i64([8], numbers.collect()),
        Tolerance::Exact,
    ));
    Ok(computed)
}

/// The network: the narrow one from every format of its files that is there, the full one from its recipe.
fn network(context: &Context) -> Result<Vec<Inception>, Failed> {
    let device = context.device();
    let dir = context.root().join("inception_narrow");
    if context.name().ends_with("narrow") {
        let others = ["model_zip.pth", "model_legacy.pth"].map(|name| dir.join(name));
        let files = others.into_iter().filter(|file| file.is_file());
        return std::iter::once(dir.join("model.safetensors"))
            .chain(files)
            .map(|file| Ok(Inception::load(&file, device)?))
            .collect();
    }
    let seed = seed(context)?;
    let mut tensors = BTreeMap::new();
    for (name, shape, hash) in keys(context, "inception_full_keys.tsv")? {
        let values = stream::values(seed, &name, shape[1..].iter().product(), shape.iter().product());
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let found = files::sha256(&bytes);
        if found != hash {
            return Err(format!(
                "the recipe gives other values of {name}: sha256 {hash} expected, {found} found"
            )
            .into());
        }
        tensors.insert(name, (shape, values));
    }
    let checkpoint = Checkpoint::from_memory(Path::new("the recipe"), tensors);
    Ok(vec![Inception::from_checkpoint(&checkpoint, device)?])
}

/// `[batch, 3, 299, 299]` of these images.
fn input(images: &[RgbImage], resize: Resize, device: &Device) -> Tensor<4> {
    let pixels: Vec<f32> = images.iter().flat_map(|image| resize.apply(image)).collect();
    Tensor::from_data(TensorData::new(pixels, [images.len(), 3, SIDE, SIDE]), device)
}

/// Every block and layer.
pub(super) fn inception(context: &Context) -> Outcome {
    let images = images(context, "images")?;
    let mut computed = Vec::new();
    for network in network(context)? {
        let mut blocks: [Vec<Tensor<2>>; 4] = Default::default();
        for (i, image) in images.iter().enumerate() {
            let x = input(std::slice::from_ref(image), Resize::PytorchFid, context.device());
            let out = network.forward_with(x, &mut |name, y| {
                if i == 0 {
                    let mean = spatial_mean(y.clone());
                    let channels = mean.dims()[1];
                    let name = format!("out.layer_mean.{name}");
                    computed.push(Computed::tensor(name, mean.reshape([channels]), Tolerance::Float));
                }
            });
            blocks[3].push(out.features);
            for (block, x) in blocks.iter_mut().zip([out.first, out.second, out.third]) {
                block.push(spatial_mean(x));
            }
        }
        for (i, block) in blocks.into_iter().enumerate() {
            let block = Tensor::cat(block, 0);
            let name = format!("out.block{i}_dim{}", block.dims()[1]);
            if i == 3 {
                computed.push(Computed::tensor(
                    "out.logits",
                    network.logits(block.clone()),
                    Tolerance::Float,
                ));
            }
            computed.push(Computed::tensor(name, block, Tolerance::Float));
        }
    }
    Ok(computed)
}

/// What the network is given, in every mode.
pub(super) fn preprocess(context: &Context) -> Outcome {
    let image = read_image(context.root().join(context.info_as::<String>("image")?))?;
    let bytes = context.input("in.uint8_hwc")?;
    if bytes.shape.len() == 3
        && bytes.to_f64() != image.as_raw().iter().map(|v| f64::from(*v)).collect::<Vec<_>>()
    {
        return Err("the image's pixels are others than the golden's".into());
    }
    let index: Vec<usize> = context
        .whole_numbers("in.index")?
        .iter()
        .map(|i| *i as usize)
        .collect();
    let mut computed = Vec::new();
    let mut compare = |name: &str, values: &[f32], unit: f64| {
        let mut sampled = Vec::with_capacity(3 * index.len() * index.len());
        for row in (0..3).flat_map(|c| index.iter().map(move |y| (c * SIDE + y) * SIDE)) {
            sampled.extend(index.iter().map(|x| values[row + x]));
        }
        let shape = [3, index.len(), index.len()];
        // A thousandth of a grey level; torch's and our f32 differ by a hundredth of that.
        let bound = Tolerance::Reach(1e-3 * unit);
        computed.push(Computed::new(
            format!("out.{name}"),
            Array::f32(shape, sampled),
            bound,
        ));
        let told = mean_std(values).to_vec();
        computed.push(Computed::new(
            format!("out.{name}.mean_std"),
            Array::f64([2], told),
            Tolerance::Reach(1e-4 * unit),
        ));
        let full = format!("out.full.{name}");
        if context.golden().contains_key(&full) {
            computed.push(Computed::new(
                full,
                Array::f32([3, SIDE, SIDE], values.to_vec()),
                bound,
            ));
        }
    };
    let level = 2.0 / 255.0;
    compare("pytorch_fid", &Resize::PytorchFid.apply(&image), level);
    for (mode, name) in [
        (Resize::Clean, "clean"),
        (Resize::LegacyPytorch, "legacy_pytorch"),
    ] {
        compare(&format!("{name}_0_255"), &mode.resized(&image), 1.0);
        compare(&format!("{name}_net_input"), &mode.apply(&image), level);
    }
    Ok(computed)
}

/// Two folders to their features and distance, as pytorch-fid does.
pub(super) fn folders(context: &Context) -> Outcome {
    let network = Inception::load(
        &context.root().join("inception_narrow/model.safetensors"),
        context.device(),
    )?;
    let features = |images: Vec<RgbImage>| -> Result<Embeddings, Failed> {
        let features = network
            .forward(input(&images, Resize::PytorchFid, context.device()))
            .features;
        Ok(Embeddings::new(
            images.len(),
            network.d(),
            features.into_data().iter::<f32>().collect(),
        )?)
    };
    compared_folders(context, features)
}
