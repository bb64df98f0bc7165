//! Directories whose programs root runs at some event: one table, since their kinds differ in nothing else.

use remit_programs::Class;

use super::execution::Execution;
use crate::facts::{Source, When};
use crate::look::Look;
use crate::machine::entry::Kind;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Each with the program that runs what is in it, if that can be missing.
const DIRECTORIES: [(&str, &str); 35] = [
    ("/etc/init.d", "/usr/bin/systemctl"),
    ("/etc/update-motd.d", "/etc/pam.d/sshd"),
    (
        "/etc/NetworkManager/dispatcher.d",
        "/usr/sbin/NetworkManager",
    ),
    (
        "/etc/NetworkManager/dispatcher.d/pre-up.d",
        "/usr/sbin/NetworkManager",
    ),
    (
        "/etc/NetworkManager/dispatcher.d/pre-down.d",
        "/usr/sbin/NetworkManager",
    ),
    (
        "/usr/lib/NetworkManager/dispatcher.d",
        "/usr/sbin/NetworkManager",
    ),
    (
        "/etc/networkd-dispatcher/routable.d",
        "/usr/bin/networkd-dispatcher",
    ),
    (
        "/etc/networkd-dispatcher/off.d",
        "/usr/bin/networkd-dispatcher",
    ),
    ("/etc/network/if-up.d", "/sbin/ifup"),
    ("/etc/network/if-down.d", "/sbin/ifup"),
    ("/etc/network/if-pre-up.d", "/sbin/ifup"),
    ("/etc/network/if-post-down.d", "/sbin/ifup"),
    ("/etc/dhcp/dhclient-enter-hooks.d", "/sbin/dhclient"),
    ("/etc/dhcp/dhclient-exit-hooks.d", "/sbin/dhclient"),
    ("/etc/ppp/ip-up.d", "/usr/sbin/pppd"),
    ("/etc/ppp/ip-down.d", "/usr/sbin/pppd"),
    ("/etc/kernel/postinst.d", "/usr/bin/dpkg"),
    ("/etc/kernel/postrm.d", "/usr/bin/dpkg"),
    ("/etc/kernel/preinst.d", "/usr/bin/dpkg"),
    ("/etc/kernel/prerm.d", "/usr/bin/dpkg"),
    ("/etc/initramfs/post-update.d", "/usr/sbin/update-initramfs"),
    ("/etc/initramfs-tools/hooks", "/usr/sbin/update-initramfs"),
    ("/etc/initramfs-tools/scripts", "/usr/sbin/update-initramfs"),
    ("/etc/grub.d", "/usr/sbin/grub-mkconfig"),
    (
        "/etc/ca-certificates/update.d",
        "/usr/sbin/update-ca-certificates",
    ),
    ("/etc/letsencrypt/renewal-hooks/deploy", "/usr/bin/certbot"),
    ("/etc/letsencrypt/renewal-hooks/post", "/usr/bin/certbot"),
    ("/etc/letsencrypt/renewal-hooks/pre", "/usr/bin/certbot"),
    ("/etc/qemu/fsfreeze-hook.d", "/usr/sbin/qemu-ga"),
    ("/etc/systemd/system-generators", "/usr/bin/systemctl"),
    ("/usr/lib/systemd/system-generators", "/usr/bin/systemctl"),
    (
        "/usr/local/lib/systemd/system-generators",
        "/usr/bin/systemctl",
    ),
    ("/usr/lib/systemd/system-sleep", "/usr/bin/systemctl"),
    ("/usr/lib/systemd/system-shutdown", "/usr/bin/systemctl"),
    (
        "/usr/lib/systemd/system-environment-generators",
        "/usr/bin/systemctl",
    ),
];
const FILES: [&str; 1] = ["/etc/rc.local"];

pub fn look(look: &mut Look<'_>) {
    for (directory, program) in DIRECTORIES {
        // Both dispatchers refuse a script that is not root's, or that others can write.
        let is_of_root = directory.contains("dispatcher");
        // dhclient-script(8) reads them with its own shell.
        let is_sourced = directory.contains("dhclient");
        let (directory, program) = (FilePath::fixed(directory), FilePath::fixed(program));
        if !look.exists(&directory) || look.machine.entry(&program).is_none() {
            continue;
        }
        let source = Source::whole(&directory);
        let obeys = match is_of_root {
            true => Look::obeys_roots,
            false => Look::obeys,
        };
        obeys(
            look,
            0,
            directory.clone(),
            RuleId::Hook,
            &When::ByItself,
            &source,
        );
        for name in look.machine.list(&directory) {
            if let Some(path) = directory.join(name) {
                run(look, &path, is_of_root, is_sourced);
            }
        }
    }
    for path in FILES.map(FilePath::fixed) {
        run(look, &path, false, false);
    }
}

/// A file that is not executable is not run yet: its owner can set the bit.
fn run(look: &mut Look<'_>, path: &FilePath, is_of_root: bool, is_sourced: bool) {
    let Some((_, entry)) = look.machine.entry(path) else {
        return;
    };
    if entry.kind != Kind::File || is_of_root && !look.is_private(path, 0) {
        return;
    }
    let by = Execution {
        is_of_root,
        ..Execution::new(0, RuleId::Hook, When::ByItself, Source::whole(path))
    };
    match entry.is_executable() {
        _ if is_sourced => look.runs_by(&by, path.clone(), Some(&Class::Shell)),
        true => look.executes(&by, &[path.as_bytes().to_vec()]),
        false if entry.uid != 0 => {
            let source = Source::whole(path);
            look.obeys(0, path.clone(), RuleId::Hook, &When::ByItself, &source);
        }
        false => {}
    }
}
