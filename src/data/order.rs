//! The training order of examples: an endless sequence of passes, each a new permutation.
//!
//! The order is a function of the seed alone, so a resumed run sees the same examples. Shards are shuffled, then the examples within
//! a window of shards: a pass reads each file while it is in memory, and examples of one file are not consecutive.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rand::seq::SliceRandom;

use crate::noise::{Noise, Stream};

/// Shards per window.
const WINDOW: usize = 8;

/// Number of cached passes: a step at the end of a pass also needs the next pass, a queue of negatives the previous one.
const KEPT: usize = 2;

/// Shuffles examples that lie in shards.
#[derive(Debug)]
pub struct Order {
    /// Number of examples of each shard; examples are numbered across shards.
    shards: Vec<usize>,
    n: usize,
    passes: Mutex<Vec<Pass>>,
}

/// Seed and number of a pass, and its examples in order.
type Pass = ((u64, usize), Arc<Vec<u32>>);

impl Order {
    /// The order of examples in shards of these sizes.
    ///
    /// # Panics
    /// If there are no examples, or more than 2^32.
    pub fn new(shards: Vec<usize>) -> Self {
        let n = shards.iter().sum::<usize>();
        assert!(n > 0, "an order of no examples");
        assert!(u32::try_from(n).is_ok(), "{n} examples are more than 2^32");
        Self {
            shards,
            n,
            passes: Mutex::default(),
        }
    }

    /// Examples of a pass.
    pub fn n_examples(&self) -> usize {
        self.n
    }

    /// The examples at these positions of the sequence, each with its pass (from 0).
    pub fn at(&self, seed: u64, places: Range<usize>) -> Vec<(usize, usize)> {
        let mut examples = Vec::with_capacity(places.len());
        let mut current = None;
        for place in places {
            let (number, i) = (place / self.n, place % self.n);
            let pass = match &current {
                Some((known, pass)) if *known == number => pass,
                _ => &current.insert((number, self.pass(seed, number))).1,
            };
            examples.push((number, pass[i] as usize));
        }
        examples
    }

    fn pass(&self, seed: u64, number: usize) -> Arc<Vec<u32>> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pass)) = passes.iter().find(|(key, _)| *key == (seed, number)) {
            return pass.clone();
        }
        let pass = Arc::new(self.shuffled(&mut Noise::of(seed, Stream::DataOrder(number as u64))));
        if passes.len() == KEPT {
            passes.remove(0);
        }
        passes.push(((seed, number), pass.clone()));
        pass
    }

    fn shuffled(&self, noise: &mut Noise) -> Vec<u32> {
        let ends = self.shards.iter().scan(0, |end, n| {
            *end += *n as u32;
            Some(*end)
        });
        let mut shards: Vec<Range<u32>> = ends
            .zip(&self.shards)
            .map(|(end, &n)| end - n as u32..end)
            .collect();
        if shards.len() > 1 {
            shards.shuffle(noise.rng());
        }
        let mut pass = Vec::with_capacity(self.n);
        for window in shards.chunks(WINDOW) {
            let first = pass.len();
            pass.extend(window.iter().cloned().flatten());
            pass[first..].shuffle(noise.rng());
        }
        pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbouring_shards_are_mixed_and_far_ones_are_not() {
        let order = Order::new(vec![10; 5 * WINDOW]);
        let pass: Vec<usize> = order
            .at(4, 0..order.n_examples())
            .iter()
            .map(|(_, i)| i / 10)
            .collect();
        for window in pass.chunks(10 * WINDOW) {
            let mut shards = window.to_vec();
            assert!(shards[..10].iter().any(|s| *s != shards[0]), "{window:?}");
            shards.sort_unstable();
            shards.dedup();
            assert_eq!(shards.len(), WINDOW, "a file is read in one window only");
        }
    }

    proptest! {
        #[test]
        fn every_pass_visits_every_example_once(
            shards in prop::collection::vec(1usize..9, 1..20), cut in 1usize..17, seed in 0u64..9
        ) {
            let order = Order::new(shards);
            let n = order.n_examples();
            let whole = order.at(seed, 0..3 * n);
            for (number, pass) in whole.chunks_exact(n).enumerate() {
                prop_assert!(pass.iter().all(|(p, _)| *p == number));
                let mut sorted: Vec<usize> = pass.iter().map(|(_, i)| *i).collect();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            }
            // In chunks, from a new value, and backwards.
            let again = Order::new(order.shards.clone());
            let mut pieces = Vec::new();
            for first in (0..3 * n).step_by(cut).rev() {
                pieces.push(again.at(seed, first..(first + cut).min(3 * n)));
            }
            let pieces: Vec<(usize, usize)> = pieces.into_iter().rev().flatten().collect();
            prop_assert_eq!(pieces, whole);
        }
    }
}
