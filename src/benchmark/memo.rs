//! Values that runs of one process share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Values made once and kept.
pub(super) struct Memo<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K: std::hash::Hash + Eq, V> Memo<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// The value of `key`, made by `make` the first time. Others wait meanwhile: they would make the same.
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
