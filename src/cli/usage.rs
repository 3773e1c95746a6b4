//! User errors, checks of output paths, and exit codes.

use crate::data::source::SourceError;
use crate::device::DeviceError;
use crate::experiment::SpecError;

use super::stop::Stopped;

/// An invalid argument; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub(super) String);

/// A part of the input cannot be read; the exit code is 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(super) String);

/// The exit code of `error`: 1 for a failure, 2 for a user error, 3 for unreadable files of a source, 130 for a stop on
/// request.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error {
        _ if is_usage(error) => 2,
        _ if error.chain().any(|e| e.is::<Unreadable>()) => 3,
        _ if error.chain().any(|e| e.is::<Stopped>()) => 130,
        _ => 1,
    }
}

/// Whether the user can correct `error` in arguments or specification, as opposed to a failure.
fn is_usage(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|e| e.is::<SpecError>() || e.is::<DeviceError>() || e.is::<Usage>() || is_wrong_world(e))
}

/// Whether the query of a built-in world is invalid: the whole place is an argument.
fn is_wrong_world(error: &(dyn std::error::Error + 'static)) -> bool {
    let place = error.downcast_ref::<SourceError>();
    matches!(place, Some(SourceError::Place { place, .. }) if crate::data::source::with_scheme(place).is_some())
}

/// Refuses an output file that cannot be written, before the work starts.
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

/// Refuses an output folder that cannot be created or written, before the work starts. Creates nothing.
pub(super) fn check_output_folder(option: &str, path: &std::path::Path) -> Result<(), Usage> {
    let refuse = |reason: String| Err(Usage(format!("{option} {}: {reason}", path.display())));
    if path.exists() && !path.is_dir() {
        return refuse("is a file, expected a folder".into());
    }
    // The first missing folder would be created in the nearest existing folder.
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
