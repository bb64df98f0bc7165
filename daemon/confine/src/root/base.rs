//! What stands in every private root: `/usr` with its links, what the loader and the name service
//! need, harmless devices, and private directories.

use super::Access;
use super::plan::Plan;
use crate::Result;
use crate::error::Doing;
use crate::places::DEVICES;
use std::{ffi::CString, fs, io, os::unix::ffi::OsStrExt, path::Path};

/// Directories of programs that are links into `/usr` on most systems.
const PROGRAMS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Seen as they are; each may be missing.
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

/// The job's own, of mode 1777.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Links in `/dev` that shells and programs expect.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// How names of hosts get a meaning.
pub(super) enum Names<'a> {
    /// As on the host.
    Hosts,
    /// By this text of `/etc/hosts` alone.
    Own(&'a str),
}

/// Where names of hosts get theirs. The second is often a link to what a service keeps up to date.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

pub(super) fn put(plan: &mut Plan, names: &Names<'_>) -> Result<()> {
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
        Names::Own(hosts) => plan.file("/etc/hosts", hosts),
        Names::Hosts => {
            for name in NAMES {
                entry(plan, Path::new(name), files(false))?;
            }
        }
    }
    plan.directory("/proc");
    Ok(())
}

/// What the host has there: a link into `/usr` is one inside too, any other is followed now.
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
