//! Content and problems of a source of pairs.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::data::source::{Item, RecordImage, Source, SourceOptions};
use serde_json::{Value, json};

use crate::cli::Unreadable;

/// Images with a shorter side below CLIP's resolution are enlarged before they are encoded.
const SMALL: u32 = 224;
/// Number of listed records.
const N_SHOWN: usize = 3;
/// Number of listed rejects.
const N_REJECTS: usize = 5;

/// Reads `sample` records (0: all) of the source at `place`.
///
/// # Errors
/// The place cannot be opened. The second value contains unreadable files, or the reason why no record can be used.
pub(super) fn look(
    place: &str,
    options: &SourceOptions,
    sample: usize,
) -> anyhow::Result<(Value, Option<anyhow::Error>)> {
    let source = Source::open(place, options)?;
    let mut seen = Seen::default();
    let limit = if sample == 0 { usize::MAX } else { sample };
    'units: for unit in 0..source.n_units() {
        for item in source.unit(unit)? {
            if seen.n == limit {
                break 'units;
            }
            seen.add(item, options);
        }
    }
    let notes = source.notes();
    let warnings = [notes, seen.warnings()].concat();
    for fault in source.faults() {
        // Includes units that the sample did not reach.
        let fault = fault.to_string();
        if !seen.faults.contains(&fault) {
            seen.faults.push(fault);
        }
    }
    let n_rejects: usize = seen.rejects.values().sum();
    let error = match seen.faults.first() {
        _ if seen.n_usable == 0 && (seen.n > 0 || !seen.faults.is_empty()) => {
            let why = seen.faults.first().or(seen.first_rejects.first());
            let why = why.map_or_else(String::new, |why| format!("; {why}"));
            Some(anyhow::anyhow!(
                "{place}: not one of {} records can be used ({n_rejects} rejected){why}",
                seen.n
            ))
        }
        Some(first) => Some(
            Unreadable(format!(
                "{} file(s) of {place} cannot be read: {first}",
                seen.faults.len()
            ))
            .into(),
        ),
        None if seen.n == 0 => Some(anyhow::anyhow!("{place}: not one record")),
        None => None,
    };
    let found = json!({
        "source": place,
        "format": source.format().to_string(),
        "units": source.n_units(),
        "records": source.n_records(),
        "looked at": seen.n,
        "captions": seen.n_captions,
        "rejects": seen.rejects,
        "first rejects": seen.first_rejects,
        "samples": seen.samples,
        "unreadable files": (!seen.faults.is_empty()).then_some(seen.faults),
        "warnings": warnings,
    });
    Ok((found, error))
}

#[derive(Default)]
struct Seen {
    n: usize,
    n_usable: usize,
    faults: Vec<String>,
    n_captions: usize,
    rejects: BTreeMap<String, usize>,
    first_rejects: Vec<String>,
    samples: BTreeMap<String, Value>,
    captions: HashMap<u64, usize>,
    images: HashMap<u64, String>,
    same_images: Vec<String>,
    n_same_images: usize,
    n_small: usize,
    n_dropped: usize,
}

impl Seen {
    fn add(&mut self, item: Item, options: &SourceOptions) {
        if let Item::Fault(fault) = item {
            self.faults.push(fault.to_string());
            return;
        }
        self.n += 1;
        let (id, place, captions, dropped, decoded) = match item {
            Item::Record(record) => {
                let decoded = match record.image {
                    RecordImage::Embedding(values) => Ok(Err(values)),
                    image => image.decode(&options.limits).map(Ok),
                };
                (record.id, record.place, record.captions, record.dropped, decoded)
            }
            Item::Reject(reject) => {
                self.reject(&reject.reason.to_string(), &reject.place, &reject.detail);
                return;
            }
            Item::Fault(_) => return,
        };
        let (size, hash) = match &decoded {
            Ok(Ok(image)) => {
                self.n_small += usize::from(image.width().min(image.height()) < SMALL);
                (json!([image.width(), image.height()]), hash(image.as_raw()))
            }
            Ok(Err(values)) => {
                let bits: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
                (json!({ "embedding": values.len() }), hash(&bits))
            }
            Err((reason, detail)) => {
                self.reject(&reason.to_string(), &place, detail);
                return;
            }
        };
        self.n_usable += 1;
        match self.images.entry(hash) {
            Entry::Occupied(first) => {
                self.n_same_images += 1;
                if self.same_images.len() < N_SHOWN {
                    self.same_images.push(format!("{} and {id}", first.get()));
                }
            }
            Entry::Vacant(free) => {
                free.insert(id.clone());
            }
        }
        for (reason, detail) in dropped {
            self.n_dropped += 1;
            self.reject(&reason.to_string(), &place, &detail);
        }
        self.n_captions += captions.len();
        for caption in &captions {
            *self.captions.entry(self::hash(&caption.text)).or_default() += 1;
        }
        if self.samples.len() < N_SHOWN {
            let texts: Vec<&str> = captions.iter().map(|c| c.text.as_str()).collect();
            self.samples
                .insert(id, json!({ "size": size, "captions": texts }));
        }
    }

    fn reject(&mut self, reason: &str, place: &str, detail: &str) {
        *self.rejects.entry(reason.to_owned()).or_default() += 1;
        if self.first_rejects.len() < N_REJECTS {
            self.first_rejects.push(format!("{place}: {reason}: {detail}"));
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let repeated: usize = self.captions.values().filter(|&&n| n > 1).map(|n| n - 1).sum();
        if repeated > 0 {
            warnings.push(format!(
                "{repeated} of {} captions repeat another: false negatives of Eq. 4 (objective.false_negatives = \"mask_wording\")",
                self.n_captions
            ));
        }
        if self.n_same_images > 0 {
            warnings.push(format!(
                "{} pictures are the same as another: {} ..",
                self.n_same_images,
                self.same_images.join(", ")
            ));
        }
        if self.n_small > 0 {
            warnings.push(format!(
                "{} pictures have a side of less than {SMALL} pixels",
                self.n_small
            ));
        }
        if self.n_dropped > 0 {
            warnings.push(format!(
                "{} captions of usable pictures cannot be used",
                self.n_dropped
            ));
        }
        let rejected = self.rejects.values().sum::<usize>() - self.n_dropped;
        if rejected > 0 {
            warnings.push(format!("{rejected} of {} records cannot be used", self.n));
        }
        warnings
    }
}

fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
