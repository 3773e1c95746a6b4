//! What stands against a batch in the contrastive term: texts of other pairs, and which texts do not count.
//!
//! Everything is a function of the seed and the step, so a run that was killed goes on with the same negatives. The text tower is frozen: an embedding
//! from an earlier step is as good as a new one, which a queue in contrastive pretraining (MoCo, He et al. 2020) has to make up for.

use burn::prelude::*;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::data::pairs::{Pairs, rows_in_order};
use crate::noise::Noise;
use crate::objective::contrastive::Negatives;

/// Streams of a run's seed that the other devices' pairs come from, one a step.
const DEVICES_STREAM: u64 = 1 << 42;

/// Texts of a batch that are true of a predicted image although they belong to another pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FalseNegatives {
    /// They stand against it, as Eq. 4 is printed.
    #[default]
    Keep,
    /// Those of the same words are left out.
    MaskWording,
    /// Those that say the same are left out, in whatever words.
    MaskMeaning,
}

/// Which negatives a step has. The default is the paper's: the batch, all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegativeOptions {
    /// Texts of the pairs that came last before the batch; fewer in the first steps. 0: none.
    pub queue: usize,
    /// Batches of a step as if it ran on so many devices that gather their texts: those of `devices - 1` further batches, of distinct pairs. 1: none.
    pub devices: usize,
    /// Which of all these do not count.
    pub false_negatives: FalseNegatives,
}

impl Default for NegativeOptions {
    fn default() -> Self {
        Self {
            queue: 0,
            devices: 1,
            false_negatives: FalseNegatives::Keep,
        }
    }
}

impl NegativeOptions {
    /// The negatives of step `step`, whose pairs are `rows`.
    pub fn of_step(
        &self,
        pairs: &Pairs,
        rows: &[usize],
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Negatives {
        let others = self.others(pairs.len(), rows, seed, step);
        let (n, m, d) = (rows.len(), others.len(), pairs.d_clip());
        let z_y = || {
            let values: Vec<f32> = others
                .iter()
                .flat_map(|&row| &pairs.texts.z_y[row * d..][..d])
                .copied()
                .collect();
            Tensor::from_data(TensorData::new(values, [m, d]), device)
        };
        let same = match self.false_negatives {
            FalseNegatives::Keep => None,
            FalseNegatives::MaskWording => Some(&pairs.wordings),
            FalseNegatives::MaskMeaning => Some(&pairs.meanings),
        };
        let counts = same.map(|same| {
            let texts = || rows.iter().chain(&others).enumerate();
            let row = |(i, &image): (usize, &usize)| {
                let counts = move |(j, &text): (usize, &usize)| {
                    f32::from(u8::from(i == j || same[image] != same[text]))
                };
                texts().map(counts).collect::<Vec<f32>>()
            };
            let values: Vec<f32> = rows.iter().enumerate().flat_map(row).collect();
            Tensor::from_data(TensorData::new(values, [n, n + m]), device)
        });
        Negatives {
            others: (m > 0).then(z_y),
            counts,
        }
    }

    /// The pairs whose texts stand against the batch `rows` too: the queue's, then the other devices'.
    fn others(&self, n: usize, rows: &[usize], seed: u64, step: usize) -> Vec<usize> {
        let first = (step - 1) * rows.len();
        let mut others = rows_in_order(n, seed, first.saturating_sub(self.queue)..first);
        let elsewhere = (self.devices - 1) * rows.len();
        if elsewhere > 0 {
            let mut free: Vec<usize> = (0..n).filter(|row| !rows.contains(row)).collect();
            let mut noise = Noise::stream(seed, DEVICES_STREAM + step as u64);
            others.extend_from_slice(free.partial_shuffle(noise.rng(), elsewhere).0);
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pairs::{Texts, numbered, rows_of_step};
    use crate::device::DeviceSpec;

    #[test]
    fn the_queue_is_what_came_before_and_other_devices_have_other_pairs() {
        let (n, batch, seed) = (20, 4, 3);
        let queue = NegativeOptions {
            queue: 6,
            ..NegativeOptions::default()
        };
        let at = |options: &NegativeOptions, step| {
            options.others(n, &rows_of_step(n, batch, seed, step), seed, step)
        };
        assert_eq!(at(&queue, 1), [0; 0]);
        assert_eq!(at(&queue, 2), rows_of_step(n, batch, seed, 1));
        let before: Vec<usize> = (1..=6)
            .flat_map(|step| rows_of_step(n, batch, seed, step))
            .collect();
        assert_eq!(
            at(&queue, 7),
            before[before.len() - 6..],
            "also across the end of a pass"
        );

        let gathered = NegativeOptions {
            devices: 5,
            ..NegativeOptions::default()
        };
        for step in 1..6 {
            let mut all = rows_of_step(n, batch, seed, step);
            all.dedup();
            let own = all.len();
            all.extend(at(&gathered, step));
            all.sort_unstable();
            all.dedup();
            assert_eq!(
                all.len(),
                own + 16,
                "five devices see all twenty pairs, each once"
            );
        }
        assert_ne!(at(&gathered, 1), at(&gathered, 2));
        assert_eq!(at(&NegativeOptions::default(), 9), [0; 0]);
    }

    #[test]
    fn what_is_the_same_does_not_count_but_its_own_pair_does() {
        let device = DeviceSpec::default().device().expect("the default device exists");
        let texts = |n: usize| Texts {
            d_clip: 1,
            n_text: 1,
            z_y: (0..n).map(|i| i as f32).collect(),
            tokens: vec![0.0; n],
            mask: vec![1.0; n],
        };
        let pairs = Pairs {
            z_x: vec![0.0; 5],
            texts: texts(5),
            empty: texts(1),
            wordings: numbered(["a red cup", "a cup that is red", "a cup", "a red cup", "a cup"]),
            meanings: numbered(["red cup", "red cup", "cup", "red cup", "cup"]),
        };
        let counts = |false_negatives| {
            let options = NegativeOptions {
                devices: 2,
                false_negatives,
                ..NegativeOptions::default()
            };
            let negatives = options.of_step(&pairs, &[0, 1], 0, 1, &device);
            let others: Vec<usize> = negatives
                .others
                .expect("of the other device")
                .into_data()
                .iter::<f32>()
                .map(|z| z as usize)
                .collect();
            let counts = negatives
                .counts
                .map(|c| c.into_data().iter::<f32>().collect::<Vec<f32>>());
            (others, counts)
        };
        assert_eq!(counts(FalseNegatives::Keep).1, None);
        for (mask, same) in [
            (FalseNegatives::MaskWording, &pairs.wordings),
            (FalseNegatives::MaskMeaning, &pairs.meanings),
        ] {
            let (others, counts) = counts(mask);
            let texts: Vec<usize> = [0, 1].into_iter().chain(others).collect();
            let wanted: Vec<f32> = [0, 1]
                .into_iter()
                .flat_map(|i: usize| {
                    texts
                        .iter()
                        .map(move |&j| f32::from(u8::from(i == j || same[i] != same[j])))
                })
                .collect();
            assert_eq!(counts.as_deref(), Some(wanted.as_slice()), "{mask:?}");
        }
        let meaning = counts(FalseNegatives::MaskMeaning).1.expect("a mask");
        assert_eq!(meaning[1], 0.0, "other words, the same meaning");
        assert_eq!(counts(FalseNegatives::MaskWording).1.expect("a mask")[1], 1.0);
    }
}
