//! What is kept of every step, where somebody wants to see it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;

use super::{Event, Wave};
use crate::generate::error::RenderError;
use crate::generate::picture::{to_pictures, write_png};
use crate::weights::TensorFile;

/// A trajectory on the host: one array of a picture's size for each step.
#[derive(Debug, Clone, Default)]
pub(super) struct Trajectory {
    shape: Vec<usize>,
    pub(super) steps: Vec<Vec<f32>>,
}

/// The trajectories of one picture, by stage.
pub(super) type Trajectories = BTreeMap<&'static str, Trajectory>;

impl Wave<'_> {
    /// Writes the trajectories, and each step of the decoder as a picture; `pixels` makes one of a step.
    pub(super) fn write_steps(&self, pixels: impl Fn(Tensor<4>) -> Tensor<4>) -> Result<(), RenderError> {
        for (planned, trajectories) in self.pictures.iter().zip(&self.trajectories) {
            if !self.options.save_steps {
                continue;
            }
            write_trajectories(&self.plan.file(planned, "steps.safetensors"), trajectories)?;
            let Some(decoder) = trajectories.get("decoder_steps") else {
                continue;
            };
            let Ok(shape) = <[usize; 3]>::try_from(decoder.shape.as_slice()) else {
                continue;
            };
            let [channels, h, w] = shape;
            for (i, values) in decoder.steps.iter().enumerate() {
                let data = TensorData::new(values.clone(), [1, channels, h, w]);
                for picture in to_pictures(pixels(Tensor::from_data(data, (self.device, DType::F32))))? {
                    let name = format!("step{i:03}.png");
                    write_png(&self.plan.file(planned, &name), &picture, &[])?;
                }
            }
        }
        Ok(())
    }
}

/// One step of a UNet: keeps it where it is wanted, and says so.
pub(super) fn step(
    kept: &mut [Trajectories],
    name: &'static str,
    x: &Tensor<4>,
    save: bool,
    on_event: &mut dyn FnMut(Event),
) {
    if save {
        let mut taken: Vec<Trajectory> = kept
            .iter_mut()
            .map(|k| k.remove(name).unwrap_or_default())
            .collect();
        keep(&mut taken, x);
        for (kept, trajectory) in kept.iter_mut().zip(taken) {
            kept.insert(name, trajectory);
        }
    }
    on_event(Event::Step);
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
