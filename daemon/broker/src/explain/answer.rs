//! The answers: by what it is so, what to do instead, and what a person can do. Data, and little else.
//!
//! Each sentence is true of the profile that it names, and names no way that there is not.

use remit_common::builtin::UnitName;
use remit_common::denial::{Denial, Layer};

use super::commands::Command;
use super::topic::Topic;
use super::view::View;

/// Parts of a denial that hang on what it is about.
pub struct Answer {
    layer: Layer,
    operation: &'static str,
    object: Option<String>,
    rule: String,
    next: Option<String>,
    lift: Option<String>,
}

impl Answer {
    /// Whether a denial gives this answer.
    pub fn is(&self, denial: &Denial) -> bool {
        self.rule == denial.rule && self.next == denial.next
    }

    /// The denial, about `object` where the answer names no other.
    pub fn denial(self, object: Option<String>, guess: bool) -> Denial {
        Denial {
            layer: self.layer,
            operation: self.operation.to_owned(),
            object: self.object.or(object),
            rule: self.rule,
            lift: self.lift,
            next: self.next,
            guess,
        }
    }
}

/// For what no packaged command does.
const BY_COMMAND: &str = "a command of the policy that does exactly this, with a profile of base host, and a rule that grants it with an approval: remit-policy(5)";

fn named(tool: &str, name: &str, args: &str) -> String {
    match args.is_empty() {
        true => format!("{tool} {{\"name\": \"{name}\"}}"),
        false => format!("{tool} {{\"name\": \"{name}\", \"args\": {{{args}}}}}"),
    }
}

fn run(name: &str, args: &str) -> String {
    named("run", name, args)
}

/// A packaged command that changes something: it may be granted or not.
fn change(name: &str, args: &str) -> String {
    format!(
        "call access: where it lists {name}, {}, with a reason",
        named("change", name, args)
    )
}

fn grant(name: &str, args: &str) -> String {
    let args = if args.is_empty() {
        String::new()
    } else {
        format!(" {args}")
    };
    format!(
        "remit grant USER {name}{args} --for 1h, or a rule as in /usr/share/doc/remit/examples/changes.toml"
    )
}

/// A unit's whole name, as commands take it; `NAME` where it is none.
fn unit(name: Option<&str>) -> String {
    let name = name.and_then(|name| name.parse::<UnitName>().ok());
    name.map_or_else(|| "NAME".to_owned(), |name| name.to_string())
}

/// The answer for a program of this topic; `None` where the profile has what it needs.
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
            let next = "what is installed already can be used and listed; call access: where it lists package.install, a \
                        package of the system may do"
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
                _ => "the tool host (sections network, ports) tells of interfaces and listeners",
            };
            let rule = format!("profile '{profile}' lets nobody make a raw, packet or ICMP socket");
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
                lift: Some("a command of the policy whose profile, of base strict, lists that socket; who reaches it is root on this machine".into()),
            })
        }
        Topic::Packages => packages(command, view),
        Topic::PackageLists => {
            let rule = format!("profile '{profile}' lets nobody write the lists of packages");
            let next = "host {\"sections\": [\"updates\"]} tells what the lists of the machine say"
                .to_owned();
            answer(
                Layer::Identity,
                "write",
                rule,
                next,
                "somebody fetches the lists as root".into(),
            )
        }
        Topic::Users => {
            let rule = format!(
                "profile '{profile}': no job becomes another user, whatever the message says (no_new_privs)"
            );
            let next = "run it without; what needs root is a command: call access".to_owned();
            let lift = "a command of the policy whose profile has user = \"root\", granted by a rule: remit-policy(5)".into();
            answer(Layer::Identity, "setuid", rule, next, lift)
        }
        Topic::Accounts => {
            let rule =
                format!("profile '{profile}': the job's uid owns no account, and may change none");
            let next = "accounts can be read: run {\"argv\": [\"getent\", \"passwd\"]}".to_owned();
            answer(Layer::Identity, "write", rule, next, BY_COMMAND.into())
        }
        Topic::Reboot => {
            let rule = format!("profile '{profile}': no job may end or restart the machine");
            let stops = ["poweroff", "halt"].contains(&command.name.as_str())
                || command
                    .args
                    .iter()
                    .any(|arg| matches!(arg.as_str(), "-h" | "-P" | "-H" | "poweroff" | "halt"));
            if stops {
                let next = "nothing here does; tell the person you work for".to_owned();
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
            let rule =
                format!("profile '{profile}' refuses mount(2) and its kin, and has no capability");
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
            let rule = format!("profile '{profile}': the kernel's ring buffer is closed to jobs");
            let next = match view.base() {
                "read" => "the journal has the same: run {\"argv\": [\"journalctl\", \"-k\", \"-n\", \"100\"]}".to_owned(),
                _ => run("logs", "\"grep\": \"kernel\""),
            };
            answer(Layer::Identity, "syslog", rule, next, BY_COMMAND.into())
        }
        Topic::Firewall => {
            let rule = format!("profile '{profile}' has no socket for it, and not CAP_NET_ADMIN");
            let next = "rules that a boot loads stand in files: look at /etc/nftables.conf, /etc/iptables, /etc/ufw".to_owned();
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
            let rule = format!("profile '{profile}': parameters of the kernel are root's to set");
            let next = format!(
                "its value can be read: run {{\"argv\": [\"sysctl\", \"{}\"]}}",
                key.unwrap_or("-a")
            );
            answer(Layer::Identity, "write", rule, next, BY_COMMAND.into())
        }
        Topic::Machine => {
            let rule =
                format!("profile '{profile}': clock and names of the machine are root's to set");
            let next = "host {\"sections\": [\"os\"]} tells them".to_owned();
            answer(Layer::Seccomp, "set", rule, next, BY_COMMAND.into())
        }
        Topic::Modules => {
            let rule = format!("profile '{profile}': modules of the kernel are root's to load");
            let next = "loaded ones can be read: run {\"argv\": [\"lsmod\"]}".to_owned();
            answer(Layer::Seccomp, "module", rule, next, BY_COMMAND.into())
        }
        Topic::Trace => {
            let rule =
                format!("profile '{profile}' refuses ptrace(2), perf_event_open(2) and bpf(2)");
            let next = match view.base() {
                "read" => {
                    "state, wait, limits and counters of a process stand in /proc/PID (status, stat, limits); ps and top work"
                }
                _ => "host and the journal tell of processes; nothing here looks into one",
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
            let rule = format!("profile '{profile}' refuses new namespaces, and to enter others");
            let next = "run the program without it: the job is in a sandbox already".to_owned();
            answer(Layer::Seccomp, "namespace", rule, next, BY_COMMAND.into())
        }
        Topic::Signal => {
            let rule = format!("profile '{profile}': a job signals its own processes alone");
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
            let rule = format!("profile '{profile}' opens no disk");
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
                "profile '{profile}' changes no interface and no route: it has not CAP_NET_ADMIN"
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

/// Where a network program wants to go, as its arguments say.
fn target(command: &Command) -> Option<String> {
    let is_host = |word: &&str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]/@?=&%~+".contains(&byte);
        word.bytes().all(sign)
            && (word.contains("://") || word.contains('.') || *word == "localhost")
            && !word.starts_with(['/', '.'])
    };
    match command.name.as_str() {
        "git" => command
            .words()
            .find(|word| word.contains("://"))
            .map(str::to_owned),
        _ => command.words().find(is_host).map(str::to_owned),
    }
}

/// Without a network, or with one that reaches some places alone.
pub fn network(view: &View<'_>, object: Option<String>) -> Option<Answer> {
    let profile = view.profile();
    let (rule, next) = match view.network() {
        [one] if one == "host" => return None,
        [] => no_network(profile),
        [one] if one == "none" => no_network(profile),
        [one] if one == "loopback" => (
            format!(
                "profile '{profile}' has a loopback interface of its own, and reaches no other host"
            ),
            "host {\"sections\": [\"network\", \"ports\"]} tells what this machine has and who listens",
        ),
        some => (
            format!(
                "profile '{profile}' reaches {} and nothing else",
                some.join(", ")
            ),
            "connect to what the profile reaches, by that name and port",
        ),
    };
    let lift = "a command of the policy whose profile, of base strict, names the destination in `network`: remit-policy(5)";
    Some(Answer {
        layer: Layer::Network,
        operation: "connect",
        object,
        rule,
        next: Some(next.to_owned()),
        lift: Some(lift.to_owned()),
    })
}

fn no_network(profile: &str) -> (String, &'static str) {
    (
        format!("profile '{profile}' has no network, to other hosts or to this one"),
        "a failure says nothing of the other side: host {\"sections\": [\"ports\", \"units\", \"network\"]} tells who listens here and what is up",
    )
}

fn bus(view: &View<'_>, next: String, lift: Option<String>) -> Option<Answer> {
    const BUS: &str = "/run/dbus/system_bus_socket";
    if view.reaches(BUS) {
        return None;
    }
    let lift = lift.unwrap_or_else(|| {
        format!("a command of the policy whose profile, of base strict, lists {BUS}; who reaches it as root can do what root can")
    });
    Some(Answer {
        layer: Layer::Network,
        operation: "connect",
        object: Some("the service manager, by the system bus".into()),
        rule: format!(
            "profile '{}' reaches no socket of a service",
            view.profile()
        ),
        next: Some(next),
        lift: Some(lift),
    })
}

fn unit_change(command: &Command, view: &View<'_>) -> Option<Answer> {
    let (verb, name) = match command.name.as_str() {
        "systemctl" => (command.words().next(), command.words().nth(1)),
        _ => (command.words().nth(1), command.words().next()),
    };
    let name = unit(name);
    let verb = match verb.unwrap_or_default() {
        "try-restart" | "reload-or-restart" => "restart",
        "force-reload" => "reload",
        verb => verb,
    };
    if !["start", "stop", "restart", "reload", "enable", "disable"].contains(&verb) {
        let next = "nothing here does; a unit is shown by ".to_owned()
            + &run("service.status", &format!("\"unit\": \"{name}\""));
        return bus(view, next, Some(BY_COMMAND.to_owned()));
    }
    let command = format!("service.{verb}");
    let next = change(&command, &format!("\"unit\": \"{name}\""));
    bus(view, next, Some(grant(&command, &format!("unit={name}"))))
}

fn packages(command: &Command, view: &View<'_>) -> Option<Answer> {
    let removes = [
        "remove",
        "purge",
        "autoremove",
        "erase",
        "rm",
        "-r",
        "--remove",
        "-P",
        "--purge",
        "-e",
    ];
    let upgrades = ["upgrade", "full-upgrade", "dist-upgrade", "-U"];
    let has = |some: &[&str]| command.args.iter().any(|arg| some.contains(&arg.as_str()));
    let verb = match () {
        () if has(&removes) => "remove",
        () if has(&upgrades) => "upgrade",
        () => "install",
    };
    let sign =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.:".contains(&byte);
    let plain = |word: &&str| {
        word.bytes().all(sign)
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !word.ends_with(".deb")
    };
    let names: Vec<String> = command
        .words()
        .skip(1)
        .filter(plain)
        .take(4)
        .map(|name| format!("\"{name}\""))
        .collect();
    let names = if names.is_empty() {
        "\"NAME\"".to_owned()
    } else {
        names.join(", ")
    };
    let command = format!("package.{verb}");
    Some(Answer {
        layer: Layer::Identity,
        operation: "write",
        object: None,
        rule: format!(
            "profile '{}': packages are root's to change",
            view.profile()
        ),
        next: Some(change(&command, &format!("\"packages\": [{names}]"))),
        lift: Some(grant(&command, "")),
    })
}

/// A change of a file, without a program that has an answer of its own.
pub fn write(layer: Layer, object: Option<&str>, view: &View<'_>) -> Answer {
    let profile = view.profile();
    let lists = |list: &[String]| list.join(", ");
    let rule = match view.write() {
        [] => format!("profile '{profile}' changes nothing on the host"),
        some => format!(
            "profile '{profile}' changes {} and nothing else",
            lists(some)
        ),
    };
    let private = match view.private() {
        [] => "/tmp, which is the job's own".to_owned(),
        some => format!("{}, which are the job's own", lists(some)),
    };
    if object.is_some_and(is_disk) {
        return Answer {
            layer,
            operation: "write",
            object: None,
            rule,
            next: Some("size and use can be read: host {\"sections\": [\"disks\"]}".into()),
            lift: Some(BY_COMMAND.into()),
        };
    }
    Answer {
        layer,
        operation: "write",
        object: None,
        rule,
        next: Some(format!(
            "write to {private} and gone at its end, or to standard output; for a change, call access: it lists the commands there are"
        )),
        lift: Some("a profile that lists the directory in `write`, or a command that does it, granted by a rule: remit-policy(5)".into()),
    }
}

fn is_disk(path: &str) -> bool {
    let kinds = [
        "sd", "nvme", "vd", "xvd", "mmcblk", "dm-", "mapper/", "loop", "md", "disk/",
    ];
    path.strip_prefix("/dev/")
        .is_some_and(|name| kinds.iter().any(|kind| name.starts_with(kind)))
}

/// What ordinary permissions keep from the job's uid.
pub fn open(object: &str, view: &View<'_>) -> Answer {
    let next = match object {
        "/etc/shadow" | "/etc/gshadow" | "/etc/shadow-" | "/etc/gshadow-" => {
            "names, ids and shells of accounts: run {\"argv\": [\"getent\", \"passwd\"]}".to_owned()
        }
        "/etc/sudoers" => "groups and their members: run {\"argv\": [\"getent\", \"group\"]}".to_owned(),
        "/var/log/btmp" => "the journal has what was tried: ".to_owned() + &run("logs", "\"unit\": \"ssh\""),
        _ if is_disk(object) => "size and use can be read: host {\"sections\": [\"disks\"]}".to_owned(),
        _ if object.starts_with("/proc/") => {
            "of other users' processes status, stat, cmdline and limits can be read".to_owned()
        }
        _ => "logs for groups adm and systemd-journal and what everybody may read can be read; for this, call access: it lists the commands there are".to_owned(),
    };
    Answer {
        layer: Layer::Identity,
        operation: "open",
        object: None,
        rule: format!("profile '{}': the job's uid owns nothing, and this is not for everybody", view.profile()),
        next: Some(next),
        lift: Some("a command of the policy that shows it, with a profile of base strict that lists the path in `read` and has a `user` who may: remit-policy(5)".into()),
    }
}

/// What is not there in a sandbox that sees little.
pub fn unseen(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Mounts,
        operation: "open",
        object: None,
        rule: format!("profile '{}' sees {} and the system's programs, and nothing else", view.profile(), match view.read() {
            [] => "no file of the machine".to_owned(),
            some => some.join(", "),
        }),
        next: Some("whether it is there cannot be told from here: run it in profile read, where access grants that".into()),
        lift: Some("a profile that lists the path in `read`, granted by a rule: remit-policy(5)".into()),
    }
}

/// A call of administration, of a program that nothing is known of.
pub fn privileged(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Identity,
        operation: "privileged call",
        object: None,
        rule: format!(
            "profile '{}': jobs have a uid of their own, and calls of administration are refused",
            view.profile()
        ),
        next: Some("for a change, call access: it lists the commands there are".into()),
        lift: Some(BY_COMMAND.into()),
    }
}

/// A private directory is full.
pub fn full(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Mounts,
        operation: "write",
        object: None,
        rule: "limits.tmp".into(),
        next: Some("write less at a time, or to standard output".into()),
        lift: Some(format!(
            "a larger `tmp` in limits of profile '{}', or in [limits] of remit.toml",
            view.profile()
        )),
    }
}

/// Too many descriptors at once.
pub fn descriptors(view: &View<'_>) -> Answer {
    Answer {
        layer: Layer::Rlimit,
        operation: "open",
        object: None,
        rule: "limits.open_files".into(),
        next: Some("open fewer files at a time".into()),
        lift: Some(format!(
            "a larger `open_files` in limits of profile '{}', or in [limits] of remit.toml",
            view.profile()
        )),
    }
}
