use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::steps::report::EnabledLayers;
use crate::{Error, Result, sys};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) directories: Vec<CString>,
    pub(crate) links: Vec<Link>,
    pub(crate) files: Vec<(CString, Vec<u8>)>,
    pub(crate) mounts: Vec<Mount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) path: CString,
    pub(crate) to: CString,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) name: PathBuf,
    pub(crate) target: CString,
    /// Directories to be made first. `None`: the host's directory above has the mount point already.
    pub(crate) parents: Option<Vec<CString>>,
    pub(crate) what: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Private(Private),
    Host(Host),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Private {
    Shared,
    Own,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Relative to the host's root, without a link in it.
    pub(crate) source: CString,
    pub(crate) optional: bool,
    pub(crate) access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Files { write: bool, exec: bool },
    Device,
    Socket,
}

impl Mount {
    pub(crate) fn stage() -> Mount {
        Mount {
            name: "/sys".into(),
            target: c"sys".into(),
            parents: Some(Vec::new()),
            what: Content::Host(Host {
                source: c"sys".into(),
                optional: false,
                access: Access::Files {
                    write: false,
                    exec: false,
                },
            }),
        }
    }

    pub(crate) fn is_beneath(&self, other: &Mount) -> bool {
        self.name.starts_with(&other.name)
    }
}

impl Access {
    pub(crate) fn attributes(self, layers: EnabledLayers) -> u64 {
        use crate::Layer;
        let unless = |layer, open: bool, flag| {
            if open || !layers.is_on(layer) {
                0
            } else {
                flag
            }
        };
        let (write, exec) = match self {
            Access::Files { write, exec } => (write, exec),
            // Nodes can be written on a read-only mount.
            Access::Device | Access::Socket => (false, false),
        };
        unless(Layer::ReadOnlyMounts, write, sys::RDONLY)
            | unless(Layer::NoExec, exec, sys::NOEXEC)
            | unless(Layer::NoDev, self == Access::Device, sys::NODEV)
            | unless(Layer::NoSuid, false, sys::NOSUID)
    }
}

/// Returns true if an optional path is left out: it is missing, or goes through a link.
pub(super) fn is_left_out(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
    )
}

pub(super) fn relative(path: &Path) -> Result<CString> {
    let doing = || format!("cannot show '{}' in a sandbox", path.display());
    let mut parts = path.components();
    let absolute = parts.next() == Some(Component::RootDir);
    let normal = parts.clone().count() > 0 && parts.all(|p| matches!(p, Component::Normal(_)));
    if !absolute || !normal {
        return Err(Error::refused(
            doing(),
            "it is not an absolute path beneath '/'",
        ));
    }
    let bytes = path.as_os_str().as_bytes();
    CString::new(bytes.strip_prefix(b"/").unwrap_or(bytes))
        .map_err(|_| Error::refused(doing(), "its name has a NUL"))
}

/// Devices that every job gets: path, major and minor number: Documentation/admin-guide/devices.txt of Linux.
pub(crate) const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];
