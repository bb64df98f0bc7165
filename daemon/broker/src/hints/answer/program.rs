//! Answers by the topic of the program.

use remit_common::denial::Layer;

use super::super::commands::Command;
use super::super::topic::Topic;
use super::super::view::View;
use super::service::{bus, change, grant, network, packages, target, unit, unit_change};
use super::{Answer, BY_COMMAND, run};

/// Returns `None` if the profile has what the program needs.
pub fn of(topic: Topic, command: &Command, view: &View<'_>) -> Option<Answer> {
    let profile = view.profile();
    let answer = |layer, operation, rule: String, next: String, lift: String| {
        Some(Answer {
            layer,
            operation,
            object: None,
            rule,
            next: Some(next),
            lift: Some(lift),
        })
    };
    let word = |at| command.words().nth(at);
    match topic {
        Topic::Network => network(view, target(command)),
        Topic::Index => {
            let found = network(view, Some("the index of packages".to_owned()))?;
            let next = "installed packages can be used and listed; if access lists package.install, a package of the \
                        system may help"
                .to_owned();
            Some(Answer {
                next: Some(next),
                ..found
            })
        }
        Topic::Packets => {
            let next = match view.base() {
                "read" => {
                    "counters, addresses and sockets can be read: run {\"argv\": [\"ip\", \"-s\", \"addr\"]}, or [\"ss\", \"-s\"]"
                }
                _ => "the tool host (sections network, ports) shows interfaces and listeners",
            };
            let rule = format!("profile '{profile}' allows no raw, packet or ICMP socket");
            answer(
                Layer::Network,
                "socket",
                rule,
                next.into(),
                BY_COMMAND.into(),
            )
        }
        Topic::Units => {
            let next = match word(0) {
                Some(
                    "list-units" | "list-timers" | "list-sockets" | "list-unit-files"
                    | "list-dependencies",
                ) => run("service.list", "\"state\": \"failed\"") + ", or without args",
                Some("is-system-running") | None
                    if command.args.iter().any(|arg| arg == "--failed") =>
                {
                    run("service.failed", "")
                }
                None => run("service.list", ""),
                Some("is-system-running") => run("service.failed", ""),
                Some(_) if command.name == "systemctl" => run(
                    "service.status",
                    &format!("\"unit\": \"{}\"", unit(word(1))),
                ),
                Some(name) => run(
                    "service.status",
                    &format!("\"unit\": \"{}\"", unit(Some(name))),
                ),
            };
            bus(view, next, None)
        }
        Topic::UnitChange => unit_change(command, view),
        Topic::Bus => {
            let next = "the tool host (sections os, users, units, network) has the same facts; journalctl works".to_owned();
            bus(view, next, None)
        }
        Topic::Containers => {
            let object = "the container engine's socket".to_owned();
            if view.reaches("/run/docker.sock")
                || view.reaches("/run/podman/podman.sock")
                || view.reaches("/run/containerd/containerd.sock")
            {
                return None;
            }
            Some(Answer {
                layer: Layer::Network,
                operation: "connect",
                object: Some(object),
                rule: format!("profile '{profile}' reaches no socket of a service"),
                next: Some("host {\"sections\": [\"containers\"]} lists what runs".into()),
                lift: Some("a command of the policy whose profile, of base strict, lists that socket; whoever reaches it is root on this machine".into()),
            })
        }
        Topic::Packages => packages(command, view),
        Topic::PackageLists => {
            let rule = format!("profile '{profile}' allows no change of the package lists");
            let next = "host {\"sections\": [\"updates\"]} shows what the package lists contain"
                .to_owned();
            answer(
                Layer::Identity,
                "write",
                rule,
                next,
                "root fetches the package lists".into(),
            )
        }
        Topic::Users => {
            let rule = format!(
                "profile '{profile}': a job cannot become another user (no_new_privs), whatever the program prints"
            );
            let next = "run it without; if it needs root, call access, which lists the commands"
                .to_owned();
            let lift = "a policy command whose profile has user = \"root\", granted by a rule: remit-policy(5)".into();
            let found = answer(Layer::Identity, "setuid", rule, next, lift)?;
            Some(Answer {
                object: Some("another user".into()),
                ..found
            })
        }
        Topic::Accounts => {
            let rule =
                format!("profile '{profile}': the job's uid has no account and cannot change one");
            let next = "accounts can be read: run {\"argv\": [\"getent\", \"passwd\"]}".to_owned();
            answer(Layer::Identity, "write", rule, next, BY_COMMAND.into())
        }
        Topic::Reboot => {
            let rule = format!("profile '{profile}': a job cannot stop or restart the machine");
            let stops = ["poweroff", "halt"].contains(&command.name.as_str())
                || command
                    .args
                    .iter()
                    .any(|arg| matches!(arg.as_str(), "-h" | "-P" | "-H" | "poweroff" | "halt"));
            if stops {
                let next = "not possible here; tell the person you work for".to_owned();
                return answer(Layer::Identity, "reboot", rule, next, BY_COMMAND.into());
            }
            let next = change("system.reboot", "\"delay\": 5");
            answer(
                Layer::Identity,
                "reboot",
                rule,
                next,
                grant("system.reboot", ""),
            )
        }
        Topic::Mounts => {
            let rule = format!(
                "profile '{profile}' refuses mount(2) and similar calls, and has no capability"
            );
            let next = match view.base() {
                "read" => {
                    "the host's mounts can be read: run {\"argv\": [\"findmnt\", \"-N\", \"1\"]}, or host {\"sections\": [\"mounts\"]}"
                }
                _ => "host {\"sections\": [\"mounts\"]} lists the host's mounts",
            };
            answer(
                Layer::Seccomp,
                "mount",
                rule,
                next.into(),
                BY_COMMAND.into(),
            )
        }
        Topic::KernelLog => {
            let rule = format!("profile '{profile}': jobs cannot read the kernel's ring buffer");
            let next = match view.base() {
                "read" => "the journal has the same: run {\"argv\": [\"journalctl\", \"-k\", \"-n\", \"100\"]}".to_owned(),
                _ => run("logs", "\"grep\": \"kernel\""),
            };
            answer(Layer::Identity, "syslog", rule, next, BY_COMMAND.into())
        }
        Topic::Firewall => {
            let rule = format!("profile '{profile}' has no socket for it and no CAP_NET_ADMIN");
            let next = "rules loaded at boot are in files: see /etc/nftables.conf, /etc/iptables, /etc/ufw".to_owned();
            answer(Layer::Network, "socket", rule, next, BY_COMMAND.into())
        }
        Topic::Crontab => {
            let rule = format!("profile '{profile}': the job's uid has no account, and no crontab");
            let next = "/etc/crontab and /etc/cron.d can be read; timers: ".to_owned()
                + &run("service.list", "\"pattern\": \"*.timer\"");
            answer(Layer::Identity, "crontab", rule, next, BY_COMMAND.into())
        }
        Topic::Sysctl => {
            let key = command.words().find_map(|word| word.split('=').next());
            let key = key.filter(|key| {
                key.bytes()
                    .all(|sign| sign.is_ascii_alphanumeric() || b"._-/".contains(&sign))
            });
            let rule = format!("profile '{profile}': only root can set kernel parameters");
            let next = format!(
                "its value can be read: run {{\"argv\": [\"sysctl\", \"{}\"]}}",
                key.unwrap_or("-a")
            );
            answer(Layer::Identity, "write", rule, next, BY_COMMAND.into())
        }
        Topic::Machine => {
            let rule = format!(
                "profile '{profile}': only root can set the clock and the names of the machine"
            );
            let next = "host {\"sections\": [\"os\"]} shows them".to_owned();
            answer(Layer::Seccomp, "set", rule, next, BY_COMMAND.into())
        }
        Topic::Modules => {
            let rule = format!("profile '{profile}': only root can load kernel modules");
            let next = "to list loaded modules: run {\"argv\": [\"lsmod\"]}".to_owned();
            answer(Layer::Seccomp, "module", rule, next, BY_COMMAND.into())
        }
        Topic::Trace => {
            let rule =
                format!("profile '{profile}' refuses ptrace(2), perf_event_open(2) and bpf(2)");
            let next = match view.base() {
                "read" => {
                    "state, limits and counters of a process are in /proc/PID (status, stat, limits); ps and top work"
                }
                _ => "host and the journal show processes; nothing here can trace one",
            };
            answer(
                Layer::Seccomp,
                "ptrace",
                rule,
                next.into(),
                BY_COMMAND.into(),
            )
        }
        Topic::Namespaces => {
            let rule = format!("profile '{profile}' refuses to create or enter namespaces");
            let next = "run the program without it: the job is in a sandbox already".to_owned();
            answer(Layer::Seccomp, "namespace", rule, next, BY_COMMAND.into())
        }
        Topic::Signal => {
            let rule = format!("profile '{profile}': a job signals only its own processes");
            let next = "a job of yours: job_stop; a service: ".to_owned()
                + &change("service.restart", "\"unit\": \"NAME.service\"");
            answer(
                Layer::Identity,
                "signal",
                rule,
                next,
                grant("service.restart", "unit=NAME.service"),
            )
        }
        Topic::Disks => {
            let rule = format!("profile '{profile}' cannot open disks");
            let next = match view.base() {
                "read" => {
                    "size and use can be read: host {\"sections\": [\"disks\"]}, or run {\"argv\": [\"lsblk\", \"-f\"]}"
                }
                _ => "size and use: host {\"sections\": [\"disks\"]}",
            };
            answer(
                Layer::Identity,
                "open",
                rule,
                next.into(),
                BY_COMMAND.into(),
            )
        }
        Topic::Interfaces => {
            let rule = format!(
                "profile '{profile}' cannot change interfaces or routes: it has no CAP_NET_ADMIN"
            );
            let next = match view.base() {
                "read" => {
                    "run {\"argv\": [\"ip\", \"-s\", \"addr\"]} and [\"ip\", \"route\"] show them"
                }
                _ => "host {\"sections\": [\"network\"]} shows them",
            };
            answer(
                Layer::Identity,
                "network setup",
                rule,
                next.into(),
                BY_COMMAND.into(),
            )
        }
    }
}
