//! Percentile bootstrap over seeds and prompts.
//!
//! Scores are a table `[seed][prompt]`: each run seed of one system was scored on the same prompts. Both are samples of
//! something larger, so both are resampled: first the seeds, with replacement, then one draw of prompts that all drawn seeds
//! share, since what makes a prompt hard is common to the seeds (Owen 2007, "The pigeonhole bootstrap"; drawing prompts
//! anew for each seed would make intervals too short). One seed, or one prompt, is fine: that factor then adds no variance, and
//! the interval says nothing about it. With three seeds the seed part of an interval is rough, as any number from three seeds is.
//!
//! Two systems are compared on the same prompts (one draw for both); their seeds are drawn independently, because seed 0 of one
//! system has nothing in common with seed 0 of another.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::EvalError;
use crate::noise::Noise;

/// How to resample. Resample `r` draws from stream `r` of the seed, so intervals are the same on any number of threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Coverage asked for, in (0, 1).
    pub level: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 2,000 resamples (the ends of a 95 % interval then rest on 50 resamples each), 95 %, seed 0.
    fn default() -> Self {
        Self {
            resamples: 2000,
            level: 0.95,
            seed: 0,
        }
    }
}

/// A value with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The value on the data as they are.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// `high - low`.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Whether `value` lies in the closed interval.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// How often one system scores above another, prompt by prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WinRate {
    /// Share of prompts on which the first system scores higher.
    pub win: f64,
    /// Share of prompts on which both score the same, within the tolerance.
    pub tie: f64,
    /// Share of prompts on which the first system scores lower.
    pub loss: f64,
    /// `win + tie / 2` with its interval: 0.5 for equals.
    pub rate: Interval,
}

impl Bootstrap {
    /// The mean over seeds and prompts of `scores` (`[seed][prompt]`).
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the table is empty or ragged, [`EvalError::Parameter`] for a bad level or number of resamples.
    pub fn mean(&self, scores: &[Vec<f64>]) -> Result<Interval, EvalError> {
        let n_prompts = check("scores", scores)?;
        let all: Vec<usize> = (0..n_prompts).collect();
        let value = mean(&per_prompt(scores, &each(scores), &all));
        self.interval(value, |rng| {
            let seeds = draw(rng, scores.len());
            mean(&per_prompt(scores, &seeds, &draw(rng, n_prompts)))
        })
    }

    /// `mean(a) - mean(b)` of two systems on the same prompts (`[seed][prompt]` each; the numbers of seeds may differ).
    ///
    /// # Errors
    /// Like [`Bootstrap::mean`]; also [`EvalError::Shape`] if the numbers of prompts differ.
    pub fn paired_difference(&self, a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<Interval, EvalError> {
        let n_prompts = check_pair(a, b)?;
        let all: Vec<usize> = (0..n_prompts).collect();
        let difference = |seeds_a: &[usize], seeds_b: &[usize], prompts: &[usize]| {
            mean(&per_prompt(a, seeds_a, prompts)) - mean(&per_prompt(b, seeds_b, prompts))
        };
        self.interval(difference(&each(a), &each(b), &all), |rng| {
            let (seeds_a, seeds_b) = (draw(rng, a.len()), draw(rng, b.len()));
            difference(&seeds_a, &seeds_b, &draw(rng, n_prompts))
        })
    }

    /// `mean(a) - mean(b)` of two systems on different prompts, drawn independently. Wider than
    /// [`Bootstrap::paired_difference`] where prompts matter; use that one when the prompts are the same.
    ///
    /// # Errors
    /// Like [`Bootstrap::mean`].
    pub fn unpaired_difference(&self, a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<Interval, EvalError> {
        let (n_a, n_b) = (
            check("scores of the first system", a)?,
            check("scores of the second system", b)?,
        );
        let whole = |scores: &[Vec<f64>], n: usize| {
            let all: Vec<usize> = (0..n).collect();
            mean(&per_prompt(scores, &each(scores), &all))
        };
        self.interval(whole(a, n_a) - whole(b, n_b), |rng| {
            let (seeds_a, seeds_b) = (draw(rng, a.len()), draw(rng, b.len()));
            let (prompts_a, prompts_b) = (draw(rng, n_a), draw(rng, n_b));
            mean(&per_prompt(a, &seeds_a, &prompts_a)) - mean(&per_prompt(b, &seeds_b, &prompts_b))
        })
    }

    /// How often `a` beats `b` on the same prompt, by their means over seeds; differences up to `tolerance` are ties.
    ///
    /// # Errors
    /// Like [`Bootstrap::paired_difference`]; also [`EvalError::Parameter`] for a negative tolerance.
    pub fn win_rate(&self, a: &[Vec<f64>], b: &[Vec<f64>], tolerance: f64) -> Result<WinRate, EvalError> {
        let n_prompts = check_pair(a, b)?;
        if tolerance.is_nan() || tolerance < 0.0 {
            return Err(EvalError::parameter("tolerance", tolerance, "a number >= 0"));
        }
        let all: Vec<usize> = (0..n_prompts).collect();
        let shares = |seeds_a: &[usize], seeds_b: &[usize], prompts: &[usize]| {
            let (mut win, mut loss) = (0_usize, 0_usize);
            for (x, y) in per_prompt(a, seeds_a, prompts)
                .iter()
                .zip(per_prompt(b, seeds_b, prompts))
            {
                win += usize::from(x - y > tolerance);
                loss += usize::from(y - x > tolerance);
            }
            let n = prompts.len() as f64;
            (win as f64 / n, loss as f64 / n)
        };
        let (win, loss) = shares(&each(a), &each(b), &all);
        let rate = |(win, loss): (f64, f64)| 0.5 + (win - loss) / 2.0;
        let rate = self.interval(rate((win, loss)), |rng| {
            let (seeds_a, seeds_b) = (draw(rng, a.len()), draw(rng, b.len()));
            rate(shares(&seeds_a, &seeds_b, &draw(rng, n_prompts)))
        })?;
        Ok(WinRate {
            win,
            tie: 1.0 - win - loss,
            loss,
            rate,
        })
    }

    fn interval<F>(&self, value: f64, resample: F) -> Result<Interval, EvalError>
    where
        F: Fn(&mut ChaCha8Rng) -> f64 + Sync,
    {
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(EvalError::parameter("level", self.level, "a number in (0, 1)"));
        }
        if self.resamples < 2 {
            return Err(EvalError::parameter("resamples", self.resamples, "at least 2"));
        }
        let mut values: Vec<f64> = (0..self.resamples as u64)
            .into_par_iter()
            .map(|r| resample(Noise::stream(self.seed, r).rng()))
            .collect();
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Ok(Interval {
            value,
            low: quantile(&values, tail),
            high: quantile(&values, 1.0 - tail),
        })
    }
}

/// Quantile `q` of ascending values, linear between the two nearest (numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

/// `n` draws from `0..n`, with replacement.
fn draw(rng: &mut ChaCha8Rng, n: usize) -> Vec<usize> {
    (0..n).map(|_| rng.random_range(0..n)).collect()
}

fn each(scores: &[Vec<f64>]) -> Vec<usize> {
    (0..scores.len()).collect()
}

/// For each of `prompts`, the mean over `seeds`.
fn per_prompt(scores: &[Vec<f64>], seeds: &[usize], prompts: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; prompts.len()];
    for &seed in seeds {
        for (sum, &prompt) in sums.iter_mut().zip(prompts) {
            *sum += scores[seed][prompt];
        }
    }
    sums.iter_mut().for_each(|s| *s /= seeds.len() as f64);
    sums
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The number of prompts of a table that is rectangular, not empty and finite.
fn check(what: &str, scores: &[Vec<f64>]) -> Result<usize, EvalError> {
    let n_prompts = scores.first().map_or(0, Vec::len);
    if n_prompts == 0 {
        return Err(EvalError::shape(what, "at least one seed and one prompt", "none"));
    }
    for (seed, row) in scores.iter().enumerate() {
        if row.len() != n_prompts {
            let expected = format!("{n_prompts} prompts like seed 0");
            return Err(EvalError::shape(
                format!("{what}, seed {seed}"),
                expected,
                row.len(),
            ));
        }
        if let Some(prompt) = row.iter().position(|v| !v.is_finite()) {
            let what = format!("{what}, seed {seed}, prompt {prompt}");
            return Err(EvalError::shape(what, "a finite number", row[prompt]));
        }
    }
    Ok(n_prompts)
}

fn check_pair(a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<usize, EvalError> {
    let (n_a, n_b) = (
        check("scores of the first system", a)?,
        check("scores of the second system", b)?,
    );
    if n_a == n_b {
        return Ok(n_a);
    }
    let expected = format!("the {n_a} prompts of the first system");
    Err(EvalError::shape(
        "scores of the second system",
        expected,
        format!("{n_b} prompts"),
    ))
}
