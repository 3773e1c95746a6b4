//! Networks that several folders of images share.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What was loaded, with the key that identifies it.
type Loaded = (String, Rc<dyn Any>);

/// Networks and features of a reference, shared by the folders of one call: the last one of each kind stays in memory.
#[derive(Default)]
pub struct SharedNetworks(RefCell<HashMap<&'static str, Loaded>>);

impl SharedNetworks {
    /// The `kind` that `key` identifies, else what `load` gives. Another one of this kind is dropped first.
    pub(super) fn get_or_load<T: 'static, E>(
        &self,
        kind: &'static str,
        key: String,
        load: impl FnOnce() -> Result<T, E>,
    ) -> Result<Rc<T>, E> {
        let known = self
            .0
            .borrow()
            .get(kind)
            .filter(|(k, _)| *k == key)
            .map(|(_, known)| known.clone());
        if let Some(known) = known.and_then(|known| known.downcast().ok()) {
            return Ok(known);
        }
        self.0.borrow_mut().remove(kind);
        let loaded = Rc::new(load()?);
        self.0.borrow_mut().insert(kind, (key, loaded.clone()));
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_is_loaded_once_and_makes_room_for_the_next() {
        let shared = SharedNetworks::default();
        let get = |kind, key: &str, value: u8| -> Result<Rc<u8>, String> {
            shared.get_or_load(kind, key.into(), || {
                if value == 0 { Err("none".into()) } else { Ok(value) }
            })
        };
        let first = get("clip", "a", 1);
        assert_eq!(
            (first.clone(), get("clip", "a", 2)),
            (Ok(Rc::new(1)), Ok(Rc::new(1)))
        );
        assert_eq!(get("text", "a", 3), Ok(Rc::new(3)));
        assert_eq!(get("clip", "b", 0), Err("none".into()));
        assert_eq!(first.as_ref().map(Rc::strong_count), Ok(1));
        assert_eq!(get("clip", "a", 4), Ok(Rc::new(4)));
    }
}
