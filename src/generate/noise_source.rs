//! Noise of many images at once: each has its own seed and its own generators, so that it does not depend on its batch.
//!
//! Every stage of an image draws from its own stream: a prior that is skipped, a negative prompt or more prior steps leave the decoder's noise
//! as it was. Recorded noise takes the place of the generators.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::{DType, TensorData};

use crate::diffusion::{DiffusionError, DrawNoise};
use crate::noise::{Noise, Stream};
use crate::weights::{Checkpoint, WeightsError};

/// A stage of an image that draws noise; each has its own random stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoiseStage {
    /// The prior.
    Prior,
    /// The prior on the negative prompt.
    Negative,
    /// The decoder.
    Decoder,
    /// Super-resolution.
    SuperRes,
    /// The noise on z_x of a decoder with noise augmentation.
    Augmentation,
}

impl NoiseStage {
    /// The name of its recorded initial latents.
    fn name(self) -> &'static str {
        match self {
            Self::Prior | Self::Negative => "prior",
            Self::Decoder => "decoder",
            Self::SuperRes => "super_res",
            Self::Augmentation => "augmentation",
        }
    }
}

/// The noise that one stage of one image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseNeed {
    /// The stage.
    pub stage: NoiseStage,
    /// The number of draws, the initial latent included.
    pub n_draws: usize,
    /// The shape of a draw.
    pub row: Vec<usize>,
}

/// Recorded noise that does not fit.
#[derive(Debug, thiserror::Error)]
pub enum LatentsError {
    /// The file does not load.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file holds a tensor of another name.
    #[error(
        "{path}: unknown tensor `{name}`: expected noise.000, noise.001, .. (every draw) or initial latents called {known}"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The stages of this call.
        known: String,
    },
    /// Too few or too many draws.
    #[error("{path} holds {found} draws, this call makes {expected}: {each}")]
    Count {
        /// The file.
        path: PathBuf,
        /// The number of draws in the file.
        found: usize,
        /// The number of draws that the call makes.
        expected: usize,
        /// The same by stage.
        each: String,
    },
    /// A tensor of another shape.
    #[error("{path}: `{name}`: expected shape {expected:?} ({stage}), found {found:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The stage that would use it.
        stage: &'static str,
        /// The shape that the call draws.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
}

/// Noise from a file, one row an image.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedNoise {
    /// The draws of each stage; those of [`NoiseStage::Negative`] follow the rows of [`NoiseStage::Prior`].
    draws: BTreeMap<NoiseStage, Vec<Vec<f32>>>,
    n_images: usize,
    /// Whether the file holds every draw; else it holds initial latents, and the seeds give the rest.
    complete: bool,
}

impl RecordedNoise {
    /// Reads the noise of `n_images` images: `noise.000`, `noise.001`, .. in the order of `needs`, or initial latents named after their stage.
    /// With [`NoiseStage::Negative`] among the needs the prior's draws have twice the rows, the negative half second.
    ///
    /// # Errors
    /// [`LatentsError`], naming the file and the tensor, the expected and the found shape.
    pub fn read(path: &Path, needs: &[NoiseNeed], n_images: usize) -> Result<Self, LatentsError> {
        let file = Checkpoint::open(path)?;
        let doubled = needs.iter().any(|n| n.stage == NoiseStage::Negative);
        let needs: Vec<&NoiseNeed> = needs.iter().filter(|n| n.stage != NoiseStage::Negative).collect();
        let names: Vec<&str> = file.tensors().keys().map(String::as_str).collect();
        let complete = names.first().is_some_and(|n| n.starts_with("noise."));
        let known = || {
            needs
                .iter()
                .map(|n| n.stage.name())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut draws = BTreeMap::new();
        let mut load = |name: &str, need: &NoiseNeed| -> Result<(), LatentsError> {
            let twice = usize::from(doubled && need.stage == NoiseStage::Prior) + 1;
            let expected = [&[twice * n_images], need.row.as_slice()].concat();
            let found = file.tensors()[name].shape.clone();
            if found != expected {
                return Err(LatentsError::Shape {
                    path: path.into(),
                    name: name.into(),
                    stage: need.stage.name(),
                    expected,
                    found,
                });
            }
            let values = file.read(name)?.iter::<f32>().collect();
            draws.entry(need.stage).or_insert_with(Vec::new).push(values);
            Ok(())
        };
        if complete {
            let order = needs
                .iter()
                .flat_map(|need| std::iter::repeat_n(*need, need.n_draws));
            let order: Vec<&NoiseNeed> = order.collect();
            for (i, name) in names.iter().enumerate() {
                if *name != format!("noise.{i:03}") {
                    return Err(LatentsError::Unknown {
                        path: path.into(),
                        name: (*name).into(),
                        known: known(),
                    });
                }
            }
            if names.len() != order.len() {
                let each = needs.iter().map(|n| format!("{} {}", n.n_draws, n.stage.name()));
                return Err(LatentsError::Count {
                    path: path.into(),
                    found: names.len(),
                    expected: order.len(),
                    each: each.collect::<Vec<_>>().join(", "),
                });
            }
            for (name, need) in names.into_iter().zip(order) {
                load(name, need)?;
            }
        } else {
            for name in names {
                let Some(need) = needs.iter().find(|n| n.stage.name() == name) else {
                    return Err(LatentsError::Unknown {
                        path: path.into(),
                        name: name.into(),
                        known: known(),
                    });
                };
                load(name, need)?;
            }
        }
        Ok(Self {
            draws,
            n_images,
            complete,
        })
    }

    /// Row `row` of draw `k` of `stage`, if the file has it.
    fn row(&self, stage: NoiseStage, k: usize, row: usize, len: usize) -> Option<&[f32]> {
        let (stage, row) = match stage {
            NoiseStage::Negative => (NoiseStage::Prior, row + self.n_images),
            stage => (stage, row),
        };
        self.draws.get(&stage)?.get(k)?.get(row * len..(row + 1) * len)
    }
}

/// The noise of one image in one stage.
#[derive(Debug, Clone)]
pub struct RowNoise {
    stage: NoiseStage,
    seeded: Noise,
    recorded: Option<(Arc<RecordedNoise>, usize)>,
    n_drawn: usize,
}

impl RowNoise {
    /// The generator of `stage` for the image with `seed`.
    pub fn seeded(seed: u64, stage: NoiseStage) -> Self {
        Self {
            stage,
            seeded: Noise::of(seed, Stream::ImageStage(stage as u64)),
            recorded: None,
            n_drawn: 0,
        }
    }

    /// Takes the draws in row `row` of `recorded` before those of the generator.
    pub fn recorded(self, recorded: Option<&Arc<RecordedNoise>>, row: usize) -> Self {
        Self {
            recorded: recorded.map(|r| (r.clone(), row)),
            ..self
        }
    }

    fn next(&mut self, len: usize) -> Result<Vec<f32>, DiffusionError> {
        let k = self.n_drawn;
        self.n_drawn += 1;
        // The generator advances for recorded draws too: an initial latent from a file does not change the later draws.
        let seeded = self.seeded.normal_vec(len);
        let Some((recorded, row)) = &self.recorded else {
            return Ok(seeded);
        };
        match recorded.row(self.stage, k, *row, len) {
            Some(values) => Ok(values.to_vec()),
            None if recorded.complete => Err(DiffusionError::NoiseExhausted { drawn: k }),
            None => Ok(seeded),
        }
    }
}

/// The noise of a batch, one row for each image.
#[derive(Debug)]
pub struct BatchNoise<'a>(pub &'a mut [RowNoise]);

impl<const D: usize> DrawNoise<D> for BatchNoise<'_> {
    fn draw(&mut self, shape: [usize; D], device: &Device) -> Result<Tensor<D>, DiffusionError> {
        assert_eq!(shape[0], self.0.len(), "one generator a row");
        let len = shape[1..].iter().product();
        let mut values = Vec::with_capacity(shape[0] * len);
        for row in self.0.iter_mut() {
            values.extend(row.next(len)?);
        }
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            (device, DType::F32),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{Dtype, TensorView};

    fn draw(rows: &mut [RowNoise], n: usize) -> Vec<f32> {
        let shape = [rows.len(), n];
        let tensor: Tensor<2> = BatchNoise(rows).draw(shape, &Device::flex()).expect("drawn");
        tensor.into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn a_row_does_not_depend_on_its_batch() {
        let row = |seed| RowNoise::seeded(seed, NoiseStage::Decoder);
        let mut alone = [row(7)];
        let mut third = [row(5), row(6), row(7)];
        for _ in 0..3 {
            assert_eq!(draw(&mut alone, 4), draw(&mut third, 4)[8..]);
        }
        let mut prior = [RowNoise::seeded(7, NoiseStage::Prior)];
        assert_ne!(draw(&mut [row(7)], 4), draw(&mut prior, 4));
    }

    fn file(tensors: &[(&str, Vec<usize>)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(name, shape)| {
                let n = shape.iter().product::<usize>();
                let first = name.len() as f32;
                (0..n).flat_map(|i| (first + i as f32).to_le_bytes()).collect()
            })
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape), data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), data).expect("fits");
            (name.to_string(), view)
        });
        let path = dir.path().join("noise.safetensors");
        let whole = safetensors::serialize(views, None).expect("serialises");
        std::fs::write(&path, whole).expect("written");
        (dir, path)
    }

    fn needs(negative: bool) -> Vec<NoiseNeed> {
        let need = |stage, n_draws, row: &[usize]| NoiseNeed {
            stage,
            n_draws,
            row: row.to_vec(),
        };
        let mut needs = vec![
            need(NoiseStage::Prior, 1, &[3]),
            need(NoiseStage::Decoder, 2, &[4, 2, 2]),
        ];
        if negative {
            needs.push(need(NoiseStage::Negative, 1, &[3]));
        }
        needs
    }

    fn read(tensors: &[(&str, Vec<usize>)], negative: bool) -> Result<RecordedNoise, String> {
        let (_dir, path) = file(tensors);
        let said = |e: LatentsError| e.to_string().replace(&path.display().to_string(), "FILE");
        RecordedNoise::read(&path, &needs(negative), 2).map_err(said)
    }

    #[test]
    fn recorded_draws_come_first_and_may_not_run_out() {
        let latents = [
            ("noise.000", vec![4, 3]),
            ("noise.001", vec![2, 4, 2, 2]),
            ("noise.002", vec![2, 4, 2, 2]),
        ];
        let recorded = Arc::new(read(&latents, true).expect("fits"));
        let row = |stage, row| RowNoise::seeded(0, stage).recorded(Some(&recorded), row);
        assert_eq!(draw(&mut [row(NoiseStage::Prior, 1)], 3), [12.0, 13.0, 14.0]);
        // The negative half comes second.
        assert_eq!(draw(&mut [row(NoiseStage::Negative, 1)], 3), [18.0, 19.0, 20.0]);
        let mut decoder = [row(NoiseStage::Decoder, 0)];
        assert_eq!(draw(&mut decoder, 16)[15], 24.0);
        draw(&mut decoder, 16);
        let error: Result<Tensor<2>, _> = BatchNoise(&mut decoder).draw([1, 16], &Device::flex());
        assert_eq!(
            error.expect_err("all drawn").to_string(),
            "recorded noise ran out after 2 draws"
        );
    }

    #[test]
    fn named_latents_are_followed_by_seeded_noise() {
        let recorded = Arc::new(read(&[("decoder", vec![2, 4, 2, 2])], false).expect("fits"));
        let mut row = [RowNoise::seeded(3, NoiseStage::Decoder).recorded(Some(&recorded), 0)];
        let mut seeded = [RowNoise::seeded(3, NoiseStage::Decoder)];
        assert_eq!(draw(&mut row, 16)[0], 7.0);
        draw(&mut seeded, 16);
        assert_eq!(draw(&mut row, 16), draw(&mut seeded, 16));
        let mut prior = [RowNoise::seeded(3, NoiseStage::Prior).recorded(Some(&recorded), 0)];
        assert_eq!(
            draw(&mut prior, 3),
            draw(&mut [RowNoise::seeded(3, NoiseStage::Prior)], 3)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let cases = [
            (
                vec![("noise.000", vec![2, 3])],
                "FILE holds 1 draws, this call makes 3: 1 prior, 2 decoder",
            ),
            (
                vec![
                    ("noise.000", vec![2, 3]),
                    ("noise.001", vec![2, 4, 2, 2]),
                    ("noise.002", vec![2, 4, 2, 3]),
                ],
                "FILE: `noise.002`: expected shape [2, 4, 2, 2] (decoder), found [2, 4, 2, 3]",
            ),
            (
                vec![("prior", vec![1, 3])],
                "FILE: `prior`: expected shape [2, 3] (prior), found [1, 3]",
            ),
            (
                vec![("super_res", vec![2, 3])],
                "FILE: unknown tensor `super_res`: expected noise.000, noise.001, .. (every draw) or initial latents called prior, decoder",
            ),
            (
                vec![("noise.001", vec![2, 3])],
                "FILE: unknown tensor `noise.001`: expected noise.000, noise.001, .. (every draw) or initial latents called prior, decoder",
            ),
        ];
        for (tensors, message) in cases {
            assert_eq!(read(&tensors, false), Err(message.to_string()));
        }
    }
}
