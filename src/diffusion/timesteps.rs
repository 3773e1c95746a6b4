//! Which train timesteps a sampler of `n` steps visits, latest first.

/// Rule that spreads the visited timesteps over the train timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// `round(i (n_train - 1) / (n - 1))`: Karlo's own rule, both ends included. One step visits the last timestep only (the reference divides
    /// by zero there).
    UnClip,
    /// `i floor(n_train / n) + offset`: starts below the last timestep. The published Kandinsky schedulers.
    Leading {
        /// Added to every timestep (`steps_offset`).
        offset: usize,
    },
    /// `round(n_train - i n_train / n) - 1`: ends above zero.
    Trailing,
    /// `round` of `n` points from 0 to the last timestep. One step visits 0, as numpy's `linspace` does.
    Linspace,
}

impl Spacing {
    /// The raw rule for `1 <= n <= n_train`; [`Spacing::Leading`] with an offset may step past the last train timestep.
    pub(super) fn timesteps(self, n: usize, n_train: usize) -> Vec<usize> {
        let last = (n_train - 1) as f64;
        match self {
            Self::UnClip if n == 1 => vec![n_train - 1],
            Self::UnClip => {
                let ratio = last / (n - 1) as f64;
                (0..n)
                    .rev()
                    .map(|i| (i as f64 * ratio).round_ties_even() as usize)
                    .collect()
            }
            Self::Leading { offset } => (0..n).rev().map(|i| i * (n_train / n) + offset).collect(),
            Self::Trailing => {
                let ratio = n_train as f64 / n as f64;
                (0..n)
                    .map(|i| ((n_train as f64 - i as f64 * ratio).round_ties_even() as usize).max(1) - 1)
                    .collect()
            }
            Self::Linspace if n == 1 => vec![0],
            Self::Linspace => {
                let ratio = last / (n - 1) as f64;
                (0..n)
                    .rev()
                    .map(|i| (i as f64 * ratio).round_ties_even() as usize)
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_steps_differ_between_rules() {
        assert_eq!(Spacing::UnClip.timesteps(2, 1000), [999, 0]);
        assert_eq!(Spacing::Leading { offset: 0 }.timesteps(2, 1000), [500, 0]);
        assert_eq!(Spacing::Leading { offset: 1 }.timesteps(2, 1000), [501, 1]);
        assert_eq!(Spacing::Trailing.timesteps(2, 1000), [999, 499]);
        assert_eq!(Spacing::Linspace.timesteps(2, 1000), [999, 0]);
    }

    #[test]
    fn karlo_in_25() {
        let t = Spacing::UnClip.timesteps(25, 1000);
        assert_eq!((t[1], t[2], t[23], t[24]), (957, 916, 42, 0));
    }

    proptest! {
        #[test]
        fn strictly_falling_and_in_range(n in 1usize..=1000, rule in 0..4usize) {
            let rule = [Spacing::UnClip, Spacing::Leading { offset: 0 }, Spacing::Trailing, Spacing::Linspace][rule];
            let t = rule.timesteps(n, 1000);
            prop_assert_eq!(t.len(), n);
            prop_assert!(t[0] < 1000);
            prop_assert!(t.windows(2).all(|w| w[1] < w[0]));
        }
    }
}
