//! Findings whose path was made by the text of a policy, which is refused since: the load is what prevents it, and what still
//! loads is found as a path.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Laid;
use common::laid::goals;
use remit_policy::Source;
use remit_prove::accounts::Accounts;

fn load(text: &str) -> Result<Vec<String>, Vec<String>> {
    let source = Source {
        name: "a.toml".into(),
        text: text.as_bytes().to_vec(),
    };
    let shown =
        |found: &[remit_policy::Diagnostic]| found.iter().map(ToString::to_string).collect();
    let accounts = Accounts::parse(b"root:x:0:0::/root:/bin/sh\n", b"root:x:0:\n", b"");
    match remit_policy_compile::load(&[source], &accounts.table()) {
        Ok((_, warnings)) => Ok(shown(&warnings)),
        Err(errors) => Err(shown(&errors)),
    }
}

fn command(argv: &str, more: &str, profile: &str) -> String {
    format!(
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [{argv}]\neffect = \"change\"\nprofile = \"p\"\n{more}\n\
         [profile.p]\nbase = \"strict\"\nuser = \"root\"\n{profile}\n[[grant]]\nto = [\"root\"]\nallow = [\"a.b\"]\n"
    )
}

/// C10: programs that execute their arguments, each of which loaded without a word.
#[test]
fn templates_that_execute_their_arguments_are_refused() {
    let mut wrong = Vec::new();
    for argv in [
        "'/usr/bin/sqlite3', '/srv/a.db', '{x}'",
        "'/usr/bin/git', '{x}'",
        "'/usr/bin/git', 'submodule', 'foreach', '{x}'",
        "'/usr/bin/git', '--git-dir={x}', 'status'",
        "'/usr/bin/rsync', '-ae', '{x}', '/a', '/b'",
        "'/usr/bin/tar', '-xIf', '{x}', '/a.tar'",
        "'/usr/sbin/service', '{x}', 'start'",
        "'/usr/bin/run-parts', '{x}'",
        "'/usr/sbin/logrotate', '{x}'",
        "'/usr/bin/crontab', '{x}'",
        "'/usr/bin/at', '-f', '{x}', 'now'",
        "'/usr/bin/systemd-cat', '{x}'",
        "'/usr/bin/systemd-inhibit', '{x}'",
        "'/usr/bin/systemd-nspawn', '{x}'",
        "'/usr/bin/perf', 'stat', '{x}'",
        "'/usr/sbin/logsave', '/l', '{x}'",
        "'/usr/bin/snap', 'run', '{x}'",
        "'/usr/bin/flatpak', 'run', '{x}'",
        "'/usr/bin/lxc-attach', '{x}'",
        "'/usr/bin/rpm', '--eval', '{x}'",
        "'/usr/bin/rpm', '--define={x}', '-qa'",
        "'/usr/bin/dnf', '--setopt={x}', 'check'",
        "'/usr/bin/bpftrace', '-e', '{x}'",
        "'/usr/bin/ansible', '-a', '{x}', 'all'",
        "'/usr/bin/docker', 'run', '-v', '{x}', 'image'",
        "'/usr/bin/docker', 'compose', '-f', '{x}', 'up'",
        "'/usr/bin/kubectl', '--kubeconfig={x}', 'get', 'pods'",
        "'/usr/bin/openssl', 'req', '-engine', '{x}'",
        "'/usr/bin/redis-cli', '--eval', '{x}'",
        "'/usr/bin/systemctl', '{x}', 'a.service'",
        "'/usr/bin/systemctl', 'edit', '{x}'",
        "'/usr/bin/systemctl', 'link', '{x}'",
        "'/usr/sbin/sysctl', '-w', '{x}'",
        "'/usr/sbin/modprobe', '{x}'",
        "'/usr/sbin/insmod', '{x}'",
        "'/usr/bin/mount', '-o', '{x}', '/mnt'",
        "'/usr/bin/apt-get', 'install', '{x}'",
        "'/usr/bin/pip', 'install', '{x}'",
        "'/usr/bin/npm', 'run', '{x}'",
        "'/bin/sh', '-c', '{x}'",
        "'/usr/bin/env', '{x}'",
        "'/usr/bin/ssh', 'host', '{x}'",
    ] {
        let text = command(argv, "args.x = { type = \"string\", pattern = \".+\" }", "");
        let fixed = load(&command(&argv.replace("{x}", "/usr/bin/true"), "", ""));
        if load(&text).is_ok() || fixed.is_err() {
            wrong.push((argv, fixed));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// C9: directories where root reads code, settings or keys. The text of old is refused; with `leads_to_root` it loads.
#[test]
fn lists_that_lead_to_root_are_refused_without_the_key() {
    let mut wrong = Vec::new();
    let writes = [
        "/etc/update-motd.d",
        "/etc/rc.local",
        "/etc/network",
        "/etc/NetworkManager",
        "/etc/kernel",
        "/etc/letsencrypt",
        "/etc/doas.conf",
        "/etc/gshadow",
        "/etc/fstab",
        "/etc/bash.bashrc",
        "/etc/anacrontab",
        "/etc/cron.yearly",
        "/etc/logrotate.conf",
        "/etc/rsyslog.d",
        "/etc/audit",
        "/etc/docker",
        "/etc/containers",
        "/etc/yum.repos.d",
        "/etc/dnf",
        "/etc/pki",
        "/etc/needrestart",
        "/etc/dhcp",
        "/etc/ppp",
        "/etc/grub.d",
        "/etc/initramfs-tools",
        "/etc/nginx",
        "/etc/apache2",
        "/etc/php",
        "/var/lib/dpkg",
        "/var/lib/systemd",
        "/var/lib/docker",
        "/var/lib/cloud",
        "/var/cache/apt",
        "/var/spool/at",
        "/usr/src",
        "/home/alice/.ssh",
    ];
    let sockets = [
        "/run/snapd.socket",
        "/run/lxd.socket",
        "/var/snap/lxd/common/lxd/unix.socket",
        "/var/lib/incus/unix.socket",
        "/run/k3s/containerd/containerd.sock",
        "/run/buildkit",
        "/run/supervisor.sock",
        "/run/mysqld/mysqld.sock",
        "/run/user/0",
        "/tmp/tmux-0",
        "/run/screen",
    ];
    let lists = writes.iter().map(|path| ("write", path));
    let lists = lists.chain(sockets.iter().map(|path| ("sockets", path)));
    for (key, path) in lists {
        let list = format!("{key} = [\"-{path}\"]");
        let without = load(&command("'/usr/bin/true'", "", &list));
        let with = format!("{list}\nleads_to_root = true");
        let with = load(&command("'/usr/bin/true'", "", &with));
        if without.is_ok() || with.is_err() {
            wrong.push((path, without, with));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Of C9, what the prover knows as a path of code of root: each list with the key is a path if the agent decides what
/// runs in the profile.
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
        let policy = command(
            "'/srv/agent/run'",
            "",
            &format!("write = [\"{path}\"]\nleads_to_root = true"),
        )
        .replace("to = [\"root\"]", "to = [\"agent\"]");
        let machine = format!(
            "about = \"\"\nagent = \"agent\"\nprograms = [\"{programs}\"]\nuser = [{{ name = \"agent\", uid = 5001 }}]\n\
             policy = '''\n{}'''\n{file}\n[[file]]\npath = \"/etc/pam.d/sshd\"\ntext = \"\"\n[[file]]\npath = \"/srv/agent/run\"\n\
             owner = \"agent\"\nmode = \"755\"\ntext = \"#!/bin/sh\\n\"\n",
            policy.replace('\'', "\"")
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

/// `run` of a caller never gets a profile that reaches or changes something of root's.
#[test]
fn run_is_refused_in_a_profile_with_rights() {
    for list in [
        "sockets = [\"/run/docker.sock\"]\nleads_to_root = true",
        "write = [\"/usr/local/bin\"]\nleads_to_root = true",
        "capabilities = [\"CAP_CHOWN\"]",
    ] {
        let text = format!(
            "[profile.p]\nbase = \"strict\"\n{list}\n[[grant]]\nto = [\"root\"]\nallow = [\"run\"]\nrun_profile = \"p\"\n"
        );
        assert!(load(&text).is_err(), "{list}");
    }
}

/// C16: the pattern of a rule without `effect` leaves out a command that changes, and says so.
#[test]
fn pattern_leaves_out_a_command_that_changes() {
    let text = command("'/usr/bin/true'", "", "").replace("allow = [\"a.b\"]", "allow = [\"a.*\"]");
    let warnings = load(&text).unwrap();
    assert!(
        warnings.iter().any(|warning| warning.contains("a.b")),
        "{warnings:?}"
    );
}
