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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUICK: Bootstrap = Bootstrap {
        resamples: 400,
        level: 0.95,
        seed: 0,
    };

    /// `[seed][prompt]`: a prompt effect shared by seeds, a seed effect and noise, of these standard deviations, about `mean`.
    fn table(
        noise: &mut Noise,
        shape: [usize; 2],
        mean: f64,
        prompts: &[f64],
        sd: [f64; 2],
    ) -> Vec<Vec<f64>> {
        let [n_seeds, n_prompts] = shape;
        assert_eq!(prompts.len(), n_prompts);
        let mut normal = || f64::from(noise.normal_vec(1)[0]);
        let mut row = || {
            let seed_effect = sd[0] * normal();
            prompts
                .iter()
                .map(|p| mean + p + seed_effect + sd[1] * normal())
                .collect()
        };
        (0..n_seeds).map(|_| row()).collect()
    }

    fn effects(noise: &mut Noise, n: usize, sd: f64) -> Vec<f64> {
        noise
            .normal_vec(n)
            .into_iter()
            .map(|v| sd * f64::from(v))
            .collect()
    }

    #[test]
    fn quantiles_are_numpy_s() {
        let values = [1.0, 2.0, 4.0, 8.0];
        // numpy.quantile([1, 2, 4, 8], [0, .1, .5, .975, 1])
        for (q, expected) in [(0.0, 1.0), (0.1, 1.3), (0.5, 3.0), (0.975, 7.7), (1.0, 8.0)] {
            assert!((quantile(&values, q) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_normal_mean_has_the_textbook_interval() -> Result<(), EvalError> {
        let mut noise = Noise::new(1);
        let scores = vec![effects(&mut noise, 400, 2.0)];
        let mean = mean(&scores[0]);
        let sd = (scores[0].iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        let interval = Bootstrap {
            resamples: 20_000,
            ..QUICK
        }
        .mean(&scores)?;
        let half = 1.96 * sd / 20.0;
        assert!((interval.low - (mean - half)).abs() < 0.06 * half, "{interval:?}");
        assert!(
            (interval.high - (mean + half)).abs() < 0.06 * half,
            "{interval:?}"
        );
        Ok(())
    }

    /// One seed: prompts only. Many seeds and prompts: both. 95 % within four standard errors of 600 trials (3.6 %), and a little
    /// room for the percentile bootstrap's known shortness at 60 prompts or 12 seeds.
    #[test]
    fn coverage_is_about_the_level() -> Result<(), EvalError> {
        for (shape, sd) in [([1, 60], [0.0, 1.0]), ([12, 60], [0.2, 1.0])] {
            let mut noise = Noise::new(9);
            let covered = |_| -> Result<bool, EvalError> {
                let prompts = effects(&mut noise, shape[1], 0.7);
                let scores = table(&mut noise, shape, 5.0, &prompts, sd);
                Ok(QUICK.mean(&scores)?.contains(5.0))
            };
            let hits = (0..600).map(covered).collect::<Result<Vec<_>, _>>()?;
            let share = hits.iter().filter(|h| **h).count() as f64 / 600.0;
            assert!((0.90..0.99).contains(&share), "{shape:?}: {share}");
        }
        Ok(())
    }

    #[test]
    fn shared_prompts_are_not_counted_once_a_seed() -> Result<(), EvalError> {
        // All the variance is in the prompts: ten seeds say no more than one.
        let prompts = effects(&mut Noise::new(2), 50, 1.0);
        let one = QUICK.mean(std::slice::from_ref(&prompts))?;
        let ten = QUICK.mean(&vec![prompts; 10])?;
        assert!((ten.width() / one.width() - 1.0).abs() < 0.15, "{one:?} {ten:?}");
        Ok(())
    }

    #[test]
    fn pairing_takes_the_prompts_out() -> Result<(), EvalError> {
        let mut noise = Noise::new(3);
        let prompts = effects(&mut noise, 80, 1.0);
        let a = table(&mut noise, [3, 80], 0.2, &prompts, [0.02, 0.2]);
        let b = table(&mut noise, [2, 80], 0.0, &prompts, [0.02, 0.2]);
        let (paired, unpaired) = (
            QUICK.paired_difference(&a, &b)?,
            QUICK.unpaired_difference(&a, &b)?,
        );
        assert_eq!(paired.value, unpaired.value);
        assert!(paired.width() < 0.4 * unpaired.width(), "{paired:?} {unpaired:?}");
        assert!(
            paired.low > 0.0 && unpaired.low < 0.0,
            "only pairing tells them apart"
        );
        let wins = QUICK.win_rate(&a, &b, 0.0)?;
        assert!(wins.win > 0.8 && wins.rate.low > 0.5, "{wins:?}");
        Ok(())
    }

    #[test]
    fn wins_by_hand() -> Result<(), EvalError> {
        let a = [vec![1.0, 0.0, 0.5, 0.9], vec![1.0, 1.0, 0.5, 0.7]];
        let b = [vec![0.0, 0.5, 0.5, 0.9]];
        let wins = QUICK.win_rate(&a, &b, 0.05)?; // 1 > 0, .5 = .5, .5 = .5, .8 < .9
        assert_eq!(
            (wins.win, wins.tie, wins.loss, wins.rate.value),
            (0.25, 0.5, 0.25, 0.5)
        );
        assert_eq!(QUICK.win_rate(&a, &b, 0.2)?.loss, 0.0);
        assert!(QUICK.win_rate(&a, &b, -1.0).is_err());
        Ok(())
    }

    #[test]
    fn bad_tables_and_options_are_named() {
        let text = |r: Result<Interval, EvalError>| r.expect_err("refused").to_string();
        assert_eq!(
            text(QUICK.mean(&[])),
            "scores: expected at least one seed and one prompt, found none"
        );
        assert_eq!(
            text(QUICK.mean(&[vec![1.0, 2.0], vec![1.0]])),
            "scores, seed 1: expected 2 prompts like seed 0, found 1"
        );
        assert_eq!(
            text(QUICK.mean(&[vec![1.0, f64::NAN]])),
            "scores, seed 0, prompt 1: expected a finite number, found NaN"
        );
        assert_eq!(
            text(QUICK.paired_difference(&[vec![1.0, 2.0]], &[vec![1.0]])),
            "scores of the second system: expected the 2 prompts of the first system, found 1 prompts"
        );
        let bad = Bootstrap { level: 1.0, ..QUICK };
        assert_eq!(
            text(bad.mean(&[vec![1.0]])),
            "level = 1: expected a number in (0, 1)"
        );
        assert!(
            Bootstrap {
                resamples: 1,
                ..QUICK
            }
            .mean(&[vec![1.0]])
            .is_err()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn deterministic_ordered_and_around_the_mean(
            flat in prop::collection::vec(-10.0..10.0_f64, 24), n_seeds in prop::sample::select(vec![1_usize, 2, 3, 4]), seed in any::<u64>(),
        ) {
            let scores: Vec<Vec<f64>> = flat.chunks(24 / n_seeds).map(<[f64]>::to_vec).collect();
            let bootstrap = Bootstrap { seed, ..QUICK };
            let interval = bootstrap.mean(&scores)?;
            prop_assert!((interval.value - flat.iter().sum::<f64>() / 24.0).abs() < 1e-12);
            prop_assert!(interval.contains(interval.value), "{interval:?}");
            prop_assert_eq!(interval, bootstrap.mean(&scores)?);
            let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
            prop_assert_eq!(interval, one_thread.install(|| bootstrap.mean(&scores))?);
            let narrow = Bootstrap { level: 0.5, ..bootstrap }.mean(&scores)?;
            prop_assert!(interval.low <= narrow.low && narrow.high <= interval.high);
            // a system against itself: the value is zero, and so is the interval where there is one seed
            let itself = bootstrap.paired_difference(&scores, &scores)?;
            prop_assert!(itself.value == 0.0 && itself.contains(0.0));
            prop_assert!(n_seeds > 1 || itself.width() == 0.0);
        }
    }
}
