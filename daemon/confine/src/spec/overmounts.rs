//! Paths of the host's tree of which a job gets its own version. Root owns every parent, so one look-up stays true.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::ReadProfile;
use crate::steps::private_root::{self, DEVICES, Mount};
use remit_core::PRIVATE;
use remit_spawn::Inspect;
use remit_sys::{Doing, Error, Result};

#[derive(Debug)]
pub(crate) struct Overmounts {
    /// Each is covered with a tmpfs; links are resolved.
    pub(crate) private: Vec<CString>,
    pub(crate) devices: Vec<CString>,
    pub(crate) listed: Vec<Mount>,
    /// Which files can be read and executed, if not all.
    pub(crate) programs: Option<Programs>,
}

#[derive(Debug)]
pub(crate) struct Programs {
    /// The program and its loader.
    pub(crate) executed: Vec<CString>,
    /// What the loader and the program read. ld.so(8).
    pub(crate) libraries: Vec<CString>,
}

/// Looks at this machine. `/tmp` and `/dev/null` must exist; others are left out if missing.
pub(crate) fn find(profile: &ReadProfile) -> Result<Overmounts> {
    Ok(Overmounts {
        private: private()?,
        devices: devices()?,
        listed: private_root::listed(&profile.write, &profile.devices)?,
        programs: match &profile.inspect {
            Some(Inspect::Names { program }) => Some(programs(program)?),
            Some(Inspect::Processes | Inspect::File) | None => None,
        },
    })
}

fn programs(program: &Path) -> Result<Programs> {
    const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    // With the names of users, which is public.
    const LIBRARIES: [&str; 6] = [
        "/etc/ld.so.cache",
        "/etc/passwd",
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
    ];
    if !program.is_file() {
        let doing = format!("cannot execute '{}'", program.display());
        return Err(Error::refused(doing, "there is no such file"));
    }
    let existing = |paths: &[&str]| -> Result<Vec<CString>> {
        let paths = paths.iter().map(Path::new);
        paths.filter(|path| path.exists()).map(c_path).collect()
    };
    let mut executed = existing(&LOADERS)?;
    executed.push(c_path(program)?);
    Ok(Programs {
        executed,
        libraries: existing(&LIBRARIES)?,
    })
}

fn private() -> Result<Vec<CString>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for name in PRIVATE {
        let doing = || format!("cannot make a private '{name}'");
        let real = match fs::canonicalize(name) {
            Ok(real) => real,
            // It stays missing, because the tree is read-only.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name != "/tmp" => continue,
            Err(e) => return Err(e).doing(doing),
        };
        if !fs::metadata(&real).doing(doing)?.is_dir() {
            return Err(Error::refused(doing(), "it is not a directory"));
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

fn writable_parent(path: &Path) -> std::io::Result<Option<PathBuf>> {
    for parent in path.ancestors().skip(1) {
        let meta = fs::metadata(parent)?;
        let others = if meta.gid() == 0 { 0o002 } else { 0o022 };
        let sticky = meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 || (meta.mode() & others != 0 && !sticky) {
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
    fn overmounts_of_this_machine_are_found() {
        let overmounts = find(&ReadProfile::default()).unwrap();
        assert!(overmounts.private.contains(&c"/tmp".to_owned()));
        assert!(overmounts.devices.contains(&c"/dev/null".to_owned()));
    }

    #[test]
    fn root_owned_parents_are_accepted() {
        assert_eq!(writable_parent(Path::new("/usr/bin")).unwrap(), None);
        assert_eq!(writable_parent(Path::new("/")).unwrap(), None);
    }

    #[test]
    fn parents_that_another_group_may_write_are_refused() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let own = std::env::temp_dir().join(format!("remit-overmounts-{}", std::process::id()));
        fs::create_dir(&own).unwrap();
        for (mode, group, is_refused) in [
            (0o775, 0, false),
            (0o775, 1, true),
            (0o1775, 1, false),
            (0o777, 0, true),
        ] {
            chown(&own, Some(0), Some(group)).unwrap();
            fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
            let found = writable_parent(&own.join("private")).unwrap();
            assert_eq!(found.is_some(), is_refused, "{mode:o} of group {group}");
        }
        fs::remove_dir(&own).unwrap();
    }
}
