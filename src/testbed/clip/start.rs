//! Initial weights of a small CLIP.
//!
//! Published CLIPs start from small normal values (std 0.02), from which a small tower takes long to learn positions. Here matrices
//! keep the scale of what they are multiplied with, and positions of patches start as two-dimensional sines and cosines of root mean
//! square 0.5: with them the towers learn the side of an object within the first hundreds of steps, without them far later.

use std::f64::consts::PI;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;

use crate::noise::Noise;

/// Draws the initial value of every parameter by its path; norms keep ones and zeros, the temperature keeps CLIP's. Parameters are visited in
/// the order of the module's fields, so the result depends on the generator alone. `grid`: patches along a side.
pub(super) fn start_values<M: Module>(module: M, grid: usize, noise: &mut Noise) -> M {
    let mut depth = Depth::default();
    let module = module.map(&mut depth);
    module.map(&mut Start {
        noise,
        grid,
        path: Vec::new(),
        n_blocks: depth.n_blocks,
    })
}

/// Counts the blocks of each tower.
#[derive(Default)]
struct Depth {
    path: Vec<String>,
    n_blocks: Vec<(String, usize)>,
}

/// The tower that a path lies in: its components before `blocks`.
fn tower(path: &[String]) -> Option<String> {
    let blocks = path.iter().position(|name| name == "blocks")?;
    Some(path[..blocks].join("."))
}

impl ModuleMapper for Depth {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
        if self.path.len() >= 2
            && self.path[self.path.len() - 2] == "blocks"
            && let Some(tower) = tower(&self.path)
        {
            match self.n_blocks.iter_mut().find(|(name, _)| *name == tower) {
                Some((_, n)) => *n += 1,
                None => self.n_blocks.push((tower, 1)),
            }
        }
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

struct Start<'a> {
    noise: &'a mut Noise,
    grid: usize,
    path: Vec<String>,
    n_blocks: Vec<(String, usize)>,
}

impl ModuleMapper for Start<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        let path = self.path.join(".");
        let n = shape.num_elements();
        let n_blocks = tower(&self.path)
            .and_then(|tower| self.n_blocks.iter().find(|(name, _)| *name == tower))
            .map_or(1, |(_, n)| *n);
        let d_in = if D > 1 {
            n / shape[if D == 4 { 0 } else { 1 }]
        } else {
            1
        } as f32;
        let ends = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
        let values: Vec<f32> = if ends(&["vision.positions.weight"]) {
            sines(self.grid, shape[1])
        } else if ends(&["facts.bias"]) {
            vec![-2.0; n] // facts are rare
        } else if ends(&[".bias"]) {
            vec![0.0; n]
        } else {
            let std = if ends(&["tokens.weight", "class_token"]) {
                0.5
            } else if ends(&["text.positions.weight"]) {
                0.3
            } else if ends(&["attention.output.weight", "fc_2.weight"]) {
                // so that the residual stream does not grow with depth
                (2.0 * n_blocks as f32 * d_in).sqrt().recip()
            } else if ends(&["fc_1.weight"]) {
                (2.0 * d_in).sqrt().recip()
            } else if ends(&[
                "facts.weight",
                "patch_noun.weight",
                "patch_colour.weight",
                "patch_texture.weight",
                "patches.weight",
            ]) && D == 2
            {
                (3.0 * d_in).sqrt().recip()
            } else if ends(&[".weight"]) {
                d_in.sqrt().recip()
            } else {
                return param;
            };
            self.noise.normal_vec(n).into_iter().map(|x| x * std).collect()
        };
        let device = param.lazy_device();
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}

/// `[1 + grid * grid, width]`: zeros for the class token, then sines and cosines of x and y, with wavelengths from two grids to two
/// patches; root mean square 0.5 over the patches.
fn sines(grid: usize, width: usize) -> Vec<f32> {
    let n_waves = width / 4;
    let wave = |i: usize| {
        let octaves = (grid as f64).log2() * i as f64 / (n_waves.max(2) - 1) as f64;
        PI / grid as f64 * octaves.exp2()
    };
    let mut values = vec![0.0_f32; width];
    for patch in 0..grid * grid {
        for at in [patch % grid, patch / grid] {
            let at = at as f64 + 0.5;
            values.extend((0..n_waves).map(|i| (at * wave(i)).sin() as f32));
            values.extend((0..n_waves).map(|i| (at * wave(i)).cos() as f32));
        }
        values.resize(width * (2 + patch), 0.0);
    }
    let patches = &mut values[width..];
    let rms = (patches.iter().map(|v| v * v).sum::<f32>() / patches.len() as f32).sqrt();
    patches.iter_mut().for_each(|v| *v *= 0.5 / rms);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_all_different_and_of_one_size() {
        let (grid, width) = (4, 32);
        let values = sines(grid, width);
        assert_eq!(values.len(), (grid * grid + 1) * width);
        let rows: Vec<&[f32]> = values.chunks_exact(width).collect();
        assert!(rows[0].iter().all(|v| *v == 0.0));
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[..i] {
                let distance: f32 = a.iter().zip(*b).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(distance > 0.5, "{distance}");
            }
        }
        let neighbours =
            |a: usize, b: usize| -> f32 { rows[a].iter().zip(rows[b]).map(|(a, b)| a * b).sum() };
        assert!(neighbours(1, 2) > neighbours(1, 4), "near patches are alike");
    }
}
