//! Values shared by the runs of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Values that are computed once and kept.
pub(super) struct Memo<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K: std::hash::Hash + Eq, V> Memo<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// The value of `key`, computed by `make` at the first call. Concurrent callers wait for it.
    pub(super) fn get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = kept.get(&key) {
            return Ok(value.clone());
        }
        let value = Arc::new(make()?);
        kept.insert(key, value.clone());
        Ok(value)
    }
}
