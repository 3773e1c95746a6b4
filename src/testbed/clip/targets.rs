//! What a linear head is to read off an embedding.

use std::ops::Range;

use burn::prelude::*;

use crate::testbed::facts::{FactNumbers, Known, N_COLOURS, N_SIDES};
use crate::world::World;

/// Facts that hold weigh this much more than those that do not, since there are so few of them.
const HOLDING_WEIGHT: f32 = 8.0;
/// Weight of the binary losses; of each of the choices (which colour has noun i? which side? which texture?).
const BINARY_WEIGHT: f32 = 2.0;
const CHOICE_WEIGHT: f32 = 0.25;

/// Targets of a linear head for a batch of rows. Weights hold the masks and the normalisation, so that a loss is a sum of products.
#[derive(Debug, Clone)]
pub struct FactTargets {
    /// Which fact a column is.
    pub(super) numbers: FactNumbers,
    /// 1 where the fact holds, `[rows, n_facts]`.
    pub holds: Tensor<2>,
    /// Weights of the binary losses, `[rows, n_facts]`.
    pub weight: Tensor<2>,
    /// Weights of the right colours in a choice among a noun's colours, `[rows * n_nouns, N_COLOURS]`.
    pub colour: Tensor<2>,
    /// The same for sides, `[rows * n_nouns, 4]`.
    pub side: Tensor<2>,
    /// The same for textures, `[rows * n_nouns, 4]`; `None` in worlds without.
    pub texture: Option<Tensor<2>>,
}

impl FactTargets {
    pub(super) fn new(world: World, rows: &[Known], device: &Device) -> Self {
        let numbers = FactNumbers::new(world);
        let (n_nouns, n_textures) = (world.n_nouns(), world.textures().len());
        let (n, width) = (rows.len(), numbers.count());
        let mut holds = vec![0.0_f32; n * width];
        let mut asked = vec![1.0_f32; n * width];
        for (row, known) in rows.iter().enumerate() {
            let holds = &mut holds[row * width..][..width];
            let asked = &mut asked[row * width..][..width];
            numbers.of(known).into_iter().for_each(|fact| holds[fact] = 1.0);
            if let Some(noun) = known.unasked {
                asked[noun.index()] = 0.0;
            }
            for object in &known.objects {
                let noun = object.noun;
                for (is_known, facts) in [
                    (object.colour.is_some(), numbers.colours(noun)),
                    (object.side.is_some(), numbers.sides(noun)),
                    (object.texture.is_some(), numbers.textures(noun)),
                ] {
                    if !is_known {
                        asked[facts].fill(0.0);
                    }
                }
            }
        }
        let mut weight: Vec<f32> = asked
            .iter()
            .zip(&holds)
            .map(|(a, y)| a * (1.0 + (HOLDING_WEIGHT - 1.0) * y))
            .collect();
        for block in numbers.blocks() {
            let all = || (0..n).flat_map(|row| block.clone().map(move |fact| row * width + fact));
            let sum: f32 = all().map(|i| weight[i]).sum();
            all().for_each(|i| weight[i] *= BINARY_WEIGHT / sum);
        }
        let choice = |block: Range<usize>| {
            let values: Vec<f32> = holds
                .chunks_exact(width)
                .flat_map(|row| row[block.clone()].to_vec())
                .collect();
            let sum: f32 = values.iter().sum::<f32>().max(1.0);
            values
                .into_iter()
                .map(|y| y * CHOICE_WEIGHT / sum)
                .collect::<Vec<_>>()
        };
        let tensor =
            |values: Vec<f32>, shape: [usize; 2]| Tensor::from_data(TensorData::new(values, shape), device);
        let texture =
            (n_textures > 0).then(|| tensor(choice(numbers.block_of_textures()), [n * n_nouns, n_textures]));
        Self {
            numbers,
            colour: tensor(choice(numbers.block_of_colours()), [n * n_nouns, N_COLOURS]),
            side: tensor(choice(numbers.block_of_sides()), [n * n_nouns, N_SIDES]),
            texture,
            weight: tensor(weight, [n, width]),
            holds: tensor(holds, [n, width]),
        }
    }
}
