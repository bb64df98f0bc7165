//! Programs that give whoever executes them another account or capabilities: set-id bits, capabilities(7).

use crate::facts::SetId;
use crate::look::Look;
use crate::machine::entry::Holder;
use crate::path::FilePath;

/// Each with how deep it is looked at.
const DIRECTORIES: [(&str, usize); 9] = [
    ("/usr/bin", 1),
    ("/usr/sbin", 1),
    ("/bin", 1),
    ("/sbin", 1),
    ("/usr/local", 4),
    ("/usr/libexec", 2),
    ("/opt", 4),
    ("/srv", 3),
    ("/home", 2),
];
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
/// Programs of distributions that are set-uid root by design, and check who calls them.
const USUAL: [&str; 38] = [
    "Xorg.wrap",
    "chage",
    "chfn",
    "chrome-sandbox",
    "dbus-daemon-launch-helper",
    "exim",
    "exim4",
    "expiry",
    "fusermount",
    "fusermount3",
    "gpasswd",
    "grub2-set-bootflag",
    "kcheckpass",
    "mount.cifs",
    "mount.ecryptfs_private",
    "mount.nfs",
    "newgidmap",
    "newuidmap",
    "ntfs-3g",
    "pam_extrausers_chkpwd",
    "pam_timestamp_check",
    "ping",
    "ping6",
    "polkit-agent-helper-1",
    "postdrop",
    "postqueue",
    "pppd",
    "sendmail",
    "snap-confine",
    "ssh-keysign",
    "staprun",
    "sudoedit",
    "traceroute6.iputils",
    "unix_chkpwd",
    "userhelper",
    "usernetctl",
    "utempter",
    "vmware-user-suid-wrapper",
];
/// CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SETFCAP: each leads to root,
/// SETGID by the groups of disks and passwords.
pub const STRONG: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 21 | 1 << 31;

pub fn look(look: &mut Look<'_>) {
    for (directory, depth) in DIRECTORIES {
        walk(look, &FilePath::fixed(directory), depth);
    }
}

fn walk(look: &mut Look<'_>, directory: &FilePath, depth: usize) {
    let Some(next) = depth.checked_sub(1) else {
        return;
    };
    for name in look.machine.list(directory) {
        // A link leads to a file that is looked at where it lies, or is not looked at.
        let Some(path) = directory.join(name) else {
            continue;
        };
        let Some((real, entry)) = look.machine.entry(&path).filter(|(real, _)| *real == path)
        else {
            continue;
        };
        if entry.is_directory() {
            walk(look, &real, next);
        } else if entry.is_executable() {
            let user = match entry.capabilities & STRONG {
                0 => (entry.mode & SET_UID != 0).then_some(entry.uid),
                _ => Some(0),
            };
            let group = (entry.mode & SET_GID != 0).then_some(entry.gid);
            let gives = user.map(Holder::User).into_iter();
            let gives: Vec<Holder> = gives.chain(group.map(Holder::Group)).collect();
            if gives.is_empty() || entry.capabilities == 0 && look.machine.is_script(&real) {
                continue;
            }
            look.way(&real);
            let name = std::str::from_utf8(real.name()).unwrap_or_default();
            let is_judged = remit_programs::known(name).is_some() || USUAL.contains(&name);
            if user == Some(0) && !is_judged {
                let why = "what it does as root for whom executes it is not judged";
                look.machine.unknown(&real, why);
            }
            let all = gives.into_iter().map(|gives| SetId {
                gives,
                program: real.clone(),
            });
            look.facts.set_ids.extend(all);
        }
    }
}
