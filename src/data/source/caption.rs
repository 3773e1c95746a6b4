//! Captions as they come, made fit for a tokenizer.

use super::item::{Caption, RejectReason};

/// Bytes of a caption at most.
const LONGEST: usize = 64 * 1024;

/// The words on one line: control characters become spaces, runs of white space one.
///
/// # Errors
/// Why it cannot be used.
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

/// The captions of an image.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    /// Those that can be used; at least one.
    pub(super) captions: Vec<Caption>,
    /// Why others cannot be.
    pub(super) dropped: Vec<(RejectReason, String)>,
}

/// Parts captions that can be used from those that cannot.
///
/// # Errors
/// Where there is none to use: why the last one cannot be.
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
