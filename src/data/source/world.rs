//! A built-in world as a source: `world:emoji?n=1000&seed=0&holes=true&bias=true&captions=sparse`.

use super::item::{Caption, Item, Record, RecordImage, SourceError};
use super::reader::{Files, Items, Kind, Reader};
use crate::data::encode::scene_image;
use crate::world::{CaptionMix, Pair, PairOptions, World};

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: "world",
    scheme: Some("world:"),
    extensions: &[],
    files: Files::Own,
    open: |place, _| Ok(Box::new(WorldSource::open(place)?)),
};

/// Records of a unit: images are rendered as they are read.
const UNIT: usize = 1000;

/// Pairs of a world.
pub(super) struct WorldSource {
    name: String,
    pairs: Vec<Pair>,
}

impl WorldSource {
    pub(super) fn open(place: &str) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::place(place, reason);
        let rest = place
            .strip_prefix("world:")
            .ok_or_else(|| wrong("expected world:NAME".into()))?;
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        let world = World::named(name).ok_or_else(|| {
            wrong(format!(
                "expected one of {}",
                World::ALL.map(World::name).join(", ")
            ))
        })?;
        let (mut n, mut seed) = (1000, 0);
        let mut options = PairOptions {
            holes: true,
            bias: true,
            ..PairOptions::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = |expected: &str| wrong(format!("`{key}`: expected {expected}, found {value:?}"));
            match key {
                "n" => {
                    n = value
                        .parse()
                        .ok()
                        .filter(|n| (1..=crate::limits::MAX_WORLD_PAIRS).contains(n))
                        .ok_or_else(|| {
                            bad(&format!("a number from 1 to {}", crate::limits::MAX_WORLD_PAIRS))
                        })?
                }
                "seed" => seed = value.parse().map_err(|_| bad("a whole number, 0 or above"))?,
                "holes" => options.holes = value.parse().map_err(|_| bad("true or false"))?,
                "bias" => options.bias = value.parse().map_err(|_| bad("true or false"))?,
                "captions" => {
                    options.captions = match value {
                        "sparse" => CaptionMix::PAIRS,
                        "rich" => CaptionMix::W,
                        _ => return Err(bad("sparse or rich")),
                    }
                }
                _ => {
                    return Err(wrong(format!(
                        "unknown key `{key}`: expected n, seed, holes, bias or captions"
                    )));
                }
            }
        }
        Ok(Self {
            name: place.to_owned(),
            pairs: world.pairs(n, seed, &options),
        })
    }
}

impl Reader for WorldSource {
    fn n_units(&self) -> usize {
        self.pairs.len().div_ceil(UNIT)
    }

    fn unit_name(&self, unit: usize) -> String {
        format!("{}, pairs from {}", self.name, unit * UNIT)
    }

    fn n_records(&self) -> Option<usize> {
        Some(self.pairs.len())
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let first = (unit * UNIT).min(self.pairs.len());
        let pairs = &self.pairs[first..(first + UNIT).min(self.pairs.len())];
        Ok(Box::new(pairs.iter().enumerate().map(move |(i, pair)| {
            Item::Record(Record {
                id: (first + i).to_string(),
                place: format!("{} pair {}", self.name, first + i),
                captions: vec![Caption {
                    id: None,
                    text: pair.caption.clone(),
                }],
                dropped: vec![],
                caption_file: None,
                image: RecordImage::Ready(scene_image(&pair.scene)),
            })
        })))
    }

    fn identity(&self) -> Result<String, SourceError> {
        Ok(self.name.clone())
    }
}
