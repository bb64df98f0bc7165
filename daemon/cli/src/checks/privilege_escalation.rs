//! Finds rules of sudo(8) and doas(1) that let an account do more than remit allows. sudo itself is asked, which covers
//! includes, aliases and directory services; doas has no such query, so its file is read. polkit is not checked.

use std::path::Path;

use remit_common::text;

use super::agents::{AccountFacts, Password};
use super::file_facts;
use super::report::{Check, or_ok};
use crate::external_program::{Program, ProgramError};

const SUDO: [&str; 2] = ["/usr/bin/sudo", "/usr/local/bin/sudo"];
const DOAS: [&str; 2] = ["/usr/bin/doas", "/usr/local/bin/doas"];
const DOAS_CONF: [&str; 2] = ["/etc/doas.conf", "/usr/local/etc/doas.conf"];
const RULE_BYTES: usize = 120;

/// Needs root.
pub fn checks(account: &AccountFacts) -> Vec<Check> {
    let name = format!("{}: sudo", account.name);
    let mut checks = match Program::find(&SUDO) {
        None => vec![Check::ok(name, "there is no sudo")],
        Some(sudo) => match sudo.run(&["-n", "-l", "-U", &account.name]) {
            Ok(output) => by_sudo(
                account,
                &String::from_utf8_lossy(&output.stdout),
                &String::from_utf8_lossy(&output.stderr),
            ),
            Err(error) => vec![unknown(account, &error)],
        },
    };
    if Program::find(&DOAS).is_some() {
        for path in DOAS_CONF.map(Path::new) {
            match file_facts::read_text(path) {
                Ok(Some(text)) => checks.extend(by_doas(account, path, &text)),
                Ok(None) => {}
                Err(error) => {
                    let why = format!("cannot read '{}': {error}", path.display());
                    checks.push(Check::skipped(format!("{}: doas", account.name), why));
                }
            }
        }
    }
    checks
}

fn unknown(account: &AccountFacts, error: &ProgramError) -> Check {
    Check::warning(
        format!("{}: sudo", account.name),
        format!("sudo does not say what '{}' may do: {error}", account.name),
        format!("sudo -l -U {}", account.name),
    )
}

fn by_sudo(account: &AccountFacts, said: &str, complaint: &str) -> Vec<Check> {
    let name = format!("{}: sudo", account.name);
    let user = &account.name;
    if said.contains("is not allowed to run sudo") {
        return vec![Check::ok(name, "no rule")];
    }
    let Some((before, rules)) = said.split_once("may run the following commands") else {
        let line = text::line([said, complaint].concat().trim().as_bytes(), RULE_BYTES);
        let why = format!("sudo does not say what '{user}' may do: {line}");
        return vec![Check::warning(name, why, format!("sudo -l -U {user}"))];
    };
    let open = before.contains("!authenticate") || is_exempt(account, before);
    let mut found = Vec::new();
    for rule in rules.lines().skip(1).map(str::trim) {
        if rule.is_empty() {
            continue;
        }
        let free = open || rule.contains("NOPASSWD:") || account.password == Password::Empty;
        found.push(rule_check(&name, user, "sudo", free, rule, "visudo"));
    }
    or_ok(found, &name, "no rule")
}

/// Returns true if sudo never asks a group of the account for a password (sudoers(5), exempt_group).
fn is_exempt(account: &AccountFacts, defaults: &str) -> bool {
    let words = defaults.split([' ', ',', '\n']);
    let mut of = words.filter_map(|word| word.strip_prefix("exempt_group="));
    of.any(|of| account.groups.iter().any(|group| group.name == of))
}

fn by_doas(account: &AccountFacts, path: &Path, text: &str) -> Vec<Check> {
    let name = format!("{}: doas", account.name);
    let fix = format!("remove the rule from '{}'", path.display());
    let rules = permits(account, text);
    let found = rules.iter().map(|rule| {
        let free = !rule.needs_password;
        rule_check(&name, &account.name, "doas", free, &rule.text, &fix)
    });
    or_ok(found.collect(), &name, "no rule")
}

/// Reports a rule that lets `user` act as another user; `free` if no password is needed.
fn rule_check(name: &str, user: &str, program: &str, free: bool, rule: &str, fix: &str) -> Check {
    let rule = text::line(rule.as_bytes(), RULE_BYTES);
    match free {
        true => Check::failure(
            name,
            format!("'{user}' may use {program} without a password: {rule}"),
            fix,
        ),
        false => Check::warning(
            name,
            format!("'{user}' may use {program} with its password: {rule}"),
            fix,
        ),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoasRule {
    is_permit: bool,
    pub needs_password: bool,
    pub text: String,
    /// `None`: any user.
    target: Option<String>,
    command: Option<String>,
    args: Option<Vec<String>>,
}

impl DoasRule {
    /// Returns true if this rule matches each call that `other` matches.
    fn covers(&self, other: &Self) -> bool {
        let is_any_or_same =
            |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        is_any_or_same(&self.target, &other.target)
            && is_any_or_same(&self.command, &other.command)
            && (self.args.is_none() || self.args == other.args)
    }
}

/// Returns the rules that permit something, without those that a later rule replaces as a whole.
pub fn permits(account: &AccountFacts, text: &str) -> Vec<DoasRule> {
    let mut rules: Vec<DoasRule> = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        if let Some(rule) = rule(account, line) {
            rules.retain(|earlier| !rule.covers(earlier));
            rules.push(rule);
        }
    }
    rules.retain(|rule| rule.is_permit);
    rules
}

/// `permit|deny [options] identity [as target] [cmd command [args ...]]`
fn rule(account: &AccountFacts, line: &str) -> Option<DoasRule> {
    let text = line.split('#').next().unwrap_or_default().trim();
    let spaced = text.replace('{', " { ").replace('}', " } ");
    let mut words = spaced.split_whitespace().map(|word| word.trim_matches('"'));
    let is_permit = match words.next()? {
        "permit" => true,
        "deny" => false,
        _ => return None,
    };
    let mut needs_password = true;
    let identity = loop {
        match words.next()? {
            "nopass" => needs_password = false,
            "nolog" | "persist" | "keepenv" => {}
            "setenv" => {
                words.find(|word| *word == "}")?;
            }
            identity => break identity,
        }
    };
    let is_its = match identity.strip_prefix(':') {
        Some(of) => account
            .groups
            .iter()
            .any(|group| group.name == of || group.id.to_string() == of),
        None => identity == account.name || identity == account.uid.to_string(),
    };
    let (mut target, mut command, mut args) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "as" => target = words.next().map(str::to_owned),
            "cmd" => command = words.next().map(str::to_owned),
            "args" => args = Some(words.by_ref().map(str::to_owned).collect()),
            _ => {}
        }
    }
    is_its.then(|| DoasRule {
        is_permit,
        needs_password,
        text: text.to_owned(),
        target,
        command,
        args,
    })
}

#[cfg(test)]
mod tests {
    use super::super::agents::tests::agent;
    use super::*;
    use crate::checks::report::Verdict;

    fn kinds(checks: &[Check]) -> Vec<&'static str> {
        let kind = |check: &Check| match check.verdict {
            Verdict::Ok(_) => "ok",
            Verdict::Skipped(_) => "skipped",
            Verdict::Warning(_) => "warning",
            Verdict::Failure(_) => "failure",
        };
        checks.iter().map(kind).collect()
    }

    #[test]
    fn what_sudo_says_is_understood() {
        let head = "Matching Defaults entries for agent on host:\n    env_reset, mail_badpass\n\n";
        let rules = "User agent may run the following commands on host:\n";
        let cases = [
            (
                "User agent is not allowed to run sudo on host.\n".to_owned(),
                vec!["ok"],
            ),
            (
                format!("{head}{rules}    (ALL : ALL) ALL\n"),
                vec!["warning"],
            ),
            (
                format!("{head}{rules}    (root) NOPASSWD: /usr/bin/apt\n    (ALL) ALL\n"),
                vec!["failure", "warning"],
            ),
            (
                format!("Defaults: !authenticate\n{rules}    (ALL) ALL\n"),
                vec!["failure"],
            ),
            (
                format!("{head}    exempt_group=agent\n{rules}    (ALL) ALL\n"),
                vec!["failure"],
            ),
            (
                format!("{head}    exempt_group=other\n{rules}    (ALL) ALL\n"),
                vec!["warning"],
            ),
            (String::new(), vec!["warning"]),
        ];
        let complaint = "sudo: unable to resolve host\n";
        for (said, expect) in cases {
            let checks = by_sudo(&agent(&[]), &said, complaint);
            assert_eq!(kinds(&checks), expect, "{said}");
        }
    }

    #[test]
    fn doas_without_password_is_a_failure() {
        for (text, expect) in [
            ("permit agent\n", ["warning"]),
            ("permit nopass agent\n", ["failure"]),
            ("permit nopass agent\ndeny agent\n", ["ok"]),
        ] {
            let checks = by_doas(&agent(&[]), Path::new("/etc/doas.conf"), text);
            assert_eq!(kinds(&checks), expect, "{text}");
        }
    }

    #[test]
    fn rules_apply_to_users_and_groups() {
        let account = agent(&[(10, "wheel")]);
        let cases: [(&str, &[bool]); 20] = [
            ("", &[]),
            ("permit bob\npermit :ops\n# permit agent\n", &[]),
            ("permit agent\n", &[true]),
            ("permit \"agent\"\n", &[true]),
            ("permit nopass agent as root cmd apt\n", &[false]),
            ("permit persist keepenv :wheel\n", &[true]),
            (
                "permit nopass setenv { PATH=/bin -HOME } :wheel # x\n",
                &[false],
            ),
            ("permit nopass setenv {DISPLAY} agent\n", &[false]),
            ("permit nopass setenv { DISPLAY agent } bob\n", &[]),
            ("permit nopass 1001\n", &[false]),
            ("permit nopass \\\n  agent\n", &[false]),
            ("permit nopass agent\ndeny agent\n", &[]),
            ("deny agent\npermit nopass agent\n", &[false]),
            ("permit nopass agent\npermit agent\n", &[true]),
            (
                "permit nopass agent as bob cmd a\ndeny :wheel as bob\n",
                &[],
            ),
            ("permit nopass agent cmd a args b\ndeny agent cmd a\n", &[]),
            (
                "permit nopass agent cmd a\ndeny agent cmd a args\n",
                &[false],
            ),
            ("permit nopass agent\ndeny agent cmd sh\n", &[false]),
            ("permit nopass agent\ndeny agent as bob\n", &[false]),
            ("permit nopass agent\ndeny bob\n", &[false]),
        ];
        for (text, expect) in cases {
            let found = permits(&account, text);
            let found: Vec<bool> = found.iter().map(|rule| rule.needs_password).collect();
            assert_eq!(found, expect, "{text}");
        }
    }
}
