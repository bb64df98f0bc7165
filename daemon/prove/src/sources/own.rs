//! Files that decide who is root whatever executes: tables of accounts, the loader's settings, remit itself.

use crate::facts::{Source, When};
use crate::look::Look;
use crate::machine::Machine;
use crate::machine::entry::Entry;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Who can write one of these is root.
const TABLES: [&str; 17] = [
    "/boot",
    "/boot/grub/grub.cfg",
    "/etc/fstab",
    "/etc/modprobe.d",
    "/usr/lib/modules",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/pam.d",
    "/etc/polkit-1/rules.d",
    "/etc/ssh/sshd_config",
];

/// Who can write one of these decides what remit permits.
pub const REMIT: [&str; 6] = [
    "/etc/remit",
    "/etc/remit/remit.toml",
    "/etc/remit/policy.d",
    "/usr/lib/remit/policy.d",
    "/usr/libexec/remit",
    "/var/lib/remit",
];

/// Mechanisms that no source reads.
const UNREAD: [&str; 13] = [
    "/etc/doas.conf",
    "/etc/supervisor",
    "/etc/supervisord.conf",
    "/etc/monit",
    "/etc/inetd.conf",
    "/etc/xinetd.d",
    "/etc/incron.d",
    "/var/spool/incron",
    "/etc/init",
    "/etc/runit",
    "/etc/polkit-1/localauthority",
    "/var/spool/cron/atjobs",
    "/var/spool/at",
];

pub fn look(look: &mut Look<'_>) {
    for path in UNREAD.map(FilePath::fixed) {
        let entry = look.machine.entry(&path).map(|(_, entry)| entry);
        let is_empty = |entry: &Entry| entry.is_directory() && !has_files(look.machine, &path);
        if entry.is_some_and(|entry| !is_empty(&entry)) {
            let why = "this program is not known: commands that it runs are not followed";
            look.machine.unknown(&path, why);
        }
    }
    for (paths, rule) in [
        (&TABLES[..], RuleId::SystemTable),
        (&REMIT, RuleId::RemitFile),
    ] {
        for path in paths.iter().map(|path| FilePath::fixed(path)) {
            if look.exists(&path) || path.name() == b"ld.so.preload" {
                let source = Source::whole(&path);
                // sudo refuses a file or directory that is not root's, or that others can write.
                let obeys = match path.parts().any(|part| part.starts_with(b"sudoers")) {
                    true => Look::obeys_roots,
                    false => Look::obeys,
                };
                obeys(look, 0, path, rule, &When::ByItself, &source);
            }
        }
    }
}

/// Returns false if a directory has only counters and empty directories, as packages install them.
fn has_files(machine: &Machine, directory: &FilePath) -> bool {
    let names = machine.list(directory).into_iter();
    let mut inside = names.filter_map(|name| {
        let is_counter = name.starts_with(b".");
        directory.join(name).filter(|_| !is_counter)
    });
    inside.any(|path| {
        let entry = machine.entry(&path).map(|(_, entry)| entry);
        !entry.is_some_and(|entry| entry.is_directory()) || !machine.list(&path).is_empty()
    })
}
