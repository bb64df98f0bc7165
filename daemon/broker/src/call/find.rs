//! Finds named commands by words: those with the most of them first. A word also finds its synonyms, a typed command
//! what answers it. What the package has is public: it is shown with the rule that grants it. An administrator's own
//! command that is not granted answers as one that does not exist.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::Startable;
use remit_programs::{Alternative, PLACEHOLDER, Shipped, all_shipped, nearest, shipped};
use remit_wire::{AccessReport, Asked, Bytes, CommandView};

use super::typed_name;
use crate::hints::{self, MayUse};

/// Words of one meaning, as stems.
const SAME: [&[&str]; 20] = [
    &["apt", "dnf", "dpkg", "package", "rpm", "software"],
    &["certificate", "ssl", "tls", "x509"],
    &["clock", "ntp", "chrony", "time"],
    &["container", "docker", "podman"],
    &["core", "coredump", "crash"],
    &["cpu", "load", "processor"],
    &["cron", "crontab", "schedule", "timer"],
    &["daemon", "service", "systemctl", "unit"],
    &["delete", "hold", "lsof", "open", "openfile"],
    &[
        "df",
        "disk",
        "filesystem",
        "full",
        "partition",
        "space",
        "storage",
    ],
    &["dns", "lookup", "resolve", "resolver"],
    &["du", "large", "largest", "size"],
    &["failed", "error", "broken", "fault"],
    &["firewall", "iptable", "nft", "nftable"],
    &["journal", "log", "message", "syslog"],
    &["listen", "netstat", "port", "socket", "ss"],
    &["login", "session", "who"],
    &["memory", "oom", "ram", "swap"],
    &["process", "pid", "ps", "top"],
    &["restart", "reload", "start", "stop"],
];

/// Words that are in most questions, and find nothing.
const FILLERS: [&str; 18] = [
    "a", "an", "and", "by", "for", "how", "i", "in", "is", "my", "of", "on", "or", "that", "the",
    "to", "what", "which",
];

const NAMED: usize = 6;

/// Tools that a rule grants by this name, and that are asked for with any program.
const TOOLS: [&str; 2] = ["change", "run"];

/// Keeps the commands with a word of `query`, the best ones first, and names better ones that the caller may not use.
pub fn keep_found(report: &mut AccessReport, starts: Startable, query: &str) {
    let question = Question::new(query);
    let all = std::mem::take(&mut report.commands);
    let is_complete = report.more_commands == 0;
    let granted: BTreeSet<String> = all.iter().map(|view| view.name().to_owned()).collect();
    let mut found: Vec<(Rank, CommandView)> = all
        .into_iter()
        .filter_map(|command| Some((question.rank(command.name(), &command.summary)?, command)))
        .collect();
    // A stable sort keeps the order of commands of the same rank.
    found.sort_by_key(|(rank, _)| Reverse(*rank));
    if is_complete && report.asked.is_none() {
        let best = found.first().map(|(rank, _)| *rank);
        report.asked = question.not_granted(&granted, best, &report.user);
    }
    if is_complete && !question.is_answered_by(&found) {
        report.asked = report.asked.take().or_else(|| not_found(report, starts));
    }
    let more = found.len().saturating_sub(caps::ACCESS_FOUND);
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    report.more_commands = report.more_commands.saturating_add(more);
    let best = found.into_iter().take(caps::ACCESS_FOUND);
    report.commands = best.map(|(_, command)| command).collect();
}

/// Says how the caller can ask for a change that no command makes. `None` if that is not granted.
fn not_found(report: &AccessReport, starts: Startable) -> Option<Asked> {
    let change = MayUse::new(report, starts, &BTreeSet::new()).or_change(true);
    (!change.is_empty()).then(|| Asked {
        allowed: false,
        rule: None,
        why: format!("no command that you may use has all these words{change}"),
        lift: None,
        approval: None,
    })
}

/// Adds the command that answers what a program cannot answer in a sandbox, by what is granted. `report` has all commands
/// of the caller, and no answer to a query yet. `is_read`: the question is about profile read.
pub fn name_alternative(
    report: &mut AccessReport,
    starts: Startable,
    argv: &[Bytes],
    is_read: bool,
) {
    let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_slice()).collect();
    if typed_name::add_call(report, &argv) {
        return;
    }
    let found = hints::found_in(&argv);
    let is_change = found.as_ref().is_some_and(|(found, _)| {
        let is_refused = |one: &Alternative| hints::refused_anyway(one).is_some();
        hints::wants_change(found) && !found.alternative.as_ref().is_some_and(is_refused)
    });
    let wanted: BTreeSet<String> = found
        .iter()
        .flat_map(|(found, program)| hints::wanted(found, program))
        .collect();
    let may_use = MayUse::new(report, starts, &wanted);
    let own_test = found
        .as_ref()
        .and_then(|(found, program)| may_use.own_test(found, program));
    let Some(asked) = report.asked.as_mut() else {
        return;
    };
    // What needs an approval can be asked for as it is.
    let is_refused = !asked.allowed && asked.approval.is_none();
    let in_copy = found.iter().all(|(found, _)| hints::works_in_copy(found));
    let or_change = (is_change || is_refused).then(|| may_use.or_change(in_copy));
    if let Some(alternative) = found.and_then(|(found, _)| found.alternative) {
        match own_test {
            Some(call) => asked.why += &format!("; if a sandbox keeps it from its answer: {call}"),
            None => add_alternative(report, &alternative, is_read),
        }
    }
    if let Some(asked) = report.asked.as_mut() {
        asked.why += &or_change.unwrap_or_default();
    }
}

fn add_alternative(report: &mut AccessReport, alternative: &Alternative, is_read: bool) {
    let Some(asked) = report.asked.as_mut() else {
        return;
    };
    let name = alternative.command;
    let has_no_effect = asked.allowed && is_read && hints::changes(alternative);
    asked.why += match has_no_effect {
        true => "; it would run and change nothing; instead: ",
        false => "; if a sandbox keeps it from its answer: ",
    };
    if let Some(why) = hints::refused_anyway(alternative) {
        asked.why += &why;
        return;
    }
    let call = hints::granted(alternative);
    let view = report.commands.iter().find(|view| view.name() == name);
    match (view, shipped(name)) {
        (Some(view), _) => {
            let approval = view.approval.as_ref();
            let approval = approval.map(|approval| format!("; {approval}"));
            asked.why += &format!("{call}{}", approval.unwrap_or_default());
        }
        (None, Some(command)) if report.more_commands == 0 => {
            asked.why += &not_granted(name);
            let args: Vec<_> = typed(alternative).collect();
            let lift = || lift(&command, &args, &report.user);
            asked.lift = Some(asked.lift.take().unwrap_or_else(lift));
        }
        // Not all commands of the caller are known.
        (None, _) => asked.why += &format!("{call}, if that is granted"),
    }
}

fn not_granted(name: &str) -> String {
    format!("'{name}', a command of remit's package, is not granted to you")
}

/// Returns the arguments that were typed, each as name and value.
fn typed(alternative: &Alternative) -> impl Iterator<Item = (String, String)> {
    let pairs = alternative.pairs();
    pairs.filter(|(_, value)| value != PLACEHOLDER)
}

/// Returns the call of a named command that does what a program would, if a rule can grant it.
pub fn instead_of(argv: &[Bytes]) -> Option<String> {
    let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_slice()).collect();
    let alternative = hints::alternative(&argv)?;
    let is_grantable = hints::refused_anyway(&alternative).is_none();
    is_grantable.then(|| hints::instead(&alternative))
}

/// Adds the call to the refusal of a one-off change that no rule grants.
pub fn with_instead(refusal: Refusal, call: &str) -> Refusal {
    let is_ungranted =
        refusal.code == Code::DeniedRule && refusal.by.is_none() && refusal.lift.is_some();
    match is_ungranted {
        true => refusal.next(format!(
            "{call}; otherwise tell the person you work for what has to be run"
        )),
        false => refusal,
    }
}

pub fn explained(refusal: Refusal, name: &str, args: &[(String, String)], user: &str) -> Refusal {
    match (shipped(name), protection(name, args)) {
        (Some(_), Some(why)) if refusal == Refusal::no_such_command(name) => Refusal {
            message: format!("{}, and {why}", not_granted(name)),
            next: Some("tell the person you work for what has to be done".into()),
            ..refusal
        },
        (Some(command), None) if refusal == Refusal::no_such_command(name) => Refusal {
            message: not_granted(name),
            lift: Some(lift(&command, args, user)),
            next: Some(
                "tell the person you work for: an administrator can grant it, with the rule in lift"
                    .into(),
            ),
            ..refusal
        },
        (None, _) if TOOLS.contains(&name) && refusal == Refusal::no_such_command(name) => {
            Refusal {
                message: format!("'{name}' is no named command, but a tool"),
                next: Some("access without a name shows in grants whether you may use it".into()),
                ..refusal
            }
        }
        (None, _) if refusal == Refusal::no_such_command(name) => match nearest(name) {
            Some(near) => Refusal {
                message: format!("{}; a similar one is '{near}'", refusal.message),
                ..refusal
            },
            None => refusal,
        },
        _ => refusal,
    }
}

fn protection(name: &str, args: &[(String, String)]) -> Option<String> {
    let args = args
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    hints::protection(name, args)
}

/// Returns the rule that grants this call; [`protection`] says where none does.
pub(super) fn lift(command: &Shipped, args: &[(String, String)], user: &str) -> String {
    let family = command.example().map_or_else(String::new, |file| {
        format!("# or, with the commands that belong to it, as {file} grants it\n")
    });
    match command.grant(user, args) {
        Some(rule) => format!(
            "# in a file of /etc/remit/policy.d; then: remit policy check && systemctl reload remitd\n{family}{rule}"
        ),
        None => format!(
            "a [[grant]] of '{}' with the values that it may have in `args`: remit-policy(5){}",
            command.name(),
            command
                .example()
                .map_or_else(String::new, |file| format!(", as in {file}"))
        ),
    }
}

type Rank = (usize, u32);

struct Question {
    words: Vec<String>,
    alternative: Option<Alternative>,
}

impl Question {
    fn new(query: &str) -> Self {
        let typed: Vec<&[u8]> = query.split_ascii_whitespace().map(str::as_bytes).collect();
        Self {
            words: stems(query)
                .filter(|word| !FILLERS.contains(&word.as_str()))
                .collect(),
            alternative: hints::alternative(&typed),
        }
    }

    fn rank(&self, name: &str, summary: &str) -> Option<Rank> {
        if self
            .alternative
            .as_ref()
            .is_some_and(|one| one.command == name)
        {
            return Some((usize::MAX, 0));
        }
        let name: Vec<String> = stems(name).collect();
        let summary: Vec<String> = stems(summary).collect();
        if self.is_said_by(&summary) {
            return Some((usize::MAX - 1, 0));
        }
        let hits: Vec<u32> = self
            .words
            .iter()
            .filter_map(|word| hit(word, &name, &summary))
            .collect();
        (!hits.is_empty()).then(|| (hits.len(), hits.iter().sum()))
    }

    /// Returns true if the best command has all the words, or there are none.
    fn is_answered_by(&self, found: &[(Rank, CommandView)]) -> bool {
        let hits = found.first().map_or(0, |((hits, _), _)| *hits);
        hits >= self.words.len()
    }

    /// Returns true if the summary has all the words, in their order.
    fn is_said_by(&self, summary: &[String]) -> bool {
        let mut rest = summary.iter();
        self.words.len() > 1
            && self
                .words
                .iter()
                .all(|word| rest.any(|other| other == word))
    }

    /// As [`Self::rank`]. The summary of a command that is not granted counts only if it has all the words.
    fn rank_of_package(&self, command: &Shipped) -> Option<Rank> {
        let summary: Vec<String> = stems(command.summary()).collect();
        match self.is_said_by(&summary) {
            true => self.rank(&command.name(), command.summary()),
            false => self.rank(&command.name(), ""),
        }
    }

    fn not_granted(
        &self,
        granted: &BTreeSet<String>,
        best: Option<Rank>,
        user: &str,
    ) -> Option<Asked> {
        let mut found: Vec<(Rank, Shipped)> = all_shipped()
            .filter(|command| !granted.contains(&command.name()))
            .filter_map(|command| Some((self.rank_of_package(&command)?, command)))
            .filter(|(rank, _)| Some(*rank) > best)
            .collect();
        found.sort_by_key(|(rank, _)| Reverse(*rank));
        let (_, first) = found.first()?;
        let of_typed = self
            .alternative
            .iter()
            .filter(|one| one.command == first.name());
        let args: Vec<_> = of_typed.flat_map(typed).collect();
        let protected = protection(&first.name(), &args);
        let names: Vec<String> = found
            .iter()
            .take(NAMED)
            .map(|(_, one)| one.name())
            .collect();
        Some(Asked {
            allowed: false,
            rule: None,
            why: format!(
                "not granted to you, but in remit's package: {}{}",
                names.join(", "),
                protected
                    .as_ref()
                    .map_or_else(String::new, |why| format!("; {why}"))
            ),
            lift: protected.is_none().then(|| lift(first, &args, user)),
            approval: None,
        })
    }
}

fn hit(word: &str, name: &[String], summary: &[String]) -> Option<u32> {
    let same = SAME.iter().find(|same| same.contains(&word));
    let is = |other: &String| other == word;
    let begins = |other: &String| word.len() > 2 && other.starts_with(word);
    let means = |other: &String| same.is_some_and(|same| same.contains(&other.as_str()));
    let hits = [
        (8, name.iter().any(is)),
        (6, name.iter().any(begins)),
        (4, summary.iter().any(is)),
        (3, name.iter().any(means)),
        (2, summary.iter().any(begins)),
        (1, summary.iter().any(means)),
    ];
    hits.into_iter()
        .find(|(_, is_hit)| *is_hit)
        .map(|(weight, _)| weight)
}

/// Words in lower case without an ending of the plural.
fn stems(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(|word| {
        let word = word.to_lowercase();
        let plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
        match word.strip_suffix('s').filter(|_| plural) {
            Some(stem) => stem.to_owned(),
            None => word,
        }
    })
}

#[cfg(test)]
mod tests {
    use remit_common::refusal::Code;
    use remit_wire::{Effect, GrantView};

    use super::*;

    const ALL: Startable = Startable {
        change: true,
        copy: true,
    };

    fn asked(query: &str) -> AccessReport {
        let mut report = report();
        keep_found(&mut report, ALL, query);
        report
    }

    fn report() -> AccessReport {
        let command = |(usage, summary): (&str, &str)| CommandView {
            usage: usage.to_owned(),
            summary: summary.to_owned(),
            args: Vec::new(),
            effect: Effect::Read,
            profile: "read".to_owned(),
            approval: None,
        };
        AccessReport {
            user: "agent".to_owned(),
            uid: 1000,
            grants: Vec::new(),
            asked: None,
            profiles: Vec::new(),
            commands: [
                (
                    "service.status unit=UNIT",
                    "one unit: state, since when, why it failed",
                ),
                (
                    "certificates.list",
                    "Certificates below a directory: until when each is valid",
                ),
                (
                    "disks.usage",
                    "File systems with size, used, available: which disk is full",
                ),
                (
                    "openfiles.deleted",
                    "Deleted files that are still open, with sizes",
                ),
                (
                    "files.largest directory=DIRECTORY",
                    "The largest files below a directory",
                ),
                (
                    "network.conntrack",
                    "How many connections the firewall follows",
                ),
            ]
            .map(command)
            .into(),
            more_commands: 0,
            more_grants: 0,
        }
    }

    fn found(query: &str) -> Vec<String> {
        let report = asked(query);
        let names = report.commands.iter().map(CommandView::name);
        names.map(str::to_owned).collect()
    }

    #[test]
    fn best_commands_come_first() {
        for (query, expect) in [
            ("firewall", &["network.conntrack"][..]),
            ("IPTABLES", &["network.conntrack"]),
            (
                "deleted open files",
                &["openfiles.deleted", "files.largest", "disks.usage"],
            ),
            (
                "files still open",
                &["openfiles.deleted", "files.largest", "disks.usage"],
            ),
            ("what fills the disk", &["disks.usage"]),
            ("systemctl is-active x | cat", &["service.status"]),
            ("tls expiry", &["certificates.list"]),
            ("systemctl status", &["service.status"]),
            ("the of in", &[]),
            ("", &[]),
            ("zebra", &[]),
        ] {
            assert_eq!(found(query), expect, "{query}");
        }
    }

    #[test]
    fn each_word_has_one_meaning_and_is_a_stem() {
        let mut all: Vec<&str> = SAME.concat();
        for word in &all {
            assert_eq!(stems(word).collect::<Vec<_>>(), [*word]);
            assert!(!FILLERS.contains(word), "{word}");
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn better_commands_of_the_package_are_named_with_the_rule() {
        for (query, why, rule) in [
            (
                "firewall",
                "firewall.ip6tables, firewall.iptables, firewall.rules",
                "unconfined = true",
            ),
            (
                "nft list ruleset",
                "firewall.rules",
                "allow = [\"firewall.rules\"]\nunconfined = true",
            ),
            (
                "podman ps -a",
                "containers.list",
                "allow = [\"containers.list\"]",
            ),
            ("dig x.org", "name.lookup", "args = { name = [\"x.org\"] }"),
            (
                "package install",
                "package.install",
                "a [[grant]] of 'package.install'",
            ),
            ("lsof +L1", "disks.deleted", "allow = [\"disks.deleted\"]"),
            (
                "deleted files hold space",
                "disks.deleted",
                "examples/inspect.toml grants it\n[[grant]]",
            ),
        ] {
            let asked = asked(query).asked.unwrap();
            let named = asked
                .why
                .strip_prefix("not granted to you, but in remit's package: ");
            assert!(
                !asked.allowed && named.unwrap().starts_with(why),
                "{query}: {asked:?}"
            );
            assert!(asked.lift.unwrap().contains(rule), "{query}");
        }
        let protected = asked("systemctl restart ssh").asked.unwrap();
        assert!(
            protected.why.contains("no rule grants 'service.restart'"),
            "{protected:?}"
        );
        assert_eq!(protected.lift, None);
        for query in ["certificates list", "systemctl status x", "zebra", ""] {
            assert_eq!(asked(query).asked, None, "{query}");
        }
    }

    /// Returns the verdict about a program, "as ruled", with what is added to it.
    fn as_ruled(mut report: AccessReport, typed: &str, allowed: bool, is_read: bool) -> Asked {
        report.asked = Some(ruled(allowed));
        advised(report, ALL, typed, is_read)
    }

    fn ruled(allowed: bool) -> Asked {
        Asked {
            allowed,
            rule: None,
            why: "as ruled".to_owned(),
            lift: None,
            approval: None,
        }
    }

    fn advised(mut report: AccessReport, starts: Startable, typed: &str, is_read: bool) -> Asked {
        let words = typed.split(' ').map(|word| word.as_bytes().to_vec().into());
        name_alternative(&mut report, starts, &words.collect::<Vec<Bytes>>(), is_read);
        report.asked.unwrap()
    }

    fn one_off() -> GrantView {
        GrantView {
            rule: "one-off".to_owned(),
            allow: vec!["change".to_owned()],
            profile: "host".to_owned(),
            env: Vec::new(),
            approval: Some("ann".to_owned()),
            left: None,
        }
    }

    #[test]
    fn change_without_a_command_can_be_asked_for() {
        for (query, is_granted, has_change) in [
            ("add a zebra account", true, true),
            ("add a zebra account", false, false),
            ("certificates list", true, false),
            ("", true, false),
        ] {
            let mut report = report();
            report.grants.extend(is_granted.then(one_off));
            keep_found(&mut report, ALL, query);
            let why = report.asked.map_or_else(String::new, |asked| asked.why);
            let says = why.contains("or change {\"argv\": […]");
            assert_eq!(says, has_change, "{query}: {why}");
        }
        for (typed, allowed, has_change) in [
            ("useradd x", true, true),
            ("sudo ls", true, true),
            ("ls", true, false),
            ("ls", false, true),
        ] {
            let mut report = report();
            report.grants.push(one_off());
            let why = as_ruled(report, typed, allowed, true).why;
            let says = why.ends_with("a person approves it");
            assert_eq!(says, has_change, "{typed}: {why}");
        }
    }

    #[test]
    fn nothing_is_advised_that_starts_nothing_or_has_its_own_approval() {
        let ask = Some("needs approval by ann".to_owned());
        for (starts, approval, has_change) in [
            (ALL, None, true),
            (ALL, ask, false),
            // As under a lock.
            (Startable::default(), None, false),
        ] {
            let mut report = report();
            report.grants.push(one_off());
            report.asked = Some(Asked {
                approval,
                ..ruled(false)
            });
            let why = advised(report.clone(), starts, "ls", true).why;
            assert_eq!(why.contains("or change {"), has_change, "{why}");
            report.asked = None;
            keep_found(&mut report, starts, "add a zebra account");
            assert_eq!(report.asked.is_some(), starts.change);
        }
    }

    #[test]
    fn refusal_has_rule_only_for_names_of_package() {
        let refused = |name: &str| explained(Refusal::no_such_command(name), name, &[], "alice");
        let rules = refused("firewall.rules");
        assert_eq!(rules.code, Code::NotFound);
        assert!(rules.message.contains("not granted to you"), "{rules:?}");
        let lift = rules.lift.unwrap();
        let rule =
            "\n[[grant]]\nto = [\"alice\"]\nallow = [\"firewall.rules\"]\nunconfined = true\n";
        assert!(lift.starts_with("# ") && lift.ends_with(rule), "{lift}");
        for own in ["nginx.reload", "firewall.own", "firewall", ""] {
            assert_eq!(refused(own), Refusal::no_such_command(own));
        }
        let refusal = refused("service.statu");
        let expect = "; a similar one is 'service.status'";
        assert!(refusal.message.ends_with(expect), "{refusal:?}");
        assert_eq!(refusal.lift, None);
        let tool = refused("change");
        assert!(tool.message.contains("a tool"), "{tool:?}");
        let args = |unit: &str| [("unit".to_owned(), unit.to_owned())];
        let restart = |unit: &str| {
            let name = "service.restart";
            explained(Refusal::no_such_command(name), name, &args(unit), "alice")
        };
        for unit in ["ssh", "ssh.service", "sshd@x.service", "network.target"] {
            let refusal = restart(unit);
            assert!(refusal.message.contains("no rule grants"), "{refusal:?}");
            assert_eq!(refusal.lift, None, "{unit}");
        }
        assert!(restart("nginx").lift.is_some());
        let denied = Refusal::new(Code::DeniedRule, "no").object("firewall.rules");
        let same = explained(denied.clone(), "firewall.rules", &[], "alice");
        assert_eq!(same, denied, "as the policy says it");
    }

    #[test]
    fn verdict_about_a_program_names_the_command_that_answers() {
        let verdict = |typed: &str, allowed, is_read, more_commands| {
            let mut report = asked("");
            report.commands = [
                ("units.timers", None),
                ("service.restart unit=UNIT", Some("needs approval by ann")),
                ("service.stop unit=UNIT", None),
            ]
            .map(|(usage, approval)| CommandView {
                usage: usage.to_owned(),
                summary: String::new(),
                args: Vec::new(),
                effect: match usage.starts_with("service.") {
                    true => Effect::Change,
                    false => Effect::Read,
                },
                profile: "read".to_owned(),
                approval: approval.map(str::to_owned),
            })
            .into();
            report.more_commands = more_commands;
            let asked = as_ruled(report, typed, allowed, is_read);
            (asked.why, asked.lift)
        };
        let sandboxed = "as ruled; if a sandbox keeps it from its answer: ";
        let without_effect = "as ruled; it would run and change nothing; instead: ";
        let change = |verb: &str| {
            format!(
                "change {{\"name\": \"service.{verb}\", \"args\": {{\"unit\": \"x.service\"}}}}, with a reason"
            )
        };
        let refused =
            |name: &str| format!("'{name}', a command of remit's package, is not granted to you");
        for (typed, allowed, is_read, more, expect) in [
            ("ls", true, true, 0, "as ruled".to_owned()),
            (
                "service.stop unit=x.service",
                true,
                true,
                0,
                "as ruled; but service.stop is a command of remit, no program: change {\"name\": \"service.stop\", \
                 \"args\": {\"unit\": \"x.service\"}}"
                    .to_owned(),
            ),
            (
                "service.status",
                true,
                true,
                0,
                "as ruled; but service.status is a command of remit, no program, and not granted to you: \
                 run {\"name\": \"service.status\"}"
                    .to_owned(),
            ),
            (
                "timeout 5 /bin/systemctl list-timers",
                true,
                true,
                0,
                format!("{sandboxed}run {{\"name\": \"units.timers\"}}"),
            ),
            (
                "systemctl restart x",
                true,
                true,
                0,
                format!(
                    "{without_effect}{}; needs approval by ann",
                    change("restart")
                ),
            ),
            (
                "systemctl stop x",
                true,
                true,
                0,
                format!("{without_effect}{}", change("stop")),
            ),
            (
                "systemctl stop x",
                true,
                false,
                0,
                format!("{sandboxed}{}", change("stop")),
            ),
            (
                "systemctl stop x",
                false,
                true,
                0,
                format!("{sandboxed}{}", change("stop")),
            ),
            (
                "systemctl start x",
                true,
                true,
                0,
                format!("{without_effect}{}", refused("service.start")),
            ),
            (
                "systemctl start x",
                true,
                true,
                7,
                format!("{without_effect}{}, if that is granted", change("start")),
            ),
            (
                "nft list ruleset",
                true,
                true,
                0,
                format!("{sandboxed}{}", refused("firewall.rules")),
            ),
            (
                "systemctl restart ssh",
                true,
                true,
                0,
                format!(
                    "{without_effect}no rule grants 'service.restart' of that unit: people reach the machine by it"
                ),
            ),
        ] {
            let (why, lift) = verdict(typed, allowed, is_read, more);
            assert_eq!(why, expect, "{typed}");
            assert!(!why.contains("call access"), "it is that call: {why}");
            assert_eq!(lift.is_some(), why.contains("not granted"), "{typed}");
        }
        let (_, lift) = verdict("nft list ruleset", true, true, 0);
        assert!(lift.unwrap().contains("allow = [\"firewall.rules\"]"));
    }
}
