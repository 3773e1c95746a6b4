//! Errors that are the caller's to fix, checks of where results go, and exit codes.

use crate::data::source::SourceError;
use crate::device::DeviceError;
use crate::experiment::SpecError;

use super::stop::Stopped;

/// An argument that makes no sense; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub(super) String);

/// A part of what was to be read is lost; the exit code is 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(super) String);

/// The program's exit code after `error`: 1 for a failure, 2 for the caller's mistake, 3 where files of a source cannot be read, 130 where it was
/// asked to stop.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error {
        _ if is_usage(error) => 2,
        _ if error.chain().any(|e| e.is::<Unreadable>()) => 3,
        _ if error.chain().any(|e| e.is::<Stopped>()) => 130,
        _ => 1,
    }
}

/// Whether `error` is the caller's to fix in arguments or specification, rather than a failure.
fn is_usage(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|e| e.is::<SpecError>() || e.is::<DeviceError>() || e.is::<Usage>() || is_wrong_world(e))
}

/// Whether the query of a built-in world makes no sense: it is all argument.
fn is_wrong_world(error: &(dyn std::error::Error + 'static)) -> bool {
    let place = error.downcast_ref::<SourceError>();
    matches!(place, Some(SourceError::Place { place, .. }) if crate::data::source::with_scheme(place).is_some())
}

/// Refuses a file that could not be written later: before the work, not after it.
pub(super) fn check_output(option: &str, path: &std::path::Path) -> Result<(), Usage> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    let refuse = |reason: String| Err(Usage(format!("{option} {}: {reason}", path.display())));
    if path.is_dir() {
        return refuse("is a folder, expected the name of a file".into());
    }
    if !parent.is_dir() {
        return refuse(format!("no such folder: {}", parent.display()));
    }
    match tempfile::Builder::new().prefix(".tmp-").tempfile_in(parent) {
        Ok(_) => Ok(()),
        Err(e) => refuse(format!("cannot write in {}: {}", parent.display(), e.kind())),
    }
}

/// Refuses a folder that could not be made or written to later: before the work, not after it. Makes nothing.
pub(super) fn check_output_folder(option: &str, path: &std::path::Path) -> Result<(), Usage> {
    let refuse = |reason: String| Err(Usage(format!("{option} {}: {reason}", path.display())));
    if path.exists() && !path.is_dir() {
        return refuse("is a file, expected a folder".into());
    }
    // The nearest folder that is there is where the first missing one would be made.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(there) = absolute.ancestors().find(|folder| folder.exists()) else {
        return refuse("no such folder, and none above it".into());
    };
    if !there.is_dir() {
        return refuse(format!("{} is a file, expected a folder", there.display()));
    }
    match tempfile::Builder::new().prefix(".tmp-").tempfile_in(there) {
        Ok(_) => Ok(()),
        Err(e) => refuse(format!("cannot write in {}: {}", there.display(), e.kind())),
    }
}
