//! The mount of `/proc`. Its options `hidepid` and `gid` (proc(5)) can hide callers from the confined daemon, which may trace
//! no process: their login uids, and the cgroups by which an approver is known to be outside of jobs.

use std::borrow::Cow;
use std::{fs, io};

use nix::unistd::{Gid, getgroups, setgroups};
use remit_common::mount_table::mounts;

use crate::startup::error::Fatal;

const MOUNTS: &str = "/proc/self/mountinfo";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProcMount {
    /// `None`: it hides no process.
    hidepid: Option<String>,
    /// The group that sees all processes in spite of `hidepid`; `None`: root's.
    gid: Option<u32>,
}

impl ProcMount {
    pub fn read() -> io::Result<Self> {
        fs::read(MOUNTS).map(|mounts| Self::parse(&mounts))
    }

    /// A later line is a mount above the earlier one.
    fn parse(mountinfo: &[u8]) -> Self {
        let mut mounts = mounts(mountinfo).flatten();
        let mount = mounts.rfind(|mount| mount.point == b"/proc" && mount.kind == b"proc");
        let options = mount.map_or(Cow::default(), |mount| {
            let [_, options] = mount.options;
            String::from_utf8_lossy(options)
        });
        let value = |name: &str| {
            let mut all = options.split(',').filter_map(|one| one.split_once('='));
            all.find_map(|(key, value)| (key == name).then_some(value))
        };
        Self {
            hidepid: value("hidepid")
                .filter(|hidepid| !matches!(*hidepid, "0" | "off"))
                .map(str::to_owned),
            gid: value("gid").and_then(|gid| gid.parse().ok()),
        }
    }

    /// Adds the group that sees all processes to those of this process. Does nothing if none is hidden.
    pub fn join_group(&self) -> io::Result<()> {
        let (Some(_), Some(gid)) = (&self.hidepid, self.gid) else {
            return Ok(());
        };
        let mut groups = getgroups()?;
        groups.push(Gid::from_raw(gid));
        Ok(setgroups(&groups)?)
    }

    /// Fails if process `pid`, which has another uid than this one, is hidden from this one.
    pub fn shows(&self, pid: i32) -> Result<(), Fatal> {
        let Some(hidepid) = &self.hidepid else {
            return Ok(());
        };
        let path = format!("/proc/{pid}/cgroup");
        fs::read(&path).map(drop).map_err(|error| {
            Fatal::Unavailable(format!(
                "/proc is mounted with hidepid={hidepid}, which hides callers from remitd, so no approval is possible \
                 (cannot read '{path}': {error}); remount it without hidepid, or with hidepid=2 and the gid of a group: \
                 mount -o remount,hidepid=2 /proc"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_upper_mount_at_proc() {
        const PLAIN: &str = "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw\n";
        let with =
            |options: &str| format!("63 22 0:39 / /proc rw master:5 - proc proc rw{options}\n");
        let of = |hidepid: Option<&str>, gid| ProcMount {
            hidepid: hidepid.map(str::to_owned),
            gid,
        };
        for (mounts, expect) in [
            (String::new(), of(None, None)),
            (PLAIN.to_owned(), of(None, None)),
            (
                PLAIN.to_owned() + &with(",gid=27,hidepid=invisible"),
                of(Some("invisible"), Some(27)),
            ),
            // Before Linux 5.8.
            (with(",hidepid=2"), of(Some("2"), None)),
            (with(",gid=27"), of(None, Some(27))),
            (with(",hidepid=ptraceable") + PLAIN, of(None, None)),
            (
                "64 1 0:40 / /srv/proc rw - proc proc rw,hidepid=invisible\n\
                 65 1 0:41 / /proc/x rw - proc proc rw,hidepid=invisible\n\
                 66 1 0:42 / /proc rw - tmpfs proc rw,hidepid=invisible\n"
                    .to_owned(),
                of(None, None),
            ),
        ] {
            let fuse = b"90 27 0:50 / /home/a/\xf6 rw - fuse.sshfs a:/\xf6 rw\n";
            let with_any_bytes = [fuse, mounts.as_bytes(), fuse].concat();
            assert_eq!(ProcMount::parse(&with_any_bytes), expect, "{mounts}");
        }
    }
}
