//! The places of the host's tree that a job gets its own of, looked up once for all jobs.
//! Root owns every parent of them, so that the answer stays true.

use crate::error::{Doing, Error, Result};
use crate::profile::ReadProfile;
use crate::root::{self, Mount};
use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Directories and devices.
#[derive(Debug)]
pub(crate) struct Places {
    /// To be covered with a tmpfs each, links resolved.
    pub(crate) private: Vec<CString>,
    /// Device nodes that stay usable.
    pub(crate) devices: Vec<CString>,
    /// What the profile lists besides, each onto its own place.
    pub(crate) listed: Vec<Mount>,
}

/// Name and `(major, minor)`; devices(4).
pub(crate) const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Most devices there can be.
pub(crate) const MAX_DEVICES: usize = DEVICES.len();
/// Most private directories there can be.
pub(crate) const MAX_PRIVATE: usize = 3;

/// Looks at this machine. `/tmp` and `/dev/null` must be there; of the others, those that are.
pub(crate) fn find(profile: &ReadProfile) -> Result<Places> {
    Ok(Places {
        private: private()?,
        devices: devices()?,
        listed: root::listed(&profile.write, &profile.devices)?,
    })
}

fn private() -> Result<Vec<CString>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for name in ["/tmp", "/var/tmp", "/dev/shm"] {
        let doing = || format!("cannot make a private '{name}'");
        let real = match fs::canonicalize(name) {
            Ok(real) => real,
            // Nothing to write there: the tree is read-only, so it stays missing.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name != "/tmp" => continue,
            Err(e) => return Err(e).doing(doing),
        };
        if !fs::metadata(&real).doing(doing)?.is_dir() {
            return Err(Error::refused(doing(), "it is no directory"));
        }
        if let Some(parent) = writable_parent(&real).doing(doing)? {
            let why = format!("'{}' is writable by others than root", parent.display());
            return Err(Error::refused(doing(), why));
        }
        if found.contains(&real) {
            continue;
        }
        if let Some(other) = found
            .iter()
            .find(|f| f.starts_with(&real) || real.starts_with(f))
        {
            let why = format!(
                "it leads to '{}', which overlaps '{}'",
                real.display(),
                other.display()
            );
            return Err(Error::refused(doing(), why));
        }
        found.push(real);
    }
    found.into_iter().map(|p| c_path(&p)).collect()
}

/// A parent that others could swap the directory in.
fn writable_parent(path: &Path) -> std::io::Result<Option<PathBuf>> {
    for parent in path.ancestors().skip(1) {
        let meta = fs::metadata(parent)?;
        let sticky = meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 || (meta.mode() & 0o002 != 0 && !sticky) {
            return Ok(Some(parent.to_owned()));
        }
    }
    Ok(None)
}

fn devices() -> Result<Vec<CString>> {
    let mut found = Vec::new();
    for (name, major, minor) in DEVICES {
        match fs::symlink_metadata(name) {
            Ok(m) if m.file_type().is_char_device() && m.rdev() == libc::makedev(major, minor) => {
                found.push(c_path(Path::new(name))?);
            }
            Ok(_) => {
                let why = format!("it is not the character device {major}:{minor}");
                return Err(Error::refused(format!("cannot use '{name}'"), why));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name != "/dev/null" => {}
            Err(e) => return Err(e).doing(|| format!("cannot use '{name}'")),
        }
    }
    Ok(found)
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        Error::refused(
            format!("cannot use '{}'", path.display()),
            "its name has a NUL",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_them() {
        let places = find(&ReadProfile::default()).unwrap();
        assert!(places.private.contains(&c"/tmp".to_owned()));
        assert!(places.devices.contains(&c"/dev/null".to_owned()));
        assert!(places.private.len() <= MAX_PRIVATE && places.devices.len() <= MAX_DEVICES);
    }

    #[test]
    fn a_parent_that_users_may_write_is_told() {
        assert_eq!(writable_parent(Path::new("/usr/bin")).unwrap(), None);
        assert_eq!(writable_parent(Path::new("/")).unwrap(), None);
    }
}
