//! The recipe's learning rate: one long cosine, then a short one from a lower start.

use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use super::ClipRecipe;
use crate::train::schedule::LrSchedule;

/// Where a cycle ends, relative to its start.
const LAST: f64 = 0.02;
/// Warm-up of the second cycle, in steps.
const SECOND_WARMUP: usize = 50;

/// Two cosines; its record is the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycles {
    first: LrSchedule,
    n_first: usize,
    second: LrSchedule,
    step: usize,
}

impl Cycles {
    /// The rates of `recipe`, from the first step.
    pub fn new(recipe: &ClipRecipe) -> Self {
        let cosine = |lr: f64, warmup: usize, total: usize| LrSchedule::Cosine {
            lr,
            warmup: warmup.min(total),
            total,
            eta_min: LAST * recipe.lr,
        };
        Self {
            first: cosine(recipe.lr, recipe.warmup, recipe.n_steps),
            n_first: recipe.n_steps,
            second: cosine(recipe.lr * recipe.second_lr, SECOND_WARMUP, recipe.n_second),
            step: 0,
        }
    }

    /// The rate of `step`, from 0.
    pub fn lr(&self, step: usize) -> f64 {
        match step.checked_sub(self.n_first) {
            None => self.first.lr(step),
            Some(step) => self.second.lr(step),
        }
    }
}

const STEP: &str = "step";

impl LrScheduler for Cycles {
    fn step(&mut self) -> f64 {
        let lr = self.lr(self.step);
        self.step += 1;
        lr
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar(STEP, self.step as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(step) = record.scalar::<u64>(STEP) {
            self.step = step as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_peaks_and_a_record_that_goes_on() {
        let recipe = ClipRecipe::default();
        let cycles = Cycles::new(&recipe);
        let (n, total) = (recipe.n_steps, recipe.total_steps());
        let lrs: Vec<f64> = (0..total).map(|step| cycles.lr(step)).collect();
        let highest = |range: std::ops::Range<usize>| lrs[range].iter().copied().fold(0.0, f64::max);
        assert!((highest(0..n) - recipe.lr).abs() < 1e-5 * recipe.lr);
        assert!((highest(n..total) - recipe.second_lr * recipe.lr).abs() < 1e-2 * recipe.lr);
        for end in [n - 1, total - 1] {
            assert!((lrs[end] / recipe.lr - LAST).abs() < 1e-3, "{}", lrs[end]);
        }
        let (mut stepped, mut resumed) = (cycles, cycles);
        assert!((0..n + 3).all(|i| stepped.step() == lrs[i]));
        resumed.load_record(stepped.to_record());
        assert_eq!(resumed.step(), lrs[n + 3]);
    }
}
