//! Learning-rate schedules as pure functions of the step, and an adapter to Burn's scheduler trait.
//!
//! The paper trains with "cosine annealing with warm restarts" (SGDR, Loshchilov and Hutter 2017) and its lambda study with OneCycle (Smith and
//! Topin 2018); Burn has neither. Numbers follow torch's `CosineAnnealingWarmRestarts` and `OneCycleLR`. A rate depends on the step alone, so a
//! resumed run continues exactly.

use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use std::f64::consts::PI;

/// A learning rate for each step, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LrSchedule {
    /// A constant rate.
    Constant {
        /// The rate.
        lr: f64,
    },
    /// A linear warm-up from `lr / warmup` to `lr` over `warmup` steps, then one half cosine down to `eta_min` at step `total`, constant afterwards.
    Cosine {
        /// The highest rate.
        lr: f64,
        /// Steps of warm-up; may be 0.
        warmup: usize,
        /// Number of steps, warm-up included.
        total: usize,
        /// The lowest rate.
        eta_min: f64,
    },
    /// SGDR: half cosines from `lr` to `eta_min`, the first `t_0` steps long, each next one `t_mult` times longer.
    Sgdr {
        /// The highest rate.
        lr: f64,
        /// Steps of linear warm-up at the start of each cycle, included in its length; torch has no warm-up.
        warmup: usize,
        /// Length of the first cycle.
        t_0: usize,
        /// Growth of the cycles.
        t_mult: usize,
        /// The rate that a cycle approaches.
        eta_min: f64,
    },
    /// OneCycle, cosine form: up from `lr / div` to `lr` over the first `pct_start` of the steps, then down to `lr / (div final_div)`.
    OneCycle {
        /// The highest rate.
        lr: f64,
        /// Number of steps.
        total: usize,
        /// Fraction of the steps with a rising rate; torch's default is 0.3.
        pct_start: f64,
        /// Ratio of the highest to the first rate; torch's default is 25.
        div: f64,
        /// Ratio of the first to the last rate; torch's default is 1e4.
        final_div: f64,
    },
}

/// A schedule's parameter is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("learning-rate schedule: {key} must be {expected}, found {found}")]
pub struct LrError {
    /// The parameter.
    pub key: &'static str,
    /// Its range.
    pub expected: &'static str,
    /// Its value.
    pub found: f64,
}

impl LrSchedule {
    /// SGDR as the paper names it, with `t_mult` 1 and `eta_min` 0.
    pub fn sgdr(lr: f64, t_0: usize) -> Self {
        Self::Sgdr {
            lr,
            warmup: 0,
            t_0,
            t_mult: 1,
            eta_min: 0.0,
        }
    }

    /// OneCycle with torch's defaults.
    pub fn one_cycle(lr: f64, total: usize) -> Self {
        Self::OneCycle {
            lr,
            total,
            pct_start: 0.3,
            div: 25.0,
            final_div: 1e4,
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`LrError`] with the first parameter out of range.
    pub fn check(self) -> Result<Self, LrError> {
        let number = |key, value: f64, ok: bool, expected| {
            if ok && value.is_finite() {
                Ok(())
            } else {
                Err(LrError {
                    key,
                    expected,
                    found: value,
                })
            }
        };
        let count = |key, value: usize| number(key, value as f64, value >= 1, "at least 1");
        let rate = |lr: f64| number("lr", lr, lr > 0.0, "a finite number above 0");
        let floor = |low: f64, lr| number("eta_min", low, (0.0..=lr).contains(&low), "between 0 and lr");
        match self {
            Self::Constant { lr } => rate(lr)?,
            Self::Cosine {
                lr,
                warmup,
                total,
                eta_min,
            } => {
                rate(lr)?;
                count("total", total)?;
                number("warmup", warmup as f64, warmup < total, "less than total")?;
                floor(eta_min, lr)?;
            }
            Self::Sgdr {
                lr,
                warmup,
                t_0,
                t_mult,
                eta_min,
            } => {
                rate(lr)?;
                count("t_0", t_0)?;
                number("warmup", warmup as f64, warmup < t_0, "less than t_0")?;
                count("t_mult", t_mult)?;
                floor(eta_min, lr)?;
            }
            Self::OneCycle {
                lr,
                total,
                pct_start,
                div,
                final_div,
            } => {
                rate(lr)?;
                count("total", total)?;
                number(
                    "pct_start",
                    pct_start,
                    pct_start > 0.0 && pct_start < 1.0,
                    "between 0 and 1",
                )?;
                number("div", div, div >= 1.0, "at least 1")?;
                number("final_div", final_div, final_div >= 1.0, "at least 1")?;
            }
        }
        Ok(self)
    }

    /// The rate of optimiser step `step` (0 is the first).
    pub fn lr(&self, step: usize) -> f64 {
        match *self {
            Self::Constant { lr } => lr,
            Self::Cosine {
                lr,
                warmup,
                total,
                eta_min,
            } => warmed_cosine(lr, eta_min, warmup, step, total),
            Self::Sgdr {
                lr,
                warmup,
                t_0,
                t_mult,
                eta_min,
            } => {
                let (into, length) = cycle(step, t_0, t_mult);
                warmed_cosine(lr, eta_min, warmup, into, length)
            }
            Self::OneCycle {
                lr,
                total,
                pct_start,
                div,
                final_div,
            } => {
                let first = lr / div;
                let peak = pct_start * total as f64 - 1.0;
                let end = total as f64 - 1.0;
                let at = (step as f64).min(end);
                if at <= peak && peak > 0.0 {
                    half_cosine(first, lr, at / peak)
                } else {
                    half_cosine(lr, first / final_div, (at - peak) / (end - peak))
                }
            }
        }
    }
}

/// Step `step` of `total`: up to `lr` in `warmup` steps, then down to `eta_min`, constant afterwards.
fn warmed_cosine(lr: f64, eta_min: f64, warmup: usize, step: usize, total: usize) -> f64 {
    if step < warmup {
        return lr * (step + 1) as f64 / warmup as f64;
    }
    let length = total.saturating_sub(warmup).max(1);
    half_cosine(lr, eta_min, (step - warmup).min(length) as f64 / length as f64)
}

/// From `from` to `to` along half a cosine, at the fraction `share`.
fn half_cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share).cos()) / 2.0
}

/// Position of `step` in its SGDR cycle, and the cycle's length. Integer arithmetic; torch uses a logarithm.
fn cycle(step: usize, t_0: usize, t_mult: usize) -> (usize, usize) {
    if t_mult == 1 {
        return (step % t_0, t_0);
    }
    let (mut left, mut length) = (step, t_0);
    while left >= length {
        left -= length;
        length = length.saturating_mul(t_mult);
    }
    (left, length)
}

/// An [`LrSchedule`] that counts its own steps, for Burn's learners. Its record is the number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteppedLr {
    schedule: LrSchedule,
    step: usize,
}

impl SteppedLr {
    /// `schedule` from its first step.
    pub fn new(schedule: LrSchedule) -> Self {
        Self { schedule, step: 0 }
    }

    /// `schedule` from `step` on: the next rate is that of `step`.
    pub fn starting_at(schedule: LrSchedule, step: usize) -> Self {
        Self { schedule, step }
    }
}

/// Name of the step in a record.
const STEP: &str = "step";

impl LrScheduler for SteppedLr {
    fn step(&mut self) -> f64 {
        let lr = self.schedule.lr(self.step);
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
    use proptest::prelude::*;

    #[test]
    fn one_cycle_as_torch_tabulates_it() {
        // Ends and peak of OneCycleLR(max_lr=0.1, total_steps=10): 0.1/25, the peak at step 0.3*10-1 = 2, 0.1/25/1e4.
        let s = LrSchedule::one_cycle(0.1, 10);
        assert!((s.lr(0) - 0.004).abs() < 1e-15);
        assert!((s.lr(1) - 0.052).abs() < 1e-15);
        assert!((s.lr(2) - 0.1).abs() < 1e-15);
        // Step 3: one seventh of the way down.
        let want = 4e-7 + (0.1 - 4e-7) * (1.0 + (PI / 7.0).cos()) / 2.0;
        assert!((s.lr(3) - want).abs() < 1e-15);
        assert!((s.lr(9) - 4e-7).abs() < 1e-15);
        assert_eq!(s.lr(10), s.lr(9));
    }

    #[test]
    fn sgdr_restarts_and_grows() {
        let sgdr = |warmup, t_mult| LrSchedule::Sgdr {
            lr: 1.0,
            warmup,
            t_0: 4,
            t_mult,
            eta_min: 0.1,
        };
        let s = sgdr(0, 2);
        for start in [0, 4, 12, 28] {
            assert_eq!(s.lr(start), 1.0, "cycle at {start}");
        }
        assert!((s.lr(2) - 0.55).abs() < 1e-12 && (s.lr(8) - 0.55).abs() < 1e-12);
        // Each cycle is one cosine with warm-up.
        let (s, one) = (
            sgdr(2, 1),
            LrSchedule::Cosine {
                lr: 1.0,
                warmup: 2,
                total: 4,
                eta_min: 0.1,
            },
        );
        for step in 0..12 {
            assert_eq!(s.lr(step), one.lr(step % 4), "step {step}");
        }
        assert_eq!(sgdr(4, 1).check().map_err(|e| e.key), Err("warmup"));
    }

    #[test]
    fn cosine_warms_up_and_stays_down() {
        let s = LrSchedule::Cosine {
            lr: 1.0,
            warmup: 4,
            total: 14,
            eta_min: 0.2,
        };
        assert_eq!((s.lr(0), s.lr(3), s.lr(4)), (0.25, 1.0, 1.0));
        assert!((s.lr(9) - 0.6).abs() < 1e-12);
        assert!((s.lr(14) - 0.2).abs() < 1e-12 && s.lr(500) == s.lr(14));
    }

    #[test]
    fn parameters_are_checked() {
        let error = LrSchedule::sgdr(1e-3, 0).check().expect_err("t_0 is 0");
        assert_eq!(
            error.to_string(),
            "learning-rate schedule: t_0 must be at least 1, found 0"
        );
        let error = LrSchedule::Constant { lr: f64::NAN }
            .check()
            .expect_err("lr is NaN");
        assert_eq!(
            error.to_string(),
            "learning-rate schedule: lr must be a finite number above 0, found NaN"
        );
        let cosine = LrSchedule::Cosine {
            lr: 1.0,
            warmup: 5,
            total: 5,
            eta_min: 0.0,
        };
        assert_eq!(cosine.check().map_err(|e| e.key), Err("warmup"));
        assert!(LrSchedule::one_cycle(0.1, 100).check().is_ok());
    }

    proptest! {
        #[test]
        fn a_resumed_schedule_continues_exactly(t_0 in 1usize..50, t_mult in 1usize..4, cut in 0usize..200) {
            let schedule = LrSchedule::Sgdr { lr: 1e-3, warmup: t_0 / 3, t_0, t_mult, eta_min: 1e-6 };
            let mut whole = SteppedLr::new(schedule);
            let all: Vec<f64> = (0..250).map(|_| LrScheduler::step(&mut whole)).collect();
            let mut first = SteppedLr::new(schedule);
            (0..cut).for_each(|_| { LrScheduler::step(&mut first); });
            let mut second = SteppedLr::new(schedule);
            second.load_record(first.to_record());
            let rest: Vec<f64> = (cut..250).map(|_| LrScheduler::step(&mut second)).collect();
            prop_assert_eq!(&all[cut..], &rest[..]);
        }

        #[test]
        fn rates_stay_between_their_bounds(step in 0usize..5000, t_0 in 1usize..400, t_mult in 1usize..4) {
            let lr = LrSchedule::Sgdr { lr: 1e-3, warmup: 0, t_0, t_mult, eta_min: 1e-5 }.lr(step);
            prop_assert!((1e-5..=1e-3).contains(&lr));
            let lr = LrSchedule::one_cycle(1e-3, t_0 + 4).lr(step);
            prop_assert!((0.0..=1e-3 + 1e-12).contains(&lr));
        }
    }
}
