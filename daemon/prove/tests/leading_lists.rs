//! Lists of a profile that lead to root. A load refuses them without the key `leads_to_root`; what loads with it is found as
//! a path.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Laid;
use common::laid::goals;

/// Only what the prover knows as a path of code of root: each list with the key is a path if the agent decides what runs
/// in the profile.
#[test]
fn lists_that_lead_to_root_are_paths() {
    let mut wrong = Vec::new();
    for (path, programs) in [
        ("/etc/update-motd.d", "/usr/bin/x"),
        ("/etc/rc.local", "/usr/bin/x"),
        ("/etc/network/if-up.d", "/sbin/ifup"),
        (
            "/etc/NetworkManager/dispatcher.d",
            "/usr/sbin/NetworkManager",
        ),
        ("/etc/kernel/postinst.d", "/usr/bin/dpkg"),
        ("/etc/letsencrypt/renewal-hooks/deploy", "/usr/bin/certbot"),
        ("/etc/gshadow", "/usr/bin/x"),
        ("/etc/bash.bashrc", "/usr/bin/x"),
        ("/etc/anacrontab", "/usr/sbin/anacron"),
        ("/etc/cron.yearly", "/usr/sbin/cron"),
        ("/etc/logrotate.conf", "/usr/sbin/logrotate"),
        ("/etc/dhcp/dhclient-exit-hooks.d", "/sbin/dhclient"),
        ("/etc/ppp/ip-up.d", "/usr/sbin/pppd"),
        ("/etc/grub.d", "/usr/sbin/grub-mkconfig"),
        ("/etc/initramfs-tools/hooks", "/usr/sbin/update-initramfs"),
        ("/root/.ssh", "/usr/sbin/sshd"),
        ("/etc/systemd/system", "/usr/bin/x"),
    ] {
        let is_file = [
            "rc.local",
            "gshadow",
            "bash.bashrc",
            "anacrontab",
            "logrotate.conf",
        ]
        .iter()
        .any(|name| path.ends_with(name));
        let mode = if path.ends_with("rc.local") {
            "755"
        } else {
            "644"
        };
        let file = match is_file {
            true => format!("[[file]]\npath = \"{path}\"\nmode = \"{mode}\"\ntext = \"\"\n"),
            false => format!("[[file]]\npath = \"{path}\"\n"),
        };
        let policy = format!(
            "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/srv/agent/run\"]\neffect = \"change\"\n\
             profile = \"p\"\n[profile.p]\nbase = \"strict\"\nuser = \"root\"\nwrite = [\"{path}\"]\n\
             leads_to_root = true\n[[grant]]\nto = [\"agent\"]\nallow = [\"a.b\"]\n"
        );
        let machine = format!(
            "about = \"\"\nagent = \"agent\"\nprograms = [\"{programs}\"]\nuser = [{{ name = \"agent\", uid = 5001 }}]\n\
             policy = '''\n{policy}'''\n{file}\n[[file]]\npath = \"/etc/pam.d/sshd\"\ntext = \"\"\n[[file]]\npath = \"/srv/agent/run\"\n\
             owner = \"agent\"\nmode = \"755\"\ntext = \"#!/bin/sh\\n\"\n"
        );
        let laid = Laid::out(path, &machine);
        let report = laid.report();
        let rules = report.subjects[0].reaches.first().map(|path| {
            let steps = path.steps.iter().map(|step| step.rule.as_str());
            steps.collect::<Vec<_>>()
        });
        let is_found = goals(&report.subjects[0]) == ["root"];
        if !is_found || !rules.is_some_and(|rules| rules.contains(&"grant-write")) {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
