//! A preference of the specification, from the PickScores on disk.

use std::collections::BTreeMap;

use super::error::ComparisonError;
use super::folders::Folders;
use super::meetings::{ImageValue, Meeting, meet};
use super::score::result_path;
use super::spec::{Comparison, PREFERENCE_METRIC, PreferenceSpec};
use super::system::System;
use crate::eval::image_score::ImageScore;
use crate::eval::metrics::ImageMetricError;
use crate::eval::per_image;

/// PickScore's choices between systems.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// What was asked for.
    pub spec: PreferenceSpec,
    /// Indices of the systems that meet each other in a round robin.
    pub systems: Vec<usize>,
    /// Each compared pair; the reference's come first.
    pub meetings: Vec<Meeting>,
    /// Systems that could not be compared, with the reason.
    pub missing: Vec<(usize, String)>,
    /// The published mean win rate of the reference.
    pub published: Option<f64>,
}

/// The scores of a system on the prompts of a preference.
struct Scored {
    values: Vec<ImageValue>,
    results: Vec<ImageScore>,
}

impl Preference {
    /// The mean win rate of the reference over its opponents.
    pub fn mean(&self) -> Option<f64> {
        let rates: Vec<f64> = self.of_reference().map(|m| m.win_rate.value).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    }

    /// The meetings of the reference.
    pub fn of_reference(&self) -> impl Iterator<Item = &Meeting> {
        let has_reference = self.spec.reference.is_some();
        let first = self.meetings.first().map(|m| m.system);
        self.meetings
            .iter()
            .filter(move |m| has_reference && Some(m.system) == first)
    }

    /// The comparison of two systems.
    pub fn between(&self, system: usize, opponent: usize) -> Option<&Meeting> {
        self.meetings
            .iter()
            .find(|m| (m.system, m.opponent) == (system, opponent))
    }
}

impl Comparison {
    /// The preference `spec` from the scores in `folders`.
    ///
    /// # Errors
    /// [`ComparisonError`] for a result that cannot be read.
    pub(super) fn preference(
        &self,
        folders: &Folders,
        spec: &PreferenceSpec,
    ) -> Result<Preference, ComparisonError> {
        let index = |name: &String| self.systems.iter().position(|system| system.name == *name);
        let reference = spec.reference.as_ref().and_then(index);
        let takes_part = |(i, system): (usize, &System)| {
            let is_named = spec.against.is_empty() || spec.against.contains(&system.name);
            (is_named || Some(i) == reference).then_some(i)
        };
        let players: Vec<usize> = self.systems.iter().enumerate().filter_map(takes_part).collect();
        let (mut scored, mut missing) = (BTreeMap::new(), Vec::new());
        for &i in &players {
            match self.scored(folders, &self.systems[i], spec)? {
                Ok(found) => drop(scored.insert(i, found)),
                Err(why) => missing.push((i, why)),
            }
        }
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        if let Some(reference) = reference {
            pairs.extend(players.iter().map(|&other| (reference, other)));
        }
        if spec.round_robin {
            pairs.extend(players.iter().flat_map(|&a| players.iter().map(move |&b| (a, b))));
        }
        let mut meetings: Vec<Meeting> = Vec::new();
        for (system, opponent) in pairs {
            let is_known = meetings
                .iter()
                .any(|m| (m.system, m.opponent) == (system, opponent));
            let (Some(own), Some(other)) = (scored.get(&system), scored.get(&opponent)) else {
                continue;
            };
            if system == opponent || is_known {
                continue;
            }
            let (found, n_prompts) = meet(&own.values, &other.values, spec.tie)?;
            let path = std::path::Path::new(&self.systems[opponent].name);
            let mut results = own.results.iter().zip(&other.results);
            let differs = results.find_map(|(own, other)| own.minus(other, path).err());
            meetings.push(Meeting {
                system,
                opponent,
                win_rate: found.win_rate,
                mean_probability: found.mean_probability,
                n_prompts,
                n_ties: found.n_ties,
                differs: differs
                    .map(|d| format!("{} is {} for one, {} for the other", d.key, d.here, d.there)),
            });
        }
        Ok(Preference {
            spec: spec.clone(),
            systems: players.into_iter().filter(|i| scored.contains_key(i)).collect(),
            meetings,
            missing,
            published: self.published.preferences.get(&spec.name).copied(),
        })
    }

    /// The scores of a system, or why there are none.
    fn scored(
        &self,
        folders: &Folders,
        system: &System,
        spec: &PreferenceSpec,
    ) -> Result<Result<Scored, String>, ComparisonError> {
        let mut scored = Scored {
            values: Vec::new(),
            results: Vec::new(),
        };
        for set in self.prompts.iter().filter(|set| spec.prompts.contains(&set.name)) {
            let eval = folders.eval(system, set);
            let result = result_path(&eval, PREFERENCE_METRIC);
            if !result.is_file() {
                let why = self.without_score(folders, system, set, PREFERENCE_METRIC);
                return Ok(Err(
                    why.unwrap_or_else(|| format!("not scored on {} yet", set.name))
                ));
            }
            scored.results.push(ImageScore::read(&result)?);
            let Some(images) = self.images(folders, system, set)? else {
                return Ok(Err(format!("images of {} are missing", set.name)));
            };
            let values = per_image::read(&eval, PREFERENCE_METRIC, &images.folder, &images.files);
            let values = values.map_err(ImageMetricError::from)?.into_iter();
            scored.values.extend(
                images
                    .files
                    .into_iter()
                    .zip(values)
                    .map(|(file, value)| ImageValue {
                        prompt: file.prompt.unwrap_or_default(),
                        value,
                    }),
            );
        }
        Ok(Ok(scored))
    }
}
