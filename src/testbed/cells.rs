//! What covers each cell of an image: targets and losses of heads that read it off a network's positions, as an aid to training.

use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use crate::world::{Colour, Scene, World};

/// What a cell can show: ground, nouns.
pub(super) fn n_nouns(world: World) -> usize {
    1 + world.n_nouns()
}

/// Its texture, in worlds with textures: ground, textures.
pub(super) fn n_textures(world: World) -> Option<usize> {
    (!world.textures().is_empty()).then(|| 1 + world.textures().len())
}

/// Its colour: ground, own colouring, colours.
pub(super) const N_COLOURS: usize = 2 + Colour::ALL.len();

/// Cells of bare ground count this much less than covered ones.
const GROUND_DISCOUNT: f32 = 0.7;

/// Shares of each noun, colour and texture in the cells of images, weighted; the weights of a batch sum to 1.
#[derive(Debug, Clone)]
pub struct CellTargets {
    /// `[batch * n_cells, n_nouns]`, cells row by row from the top.
    pub noun: Tensor<2>,
    /// `[batch * n_cells, N_COLOURS]`
    pub colour: Tensor<2>,
    /// `[batch * n_cells, n_textures]`; `None` in worlds without.
    pub texture: Option<Tensor<2>>,
    /// From the cell's middle to that of what covers most of it, right and down, in halves of an image's side: `[batch * n_cells, 2]`.
    pub offset: Tensor<2>,
    /// How much of the cell is covered; sums to 1: `[batch * n_cells, 1]`
    pub covered: Tensor<2>,
}

impl CellTargets {
    /// The cells of `grid` x `grid` in each of some scenes of a world.
    pub fn new(world: World, scenes: &[Scene], grid: usize, device: &Device) -> Self {
        let side = world.image_size();
        let n_cells = grid * grid;
        let n_nouns = n_nouns(world);
        let n_textures = n_textures(world).unwrap_or(0);
        let mut nouns = vec![0.0_f32; scenes.len() * n_cells * n_nouns];
        let mut colours = vec![0.0_f32; scenes.len() * n_cells * N_COLOURS];
        let mut textures = vec![0.0_f32; scenes.len() * n_cells * n_textures];
        let mut offsets = vec![0.0_f32; scenes.len() * n_cells * 2];
        let mut covered = vec![0.0_f32; scenes.len() * n_cells];
        for (number, scene) in scenes.iter().enumerate() {
            let labels: Vec<(usize, usize, usize)> = scene
                .sprites()
                .map(|sprite| {
                    (
                        1 + sprite.noun.index(),
                        sprite.colour.map_or(1, |colour| 2 + colour.index()),
                        sprite.texture.map_or(0, |texture| 1 + texture.index()),
                    )
                })
                .collect();
            let mut counts = vec![[0_u32; 3]; n_cells];
            for (pixel, cover) in scene.cover().into_iter().enumerate() {
                let (x, y) = (pixel % side * grid / side, pixel / side * grid / side);
                let cell = number * n_cells + y * grid + x;
                let (noun, colour, texture) = cover.map_or((0, 0, 0), |sprite| labels[sprite]);
                nouns[cell * n_nouns + noun] += 1.0;
                colours[cell * N_COLOURS + colour] += 1.0;
                if n_textures > 0 {
                    textures[cell * n_textures + texture] += 1.0;
                }
                if let Some(sprite) = cover {
                    covered[cell] += 1.0;
                    counts[y * grid + x][sprite] += 1;
                }
            }
            let centres: Vec<[u8; 2]> = scene.sprites().map(|sprite| sprite.centre).collect();
            for (at, counts) in counts.iter().enumerate() {
                let most = (0..centres.len()).max_by_key(|&i| counts[i]);
                for (axis, place) in [at % grid, at / grid].into_iter().enumerate() {
                    let middle = (place as f32 + 0.5) * (side / grid) as f32;
                    let centre = most.map_or(middle, |i| f32::from(centres[i][axis]));
                    offsets[(number * n_cells + at) * 2 + axis] = (centre - middle) * 2.0 / side as f32;
                }
            }
        }
        let all_covered = covered.iter().sum::<f32>().max(1.0);
        covered.iter_mut().for_each(|v| *v /= all_covered);
        let rows = covered.len();
        let tensor = |mut values: Vec<f32>, width: usize| {
            let pixels = (side * side) as f32 / n_cells as f32;
            let mut sum = 0.0;
            for cell in values.chunks_exact_mut(width) {
                let weight = 1.0 - GROUND_DISCOUNT * cell[0] / pixels;
                cell.iter_mut().for_each(|v| *v *= weight);
                sum += weight * pixels;
            }
            values.iter_mut().for_each(|v| *v /= sum);
            let rows = values.len() / width;
            Tensor::from_data(TensorData::new(values, [rows, width]), device)
        };
        Self {
            noun: tensor(nouns, n_nouns),
            colour: tensor(colours, N_COLOURS),
            texture: (n_textures > 0).then(|| tensor(textures, n_textures)),
            offset: Tensor::from_data(TensorData::new(offsets, [rows, 2]), device),
            covered: Tensor::from_data(TensorData::new(covered, [rows, 1]), device),
        }
    }
}

/// Cross-entropy of what `head` reads off `cells` `[n, d]` with weighted shares `[n, n_classes]`: `[1]`.
pub(super) fn cross_entropy(head: &Linear, cells: Tensor<2>, target: &Tensor<2>) -> Tensor<1> {
    (log_softmax(head.forward(cells), 1) * target.clone()).sum().neg()
}

/// Squared error of the offsets that `head` reads off `cells` `[n, d]`, where something covers them, over their mean square: `[1]`.
pub(super) fn offset_error(head: &Linear, cells: Tensor<2>, targets: &CellTargets) -> Tensor<1> {
    let error = (head.forward(cells) - targets.offset.clone()).square();
    (error * targets.covered.clone()).sum().div_scalar(OFFSET_SQUARE)
}

/// About the sum of both squares: a quarter of a sprite's 28 pixels of 64 each way, in halves of 64.
const OFFSET_SQUARE: f64 = 2.0 * 0.22 * 0.22;

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares sum to one, every main sprite has cells of its own, and the offsets of its cells point to its middle.
    #[test]
    fn cells_know_what_covers_them() {
        for world in World::ALL {
            cells_of_a_world_know_what_covers_them(world);
        }
    }

    fn cells_of_a_world_know_what_covers_them(world: World) {
        let scenes: Vec<Scene> = world.sample_w(20, 5).into_iter().map(|pair| pair.scene).collect();
        let (grid, device) = (8, Device::flex());
        let half = world.image_size() as f32 / 2.0;
        let targets = CellTargets::new(world, &scenes, grid, &device);
        let texture = targets
            .texture
            .as_ref()
            .map(|x| x.clone().into_data().iter::<f32>().collect::<Vec<f32>>());
        assert_eq!(texture.is_some(), !world.textures().is_empty());
        let values = |x: &Tensor<2>| x.clone().into_data().iter::<f32>().collect::<Vec<f32>>();
        let (noun, colour) = (values(&targets.noun), values(&targets.colour));
        let (offset, covered) = (values(&targets.offset), values(&targets.covered));
        for shares in [&noun, &colour, &covered] {
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
        let n_cells = grid * grid;
        let largest = |row: &[f32]| {
            (0..row.len())
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .expect("a class")
        };
        for (number, scene) in scenes.iter().enumerate() {
            for sprite in scene.main() {
                let mine: Vec<usize> = (number * n_cells..(number + 1) * n_cells)
                    .filter(|cell| {
                        largest(&noun[cell * n_nouns(world)..][..n_nouns(world)]) == 1 + sprite.noun.index()
                    })
                    .collect();
                assert!(!mine.is_empty());
                for cell in mine {
                    let look = largest(&colour[cell * N_COLOURS..][..N_COLOURS]);
                    assert_eq!(look, sprite.colour.map_or(1, |c| 2 + c.index()));
                    if let (Some(shares), Some(texture)) = (&texture, sprite.texture) {
                        let n = n_textures(world).expect("it has some");
                        assert_eq!(largest(&shares[cell * n..][..n]), 1 + texture.index());
                    }
                    let at = [cell % n_cells % grid, cell % n_cells / grid];
                    for axis in 0..2 {
                        let points_to = (at[axis] as f32 + 0.5) * half / 4.0 + offset[cell * 2 + axis] * half;
                        assert!((points_to - f32::from(sprite.centre[axis])).abs() < 1e-3);
                    }
                }
            }
        }
    }
}
