//! Published numbers, from a file beside the specification.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::schema;

/// The file of published numbers.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// Where the numbers come from.
    pub source: String,
    /// Footnotes of numbers, by the mark that `notes` names.
    pub footnotes: BTreeMap<String, String>,
    /// What is published about systems, by name.
    pub systems: BTreeMap<String, PublishedSystem>,
    /// The mean win rate of a preference's reference, by the preference's name.
    pub preferences: BTreeMap<String, f64>,
}

impl Published {
    /// The JSON Schema of such a file.
    pub fn schema() -> serde_json::Value {
        schema::document("Published numbers", schema::of::<Self>())
    }
}

/// What is published about a system.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishedSystem {
    /// Trained parameters, in millions.
    pub trained: Option<f64>,
    /// Parameters of prior and base decoder, in millions.
    pub total: Option<f64>,
    /// Training pairs, in millions.
    pub pairs: Option<f64>,
    /// Scores by the column's name.
    pub scores: BTreeMap<String, PublishedScore>,
}

/// A published score.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "Spelling")]
#[schemars(with = "Spelling")]
pub struct PublishedScore {
    /// The number.
    pub value: f64,
    /// Marks of its footnotes. A number with a footnote is not compared with the others.
    pub notes: Vec<String>,
}

/// A number, or a table with notes.
#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a number, or a table such as { value = 0.5, notes = [\"*\"] }"
)]
enum Spelling {
    Plain(f64),
    Noted { value: f64, notes: Vec<String> },
}

impl From<Spelling> for PublishedScore {
    fn from(spelling: Spelling) -> Self {
        match spelling {
            Spelling::Plain(value) => Self {
                value,
                notes: Vec::new(),
            },
            Spelling::Noted { value, notes } => Self { value, notes },
        }
    }
}
