//! What is to be read off an embedding, as targets of a linear head.
//!
//! Facts, in this order: noun i is there; noun i has colour c; noun i stands on side s (of the other object); noun i has texture t, in worlds
//! with textures.

use burn::prelude::*;

use crate::world::{Colour, Noun, Relation, Scene, Statement, Texture, World};

/// Colours that a fact can name.
pub const N_COLOURS: usize = Colour::ALL.len();
const N_SIDES: usize = Relation::ALL.len();

/// Facts that hold weigh this much more than those that do not, since there are so few of them.
const HOLDING_WEIGHT: f32 = 8.0;
/// Weight of the binary losses; of each of the choices (which colour has noun i? which side? which texture?).
const BINARY_WEIGHT: f32 = 2.0;
const CHOICE_WEIGHT: f32 = 0.25;

/// Number of facts of a world.
pub fn n_facts(world: World) -> usize {
    world.n_nouns() * (1 + N_COLOURS + N_SIDES + world.textures().len())
}

/// An object: a noun, its colour, its texture and its side as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownObject {
    pub noun: Noun,
    pub colour: Option<Colour>,
    pub texture: Option<Texture>,
    pub side: Option<Relation>,
}

/// What is known of one picture or caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub objects: Vec<KnownObject>,
    /// A noun about which nothing is asked: the distractor's.
    pub unasked: Option<Noun>,
}

impl Known {
    /// The main sprites; a natural colouring counts as unknown.
    pub(super) fn of_scene(scene: &Scene) -> Self {
        let relation = scene.relation();
        let sides = [relation, relation.map(Relation::inverse)];
        let objects = scene
            .main()
            .zip(sides)
            .map(|(sprite, side)| KnownObject {
                noun: sprite.noun,
                colour: sprite.colour,
                texture: sprite.texture,
                side,
            })
            .collect();
        Self {
            objects,
            unasked: scene.distractor.map(|sprite| sprite.noun),
        }
    }

    /// What the caption says.
    pub(super) fn of_statement(statement: &Statement) -> Self {
        let sides = [statement.relation, statement.relation.map(Relation::inverse)];
        let objects = statement
            .objects()
            .zip(sides)
            .map(|(object, side)| KnownObject {
                noun: object.noun,
                colour: object.colour,
                texture: object.texture,
                side,
            })
            .collect();
        Self {
            objects,
            unasked: None,
        }
    }
}

/// Targets of a linear head for a batch of rows. Weights hold the masks and the normalisation, so that a loss is a sum of products.
#[derive(Debug, Clone)]
pub struct FactTargets {
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
        let (n_nouns, n_textures) = (world.n_nouns(), world.textures().len());
        let (n, width) = (rows.len(), n_facts(world));
        let colours = n_nouns..n_nouns * (1 + N_COLOURS);
        let sides = colours.end..n_nouns * (1 + N_COLOURS + N_SIDES);
        let textures = sides.end..width;
        let blocks = [0..colours.start, colours.clone(), sides.clone(), textures.clone()];
        let mut holds = vec![0.0_f32; n * width];
        let mut asked = vec![1.0_f32; n * width];
        for (row, known) in rows.iter().enumerate() {
            let at = row * width;
            if let Some(noun) = known.unasked {
                asked[at + noun.index()] = 0.0;
            }
            for object in &known.objects {
                let noun = object.noun.index();
                holds[at + noun] = 1.0;
                let first_colour = at + colours.start + noun * N_COLOURS;
                let first_side = at + colours.end + noun * N_SIDES;
                match object.colour {
                    Some(colour) => holds[first_colour + colour.index()] = 1.0,
                    None => asked[first_colour..][..N_COLOURS].fill(0.0),
                }
                match object.side {
                    Some(side) => holds[first_side + side as usize] = 1.0,
                    None => asked[first_side..][..N_SIDES].fill(0.0),
                }
                let first_texture = at + textures.start + noun * n_textures;
                match object.texture {
                    Some(texture) => holds[first_texture + texture.index()] = 1.0,
                    None => asked[first_texture..][..n_textures].fill(0.0),
                }
            }
        }
        let mut weight: Vec<f32> = asked
            .iter()
            .zip(&holds)
            .map(|(a, y)| a * (1.0 + (HOLDING_WEIGHT - 1.0) * y))
            .collect();
        for block in blocks {
            let all = || (0..n).flat_map(|row| block.clone().map(move |fact| row * width + fact));
            let sum: f32 = all().map(|i| weight[i]).sum();
            all().for_each(|i| weight[i] *= BINARY_WEIGHT / sum);
        }
        let choice = |block: std::ops::Range<usize>| {
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
        let texture = (n_textures > 0).then(|| tensor(choice(textures), [n * n_nouns, n_textures]));
        Self {
            colour: tensor(choice(colours), [n * n_nouns, N_COLOURS]),
            side: tensor(choice(sides), [n * n_nouns, N_SIDES]),
            texture,
            weight: tensor(weight, [n, width]),
            holds: tensor(holds, [n, width]),
        }
    }
}
