//! Panics of third-party decoders as errors. Some decoders panic at damaged input; one bad image must not end an encoding of millions of images, and
//! the panic messages do not help users.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// The result of `read`; `None` if it panics. The panic message is not printed.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(outer);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_over() {
        assert_eq!(guarded(|| 3), Some(3));
        let inner = guarded(|| guarded(|| panic!("not to be seen")).is_none() && GUARDED.get());
        assert_eq!(inner, Some(true), "what is outside stays guarded");
        assert!(!GUARDED.get());
    }
}
