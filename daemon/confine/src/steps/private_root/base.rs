//! The base set of every root: `/usr`, files for the loader and name service, harmless devices, private directories.

use super::model::{Access, DEVICES};
use super::plan::Plan;
use crate::Result;
use remit_sys::Doing;
use std::{ffi::CString, fs, io, os::unix::ffi::OsStrExt, path::Path};

const PROGRAMS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

const FILES: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/alternatives",
];

const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

pub(super) enum HostNames<'a> {
    Hosts,
    Own(&'a str),
}

/// The second is often a link to a file that a service keeps up to date.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

pub(super) fn put(plan: &mut Plan, names: &HostNames<'_>) -> Result<()> {
    let files = |exec| Access::Files { write: false, exec };
    plan.base(Path::new("/usr"), Path::new("/usr"), files(true))?;
    for name in PROGRAMS {
        entry(plan, Path::new(name), files(true))?;
    }
    for name in FILES {
        entry(plan, Path::new(name), files(false))?;
    }
    for name in PRIVATE {
        plan.base_private(name);
    }
    for (name, ..) in DEVICES {
        let name = Path::new(name);
        if name.exists() {
            plan.base(name, name, Access::Device)?;
        }
    }
    for (name, to) in DEVICE_LINKS {
        plan.link(Path::new(name), c_string(Path::new(to))?);
    }
    match names {
        HostNames::Own(hosts) => plan.file("/etc/hosts", hosts),
        HostNames::Hosts => {
            for name in NAMES {
                entry(plan, Path::new(name), files(false))?;
            }
        }
    }
    plan.directory("/proc");
    Ok(())
}

/// Shows what the host has there: a link into `/usr` stays a link, any other is followed now.
fn entry(plan: &mut Plan, name: &Path, access: Access) -> Result<()> {
    let doing = || format!("cannot look at '{}'", name.display());
    let real = match fs::canonicalize(name) {
        Ok(real) => real,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).doing(doing),
    };
    if real != name && real.starts_with("/usr") {
        let to = fs::read_link(name);
        if let Ok(to) = to {
            plan.link(name, c_string(&to)?);
            return Ok(());
        }
    }
    plan.base(name, &real, access)
}

fn c_string(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .doing(|| format!("cannot use '{}'", path.display()))
}
