//! A bound on the bytes that are in memory at a time, shared by threads.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// So many bytes may be taken at a time.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// Bytes that are taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    of: Arc<State>,
    n: usize,
}

impl Budget {
    /// `most` bytes at a time.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(State {
            most,
            taken: Mutex::new(0),
            freed: Condvar::new(),
        }))
    }

    /// Takes `n` bytes, and waits for others to give theirs back where there are not enough. More than there are at all are taken alone.
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
