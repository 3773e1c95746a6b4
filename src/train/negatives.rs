//! Negatives of the contrastive term: texts of other pairs, and a mask of false negatives.
//!
//! Negatives are a function of the seed and the step, so a resumed run has the same ones. The text tower is frozen: a queue holds embeddings as good as
//! new ones, unlike the queue of contrastive pretraining (MoCo, He et al. 2020).

use std::collections::HashSet;
use std::ops::Range;

use burn::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::examples::{Example, Examples};
use crate::noise::{Noise, Stream};
use crate::objective::contrastive::Negatives;

/// Treatment of false negatives: texts of other pairs that are true of a predicted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FalseNegatives {
    /// They count as negatives, as Eq. 4 is printed.
    #[default]
    Keep,
    /// Texts with the same words are masked.
    MaskWording,
    /// Texts with the same meaning are masked.
    MaskMeaning,
}

/// The negatives of a step. The default is the paper's: the whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegativeOptions {
    /// Texts of the pairs before the batch; fewer in the first steps. 0: none.
    pub queue: usize,
    /// Whether the texts of a step's other micro-batches count, as on devices that gather their texts.
    pub gather: bool,
    /// Simulated number of devices that gather their texts: adds the texts of `devices - 1` further batches of distinct pairs. 1: none.
    pub devices: usize,
    /// Treatment of false negatives.
    pub false_negatives: FalseNegatives,
}

impl Default for NegativeOptions {
    fn default() -> Self {
        Self {
            queue: 0,
            gather: false,
            devices: 1,
            false_negatives: FalseNegatives::Keep,
        }
    }
}

/// A micro-batch of a step of a run.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The training examples.
    pub data: &'a dyn Examples,
    /// The step's examples.
    pub all: &'a [Example],
    /// The range of these examples that is the micro-batch.
    pub part: Range<usize>,
    /// The run's seed.
    pub seed: u64,
    /// From 1.
    pub step: usize,
}

impl NegativeOptions {
    /// The negatives of a micro-batch.
    pub fn of_part(&self, place: &Place<'_>, device: &Device) -> Negatives {
        let (data, own) = (place.data, &place.all[place.part.clone()]);
        let others = self.others(place);
        let (n, m) = (own.len(), others.len());
        let same: Option<&dyn Fn(&Example) -> u64> = match self.false_negatives {
            FalseNegatives::Keep => None,
            FalseNegatives::MaskWording => Some(&|e| data.wording(e.caption)),
            FalseNegatives::MaskMeaning => Some(&|e| data.meaning(e.caption)),
        };
        let counts = same.map(|same| {
            let texts: Vec<u64> = own.iter().chain(&others).map(same).collect();
            let row = |i: usize| {
                let texts = &texts;
                (0..n + m).map(move |j| f32::from(u8::from(i == j || texts[i] != texts[j])))
            };
            let values: Vec<f32> = (0..n).flat_map(row).collect();
            Tensor::from_data(TensorData::new(values, [n, n + m]), device)
        });
        Negatives {
            others: (m > 0).then(|| data.z_y(&others, device)),
            counts,
        }
    }

    /// The examples whose texts are additional negatives: the queue's, those of the other micro-batches, those of simulated devices.
    fn others(&self, place: &Place<'_>) -> Vec<Example> {
        let &Place {
            data,
            all,
            seed,
            step,
            ..
        } = place;
        let Range { start, end } = place.part;
        let first = (step - 1) * all.len() + if self.gather { 0 } else { start };
        let mut others = data.at(seed, first.saturating_sub(self.queue)..first);
        if self.gather {
            others.extend_from_slice(&all[..start]);
            others.extend_from_slice(&all[end..]);
        }
        let n = end - start;
        let elsewhere = (self.devices - 1) * n;
        if elsewhere > 0 {
            let part = (step - 1) * (all.len() / n) + start / n + 1;
            let mut noise = Noise::of(seed, Stream::OtherDevices(part as u64));
            let taken: HashSet<usize> = all.iter().map(|e| e.image).collect();
            let n_examples = data.order().n_examples();
            // Listing all free examples is too slow for a hundred million of them: draw more than enough and drop those that are taken.
            let wanted = (elsewhere + all.len()).min(n_examples);
            let drawn = rand::seq::index::sample(noise.rng(), n_examples, wanted);
            let free = drawn.into_iter().map(|number| data.example(number, 0, seed));
            others.extend(free.filter(|e| !taken.contains(&e.image)).take(elsewhere));
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pairs::Pairs;
    use crate::device::DeviceSpec;
    use crate::models::text::{EncodedText, EncodedTexts};

    /// Pairs with these captions, some of which have the same meaning; z_y is a caption's number.
    fn pairs(captions: Vec<String>, meanings: Vec<String>) -> Pairs {
        let texts = |n: usize| {
            let mut texts = EncodedTexts::new(1);
            for i in 0..n {
                texts.push(EncodedText {
                    z_y: &[i as f32],
                    hidden: &[0.0],
                });
            }
            texts
        };
        let n = captions.len();
        Pairs::new(vec![0.0; n], texts(n), texts(1), captions, meanings)
    }

    fn unlike(n: usize) -> Pairs {
        let words = || (0..n).map(|i| i.to_string()).collect();
        pairs(words(), words())
    }

    const SEED: u64 = 3;

    /// The negatives of micro-batch `j` of step `step`, a step having `k` micro-batches of 4.
    fn others(options: &NegativeOptions, data: &Pairs, step: usize, j: usize, k: usize) -> Vec<usize> {
        let all = data.of_step(4 * k, SEED, step);
        let place = Place {
            data,
            all: &all,
            part: 4 * j..4 * (j + 1),
            seed: SEED,
            step,
        };
        options.others(&place).iter().map(|e| e.caption).collect()
    }

    fn rows(data: &Pairs, places: Range<usize>) -> Vec<usize> {
        data.at(SEED, places).iter().map(|e| e.caption).collect()
    }

    #[test]
    fn the_queue_is_what_came_before_and_other_devices_have_other_pairs() {
        let data = unlike(20);
        let queue = NegativeOptions {
            queue: 6,
            ..NegativeOptions::default()
        };
        assert_eq!(others(&queue, &data, 1, 0, 1), [0; 0]);
        assert_eq!(others(&queue, &data, 2, 0, 1), rows(&data, 0..4));
        let across = others(&queue, &data, 7, 0, 1);
        assert_eq!(across, rows(&data, 18..24), "also across the end of a pass");
        assert_eq!(
            others(&queue, &data, 2, 1, 3),
            rows(&data, 10..16),
            "also from the parts before"
        );

        let gathered = NegativeOptions {
            devices: 4,
            ..NegativeOptions::default()
        };
        for step in 1..6 {
            for (j, k) in [(0, 1), (0, 2), (1, 2)] {
                let mut all = rows(&data, 4 * k * (step - 1)..4 * k * step);
                let own: HashSet<usize> = all.iter().copied().collect();
                all = own.iter().copied().collect();
                all.extend(others(&gathered, &data, step, j, k));
                all.sort_unstable();
                all.dedup();
                assert_eq!(
                    all.len(),
                    own.len() + 12,
                    "three more devices, whose pairs are not the step's"
                );
            }
        }
        assert_ne!(
            others(&gathered, &data, 1, 0, 2),
            others(&gathered, &data, 1, 1, 2)
        );
        assert_ne!(
            others(&gathered, &data, 1, 0, 1),
            others(&gathered, &data, 2, 0, 1)
        );
        assert_eq!(others(&NegativeOptions::default(), &data, 9, 0, 1), [0; 0]);
    }

    #[test]
    fn parts_that_gather_see_all_of_their_step_once() {
        let data = unlike(40);
        let options = NegativeOptions {
            gather: true,
            queue: 5,
            ..NegativeOptions::default()
        };
        for j in 0..3 {
            let mut seen = others(&options, &data, 2, j, 3);
            seen.extend(rows(&data, 12 + 4 * j..16 + 4 * j));
            let mut wanted = rows(&data, 7..24);
            seen.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(seen, wanted);
        }
    }

    #[test]
    fn what_is_the_same_does_not_count_but_its_own_pair_does() {
        let device = DeviceSpec::default().device().expect("the default device exists");
        let words = |of: [&str; 5]| of.map(String::from).to_vec();
        let (wordings, meanings) = (
            words(["a red cup", "a cup that is red", "a cup", "a red cup", "a cup"]),
            words(["red cup", "red cup", "cup", "red cup", "cup"]),
        );
        let data = pairs(wordings.clone(), meanings.clone());
        let all: Vec<Example> = (0..2).map(|i| data.example(i, 0, 0)).collect();
        let place = Place {
            data: &data,
            all: &all,
            part: 0..2,
            seed: 0,
            step: 1,
        };
        let counts = |false_negatives| {
            let options = NegativeOptions {
                devices: 2,
                false_negatives,
                ..NegativeOptions::default()
            };
            let negatives = options.of_part(&place, &device);
            let others = negatives.others.expect("of the other device").into_data();
            let others: Vec<usize> = others.iter::<f32>().map(|z| z as usize).collect();
            let counts = negatives
                .counts
                .map(|c| c.into_data().iter::<f32>().collect::<Vec<f32>>());
            (others, counts)
        };
        assert_eq!(counts(FalseNegatives::Keep).1, None);
        for (mask, same) in [
            (FalseNegatives::MaskWording, &wordings),
            (FalseNegatives::MaskMeaning, &meanings),
        ] {
            let (others, counts) = counts(mask);
            let texts: Vec<usize> = [0, 1].into_iter().chain(others).collect();
            let row = |i: usize| {
                let count = move |&j: &usize| f32::from(u8::from(i == j || same[i] != same[j]));
                texts.iter().map(count).collect::<Vec<f32>>()
            };
            let wanted: Vec<f32> = (0..2).flat_map(row).collect();
            assert_eq!(counts.as_deref(), Some(wanted.as_slice()), "{mask:?}");
        }
        let meaning = counts(FalseNegatives::MaskMeaning).1.expect("a mask");
        assert_eq!(meaning[1], 0.0, "other words, the same meaning");
        assert_eq!(counts(FalseNegatives::MaskWording).1.expect("a mask")[1], 1.0);
    }
}
