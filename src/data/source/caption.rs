//! Captions as they come, made fit for a tokenizer.

use super::{Caption, RejectReason};

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

/// Those that can be used.
///
/// # Errors
/// Where there is none: why the last one cannot be.
pub(super) fn usable<S: AsRef<str>>(
    captions: impl IntoIterator<Item = (Option<String>, S)>,
) -> Result<Vec<Caption>, (RejectReason, String)> {
    let mut why = (RejectReason::NoCaption, "no caption".to_owned());
    let mut all = Vec::new();
    for (id, text) in captions {
        match clean(text.as_ref()) {
            Ok(text) => all.push(Caption { id, text }),
            Err(reason) => why = reason,
        }
    }
    if all.is_empty() { Err(why) } else { Ok(all) }
}
