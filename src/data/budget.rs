//! A limit on the bytes in memory at a time, shared by threads.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Grants at most a fixed number of bytes at a time.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// Granted bytes; dropping this value returns them.
#[derive(Debug)]
pub(super) struct Permit {
    of: Arc<State>,
    n: usize,
}

impl Budget {
    /// A budget of `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(State {
            most,
            taken: Mutex::new(0),
            freed: Condvar::new(),
        }))
    }

    /// Takes `n` bytes; blocks until enough are free. A request above the limit is granted when no other bytes are taken.
    pub(super) fn take(&self, n: usize) -> Permit {
        let n = n.min(self.0.most);
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken + n > self.0.most {
            taken = self.0.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += n;
        Permit {
            of: self.0.clone(),
            n,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.of.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.n;
        self.of.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let (budget, now, most) = (Budget::new(10), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for size in [3, 4, 20, 1, 5, 10, 2, 7] {
                let (budget, now, most) = (budget.clone(), &now, &most);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let permit = budget.take(size);
                        let sum = now.fetch_add(permit.n, Ordering::SeqCst) + permit.n;
                        most.fetch_max(sum, Ordering::SeqCst);
                        now.fetch_sub(permit.n, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=10).contains(&most.into_inner()));
    }
}
