//! The private root of a `strict` sandbox, worked out once for all its jobs. Everything is mounted on an empty tmpfs,
//! parents before children. Beneath a directory of the host nothing is made: mount points there must exist already.

mod base;
mod build;
mod model;
mod plan;
mod seen;

pub(crate) use build::{MountParams, build, put};
pub(crate) use seen::{Seen, may_wait};

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use crate::Result;
use crate::net::Network;
use crate::spec::profile::{ListedPath, StrictProfile};
pub(crate) use model::{Access, Content, Host, Mount, Root};
use model::{Private, relative};
use plan::Plan;

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

/// Returns the paths of this kind, as proc_pid_mountinfo(5) has them, for the self-test.
pub(crate) fn paths(mounts: &[Mount], kind: impl Fn(&Content) -> bool) -> Vec<CString> {
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
