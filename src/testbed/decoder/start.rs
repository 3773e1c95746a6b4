//! Initial weights of a small decoder.
//!
//! Every residual branch starts at zero, and so does the output. The layers that z_x goes through first start with what a linear map can read off it:
//! each token holds whether one noun is there, its colour and its side, and the part for the time embedding which nouns there are, and which noun and which
//! colour is where; the rest of both is a random map of the whitened z_x. From random weights alone the network learns the same some hundreds of steps
//! later. The finished model has plain linear layers.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use nalgebra::{DMatrix, SymmetricEigen};

use crate::models::unet::N_IMAGE_TOKENS;
use crate::noise::Noise;
use crate::world::{Colour, Relation, Scene, World};

/// Directions with less than this share of the largest variance are not amplified further.
const LEAST_VARIANCE: f64 = 1e-3;
/// Ridge penalty, relative to the variance of the whitened z_x.
const RIDGE: f64 = 1e-2;
/// What a fact that holds is worth, where a random entry has a standard deviation of [`RANDOM`].
const FACT: f64 = 3.0;
const RANDOM: f64 = 0.5;
/// Entries of a token that start as 1 and -1 in turn, so that the norm that follows does not amplify a noun that is not there.
const N_CONSTANT: usize = 6;

/// Facts of a noun: it is there; its colours; its sides; its textures.
fn n_noun_facts(world: World) -> usize {
    FIRST_TEXTURE + world.textures().len()
}
const FIRST_SIDE: usize = 1 + Colour::ALL.len();
const FIRST_TEXTURE: usize = FIRST_SIDE + Relation::ALL.len();
/// Places of a main sprite: four sides, or alone; and its colours, the last the art's own, then its textures.
const N_PLACES: usize = Relation::ALL.len() + 1;
const N_LOOKS: usize = Colour::ALL.len() + 1;
fn n_place_facts(world: World) -> usize {
    N_LOOKS + world.textures().len()
}

/// Statistics of z_x from before training: its mean, how to whiten it, and how to read facts off it.
#[derive(Debug, Clone, PartialEq)]
pub struct Readout {
    world: World,
    mean: Vec<f32>,
    /// `[d_clip, d_clip]`, row by row; `(z - mean) whitening` is white.
    whitening: Vec<f32>,
    /// Ridge regression of the facts, `[d_clip, n_facts]`.
    weight: DMatrix<f64>,
    /// `[n_facts]`
    bias: Vec<f64>,
}

impl Readout {
    /// From `scenes` of a world and their z_x, a row each.
    pub fn new(world: World, scenes: &[Scene], z_x: &[f32]) -> Self {
        let n = scenes.len();
        let d_clip = z_x.len() / n;
        let rows = DMatrix::from_row_slice(n, d_clip, z_x).map(f64::from);
        let mean = rows.row_mean();
        let centred = DMatrix::from_fn(n, d_clip, |i, j| rows[(i, j)] - mean[j]);
        let eigen = SymmetricEigen::new(centred.tr_mul(&centred) / n as f64);
        let least = LEAST_VARIANCE * eigen.eigenvalues.max();
        let whitening = DMatrix::from_fn(d_clip, d_clip, |i, j| {
            eigen.eigenvectors[(i, j)] / eigen.eigenvalues[j].max(least).sqrt()
        });

        let mut holds = DMatrix::zeros(n, n_facts(world));
        for (i, scene) in scenes.iter().enumerate() {
            facts(scene).into_iter().for_each(|fact| holds[(i, fact)] = 1.0);
        }
        let share = holds.row_mean();
        let white = &centred * &whitening;
        let gram = white.tr_mul(&white) / n as f64 + DMatrix::identity(d_clip, d_clip) * RIDGE;
        // White columns sum to zero: the facts need not be centred.
        let targets = white.tr_mul(&holds) / n as f64;
        let solved = gram
            .cholesky()
            .expect("a ridge is positive definite")
            .solve(&targets);
        let weight = &whitening * solved;
        let offset = &mean * &weight;
        Self {
            world,
            bias: share.iter().zip(offset.iter()).map(|(s, o)| s - o).collect(),
            weight,
            mean: mean.iter().map(|&x| x as f32).collect(),
            whitening: whitening.transpose().iter().map(|&x| x as f32).collect(),
        }
    }

    /// The world of the scenes.
    pub fn world(&self) -> World {
        self.world
    }

    /// Width of the embeddings.
    pub fn d_clip(&self) -> usize {
        self.mean.len()
    }

    /// What the regression reads off one z_x.
    #[cfg(test)]
    pub(super) fn read(&self, z_x: &[f32]) -> Vec<f64> {
        let row = DMatrix::from_row_slice(1, z_x.len(), z_x).map(f64::from);
        let read = row * &self.weight;
        read.iter().zip(&self.bias).map(|(r, b)| r + b).collect()
    }

    /// A layer of `d_out` entries, as weight `[d_clip, d_out]`, row by row, and bias: facts where `plan` says so, constants, else random.
    fn layer(&self, plan: &[Entry], noise: &mut Noise) -> (Vec<f32>, Vec<f32>) {
        let (d, d_out) = (self.d_clip(), plan.len());
        let mut weight = vec![0.0_f32; d * d_out];
        let mut bias = vec![0.0_f32; d_out];
        for (at, entry) in plan.iter().enumerate() {
            match *entry {
                Entry::Constant(value) => bias[at] = value,
                Entry::Fact(fact) => {
                    bias[at] = (FACT * self.bias[fact]) as f32;
                    for i in 0..d {
                        weight[i * d_out + at] = (FACT * self.weight[(i, fact)]) as f32;
                    }
                }
                Entry::Random => {
                    let std = (RANDOM / (d as f64).sqrt()) as f32;
                    let mix: Vec<f32> = noise.normal_vec(d).into_iter().map(|x| x * std).collect();
                    for (i, row) in self.whitening.chunks(d).enumerate() {
                        let value: f32 = row.iter().zip(&mix).map(|(a, b)| a * b).sum();
                        weight[i * d_out + at] = value;
                        bias[at] -= self.mean[i] * value;
                    }
                }
            }
        }
        (weight, bias)
    }
}

/// How many facts there are.
pub(super) fn n_facts(world: World) -> usize {
    world.n_nouns() * n_noun_facts(world) + N_PLACES * n_place_facts(world)
}

/// The facts that hold in `scene`, of its main sprites.
pub(super) fn facts(scene: &Scene) -> Vec<usize> {
    let world = scene.world();
    let relation = scene.relation();
    let sides = [relation, relation.map(Relation::inverse)];
    let mut facts = Vec::new();
    for (sprite, side) in scene.main().zip(sides) {
        let noun = sprite.noun.index() * n_noun_facts(world);
        let place = side.map_or(Relation::ALL.len(), |side| side as usize);
        let look = sprite.colour.map_or(Colour::ALL.len(), Colour::index);
        facts.push(noun);
        facts.extend(sprite.colour.map(|colour| noun + 1 + colour.index()));
        facts.extend(side.map(|side| noun + FIRST_SIDE + side as usize));
        facts.extend(
            sprite
                .texture
                .map(|texture| noun + FIRST_TEXTURE + texture.index()),
        );
        let place = world.n_nouns() * n_noun_facts(world) + place * n_place_facts(world);
        facts.push(place + look);
        facts.extend(sprite.texture.map(|texture| place + N_LOOKS + texture.index()));
    }
    facts
}

/// What an entry of a layer starts as.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    Fact(usize),
    Constant(f32),
    Random,
}

/// Token i: the facts of noun i, constants, random entries; as far as the width allows.
fn tokens(world: World, d_cross: usize) -> Vec<Entry> {
    let n_noun_facts = n_noun_facts(world);
    let entry = |token: usize, at: usize| match at {
        _ if token >= world.n_nouns() => Entry::Random,
        _ if at < n_noun_facts => Entry::Fact(token * n_noun_facts + at),
        _ if at < n_noun_facts + N_CONSTANT => Entry::Constant(if at.is_multiple_of(2) { 1.0 } else { -1.0 }),
        _ => Entry::Random,
    };
    (0..N_IMAGE_TOKENS * d_cross)
        .map(|i| entry(i / d_cross, i % d_cross))
        .collect()
}

/// The part for the time embedding: which nouns there are, what colour and texture stands where, which noun stands on which side, random entries; as far as the width allows.
fn time(world: World, d_time: usize) -> Vec<Entry> {
    let (n_nouns, n_noun_facts) = (world.n_nouns(), n_noun_facts(world));
    let nouns = (0..n_nouns).map(|noun| Entry::Fact(noun * n_noun_facts));
    let looks = (n_nouns * n_noun_facts..n_facts(world)).map(Entry::Fact);
    let sides = (0..n_nouns).flat_map(|noun| {
        (FIRST_SIDE..FIRST_TEXTURE).map(move |side| Entry::Fact(noun * n_noun_facts + side))
    });
    let random = std::iter::repeat(Entry::Random);
    nouns
        .chain(looks)
        .chain(sides)
        .chain(random)
        .take(d_time)
        .collect()
}

/// Draws the initial value of every parameter by its path, in the order of the module's fields; norms keep ones and zeros.
pub(super) fn start_values<M: Module>(module: M, z_x: &Readout, noise: &mut Noise) -> M {
    module.map(&mut Start {
        noise,
        z_x,
        path: Vec::new(),
        bias: None,
    })
}

struct Start<'a> {
    noise: &'a mut Noise,
    z_x: &'a Readout,
    path: Vec<String>,
    /// The bias of the layer whose weight was drawn last, if it reads z_x.
    bias: Option<Vec<f32>>,
}

impl ModuleMapper for Start<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (shape, device, id) = (param.lazy_shape(), param.lazy_device(), param.id);
        let path = self.path.join(".");
        let ends = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
        let n = shape.num_elements();
        let values: Vec<f32> = if ends(&["image.fc_tokens.weight", "image.fc_time.weight"]) {
            let d_out = n / self.z_x.d_clip();
            let plan = match ends(&["fc_time.weight"]) {
                true => time(self.z_x.world, d_out),
                false => tokens(self.z_x.world, d_out / N_IMAGE_TOKENS),
            };
            let (weight, bias) = self.z_x.layer(&plan, self.noise);
            self.bias = Some(bias);
            weight
        } else if ends(&["image.fc_tokens.bias", "image.fc_time.bias"]) {
            self.bias.take().expect("a bias follows its weight")
        } else if ends(&[".bias", "conv_2.weight", "output.weight", "conv_out.weight"]) {
            vec![0.0; n]
        } else if ends(&[".weight"]) {
            let fan_in = if D == 2 { shape[0] } else { n / shape[0] };
            let std = (fan_in as f32).sqrt().recip();
            self.noise.normal_vec(n).into_iter().map(|x| x * std).collect()
        } else {
            return param;
        };
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }
}
