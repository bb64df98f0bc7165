//! Answers by the topic of the program. If the table names a command that answers what was asked, that is the next step.

use remit_common::denial::Layer;
use remit_programs::{Found, Topic};

use super::super::commands::Command;
use super::super::may_use::{wants_change, works_in_copy};
use super::service::{bus, containers, grant, network, refused_anyway, service, target};
use super::{Answer, BY_COMMAND, View};

pub fn of(found: &Found, command: &Command, view: &View<'_>) -> Option<Answer> {
    let answer = of_topic(found.topic, command, view)?;
    let may_use = view.may_use();
    let next = may_use.next_step(found, &command.name);
    let is_refused = found
        .alternative
        .as_ref()
        .and_then(refused_anyway)
        .is_some();
    let next = match wants_change(found) && !is_refused {
        true => {
            let next = next.or(answer.next);
            next.map(|next| view.or_change(next, works_in_copy(found)))
        }
        false => next.or(answer.next),
    };
    let Some(alternative) = &found.alternative else {
        return Some(Answer { next, ..answer });
    };
    let is_granted_by_name =
        |shipped: remit_programs::Shipped| shipped.changes || shipped.is_unconfined;
    let by_name =
        remit_programs::shipped(alternative.command).filter(|shipped| is_granted_by_name(*shipped));
    let lift = match (refused_anyway(alternative), by_name) {
        (Some(_), _) => None,
        (None, Some(_)) => grant(alternative),
        (None, None) => answer.lift,
    };
    Some(Answer {
        next,
        lift,
        ..answer
    })
}

pub fn bus_call(found: Option<Found>, view: &View<'_>) -> Answer {
    let alternative = found.and_then(|found| found.alternative);
    let profile = view.profile();
    Answer {
        layer: Layer::Bus,
        operation: "call",
        object: None,
        rule: format!("profile '{profile}' asks the system bus, and changes nothing by it"),
        next: Some(alternative.as_ref().map_or_else(
            || {
                view.or_change(
                    "for a change, call access: it lists the commands".to_owned(),
                    false,
                )
            },
            |alternative| view.may_use().call(alternative),
        )),
        lift: alternative.as_ref().map_or_else(
            || Some("for a call that only looks: bus.calls in remit.toml(5)".to_owned()),
            grant,
        ),
    }
}

fn of_topic(topic: Topic, command: &Command, view: &View<'_>) -> Option<Answer> {
    let profile = view.profile();
    let is_read = view.base() == "read";
    let answer = |layer, operation, rule: &str, next: &str| {
        Some(Answer {
            layer,
            operation,
            object: None,
            rule: format!("profile '{profile}'{rule}"),
            next: Some(next.to_owned()),
            lift: Some(BY_COMMAND.to_owned()),
        })
    };
    let of = |object: &str, found: Option<Answer>| {
        let object = Some(object.to_owned());
        found.map(|found| Answer { object, ..found })
    };
    match topic {
        Topic::Network | Topic::Resolver => network(view, target(command)),
        Topic::Index => {
            let found = network(view, Some("the index of packages".to_owned()))?;
            let next = "installed packages can be used and listed; if access lists package.install, a package of the \
                        system may help";
            Some(Answer {
                next: Some(next.to_owned()),
                ..found
            })
        }
        Topic::Packets => {
            let next =
                "host {\"sections\": [\"network\", \"ports\"]} shows interfaces and listeners";
            let found = answer(
                Layer::Network,
                "socket",
                " allows no raw, packet or ICMP socket",
                next,
            );
            let object = target(command).unwrap_or_else(|| "raw packets".to_owned());
            of(&object, found)
        }
        Topic::Units | Topic::Bus => bus(
            view,
            "the tool host (sections os, users, units, network) and journalctl have much of it",
        ),
        Topic::UnitChange => {
            let next = "not possible here; tell the person you work for";
            let found = bus(view, next)?;
            Some(Answer {
                lift: Some(BY_COMMAND.to_owned()),
                ..found
            })
        }
        Topic::Containers => containers(view),
        Topic::Services => service(
            view,
            "host {\"sections\": [\"units\", \"ports\"]} shows whether it runs",
        ),
        Topic::Packages => answer(
            Layer::Identity,
            "write",
            ": only root can change packages",
            "not possible here; tell the person you work for",
        ),
        Topic::PackageLists => {
            let next = "run {\"name\": \"packages.updates\"} shows what the package lists contain";
            let rule = " allows no change of the package lists";
            let found = answer(Layer::Identity, "write", rule, next)?;
            Some(Answer {
                lift: Some("root fetches the package lists".into()),
                ..found
            })
        }
        Topic::PackageState => answer(
            Layer::Identity,
            "lock",
            ": the package manager locks its database even to look, and only root can",
            "host names packages that are half installed, in its alerts",
        ),
        Topic::Users => {
            let rule =
                ": a job cannot become another user (no_new_privs), whatever the program prints";
            let next = "run it without; if it needs root, call access, which lists the commands";
            let lift = "a policy command whose profile has user = \"root\", granted by a rule: remit-policy(5)";
            let found = of(
                "another user",
                answer(Layer::Identity, "setuid", rule, next),
            )?;
            Some(Answer {
                lift: Some(lift.to_owned()),
                ..found
            })
        }
        Topic::Accounts => answer(
            Layer::Identity,
            "write",
            ": the job's uid has no account, and can neither change one nor read /etc/shadow",
            "accounts can be read: run {\"argv\": [\"getent\", \"passwd\"]}",
        ),
        Topic::Account => {
            let rule = ": no name is found for the job's uid, and the program asks for it";
            let next = "run {\"argv\": [\"id\"]} shows uid and groups; the program cannot do without a name";
            let found = answer(Layer::Identity, "lookup", rule, next)?;
            Some(Answer {
                lift: Some(
                    "nss-systemd(8), for example of package libnss-systemd: the job's uid is remit-job by it".into(),
                ),
                ..found
            })
        }
        Topic::Reboot | Topic::Stop => answer(
            Layer::Identity,
            "reboot",
            ": a job cannot stop or restart the machine",
            "not possible here; tell the person you work for",
        ),
        Topic::Mounts => answer(
            Layer::Seccomp,
            "mount",
            " refuses mount(2) and similar calls, and has no capability",
            "host {\"sections\": [\"mounts\"]} lists the host's mounts",
        ),
        Topic::KernelLog => answer(
            Layer::Identity,
            "syslog",
            ": jobs cannot read the kernel's ring buffer",
            "the journal has the same: run {\"name\": \"host.kernel_log\"}",
        ),
        Topic::Firewall => answer(
            Layer::Network,
            "socket",
            " has no socket for it and no CAP_NET_ADMIN",
            "rules loaded at boot are in files: see /etc/nftables.conf, /etc/iptables, /etc/ufw",
        ),
        Topic::Crontab | Topic::AtQueue => answer(
            Layer::Identity,
            "crontab",
            ": the job's uid has no account, and neither crontab nor queue",
            "run {\"argv\": [\"journalctl\", \"-u\", \"atd\"]} shows what at ran",
        ),
        Topic::Sysctl => answer(
            Layer::Identity,
            "write",
            ": only root can set kernel parameters",
            "their values can be read",
        ),
        Topic::Machine => answer(
            Layer::Seccomp,
            "set",
            ": only root can set the clock and the names of the machine",
            "host {\"sections\": [\"os\"]} shows them",
        ),
        Topic::Modules => answer(
            Layer::Seccomp,
            "module",
            ": only root can load kernel modules",
            "run {\"argv\": [\"lsmod\"]} lists them",
        ),
        Topic::Trace => answer(
            Layer::Seccomp,
            "ptrace",
            " refuses ptrace(2), perf_event_open(2) and bpf(2)",
            match is_read {
                true => {
                    "state, limits and counters of a process are in /proc/PID (status, stat, limits); ps and top work"
                }
                false => "host and the journal show processes; nothing here can trace one",
            },
        ),
        Topic::Namespaces => answer(
            Layer::Seccomp,
            "namespace",
            " refuses to create or enter namespaces",
            "run the program without it: the job is in a sandbox already",
        ),
        Topic::Signal => answer(
            Layer::Identity,
            "signal",
            ": a job signals only its own processes",
            "a job of yours: job_stop; a service: call access; if it lists service.restart: change {\"name\": \
             \"service.restart\", \"args\": {\"unit\": \"NAME.service\"}}, with a reason",
        ),
        Topic::Disks => answer(
            Layer::Identity,
            "open",
            " cannot open disks",
            "size and use can be read: host {\"sections\": [\"disks\"]}",
        ),
        Topic::Interfaces => answer(
            Layer::Identity,
            "network setup",
            " cannot change interfaces or routes: it has no CAP_NET_ADMIN",
            "host {\"sections\": [\"network\"]} shows them",
        ),
        Topic::InterfaceQuery => answer(
            Layer::Network,
            "socket",
            " allows no socket that the program asks interfaces by",
            "host {\"sections\": [\"network\"]} shows them",
        ),
        Topic::IoCounters | Topic::Descriptors | Topic::MemoryMaps => answer(
            Layer::Identity,
            "open",
            ": jobs run under a uid of their own, and this is hidden of processes of others",
            "of other users' processes status, stat, cmdline and limits can be read",
        ),
        Topic::ConfigTest | Topic::RootFiles | Topic::CoreFiles => answer(
            Layer::Identity,
            "open",
            ": jobs run under an unprivileged uid, and the program opens files that only root may: its failure says \
             nothing about their contents",
            "world-readable files and the journal can be read",
        ),
        Topic::Follow
        | Topic::HiddenColumns
        | Topic::HostKeys
        | Topic::InitScripts
        | Topic::JournalChange
        | Topic::LockFiles
        | Topic::Locks
        | Topic::MountTable
        | Topic::NamespaceList
        | Topic::OwnLimits
        | Topic::PackageFiles
        | Topic::PrivateTmp
        | Topic::SocketOwners
        | Topic::Wal => None,
    }
}
