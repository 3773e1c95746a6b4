//! The decoder stacks: networks that turn an image embedding into an image. One file each, and one line in the list below.
//!
//! Planning, rendering, side files, exports and the command line take everything that they say of a stack from [`ALL`].

pub mod contract;
pub mod latent_unet;
pub mod random;

pub use contract::{About, Bundle, DecoderStack, Python, PythonModule};

/// A stack of the list.
pub type Stack = &'static dyn DecoderStack;

macro_rules! stacks {
    ($($(#[$attribute:meta])* $module:ident :: $stack:ident,)+) => {
        $($(#[$attribute])* pub mod $module;)+

        /// Every stack, in the order of help and messages. Where a folder fits two of them, the first is meant.
        pub static ALL: &[Stack] = &[$($(#[$attribute])* &$module::$stack),+];
    };
}

stacks! {
    karlo::Karlo,
    kandinsky22::Kandinsky22,
    pixels::Pixels,
    #[cfg(test)]
    toy::FlatColour,
}

/// `say` of each stack that it says something of, as in "25 for Karlo, 100 for Kandinsky 2.2".
pub fn each(say: impl Fn(&About) -> Option<String>) -> String {
    let said: Vec<String> = ALL.iter().filter_map(|stack| say(stack.about())).collect();
    said.join(", ")
}

/// The names that side files record.
pub fn recorded_names() -> String {
    let mut names: Vec<String> = Vec::new();
    for stack in ALL {
        let name = stack.about().recorded();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}
