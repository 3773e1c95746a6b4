//! The samples of every step, kept where the caller wants to see them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;

use crate::generate::error::RenderError;
use crate::generate::images::{to_images, write_png};
use crate::weights::TensorFile;

/// A trajectory on the host: the shape of a sample, and its values in each step.
#[derive(Debug, Clone, Default)]
pub(super) struct Trajectory {
    shape: Vec<usize>,
    pub(super) steps: Vec<Vec<f32>>,
}

/// The trajectories of one image by name.
pub(super) type Trajectories = BTreeMap<&'static str, Trajectory>;

/// Writes the trajectories of an image, and each step of the decoder as an image. `file`: the file with this extension.
pub(super) fn write_steps(
    trajectories: &Trajectories,
    file: impl Fn(&str) -> PathBuf,
    to_pixels: &dyn Fn(Tensor<4>) -> Tensor<4>,
    device: &Device,
) -> Result<(), RenderError> {
    write_trajectories(&file("steps.safetensors"), trajectories)?;
    let Some(decoder) = trajectories.get("decoder_steps") else {
        return Ok(());
    };
    let Ok([channels, h, w]) = <[usize; 3]>::try_from(decoder.shape.as_slice()) else {
        return Ok(());
    };
    for (i, values) in decoder.steps.iter().enumerate() {
        let data = TensorData::new(values.clone(), [1, channels, h, w]);
        for image in to_images(to_pixels(Tensor::from_data(data, (device, DType::F32))))? {
            write_png(&file(&format!("step{i:03}.png")), &image, &[])?;
        }
    }
    Ok(())
}

/// Appends row i of `x` to the trajectory `name` of image i.
pub(super) fn keep_step(images: &mut [Trajectories], name: &'static str, x: &Tensor<4>) {
    let mut taken: Vec<Trajectory> = images
        .iter_mut()
        .map(|trajectories| trajectories.remove(name).unwrap_or_default())
        .collect();
    keep(&mut taken, x);
    for (trajectories, trajectory) in images.iter_mut().zip(taken) {
        trajectories.insert(name, trajectory);
    }
}

/// Appends row i of `x` to trajectory i.
pub(super) fn keep<const D: usize>(trajectories: &mut [Trajectory], x: &Tensor<D>) {
    let shape = x.dims()[1..].to_vec();
    let values: Vec<f32> = x.to_data().iter::<f32>().collect();
    let len = shape.iter().product();
    for (trajectory, row) in trajectories.iter_mut().zip(values.chunks(len)) {
        trajectory.shape = shape.clone();
        trajectory.steps.push(row.to_vec());
    }
}

fn write_trajectories(path: &Path, trajectories: &Trajectories) -> Result<(), RenderError> {
    let mut file = TensorFile::new();
    for (name, t) in trajectories {
        let shape = [&[t.steps.len()], t.shape.as_slice()].concat();
        file = file.with(*name, &shape, &t.steps.concat());
    }
    Ok(file.write(path)?)
}
