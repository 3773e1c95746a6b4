//! Facts about an image, numbered: what training heads and probes read off embeddings.
//!
//! In this order: noun i is there; noun i has colour c; noun i stands on side s (of the other object); noun i has texture t, in worlds with
//! textures.

use std::ops::Range;

use crate::world::{Colour, Noun, Relation, Scene, Statement, Texture, World};

/// Colours that a fact can name.
pub(super) const N_COLOURS: usize = Colour::ALL.len();
/// Sides that a fact can name.
pub(super) const N_SIDES: usize = Relation::ALL.len();

/// Number of facts of a world.
pub(super) fn n_facts(world: World) -> usize {
    FactNumbers::new(world).count()
}

/// The numbers of a world's facts. That noun i is there has the number i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FactNumbers {
    n_nouns: usize,
    n_textures: usize,
}

impl FactNumbers {
    pub(super) fn new(world: World) -> Self {
        Self {
            n_nouns: world.n_nouns(),
            n_textures: world.textures().len(),
        }
    }

    /// Nouns of the world.
    pub(super) fn n_nouns(self) -> usize {
        self.n_nouns
    }

    /// How many facts there are.
    pub(super) fn count(self) -> usize {
        self.block_of_textures().end
    }

    /// The blocks of facts: nouns, colours, sides, textures.
    pub(super) fn blocks(self) -> [Range<usize>; 4] {
        let (colours, sides) = (self.block_of_colours(), self.block_of_sides());
        [0..self.n_nouns, colours, sides, self.block_of_textures()]
    }

    /// The colours of all nouns.
    pub(super) fn block_of_colours(self) -> Range<usize> {
        self.n_nouns..self.n_nouns * (1 + N_COLOURS)
    }

    /// The sides of all nouns.
    pub(super) fn block_of_sides(self) -> Range<usize> {
        let first = self.block_of_colours().end;
        first..first + self.n_nouns * N_SIDES
    }

    /// The textures of all nouns; empty in worlds without textures.
    pub(super) fn block_of_textures(self) -> Range<usize> {
        let first = self.block_of_sides().end;
        first..first + self.n_nouns * self.n_textures
    }

    /// The colours of a noun.
    pub(super) fn colours(self, noun: Noun) -> Range<usize> {
        part(self.block_of_colours(), noun, N_COLOURS)
    }

    /// The sides of a noun.
    pub(super) fn sides(self, noun: Noun) -> Range<usize> {
        part(self.block_of_sides(), noun, N_SIDES)
    }

    /// The textures of a noun.
    pub(super) fn textures(self, noun: Noun) -> Range<usize> {
        part(self.block_of_textures(), noun, self.n_textures)
    }

    pub(super) fn colour(self, noun: Noun, colour: Colour) -> usize {
        self.colours(noun).start + colour.index()
    }

    pub(super) fn side(self, noun: Noun, side: Relation) -> usize {
        self.sides(noun).start + side as usize
    }

    pub(super) fn texture(self, noun: Noun, texture: Texture) -> usize {
        self.textures(noun).start + texture.index()
    }

    /// The facts that hold, as far as they are known.
    pub(super) fn of(self, known: &Known) -> Vec<usize> {
        let facts = known.objects.iter().flat_map(|object| {
            let noun = object.noun;
            [
                Some(noun.index()),
                object.colour.map(|colour| self.colour(noun, colour)),
                object.side.map(|side| self.side(noun, side)),
                object.texture.map(|texture| self.texture(noun, texture)),
            ]
        });
        facts.flatten().collect()
    }
}

/// What a noun has of a block with `width` facts a noun.
fn part(block: Range<usize>, noun: Noun, width: usize) -> Range<usize> {
    let first = block.start + noun.index() * width;
    first..first + width
}

/// An object: a noun, its colour, its texture and its side as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownObject {
    pub noun: Noun,
    pub colour: Option<Colour>,
    pub texture: Option<Texture>,
    pub side: Option<Relation>,
}

/// What is known of one image or caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub objects: Vec<KnownObject>,
    /// A noun whose presence is neither right nor wrong: the distractor's.
    pub unasked: Option<Noun>,
}

impl Known {
    /// The main sprites; a natural colouring counts as unknown.
    pub(super) fn of_scene(scene: &Scene) -> Self {
        let objects = scene.main().map(|s| (s.noun, s.colour, s.texture));
        Self {
            objects: with_sides(objects, scene.relation()),
            unasked: scene.distractor.map(|sprite| sprite.noun),
        }
    }

    /// What the caption says.
    pub(super) fn of_statement(statement: &Statement) -> Self {
        let objects = statement.objects().map(|o| (o.noun, o.colour, o.texture));
        Self {
            objects: with_sides(objects, statement.relation),
            unasked: None,
        }
    }
}

/// One or two objects, the first of which is at `relation` of the second.
fn with_sides(
    objects: impl Iterator<Item = (Noun, Option<Colour>, Option<Texture>)>,
    relation: Option<Relation>,
) -> Vec<KnownObject> {
    let sides = [relation, relation.map(Relation::inverse)];
    let known = objects
        .zip(sides)
        .map(|((noun, colour, texture), side)| KnownObject {
            noun,
            colour,
            texture,
            side,
        });
    known.collect()
}
