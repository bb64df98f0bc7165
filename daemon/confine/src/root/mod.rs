//! The private root of a `strict` sandbox: what stands in it, worked out once for all its jobs.
//!
//! Everything is put onto an empty tmpfs, parents before children. Where a directory of the host
//! lies over a place, nothing is made there: what is put beneath it must be there already.

mod base;
mod build;
mod plan;
mod seen;

pub(crate) use build::{Given, build, put};
pub(crate) use seen::{Seen, may_wait};

use crate::net::Network;
use crate::profile::{Place, StrictProfile};
use crate::wall::Walls;
use crate::{Error, Result, floor};
use plan::Plan;
use serde::{Deserialize, Serialize};
use std::{
    ffi::CString,
    io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// What a root is built of, in order. All names are relative to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Root {
    pub(crate) directories: Vec<CString>,
    pub(crate) links: Vec<Link>,
    /// Name and text.
    pub(crate) files: Vec<(CString, Vec<u8>)>,
    pub(crate) mounts: Vec<Mount>,
}

/// A symbolic link and where it leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) path: CString,
    pub(crate) to: CString,
}

/// Something put onto a place of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// As the profile has it.
    pub(crate) name: PathBuf,
    pub(crate) target: CString,
    /// Directories to be made first. `None`: the host's directory above has the place already.
    pub(crate) parents: Option<Vec<CString>>,
    pub(crate) what: Content,
}

/// What is put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    /// A tmpfs of the job's own.
    Private(Private),
    /// What the host has there.
    Host(Host),
}

/// Whose a private directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Private {
    /// As `/tmp`: anybody's.
    Shared,
    /// The job's user's.
    Own,
}

/// What is shown of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Relative to the host's root, no link in it.
    pub(crate) source: CString,
    pub(crate) optional: bool,
    pub(crate) access: Access,
}

/// What a job may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Look, and one or both of these.
    Files { write: bool, exec: bool },
    /// Use the device node.
    Device,
    /// Connect to the socket.
    Socket,
}

impl Mount {
    /// What the witness shows of its stage, at a place that the host has a directory for.
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

    /// Whether it lies at or beneath `other`.
    pub(crate) fn is_beneath(&self, other: &Mount) -> bool {
        self.name.starts_with(&other.name)
    }
}

impl Access {
    /// Attributes of its mount.
    pub(crate) fn attributes(self, walls: Walls) -> u64 {
        use crate::Wall;
        let unless = |wall, open: bool, flag| if open || !walls.up(wall) { 0 } else { flag };
        let (write, exec) = match self {
            Access::Files { write, exec } => (write, exec),
            // Nodes need no writable mount to be written to.
            Access::Device | Access::Socket => (false, false),
        };
        unless(Wall::ReadOnlyMounts, write, floor::RDONLY)
            | unless(Wall::NoExec, exec, floor::NOEXEC)
            | unless(Wall::NoDev, self == Access::Device, floor::NODEV)
            | unless(Wall::NoSuid, false, floor::NOSUID)
    }
}

impl Root {
    /// Works out the root of `profile`, with `hosts` as the text of its `/etc/hosts`.
    ///
    /// # Errors
    /// A path that a root cannot have, or one that is asked to be two things.
    pub(crate) fn of(profile: &StrictProfile, hosts: &str) -> Result<Root> {
        let mut plan = Plan::default();
        let names = match profile.network {
            Network::Host => base::Names::Hosts,
            _ => base::Names::Own(hosts),
        };
        base::put(&mut plan, &names)?;
        let files = |write, exec| Access::Files { write, exec };
        let listed: [(&[Place], Access); 5] = [
            (&profile.read, files(false, false)),
            (&profile.write, files(true, false)),
            (&profile.exec, files(false, true)),
            (&profile.devices, Access::Device),
            (&profile.sockets, Access::Socket),
        ];
        for (places, access) in listed {
            for place in places {
                plan.list(place, access, profile.write_and_exec)?;
            }
        }
        for path in &profile.scratch {
            plan.private(path, Private::Own)?;
        }
        plan.finish()
    }

    /// The path that a failure of number `at` is about.
    pub(crate) fn path(&self, at: u16) -> Option<&Path> {
        self.mounts.get(usize::from(at)).map(|m| m.name.as_path())
    }
}

/// Places of this kind, as proc_pid_mountinfo(5) has them: for the witness.
pub(crate) fn places(mounts: &[Mount], kind: impl Fn(&Content) -> bool) -> Vec<CString> {
    let chosen = mounts.iter().filter(|mount| kind(&mount.what));
    let escaped = |mount: &Mount| {
        let bytes = mount.name.as_os_str().as_bytes().iter();
        let text: Vec<u8> = bytes
            .flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                byte => vec![*byte],
            })
            .collect();
        CString::new(text).ok()
    };
    chosen.filter_map(escaped).collect()
}

/// What a sandbox that shows the host's whole tree lists besides, each onto its own place.
pub(crate) fn listed(write: &[Place], devices: &[Place]) -> Result<Vec<Mount>> {
    let files = Access::Files {
        write: true,
        exec: false,
    };
    let write = write.iter().map(|place| (place, files));
    let devices = devices.iter().map(|place| (place, Access::Device));
    let mount = |(place, access): (&Place, Access)| {
        let target = relative(&place.path)?;
        let host = Host {
            source: target.clone(),
            optional: place.optional,
            access,
        };
        Ok(Mount {
            name: place.path.clone(),
            target,
            parents: None,
            what: Content::Host(host),
        })
    };
    write.chain(devices).map(mount).collect()
}

/// Whether nothing stands there: what is optional is left out then.
fn is_missing(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

/// `path` without its first slash, or why a root cannot have it.
fn relative(path: &Path) -> Result<CString> {
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
