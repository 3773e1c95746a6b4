//! T2I-CompBench's score of the complex category, "3-in-1" (reference: `3_in_1_eval/3_in_1.py` at commit 1b70949).

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a complex prompt asks for beside attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A position.
    Spatial,
    /// An action.
    Action,
    /// Both, or neither list has the prompt.
    Both,
}

/// The lists of prompts by kind, the first that counts last.
static KINDS: LazyLock<HashMap<String, Kind>> = LazyLock::new(|| {
    let lists = [
        (
            include_str!("../../../datasets/t2i_compbench/complex_val_action.txt"),
            Kind::Action,
        ),
        (
            include_str!("../../../datasets/t2i_compbench/complex_val_spatial.txt"),
            Kind::Spatial,
        ),
    ];
    let entries = lists
        .into_iter()
        .flat_map(|(list, kind)| list.lines().map(move |prompt| (key(prompt), kind)));
    entries.collect()
});

/// How the reference compares prompts: what stands before the first full stop, in lower case.
fn key(prompt: &str) -> String {
    prompt.split('.').next().unwrap_or_default().trim().to_lowercase()
}

impl Kind {
    /// The kind of a prompt.
    pub fn of(prompt: &str) -> Self {
        KINDS.get(&key(prompt)).copied().unwrap_or(Self::Both)
    }

    /// The score of an image from its scores by BLIP-VQA, by positions and by CLIPScore: the mean of those that its prompt asks for.
    pub fn combine(self, attributes: f64, spatial: f64, clip: f64) -> f64 {
        match self {
            Self::Spatial => (spatial + attributes) * 0.5,
            Self::Action => (clip + attributes) * 0.5,
            Self::Both => (attributes + spatial + clip) / 3.0,
        }
    }
}
