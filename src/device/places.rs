//! Where the kernels of GPUs are kept: a database, which network filesystems damage.

use std::path::{Path, PathBuf};

use crate::files;

/// Filesystems that several machines share; file locks and shared memory do not work on all of them.
const SHARED: [&str; 16] = [
    "nfs",
    "nfs4",
    "lustre",
    "cifs",
    "smb3",
    "smbfs",
    "gpfs",
    "beegfs",
    "beegfs_nodev",
    "ceph",
    "fuse.sshfs",
    "fuse.ceph",
    "fuse.glusterfs",
    "afs",
    "9p",
    "pvfs2",
];

/// A folder, and what the user should know about it.
pub(super) struct Place {
    /// `None`: nothing is kept.
    pub(super) folder: Option<PathBuf>,
    pub(super) warning: Option<String>,
}

/// The folder of the kernels: `cubecl` in the cache folder; a folder of this machine if that one is on a network filesystem.
pub(super) fn kernels() -> Place {
    let usual = files::cache_dir().map(|cache| cache.join("cubecl"));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let warning = match &usual {
        Err(error) => format!("{error}; the GPU's kernels"),
        Ok(folder) => match filesystem(&mounts, &real(folder)) {
            Some(shared) if SHARED.contains(&shared) => {
                format!(
                    "{} is on a network filesystem ({shared}); the GPU's kernels",
                    folder.display()
                )
            }
            _ => {
                return Place {
                    folder: usual.ok(),
                    warning: None,
                };
            }
        },
    };
    let remedy = "ECLIPSE_CACHE chooses a folder on a local disk, and `eclipse warm --save` and `--load` carry them over";
    match own_temporary_folder() {
        Some(folder) => Place {
            warning: Some(format!("{warning} are kept in {}; {remedy}", folder.display())),
            folder: Some(folder),
        },
        None => Place {
            folder: None,
            warning: Some(format!("{warning} are not kept; {remedy}")),
        },
    }
}

/// What exists of a path, without links.
fn real(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|p| p.canonicalize().ok());
    existing.unwrap_or_else(|| path.to_path_buf())
}

/// The type of the filesystem that holds `path`, from the lines of `/proc/mounts`: that of the longest mount point above it.
fn filesystem<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // Spaces of a mount point are written in octal.
        let point = PathBuf::from(fields.next()?.replace("\\040", " "));
        Some((point, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    // A later mount hides an earlier one at the same point.
    above
        .max_by_key(|(point, _)| point.components().count())
        .map(|(_, kind)| kind)
}

/// A folder in the temporary folder that only this user can write to: others could plant kernels there.
#[cfg(unix)]
fn own_temporary_folder() -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let me = std::fs::metadata("/proc/self").ok()?.uid();
    let folder = std::env::temp_dir().join(format!("eclipse-t2i-{me}"));
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    let found = std::fs::symlink_metadata(&folder).ok()?;
    let is_mine = found.is_dir() && found.uid() == me && found.permissions().mode() & 0o022 == 0;
    is_mine.then(|| folder.join("cubecl"))
}

#[cfg(not(unix))]
fn own_temporary_folder() -> Option<PathBuf> {
    Some(std::env::temp_dir().join("eclipse-t2i").join("cubecl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_recognised_by_the_longest_mount_point() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/sdb /home/local\\040disk xfs rw 0 0\n";
        let of = |path: &str| filesystem(mounts, Path::new(path));
        assert_eq!(of("/nothing/here"), Some("ext4"));
        assert_eq!(of("/home/a-user-that-is-not-there/.cache"), Some("nfs4"));
        assert!(SHARED.contains(&"nfs4"));
        assert_eq!(of("/home/local disk/cache"), Some("xfs"));
        assert_eq!(of("/homework"), Some("ext4"));
        assert_eq!(filesystem("", Path::new("/")), None);
        assert_eq!(
            real(Path::new("/proc/self/no/such/folder")).file_name(),
            real(Path::new("/proc/self")).file_name()
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_temporary_folder_is_the_users_own() {
        use std::os::unix::fs::PermissionsExt;
        let folder = own_temporary_folder().expect("a temporary folder");
        let parent = folder.parent().expect("it has one");
        let mode = parent.metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o022, 0);
    }
}
