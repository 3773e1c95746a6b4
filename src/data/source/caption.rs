//! Cleans captions for a tokenizer.

use super::item::{Caption, RejectReason};

/// Most bytes of a caption.
const LONGEST: usize = 64 * 1024;

/// The text on one line: control characters become spaces, and runs of white space one space.
///
/// # Errors
/// Why the caption is rejected.
pub(super) fn clean(text: &str) -> Result<String, (RejectReason, String)> {
    if text.len() > LONGEST {
        let detail = format!("a caption of {} bytes, at most {LONGEST} are read", text.len());
        return Err((RejectReason::CaptionTooLong, detail));
    }
    let spaced = text.replace(|c: char| c.is_control() || c == '\u{feff}', " ");
    let text = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.is_empty() {
        true => Err((RejectReason::NoCaption, "an empty caption".into())),
        false => Ok(text),
    }
}

/// The captions of an image, cleaned.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    /// Usable captions; at least one.
    pub(super) captions: Vec<Caption>,
    /// Why other captions are rejected.
    pub(super) dropped: Vec<(RejectReason, String)>,
}

/// Separates usable captions from rejected ones.
///
/// # Errors
/// If no caption is usable: why the last one is rejected.
pub(super) fn usable<S: AsRef<str>>(
    captions: impl IntoIterator<Item = (Option<String>, S)>,
) -> Result<Cleaned, (RejectReason, String)> {
    let mut all = Cleaned::default();
    for (id, text) in captions {
        match clean(text.as_ref()) {
            Ok(text) => all.captions.push(Caption { id, text }),
            Err((reason, detail)) => {
                let of = id.map_or_else(String::new, |id| format!("caption {id}: "));
                all.dropped.push((reason, of + &detail));
            }
        }
    }
    if all.captions.is_empty() {
        let none = || (RejectReason::NoCaption, "no caption".to_owned());
        return Err(all.dropped.pop().unwrap_or_else(none));
    }
    Ok(all)
}
