//! What a playground offers: its priors, the words that it knows and an example.

use std::fmt;

/// Checks the words of a prompt; the error says what is wrong and what is expected.
pub(super) type CheckPrompt = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A prior that draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Its name in URLs.
    pub id: String,
    /// Its name on the page.
    pub label: String,
    /// What it is, in a sentence.
    pub about: String,
    /// The heading under which the page lists it.
    pub group: String,
    /// Fingerprint of its weights.
    pub identity: String,
    /// Whether the page ticks it at first.
    pub is_default: bool,
}

/// A list of words, such as the colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What they are.
    pub name: &'static str,
    /// The words.
    pub words: Vec<&'static str>,
}

/// What the page says and offers.
pub struct Catalogue {
    /// The name of the world or of the decoder.
    pub title: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Fingerprint of the decoder and of all else that every image depends on.
    pub identity: String,
    /// The priors, by group.
    pub systems: Vec<System>,
    /// How to get more priors, where there are only baselines.
    pub hint: Option<String>,
    /// The vocabulary, where it is limited.
    pub vocabulary: Vec<Words>,
    /// A first prompt.
    pub example: String,
    /// A second prompt, for an interpolation.
    pub example_to: String,
    /// Steps and guidance of the decoder, as the page shows them where a request has none.
    pub own_sampling: (String, String),
    /// Whether the images are a world's: small, shown enlarged, and checked.
    pub has_checker: bool,
    pub(super) check: CheckPrompt,
    pub(super) pair_image: PairImage,
}

/// The image of a training pair by its number, as PNG.
pub(super) type PairImage = Box<dyn Fn(usize) -> Option<Vec<u8>> + Send + Sync>;

impl Catalogue {
    /// The prior of this id.
    pub fn system(&self, id: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.id == id)
    }

    /// The label of a prior; the id where the catalogue has it no more.
    pub(super) fn label<'a>(&'a self, id: &'a str) -> &'a str {
        self.system(id).map_or(id, |system| &system.label)
    }

    /// The groups, in order.
    pub(super) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.systems.iter().map(|system| system.group.as_str()).collect();
        groups.dedup();
        groups
    }
}

/// An id that no prior has yet: `name`, or `name` and a number.
pub(super) fn unique_id(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut id = name.to_owned();
    let mut n = 1;
    while is_taken(&id) {
        n += 1;
        id = format!("{name}-{n}");
    }
    id
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue")
            .field("title", &self.title)
            .field("identity", &self.identity)
            .field("systems", &self.systems)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Thirteen priors, `a` to `m`, that know every word except "wrong".
    pub(in crate::serve) fn catalogue() -> Catalogue {
        let system = |id: char| System {
            id: id.into(),
            label: format!("prior {id}"),
            about: "A prior.".into(),
            group: "Priors".into(),
            identity: "1".into(),
            is_default: id == 'a',
        };
        Catalogue {
            title: "test".into(),
            about: "A world of tests.".into(),
            identity: "0".into(),
            systems: ('a'..='m').map(system).collect(),
            hint: None,
            vocabulary: Vec::new(),
            example: "a red car".into(),
            example_to: "a blue dog".into(),
            own_sampling: ("4".into(), "2".into()),
            has_checker: true,
            check: Box::new(|prompt| match prompt {
                "wrong" => Err("wrong is unknown".into()),
                _ => Ok(()),
            }),
            pair_image: Box::new(|_| None),
        }
    }
}
