//! What the caller of a job may use, of what an answer about it could name.

use std::collections::{BTreeMap, BTreeSet};

use remit_link::Startable;
use remit_programs::{Alternative, Found, Topic, shipped};
use remit_wire::{AccessReport, Effect};

use super::answer::{granted, named, refused_anyway};
use super::{changes, instead};

/// Of a caller whose grants are not known, nothing is said about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MayUse {
    /// The usage of each granted command, by name. `None`: not known.
    commands: Option<BTreeMap<String, String>>,
    /// There are commands of the caller that are not in `commands`.
    is_partial: bool,
    /// Any change, as a person sees and approves it.
    one_off: bool,
    /// Any program, in a copy of the machine.
    copies: bool,
}

impl MayUse {
    /// `report`: the grants and commands of the caller. `wanted`: names that are kept of it.
    pub fn new(report: &AccessReport, starts: Startable, wanted: &BTreeSet<String>) -> Self {
        let is_kept = |view: &&remit_wire::CommandView| {
            let name = view.name();
            // What an administrator's own command changes is not known here.
            wanted.contains(name) && (view.effect == Effect::Read || shipped(name).is_some())
        };
        let kept = report.commands.iter().filter(is_kept);
        let commands = kept.map(|view| (view.name().to_owned(), view.usage.clone()));
        let grants = |name: &str, profile: &str| {
            report.grants.iter().any(|grant| {
                let is_named = grant.allow.iter().any(|allowed| allowed == name);
                is_named && (profile.is_empty() || grant.profile == profile)
            })
        };
        Self {
            commands: Some(commands.collect()),
            is_partial: report.more_commands > 0,
            one_off: starts.change && grants("change", ""),
            copies: starts.copy && grants("run", "plan"),
        }
    }

    fn usage(&self, name: &str) -> Option<&str> {
        let commands = self.commands.as_ref()?;
        commands.get(name).map(String::as_str)
    }

    fn lacks(&self, name: &str) -> bool {
        self.commands.is_some() && !self.is_partial && self.usage(name).is_none()
    }

    /// Returns the call of a command of the package, or what grants it.
    pub fn call(&self, alternative: &Alternative) -> String {
        let name = alternative.command;
        if refused_anyway(alternative).is_some() {
            return instead(alternative);
        }
        match self.usage(name) {
            Some(_) => granted(alternative),
            None if self.lacks(name) => {
                let family = shipped(name).and_then(|shipped| shipped.example());
                let family = family.map(|file| format!(", as {file} grants it"));
                let family = family.unwrap_or_default();
                format!("'{name}' answers it, and is not granted to you: it needs a grant{family}")
            }
            None => instead(alternative),
        }
    }

    /// Returns the call that answers instead of this program: its own granted test, or the command of the table.
    pub fn next_step(&self, found: &Found, program: &str) -> Option<String> {
        let of_table = || Some(self.call(found.alternative.as_ref()?));
        self.own_test(found, program).or_else(of_table)
    }

    /// Returns the call of the granted command that tests the configuration of this program.
    pub fn own_test(&self, found: &Found, program: &str) -> Option<String> {
        let name = test_name(found, program)?;
        let usage = self.usage(&name)?;
        let call = named("run", &name, "");
        Some(match usage == name {
            true => call,
            false => format!("{call}, used as '{usage}'"),
        })
    }

    /// Returns how any change can be asked for, as the end of a next step. Empty if that is not granted, starts nothing now, or
    /// is not known. `in_copy`: it has an effect in a copy of the machine.
    pub fn or_change(&self, in_copy: bool) -> String {
        let mut text = String::new();
        if self.one_off {
            text += "; or change {\"argv\": […], \"reason\": …}: a person approves it";
        }
        if in_copy && self.copies {
            text += "; or plan {\"argv\": […]}: it runs in a copy, and what it changed there can be committed";
        }
        text
    }
}

/// Returns the commands that an answer about this program can name.
pub fn wanted(found: &Found, program: &str) -> impl Iterator<Item = String> {
    let of_table = found.alternative.as_ref();
    let of_table = of_table.map(|alternative| alternative.command.to_owned());
    test_name(found, program).into_iter().chain(of_table)
}

/// Returns the name that an administrator's test of the configuration of this program has by custom, as `nginx.test`.
fn test_name(found: &Found, program: &str) -> Option<String> {
    (found.topic == Topic::ConfigTest).then(|| format!("{program}.test"))
}

/// Returns whether the program would change the machine, or become another user.
pub fn wants_change(found: &Found) -> bool {
    let by_topic = matches!(
        found.topic,
        Topic::Accounts
            | Topic::Interfaces
            | Topic::Machine
            | Topic::Modules
            | Topic::Mounts
            | Topic::PackageLists
            | Topic::Packages
            | Topic::Reboot
            | Topic::Signal
            | Topic::Stop
            | Topic::Sysctl
            | Topic::UnitChange
            | Topic::Users
    );
    by_topic || found.alternative.as_ref().is_some_and(changes)
}

/// Returns whether the program can have an effect in a copy of the machine: it has the files, but no services and no kernel.
pub fn works_in_copy(found: &Found) -> bool {
    !matches!(
        found.topic,
        Topic::Bus
            | Topic::Containers
            | Topic::Interfaces
            | Topic::Machine
            | Topic::Modules
            | Topic::Mounts
            | Topic::Reboot
            | Topic::Services
            | Topic::Signal
            | Topic::Stop
            | Topic::Sysctl
            | Topic::UnitChange
    )
}

#[cfg(test)]
mod tests {
    use remit_wire::{CommandView, GrantView};

    use super::*;
    use crate::hints::notes::of_command;
    use crate::hints::{Command, Commands};

    fn report(commands: &[&str], allow: &[&str], profile: &str) -> AccessReport {
        let command = |usage: &&str| CommandView {
            usage: (*usage).to_owned(),
            summary: String::new(),
            args: Vec::new(),
            effect: Effect::Read,
            profile: "read".to_owned(),
            approval: None,
        };
        AccessReport {
            user: "agent".to_owned(),
            uid: 1000,
            grants: vec![GrantView {
                rule: "a".to_owned(),
                allow: allow.iter().map(ToString::to_string).collect(),
                profile: profile.to_owned(),
                env: Vec::new(),
                approval: None,
                left: None,
            }],
            more_grants: 0,
            asked: None,
            profiles: Vec::new(),
            commands: commands.iter().map(command).collect(),
            more_commands: 0,
        }
    }

    const ALL: Startable = Startable {
        change: true,
        copy: true,
    };

    fn note(typed: &str, report: Option<&AccessReport>) -> String {
        let argv: Vec<&[u8]> = typed.split(' ').map(str::as_bytes).collect();
        let commands = Commands::of_argv(&argv);
        let command: &Command = commands.sole().unwrap();
        let found = remit_programs::found(&command.name, &command.args).unwrap();
        let names = wanted(&found, &command.name).collect();
        let may_use =
            report.map_or_else(MayUse::default, |report| MayUse::new(report, ALL, &names));
        of_command(command, &may_use).unwrap()
    }

    #[test]
    fn note_names_what_the_caller_may_use() {
        let deleted = "run {\"name\": \"disks.deleted\"}";
        let needs = "is not granted to you: it needs a grant";
        let partial = AccessReport {
            more_commands: 3,
            ..report(&[], &[], "read")
        };
        for (typed, report, has, lacks) in [
            (
                "lsof +L1",
                Some(report(&["disks.deleted"], &[], "read")),
                deleted,
                needs,
            ),
            (
                "lsof +L1",
                Some(report(&["disks.usage"], &[], "read")),
                "examples/inspect.toml",
                deleted,
            ),
            ("lsof +L1", Some(partial), deleted, needs),
            ("lsof +L1", None, deleted, needs),
            (
                "visudo -c",
                Some(report(&[], &[], "read")),
                "examples/services.toml",
                "run {",
            ),
            (
                "nginx -T",
                Some(report(&["nginx.test", "logs"], &[], "read")),
                "run {\"name\": \"nginx.test\"}",
                "logs",
            ),
            (
                "nginx -t",
                Some(report(&["nginx.test config=PATH"], &[], "read")),
                "used as 'nginx.test config=PATH'",
                "logs",
            ),
            (
                "nginx -T",
                Some(report(&["logs"], &[], "read")),
                "nginx.service",
                "nginx.test",
            ),
            (
                "sudo ls",
                Some(report(&[], &["change"], "host")),
                "or change {",
                "or plan",
            ),
            (
                "sudo ls",
                Some(report(&[], &["run"], "plan")),
                "or plan {",
                "or change",
            ),
            (
                "sudo ls",
                Some(report(&[], &["run"], "read")),
                "access",
                "or plan",
            ),
            (
                "lsof +L1",
                Some(report(&[], &["change"], "host")),
                needs,
                "or change",
            ),
        ] {
            let note = note(typed, report.as_ref());
            assert!(
                note.contains(has) && !note.contains(lacks),
                "{typed}: {note}"
            );
        }
    }

    #[test]
    fn only_what_starts_and_has_an_effect_is_advised() {
        let locked = Startable::default();
        let without_copies = Startable { copy: false, ..ALL };
        let report = AccessReport {
            grants: ["host", "plan"]
                .map(|profile| report(&[], &["change", "run"], profile).grants.remove(0))
                .into(),
            ..report(&[], &[], "read")
        };
        for (typed, starts, has_change, has_plan) in [
            ("sudo ls", ALL, true, true),
            ("sudo ls", without_copies, true, false),
            ("sudo ls", locked, false, false),
            ("useradd x", ALL, true, true),
            ("systemctl restart x", ALL, true, false),
            ("reboot", ALL, true, false),
            ("mount /x", ALL, true, false),
        ] {
            let words: Vec<&str> = typed.split(' ').collect();
            let found = remit_programs::found(words[0], &words[1..]).unwrap();
            let may_use = MayUse::new(&report, starts, &BTreeSet::new());
            let advice = may_use.or_change(works_in_copy(&found));
            let says = ["or change {", "or plan {"].map(|words| advice.contains(words));
            assert_eq!(says, [has_change, has_plan], "{typed}: {advice}");
        }
    }
}
