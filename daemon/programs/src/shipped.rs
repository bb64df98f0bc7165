//! Names of the commands that remit brings, so that a refusal can tell "not granted" from "does not exist". It says nothing
//! of the policy in force. The list is public (remit-commands(7)), unlike an administrator's own commands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use crate::typed::Kind;

/// Effect, sandbox or not (`private`: in one, and each request is approved), family, names in it (`-`: the family alone; `x=`: it needs arguments). They are built in, or in
/// packaging/policy.d: a test compares.
const TABLE: &str = "\
read confined apache test
read confined certificates list show=
read confined containers changes= engine images inspect= list logs= networks stats= usage volumes
read confined cpu activity frequency info load now pressure
read confined directories largest= list= tree=
read confined disks counters deleted devices explain fstab inodes io locks mounts raid swaps trim usage
read confined fail2ban status
read confined files checksum= head= largest= list= recent= stat=
read private files private=
read confined haproxy status test
read confined hardware errors interrupts pci sensors usb
read confined host boots identity kernel kernel_log locale module= modules release restarts sysctl= sysctls uptime
read confined host virtualization
read confined io units
read confined logs - audit crashes errors files search= tail= usage
read confined logrotate test
read confined mail queue
read confined mariadb activity locks replication sizes
read confined memory detail oom swap usage
read confined network connections conntrack counters dns hosts interfaces listening neighbours port= queues route_to=
read confined network routes routes6 rules summary traffic unix_sockets
read confined openfiles file= port= process= unit=
read confined packages changed= files= held history list log needed_by= owner= search= show= updates versions=
read confined plan extract= make private
read confined postfix settings
read confined postgres activity locks replication sizes
read confined probe http tcp= tls
read confined processes by_cpu by_memory groups list named= of_user= shared_memory show= stuck threads= tree
read confined redis info
read confined schedule cron runs
read confined service failed list status=
read confined sshd test
read confined sudoers test
read confined time status sync_log
read confined units boot_times dependencies files jobs needed_by= properties= sockets starts timer_results timers
read confined units verify=
read confined users failed_logins groups list logins sessions show= sudo
read confined web status
read unconfined chrony sources tracking
read unconfined firewall ip6tables iptables rules
read unconfined quotas report
read unconfined smart health=
change confined container restart= start= stop=
change confined log rotate
change confined name lookup=
change confined service daemon_reload disable= enable= reload= restart= start= stop=
change unconfined cache clean
change unconfined log vacuum=
change unconfined package install= remove= upgrade=
change unconfined plan commit recover undo=
change unconfined system reboot reboot_cancel
change unconfined user lock= unlock=
";

/// Files of the package whose commands need a grant of their own.
const POLICY: [&str; 4] = [
    include_str!("../../../packaging/policy.d/28-root.toml"),
    include_str!("../../../packaging/policy.d/29-services.toml"),
    include_str!("../../../packaging/policy.d/50-changes.toml"),
    include_str!("../../../packaging/policy.d/60-plans.toml"),
];

/// The summary of each of their commands, by name: the line after it.
static SUMMARIES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let quoted = |line: &'static str, key: &str| {
        let text = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        text.strip_suffix('"')
    };
    let lines = || POLICY.iter().flat_map(|text| text.lines());
    let pairs = lines().zip(lines().skip(1));
    let summaries =
        pairs.filter_map(|(name, line)| Some((quoted(name, "name")?, quoted(line, "summary")?)));
    summaries.collect()
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    family: &'static str,
    last: Option<&'static str>,
    pub changes: bool,
    /// Root without a sandbox: a grant names it, with an approval or `unconfined = true`.
    pub is_unconfined: bool,
    /// It shows private files: a grant has an approval, and names them.
    pub is_private: bool,
    pub needs_args: bool,
}

impl Shipped {
    pub fn name(&self) -> String {
        match self.last {
            None => self.family.to_owned(),
            Some(last) => format!("{}.{last}", self.family),
        }
    }

    /// Returns the narrowest rule that grants this call to one user or `#uid`, as text for a policy file. What looks in a
    /// sandbox is granted for all arguments. `None` if a value could mean more, as `*` does, or a needed one is missing.
    pub fn grant(&self, user: &str, args: &[(String, String)]) -> Option<String> {
        let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        if self.changes || self.is_unconfined || self.is_private {
            if self.needs_args && args.is_empty() {
                return None;
            }
            for (name, value) in args {
                // Rules have whole names of units.
                let unit = Kind::Unit.read(value).filter(|_| name == "unit");
                let value = unit.unwrap_or_else(|| value.clone());
                values.entry(name).or_default().insert(value);
            }
        }
        let is_plain = |text: &str, signs: &[u8]| {
            let sign = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
            !text.is_empty() && text.len() <= 256 && text.bytes().all(sign)
        };
        let of_args = values.keys().all(|name| is_plain(name, b"_"))
            && values
                .values()
                .flatten()
                .all(|value| is_plain(value, b"-_.@:/+"));
        if !of_args || !is_plain(user, b"-_.#") {
            return None;
        }
        let mut text = format!(
            "[[grant]]\nto = [\"{user}\"]\nallow = [\"{}\"]\n",
            self.name()
        );
        if !values.is_empty() {
            let args = values.iter().map(|(name, values)| {
                let values: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
                format!("{name} = [{}]", values.join(", "))
            });
            text += &format!("args = {{ {} }}\n", args.collect::<Vec<_>>().join(", "));
        }
        text += match (self.changes || self.is_private, self.is_unconfined) {
            (true, _) => "approval = { by = [\"%remit-admin\"], expires = \"10min\" }\n",
            (false, true) => "unconfined = true\n",
            (false, false) => "",
        };
        Some(text)
    }

    /// Returns what it is for. Empty for a command that every installation grants.
    pub fn summary(&self) -> &'static str {
        let summary = SUMMARIES.get(self.name().as_str());
        summary.copied().unwrap_or_default()
    }

    /// Returns the example of the package that grants this command, with those that belong to it. `None` if none does, as
    /// for what every installation grants.
    pub fn example(&self) -> Option<&'static str> {
        let (family, last) = (self.family, self.last.unwrap_or_default());
        Some(match (family, last) {
            ("disks", "deleted" | "explain")
            | ("files", "list" | "private")
            | ("io" | "openfiles" | "firewall" | "quotas" | "smart", _) => {
                "/usr/share/doc/remit/examples/inspect.toml"
            }
            ("apache" | "logrotate" | "sshd" | "sudoers", "test") | ("chrony", _) => {
                "/usr/share/doc/remit/examples/services.toml"
            }
            ("service", "start" | "stop" | "restart" | "reload")
            | ("package", "install" | "upgrade")
            | ("system", _) => "/usr/share/doc/remit/examples/changes.toml",
            ("plan", "make" | "commit" | "undo") => "/usr/share/doc/remit/examples/plans.toml",
            ("plan", "extract") => "/usr/share/doc/remit/examples/copies.toml",
            _ => return None,
        })
    }

    fn is(&self, name: &str) -> bool {
        match (name.split_once('.'), self.last) {
            (Some(name), Some(last)) => name == (self.family, last),
            (None, None) => name == self.family,
            _ => false,
        }
    }
}

pub fn all_shipped() -> impl Iterator<Item = Shipped> {
    TABLE.lines().flat_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let changes = words.next() == Some("change");
        let kind = words.next();
        let family = words.next().unwrap_or_default();
        words.map(move |last| Shipped {
            family,
            last: (last != "-").then_some(last.trim_end_matches('=')),
            changes,
            is_unconfined: kind == Some("unconfined"),
            is_private: kind == Some("private"),
            needs_args: last.ends_with('='),
        })
    })
}

pub fn shipped(name: &str) -> Option<Shipped> {
    all_shipped().find(|command| command.is(name))
}

/// Returns the first name of the package that differs by one letter, or by two letters in exchanged order.
pub fn nearest(name: &str) -> Option<String> {
    all_shipped()
        .map(|command| command.name())
        .find(|known| is_near(known.as_bytes(), name.as_bytes()))
}

fn is_near(one: &[u8], other: &[u8]) -> bool {
    let equal = |(a, b): &(&u8, &u8)| a == b;
    let same = one.iter().zip(other).take_while(equal).count();
    let one = one.get(same..).unwrap_or_default();
    let other = other.get(same..).unwrap_or_default();
    let ends = one.iter().rev().zip(other.iter().rev());
    let same = ends.take_while(equal).count();
    let one = one.get(..one.len() - same).unwrap_or_default();
    let other = other.get(..other.len() - same).unwrap_or_default();
    match (one, other) {
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => one.len().max(other.len()) == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_unique() {
        let names: Vec<String> = all_shipped().map(|command| command.name()).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(names.len(), unique.len());
        for name in &names {
            assert_eq!(shipped(name).map(|found| found.name()).as_ref(), Some(name));
        }
        let firewall = shipped("firewall.rules").unwrap();
        assert!(firewall.is_unconfined && !firewall.changes);
        assert!(shipped("service.restart").unwrap().changes && shipped("logs").is_some());
        for other in [
            "",
            "firewall",
            "firewall.",
            "logs.",
            "nginx.reload",
            "firewall.rules.x",
        ] {
            assert_eq!(shipped(other), None, "{other}");
        }
    }

    #[test]
    fn each_named_example_grants_the_command() {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/examples");
        let mut named = BTreeSet::new();
        for command in all_shipped() {
            let Some(path) = command.example() else {
                continue;
            };
            let file = path.rsplit('/').next().unwrap();
            let text = std::fs::read_to_string(format!("{examples}/{file}")).unwrap();
            let mut lines = text.lines().filter(|line| !line.starts_with('#'));
            let quoted = format!("\"{}\"", command.name());
            assert!(lines.any(|line| line.contains(&quoted)), "{quoted} {file}");
            named.insert(file);
        }
        assert!(
            named.contains("inspect.toml") && named.len() == 5,
            "{named:?}"
        );
        assert_eq!(shipped("users.list").unwrap().example(), None);
        for command in all_shipped().filter(|command| command.example().is_some()) {
            assert!(!command.summary().is_empty(), "{}", command.name());
        }
    }

    #[test]
    fn similar_names_differ_by_one_letter() {
        for (typed, near) in [
            ("service.statu", Some("service.status")),
            ("service.sttaus", Some("service.status")),
            ("firewal.rules", Some("firewall.rules")),
            ("memory_usage", Some("memory.usage")),
            ("service.sta", None),
            ("nginx.test", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed).as_deref(), near, "{typed}");
        }
        assert_eq!(nearest("service.status"), None, "it is that one");
    }

    #[test]
    fn no_value_of_a_caller_widens_a_grant() {
        let restart = shipped("service.restart").unwrap();
        let args = |value: &str| [("unit".to_owned(), value.to_owned())];
        assert_eq!(
            restart.grant("alice", &args("nginx")).unwrap(),
            "[[grant]]\nto = [\"alice\"]\nallow = [\"service.restart\"]\nargs = { unit = [\"nginx.service\"] }\n\
             approval = { by = [\"%remit-admin\"], expires = \"10min\" }\n"
        );
        for odd in ["*", "n?inx", "[a]", "a\"]}\nto = [\"%x", "a\nb", "", "é"] {
            assert_eq!(restart.grant("alice", &args(odd)), None, "{odd}");
            assert_eq!(restart.grant(odd, &args("a.service")), None, "{odd}");
            let named = [(odd.to_owned(), "a".to_owned())];
            assert_eq!(restart.grant("alice", &named), None, "{odd}");
        }
        assert_eq!(restart.grant("%ops", &args("a.service")), None);
        assert_eq!(restart.grant("alice", &[]), None);
        let look = shipped("files.stat")
            .unwrap()
            .grant("#1000", &args("*"))
            .unwrap();
        assert_eq!(
            look,
            "[[grant]]\nto = [\"#1000\"]\nallow = [\"files.stat\"]\n"
        );
    }
}
