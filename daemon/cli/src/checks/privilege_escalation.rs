//! Finds rules of sudo(8) and doas(1) that let an account do more than remit allows. The sudo program itself is
//! asked, which covers includes, aliases and directory services. For doas no such query exists, so its file is
//! read. Rules of polkit are not checked.

use std::path::Path;

use remit_common::text;

use super::agents::{AccountFacts, Password};
use super::report::{Check, or_ok};
use super::{doas, file_facts};
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
    let rules = doas::permits(account, text);
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
        // A complaint on stderr is not a rule.
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
}
