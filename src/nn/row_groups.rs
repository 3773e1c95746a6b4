//! Spreads the rows of a batch over the threads of a CPU.
//!
//! Burn's flex divides single operations, and not all of them: a matrix product runs on every thread, most element-wise operations and reductions on
//! one. Groups of rows that are computed side by side, each on one thread, keep every thread busy through a whole network. The number of threads is that
//! of the rayon pool of the calling thread, so that what runs inside a smaller pool is divided less.

use std::ops::Range;
use std::sync::Mutex;

use burn::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::device;

/// Floating-point operations of a row from which a group repays its threads, which take 50 microseconds. Smaller networks are computed as one group, so
/// that the number of threads does not change their rounding.
const LEAST_FLOP: f64 = 1e9;

/// Burn's recursion is deep on a backward pass.
const STACK: usize = 8 << 20;

/// Idle pools of one thread each. A group runs in a pool of its own: what flex would divide stays on its thread.
static POOLS: Mutex<Vec<ThreadPool>> = Mutex::new(Vec::new());

/// Ranges of rows of a batch, one for each thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroups(Vec<Range<usize>>);

impl RowGroups {
    /// Groups of `n` rows that do not depend on each other and take `flop_per_row` floating-point operations each: one a thread on flex, as equal as
    /// possible; a single one on other devices, for small rows, and while gradients are recorded: one backward pass runs on one thread, so that training
    /// divides its steps itself ([`RowGroups::of_step`]).
    pub fn new(n: usize, flop_per_row: f64, device: &Device) -> Self {
        match device.is_autodiff() {
            true => Self::one(n),
            false => Self::of_step(n, flop_per_row, device),
        }
    }

    /// [`RowGroups::new`] for groups that have a backward pass each.
    pub fn of_step(n: usize, flop_per_row: f64, device: &Device) -> Self {
        let threads = match device::spreads_rows(device) && flop_per_row >= LEAST_FLOP {
            true => rayon::current_num_threads(),
            false => 1,
        };
        Self::divided(n, threads)
    }

    /// A single group.
    pub fn one(n: usize) -> Self {
        Self::divided(n, 1)
    }

    fn divided(n: usize, n_groups: usize) -> Self {
        let n_groups = n_groups.clamp(1, n.max(1));
        let start = |group: usize| group * n / n_groups;
        Self(
            (0..n_groups)
                .map(|group| start(group)..start(group + 1))
                .collect(),
        )
    }

    /// Whether there is one group only.
    pub fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    /// Number of groups.
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The ranges.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// The rows that `f(group, rows)` gives for every group, computed at the same time.
    pub fn rows<T: Rows>(&self, f: impl Fn(usize, Range<usize>) -> T + Sync) -> T {
        let mut parts = self.map(f);
        match self.is_one() {
            true => parts.remove(0),
            false => T::cat(parts),
        }
    }

    /// `f(group, rows)` of every group, at the same time; in the order of the groups.
    pub fn map<T: Send>(&self, f: impl Fn(usize, Range<usize>) -> T + Sync) -> Vec<T> {
        if self.is_one() {
            return vec![f(0, self.0[0].clone())];
        }
        std::thread::scope(|scope| {
            let f = &f;
            let spawn = |(group, rows): (usize, &Range<usize>)| {
                let rows = rows.clone();
                scope.spawn(move || on_one_thread(|| f(group, rows)))
            };
            let handles: Vec<_> = self.0.iter().enumerate().map(spawn).collect();
            let join = |handle: std::thread::ScopedJoinHandle<'_, T>| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            handles.into_iter().map(join).collect()
        })
    }
}

/// What a network gives for the rows of a batch.
pub trait Rows: Send {
    /// The rows of all `parts`, in order.
    fn cat(parts: Vec<Self>) -> Self
    where
        Self: Sized;
}

impl<const D: usize> Rows for Tensor<D> {
    fn cat(parts: Vec<Self>) -> Self {
        Tensor::cat(parts, 0)
    }
}

/// `rows` of `x`: a view.
pub fn narrow<const D: usize, K: burn::tensor::kind::Basic>(
    x: &Tensor<D, K>,
    rows: &Range<usize>,
) -> Tensor<D, K> {
    x.clone().narrow(0, rows.start, rows.len())
}

/// `f` in a pool of one thread.
fn on_one_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let idle = POOLS.lock().ok().and_then(|mut pools| pools.pop());
    let pool = idle.map_or_else(
        || ThreadPoolBuilder::new().num_threads(1).stack_size(STACK).build(),
        Ok,
    );
    // Without a thread to spare the group is computed in the caller's pool.
    let Ok(pool) = pool else { return f() };
    let result = pool.install(f);
    if let Ok(mut pools) = POOLS.lock() {
        pools.push(pool);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn groups_hold_every_row_once() {
        for (n, threads) in [(0, 4), (1, 4), (3, 2), (32, 5), (7, 7), (7, 1)] {
            let groups = RowGroups::divided(n, threads);
            assert_eq!(groups.n(), threads.min(n.max(1)));
            let rows: Vec<usize> = groups.ranges().iter().cloned().flatten().collect();
            assert_eq!(rows, (0..n).collect::<Vec<_>>());
            let sizes: Vec<usize> = groups.ranges().iter().map(ExactSizeIterator::len).collect();
            assert!(sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) <= 1);
        }
    }

    #[test]
    fn the_pool_of_the_caller_sets_the_number() {
        let device = DeviceSpec::default().device().expect("the default device");
        let within = |threads: usize, flop: f64| {
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            pool.install(|| {
                let groups = RowGroups::new(8, flop, &device);
                let inside = groups.map(|_, _| rayon::current_num_threads());
                (groups.n(), inside)
            })
        };
        let spread = if device::spreads_rows(&device) { 3 } else { 1 };
        let (n, inside) = within(3, 2.0 * LEAST_FLOP);
        assert_eq!(n, spread);
        assert!(spread == 1 || inside == [1; 3]);
        assert_eq!(within(3, 0.5 * LEAST_FLOP), (1, vec![3]));
        assert_eq!(within(1, 2.0 * LEAST_FLOP), (1, vec![1]));
    }
}
