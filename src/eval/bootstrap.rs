//! Percentile bootstrap over seeds and prompts.
//!
//! Scores are a table `[seed][prompt]`: each run seed of one system was scored on the same prompts. Both are samples of
//! something larger, so both are resampled: first the seeds, with replacement, then one draw of prompts that all drawn seeds
//! share, since what makes a prompt hard is common to the seeds (Owen 2007, "The pigeonhole bootstrap"; drawing prompts
//! anew for each seed would make intervals too short). One seed, or one prompt, is fine: that factor then adds no variance, and
//! the interval says nothing about it. With three seeds the seed part of an interval is rough, as any number from three seeds is.
//!
//! Two systems are compared on the same prompts, one draw for both. Their seeds are drawn together too where both have the same ones
//! ([`Seeds::Paired`]): two priors of one seed start from the same weights and see the same pairs in the same order. Else each system's
//! seeds are drawn by themselves.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::EvalError;
use crate::limits;
use crate::noise::{Noise, Stream};

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

/// What the seeds of two systems have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    /// Row `i` of both tables is the same seed: one draw for both.
    Paired,
    /// The rows have nothing in common: a draw for each.
    Apart,
}

impl Seeds {
    /// [`Seeds::Paired`] if both systems have the same seeds in the same order.
    pub fn of(a: &[u64], b: &[u64]) -> Self {
        if a == b { Self::Paired } else { Self::Apart }
    }
}

/// How often one system scores above another on the same prompt. With [`Seeds::Paired`] each seed's score meets that of the same seed,
/// else the score of every seed meets that of every other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WinRate {
    /// Share of comparisons in which the first system scores higher.
    pub win: Interval,
    /// Share in which both score the same, within the tolerance.
    pub tie: Interval,
    /// Share in which the first system scores lower.
    pub loss: Interval,
    /// `win + tie / 2`: 0.5 for equals.
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

    /// The mean over all values of `clusters`, such as the images of each prompt, which are not independent: whole clusters are drawn.
    ///
    /// # Errors
    /// [`EvalError::Shape`] without clusters or for an empty one, [`EvalError::Parameter`] for a bad level or number of resamples.
    pub fn clustered_mean(&self, clusters: &[Vec<f64>]) -> Result<Interval, EvalError> {
        if clusters.is_empty() || clusters.iter().any(Vec::is_empty) {
            let found = format!("{} clusters, some of them empty", clusters.len());
            return Err(EvalError::shape(
                "clusters",
                "one or more, each with values",
                found,
            ));
        }
        let sums: Vec<(f64, usize)> = clusters.iter().map(|c| (c.iter().sum(), c.len())).collect();
        let mean = |drawn: &mut dyn Iterator<Item = usize>| {
            let (sum, n) = drawn.fold((0.0, 0), |(sum, n), i| (sum + sums[i].0, n + sums[i].1));
            sum / n as f64
        };
        self.interval(mean(&mut (0..sums.len())), |rng| {
            mean(&mut draw(rng, sums.len()).into_iter())
        })
    }

    /// `mean(a) - mean(b)` of two systems on the same prompts (`[seed][prompt]` each).
    ///
    /// # Errors
    /// Like [`Bootstrap::mean`]; also [`EvalError::Shape`] if the numbers of prompts differ, or those of paired seeds.
    pub fn paired_difference(
        &self,
        a: &[Vec<f64>],
        b: &[Vec<f64>],
        seeds: Seeds,
    ) -> Result<Interval, EvalError> {
        let n_prompts = check_pair(a, b, seeds)?;
        let all: Vec<usize> = (0..n_prompts).collect();
        let difference = |seeds_a: &[usize], seeds_b: &[usize], prompts: &[usize]| {
            mean(&per_prompt(a, seeds_a, prompts)) - mean(&per_prompt(b, seeds_b, prompts))
        };
        self.interval(difference(&each(a), &each(b), &all), |rng| {
            let (seeds_a, seeds_b) = draw_seeds(rng, a.len(), b.len(), seeds);
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

    /// How often `a` beats `b` on the same prompt; differences up to `tolerance` are ties.
    ///
    /// # Errors
    /// Like [`Bootstrap::paired_difference`]; also [`EvalError::Parameter`] for a negative tolerance.
    pub fn win_rate(
        &self,
        a: &[Vec<f64>],
        b: &[Vec<f64>],
        seeds: Seeds,
        tolerance: f64,
    ) -> Result<WinRate, EvalError> {
        let n_prompts = check_pair(a, b, seeds)?;
        if tolerance.is_nan() || tolerance < 0.0 {
            return Err(EvalError::parameter("tolerance", tolerance, "a number >= 0"));
        }
        let all: Vec<usize> = (0..n_prompts).collect();
        let shares = |seeds_a: &[usize], seeds_b: &[usize], prompts: &[usize]| {
            let meetings: Vec<(usize, usize)> = match seeds {
                Seeds::Paired => seeds_a.iter().copied().zip(seeds_b.iter().copied()).collect(),
                Seeds::Apart => seeds_a
                    .iter()
                    .flat_map(|&i| seeds_b.iter().map(move |&j| (i, j)))
                    .collect(),
            };
            let (mut win, mut tie, mut loss) = (0_usize, 0_usize, 0_usize);
            for &(i, j) in &meetings {
                for &prompt in prompts {
                    let ahead = a[i][prompt] - b[j][prompt];
                    match ahead {
                        _ if ahead > tolerance => win += 1,
                        _ if -ahead > tolerance => loss += 1,
                        _ => tie += 1,
                    }
                }
            }
            let n = (win + tie + loss) as f64;
            let [win, tie, loss] = [win, tie, loss].map(|count| count as f64 / n);
            [win, tie, loss, win + tie / 2.0]
        };
        let [win, tie, loss, rate] = self.intervals(shares(&each(a), &each(b), &all), |rng| {
            let (seeds_a, seeds_b) = draw_seeds(rng, a.len(), b.len(), seeds);
            shares(&seeds_a, &seeds_b, &draw(rng, n_prompts))
        })?;
        Ok(WinRate { win, tie, loss, rate })
    }

    fn interval<F>(&self, value: f64, resample: F) -> Result<Interval, EvalError>
    where
        F: Fn(&mut ChaCha8Rng) -> f64 + Sync,
    {
        let [interval] = self.intervals([value], |rng| [resample(rng)])?;
        Ok(interval)
    }

    /// The intervals of several numbers that come from the same resamples.
    fn intervals<const N: usize, F>(&self, values: [f64; N], resample: F) -> Result<[Interval; N], EvalError>
    where
        F: Fn(&mut ChaCha8Rng) -> [f64; N] + Sync,
    {
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(EvalError::parameter("level", self.level, "a number in (0, 1)"));
        }
        if self.resamples < 2 {
            return Err(EvalError::parameter("resamples", self.resamples, "at least 2"));
        }
        let draws: Vec<[f64; N]> = (0..self.resamples as u64)
            .into_par_iter()
            .map(|r| resample(Noise::of(self.seed, Stream::Repetition(r)).rng()))
            .collect();
        let tail = (1.0 - self.level) / 2.0;
        Ok(std::array::from_fn(|k| {
            let mut sorted: Vec<f64> = draws.iter().map(|draw| draw[k]).collect();
            sorted.sort_by(f64::total_cmp);
            Interval {
                value: values[k],
                low: quantile(&sorted, tail),
                high: quantile(&sorted, 1.0 - tail),
            }
        }))
    }
}

/// Quantile `q` of ascending values, linear between the two nearest (numpy's default).
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

/// `n` draws from `0..n`, with replacement.
fn draw(rng: &mut ChaCha8Rng, n: usize) -> Vec<usize> {
    (0..n).map(|_| rng.random_range(0..n)).collect()
}

/// Seeds of two systems, with replacement.
fn draw_seeds(rng: &mut ChaCha8Rng, n_a: usize, n_b: usize, seeds: Seeds) -> (Vec<usize>, Vec<usize>) {
    let a = draw(rng, n_a);
    let b = match seeds {
        Seeds::Paired => a.clone(),
        Seeds::Apart => draw(rng, n_b),
    };
    (a, b)
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
        if let Some(limits::Odd { at, value, .. }) = limits::not_finite(row.iter().copied()) {
            let what = format!("{what}, seed {seed}, prompt {at}");
            return Err(EvalError::shape(what, "a finite number", value));
        }
    }
    Ok(n_prompts)
}

fn check_pair(a: &[Vec<f64>], b: &[Vec<f64>], seeds: Seeds) -> Result<usize, EvalError> {
    let (n_a, n_b) = (
        check("scores of the first system", a)?,
        check("scores of the second system", b)?,
    );
    let (expected, found) = if n_a != n_b {
        (
            format!("the {n_a} prompts of the first system"),
            format!("{n_b} prompts"),
        )
    } else if seeds == Seeds::Paired && a.len() != b.len() {
        (
            format!("the {} seeds of the first system", a.len()),
            format!("{} seeds", b.len()),
        )
    } else {
        return Ok(n_a);
    };
    Err(EvalError::shape("scores of the second system", expected, found))
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
    fn images_of_one_prompt_are_drawn_together() -> Result<(), EvalError> {
        let values: Vec<f64> = (0..60).map(|i| f64::from(i * 7 % 11)).collect();
        let bootstrap = Bootstrap::default();
        let once: Vec<Vec<f64>> = values.iter().map(|v| vec![*v]).collect();
        let often: Vec<Vec<f64>> = values.iter().map(|v| vec![*v; 10]).collect();
        let (once, often) = (
            bootstrap.clustered_mean(&once)?,
            bootstrap.clustered_mean(&often)?,
        );
        // Ten copies of an image say no more than one.
        assert!((once.value - often.value).abs() < 1e-12);
        assert!((once.width() - often.width()).abs() < 1e-9, "{once:?} {often:?}");
        let apart = bootstrap.mean(&[values.iter().flat_map(|v| [*v; 10]).collect()])?;
        assert!(apart.width() < 0.5 * often.width(), "{apart:?} {often:?}");
        let uneven = bootstrap.clustered_mean(&[vec![1.0, 1.0, 1.0], vec![5.0]])?;
        assert_eq!((uneven.value, uneven.low, uneven.high), (2.0, 1.0, 5.0));
        for bad in [vec![], vec![vec![1.0], vec![]]] {
            assert!(bootstrap.clustered_mean(&bad).is_err());
        }
        Ok(())
    }

    #[test]
    fn pairing_takes_the_prompts_out() -> Result<(), EvalError> {
        let mut noise = Noise::new(3);
        let prompts = effects(&mut noise, 80, 1.0);
        let a = table(&mut noise, [3, 80], 0.2, &prompts, [0.02, 0.2]);
        let b = table(&mut noise, [2, 80], 0.0, &prompts, [0.02, 0.2]);
        let (paired, unpaired) = (
            QUICK.paired_difference(&a, &b, Seeds::Apart)?,
            QUICK.unpaired_difference(&a, &b)?,
        );
        assert_eq!(paired.value, unpaired.value);
        assert!(paired.width() < 0.4 * unpaired.width(), "{paired:?} {unpaired:?}");
        assert!(
            paired.low > 0.0 && unpaired.low < 0.0,
            "only pairing tells them apart"
        );
        let wins = QUICK.win_rate(&a, &b, Seeds::Apart, 0.0)?;
        assert!(wins.win.low > 0.6 && wins.rate.low > 0.5, "{wins:?}");
        Ok(())
    }

    #[test]
    fn pairing_takes_what_seeds_share_out_and_nothing_else() -> Result<(), EvalError> {
        let mut noise = Noise::new(4);
        let prompts = effects(&mut noise, 60, 0.5);
        let a = table(&mut noise, [4, 60], 0.0, &prompts, [1.0, 0.1]);
        let better = |row: &Vec<f64>| row.iter().map(|v| v + 0.1).collect();
        let b: Vec<Vec<f64>> = a.iter().map(better).collect();
        let paired = QUICK.paired_difference(&b, &a, Seeds::Paired)?;
        assert!(
            (paired.low - 0.1).abs() < 1e-9 && (paired.high - 0.1).abs() < 1e-9,
            "{paired:?}"
        );
        let apart = QUICK.paired_difference(&b, &a, Seeds::Apart)?;
        assert!(apart.low < 0.0 && apart.high > 0.2, "{apart:?}");
        assert_eq!(QUICK.win_rate(&b, &a, Seeds::Paired, 0.0)?.win.low, 1.0);
        // Where seeds share nothing, pairing changes the width by chance only.
        let c = table(&mut noise, [12, 60], 0.0, &prompts, [0.3, 0.1]);
        let d = table(&mut noise, [12, 60], 0.0, &prompts, [0.3, 0.1]);
        let widths = [Seeds::Paired, Seeds::Apart].map(|seeds| QUICK.paired_difference(&c, &d, seeds));
        let [paired, apart] = widths;
        let ratio = paired?.width() / apart?.width();
        assert!((0.6..1.6).contains(&ratio), "{ratio}");
        assert_eq!(Seeds::of(&[0, 1], &[0, 1]), Seeds::Paired);
        assert_eq!(Seeds::of(&[0, 1], &[0, 1, 2]), Seeds::Apart);
        Ok(())
    }

    #[test]
    fn wins_by_hand() -> Result<(), EvalError> {
        let a = [vec![1.0, 0.0, 0.5, 0.9], vec![1.0, 1.0, 0.5, 0.7]];
        let b = [vec![0.0, 0.5, 0.5, 0.9]];
        let shares = |b: &[Vec<f64>], seeds, tolerance| {
            let wins = QUICK.win_rate(&a, b, seeds, tolerance)?;
            Ok::<_, EvalError>([wins.win, wins.tie, wins.loss, wins.rate].map(|share| share.value))
        };
        // Seed 0: win, loss, tie, tie; seed 1: win, win, tie, loss.
        assert_eq!(shares(&b, Seeds::Apart, 0.05)?, [0.375, 0.375, 0.25, 0.5625]);
        assert_eq!(shares(&b, Seeds::Apart, 0.3)?, [0.375, 0.5, 0.125, 0.625]);
        // The same, and a seed that loses 2 prompts and draws 2.
        let two = [b[0].clone(), vec![1.0, 1.5, 0.5, 0.8]];
        assert_eq!(shares(&two, Seeds::Paired, 0.05)?, [0.125, 0.5, 0.375, 0.375]);
        assert!(QUICK.win_rate(&a, &b, Seeds::Apart, -1.0).is_err());
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
            text(QUICK.paired_difference(&[vec![1.0, 2.0]], &[vec![1.0]], Seeds::Paired)),
            "scores of the second system: expected the 2 prompts of the first system, found 1 prompts"
        );
        assert_eq!(
            text(QUICK.paired_difference(&[vec![1.0]], &[vec![1.0], vec![2.0]], Seeds::Paired)),
            "scores of the second system: expected the 1 seeds of the first system, found 2 seeds"
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
            // a system against itself: the value is zero, and so is the interval where seeds are paired
            let itself = bootstrap.paired_difference(&scores, &scores, Seeds::Apart)?;
            prop_assert!(itself.value == 0.0 && itself.contains(0.0));
            prop_assert!(n_seeds > 1 || itself.width() == 0.0);
            prop_assert_eq!(bootstrap.paired_difference(&scores, &scores, Seeds::Paired)?.width(), 0.0);
        }
    }
}
