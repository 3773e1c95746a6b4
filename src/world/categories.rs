//! What test prompts test, and how they relate to the training pairs.

use serde::{Deserialize, Serialize};

/// What a prompt tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Two objects, each in a colour.
    Colour,
    /// Two objects of the same colour and texture: only their shapes differ.
    Shape,
    /// Two objects, each in a texture.
    Texture,
    /// Two objects and their relation.
    Spatial,
}

/// How a prompt relates to P_XY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// All that it names occurs in P_XY, though never in one caption of these words.
    Seen,
    /// It falls into one of P_XY's [holes](super::held_out).
    Unseen,
    /// Counter-bias: it asks for a noun in another colour than the [usual one](super::usual_colour), one that P_XY does have; or in another
    /// [texture](super::usual_texture).
    #[serde(rename = "against")]
    CounterBias,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Seen, Self::Unseen, Self::CounterBias];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        ["seen", "unseen", "against"][self as usize]
    }
}

impl Category {
    /// All four, in T2I-CompBench's order.
    pub const ALL: [Self; 4] = [Self::Colour, Self::Shape, Self::Texture, Self::Spatial];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        ["colour", "shape", "texture", "spatial"][self as usize]
    }
}
