//! Programs that give whoever executes them another account or capabilities: set-id bits, capabilities(7).

use crate::facts::SetId;
use crate::look::Look;
use crate::machine::entry::Holder;
use crate::path::FilePath;
use crate::usual::checks_caller;

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
            if user == Some(0) && !is_judged(name) {
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

fn is_judged(name: &str) -> bool {
    remit_programs::known(name).is_some() || checks_caller(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_uid_programs_of_distributions_are_judged() {
        let debian = "at chage chfn chsh crontab dbus-daemon-launch-helper dotlockfile exim4 expiry fusermount3 gpasswd \
             mount mount.cifs mount.nfs newgidmap newgrp newuidmap ntfs-3g pam_extrausers_chkpwd passwd ping pkexec \
             polkit-agent-helper-1 pppd snap-confine ssh-keysign su sudo sudoedit umount unix_chkpwd usernetctl Xorg.wrap";
        let fedora = "at chage chfn chsh cockpit-session crontab dbus-daemon-launch-helper fusermount fusermount3 gpasswd \
             grub2-set-bootflag mount mount.nfs newgidmap newgrp newuidmap pam_timestamp_check passwd pkexec \
             polkit-agent-helper-1 su sudo suexec umount unix_chkpwd userhelper Xorg.wrap";
        let names = debian.split_whitespace().chain(fedora.split_whitespace());
        let unknown: Vec<&str> = names.filter(|name| !is_judged(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(!is_judged("helper"));
    }
}
