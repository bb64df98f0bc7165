//! The private root of a `strict` sandbox, worked out once for all its jobs. Everything is mounted on an empty tmpfs,
//! parents before children. Beneath a directory of the host nothing is made: mount points there must exist already.

mod base {
    //! The base set of every root: `/usr`, files for the loader and name service, harmless devices, private directories.

    use super::model::{Access, DEVICES, is_left_out};
    use super::plan::Plan;
    use crate::Result;
    use remit_core::PRIVATE;
    use remit_sys::{
        Doing,
        base_set::{FILES, NAMES, PROGRAMS},
    };
    use std::{
        ffi::CString,
        fs, io,
        os::unix::ffi::OsStrExt,
        path::{Component, Path, PathBuf},
    };

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

    /// Shows what the host has there: a link into `/usr` stays a link, any other of root's is followed now.
    fn entry(plan: &mut Plan, name: &Path, access: Access) -> Result<()> {
        let doing = || format!("cannot look at '{}'", name.display());
        let real = match fs::canonicalize(name) {
            Ok(real) => real,
            Err(e) if is_left_out(&e) => return Ok(()),
            Err(e) => return Err(e).doing(doing),
        };
        if real != name && real.starts_with("/usr") {
            let to = fs::read_link(name);
            if let Ok(to) = to {
                plan.link(name, c_string(&to)?);
                return Ok(());
            }
        }
        match followed(name) {
            Ok(Some(real)) => plan.base(name, &real, access),
            Ok(None) => Ok(()),
            Err(e) if is_left_out(&e) => Ok(()),
            Err(e) => Err(e).doing(doing),
        }
    }

    /// Where any link is followed. A job that may write there owns the machine already; elsewhere a profile may let a job of
    /// root write and so lead later jobs to any file. A link to a name beside it leads nowhere else: systemd-resolved has one.
    const FOLLOWED_IN: [&str; 3] = ["/", "/etc", "/var"];

    /// Most links on a way, as the kernel has it (path_resolution(7)).
    const LINKS: usize = 40;

    /// `None`: a link elsewhere, or too many.
    fn followed(name: &Path) -> io::Result<Option<PathBuf>> {
        let own = |part: Component<'_>| PathBuf::from(part.as_os_str());
        let mut rest: Vec<PathBuf> = name.components().rev().map(own).collect();
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                at.pop();
                continue;
            }
            let next = at.join(part);
            if !fs::symlink_metadata(&next)?.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            let to = fs::read_link(&next)?;
            let mut parts = to.components();
            let is_beside = matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            );
            let is_followed = is_beside || FOLLOWED_IN.iter().any(|dir| at == Path::new(dir));
            if links > LINKS || !is_followed {
                return Ok(None);
            }
            rest.extend(to.components().rev().map(own));
        }
        Ok(Some(at))
    }

    fn c_string(path: &Path) -> Result<CString> {
        CString::new(path.as_os_str().as_bytes())
            .map_err(io::Error::from)
            .doing(|| format!("cannot use '{}'", path.display()))
    }
}

mod build;
mod model;
mod plan;
mod staged;
mod waiting;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

pub(crate) use build::{MountParams, build, put};
pub(crate) use model::{Access, Content, DEVICES, Host, Mount, Root};
use model::{Private, is_left_out, relative};
use plan::Plan;
use serde::{Deserialize, Serialize};
pub(crate) use staged::{c_string, open_dir, own, owner};
pub(crate) use waiting::may_wait;

use crate::{ListedPath, Network, StrictProfile};
use crate::{Result, sys};

/// Works out the root of `profile`. Refuses a path that a root cannot have, or that is asked to be two things.
pub(crate) fn plan_root(profile: &StrictProfile, hosts: &str) -> Result<Root> {
    let mut plan = Plan::default();
    let names = match profile.network {
        Network::Host => base::HostNames::Hosts,
        _ => base::HostNames::Own(hosts),
    };
    base::put(&mut plan, &names)?;
    let files = |write, exec| Access::Files { write, exec };
    let listed: [(&[ListedPath], Access); 5] = [
        (&profile.read, files(false, false)),
        (&profile.write, files(true, false)),
        (&profile.exec, files(false, true)),
        (&profile.devices, Access::Device),
        (&profile.sockets, Access::Socket),
    ];
    for (paths, access) in listed {
        for listed_path in paths {
            plan.list(listed_path, access, profile.write_and_exec)?;
        }
    }
    for path in &profile.scratch {
        plan.private(path, Private::Own)?;
    }
    plan.finish()
}

/// Returns the paths of this kind, for the self-test.
pub(crate) fn paths(mounts: &[Mount], kind: impl Fn(&Content) -> bool) -> Vec<CString> {
    let chosen = mounts.iter().filter(|mount| kind(&mount.what));
    let paths = chosen.map(|mount| mount.name.as_os_str().as_bytes());
    paths.map(escaped).collect()
}

/// Returns a path as proc_pid_mountinfo(5) has it.
pub(crate) fn escaped(path: &[u8]) -> CString {
    let text = path.iter().flat_map(|byte| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    });
    // No path has a NUL.
    CString::new(text.collect::<Vec<u8>>()).unwrap_or_default()
}

pub(crate) fn listed(write: &[ListedPath], devices: &[ListedPath]) -> Result<Vec<Mount>> {
    let files = Access::Files {
        write: true,
        exec: false,
    };
    let write = write.iter().map(|listed_path| (listed_path, files));
    let devices = devices
        .iter()
        .map(|listed_path| (listed_path, Access::Device));
    let mount = |(listed_path, access): (&ListedPath, Access)| {
        let target = relative(&listed_path.path)?;
        let host = Host {
            source: target.clone(),
            optional: listed_path.optional,
            access,
        };
        Ok(Mount {
            name: listed_path.path.clone(),
            target,
            parents: None,
            what: Content::Host(host),
        })
    };
    write.chain(devices).map(mount).collect()
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen(Vec<Option<(u64, u64)>>);

impl Seen {
    /// Looks in the host's tree at `host`, as a build does. Fails if something that is not optional is missing.
    pub(crate) fn new(root: &Root, host: BorrowedFd<'_>) -> io::Result<Seen> {
        let identity = |source: io::Result<Option<OwnedFd>>| {
            let stat = source?.map(|source| sys::stat_of(source.as_fd()));
            Ok(stat.transpose()?.map(|stat| (stat.st_dev, stat.st_ino)))
        };
        let all: io::Result<_> = sources(root, host).map(identity).collect();
        all.map(Seen)
    }
}

fn sources<'a>(
    root: &'a Root,
    host: BorrowedFd<'a>,
) -> impl Iterator<Item = io::Result<Option<OwnedFd>>> + 'a {
    root.mounts.iter().filter_map(move |mount| {
        let Content::Host(shown) = &mount.what else {
            return None;
        };
        Some(match sys::open_plain(host, &shown.source, libc::O_PATH) {
            Err(e) if shown.optional && is_left_out(&e) => Ok(None),
            other => other.map(Some),
        })
    })
}
