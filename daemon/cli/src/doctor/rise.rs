//! How an account could do more than ask remit: rules of sudo(8) and doas(1).
//!
//! sudo is asked itself, so that includes, aliases and directory services count. doas has no
//! such question; its file is read. polkit is not looked at.

use std::path::Path;

use remit_common::text;

use super::agents::{Account, Password};
use super::check::{Check, or_ok};
use super::read;
use crate::program::{Program, ProgramError};

const SUDO: [&str; 2] = ["/usr/bin/sudo", "/usr/local/bin/sudo"];
const DOAS: [&str; 2] = ["/usr/bin/doas", "/usr/local/bin/doas"];
const DOAS_CONF: [&str; 2] = ["/etc/doas.conf", "/usr/local/etc/doas.conf"];
/// The longest rule that is shown, in bytes.
const RULE: usize = 120;

/// What the rules let `account` do. Needs root.
pub fn checks(account: &Account) -> Vec<Check> {
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
            match read::text(path) {
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

fn unknown(account: &Account, error: &ProgramError) -> Check {
    Check::warning(
        format!("{}: sudo", account.name),
        format!("sudo does not tell what '{}' may do: {error}", account.name),
        format!("sudo -l -U {}", account.name),
    )
}

/// What `sudo -l -U` wrote, and what it complained of.
fn by_sudo(account: &Account, said: &str, complaint: &str) -> Vec<Check> {
    let name = format!("{}: sudo", account.name);
    let user = &account.name;
    if said.contains("is not allowed to run sudo") {
        return vec![Check::ok(name, "no rule")];
    }
    let Some((before, rules)) = said.split_once("may run the following commands") else {
        let line = text::line([said, complaint].concat().trim().as_bytes(), RULE);
        let why = format!("sudo does not tell what '{user}' may do: {line}");
        return vec![Check::warning(name, why, format!("sudo -l -U {user}"))];
    };
    let open = before.contains("!authenticate") || is_exempt(account, before);
    let mut found = Vec::new();
    for rule in rules.lines().skip(1).map(str::trim) {
        if rule.is_empty() {
            continue;
        }
        let free = open || rule.contains("NOPASSWD:") || account.password == Password::Empty;
        found.push(risen(&name, user, "sudo", free, rule, "visudo"));
    }
    or_ok(found, &name, "no rule")
}

/// Whether a group of the account is never asked for a password (sudoers(5), exempt_group).
fn is_exempt(account: &Account, defaults: &str) -> bool {
    let words = defaults.split([' ', ',', '\n']);
    let mut of = words.filter_map(|word| word.strip_prefix("exempt_group="));
    of.any(|of| account.groups.iter().any(|group| group.name == of))
}

/// The rules of doas.conf(5) for the account: the last that fits counts.
fn by_doas(account: &Account, path: &Path, text: &str) -> Vec<Check> {
    let name = format!("{}: doas", account.name);
    let is_of_group = |of: &str| {
        let mut groups = account.groups.iter();
        groups.any(|group| group.name == of || group.id.to_string() == of)
    };
    let mut found = Vec::new();
    // A backslash at its end joins a line with the next.
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let action = words.next();
        let words: Vec<&str> = words.skip_while(|word| is_option(word)).collect();
        let fits = words.first().is_some_and(|identity| {
            let identity = identity.trim_matches('"');
            match identity.strip_prefix(':') {
                Some(group) => is_of_group(group),
                None => identity == account.name || identity == account.uid.to_string(),
            }
        });
        match action {
            Some("permit") if fits => {
                let free = line.split_whitespace().any(|word| word == "nopass");
                let fix = format!("take the rule out of '{}'", path.display());
                found.push(risen(&name, &account.name, "doas", free, line.trim(), &fix));
            }
            // One for all commands and users takes back what stands before it.
            Some("deny") if fits && words.len() == 1 => found.clear(),
            Some(_) | None => {}
        }
    }
    or_ok(found, &name, "no rule")
}

/// Whether a word stands between the action and the identity. Those of `setenv { … }` do, too.
fn is_option(word: &str) -> bool {
    matches!(
        word,
        "nopass" | "nolog" | "persist" | "keepenv" | "setenv" | "{" | "}"
    ) || word.contains('=')
        || word.starts_with('-')
}

/// A rule that makes `user` another, with or without a password.
fn risen(name: &str, user: &str, program: &str, free: bool, rule: &str, fix: &str) -> Check {
    let rule = text::line(rule.as_bytes(), RULE);
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
    use super::super::check::Verdict;
    use super::*;

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
        // What it complains of is no rule.
        let complaint = "sudo: unable to resolve host\n";
        for (said, expect) in cases {
            let checks = by_sudo(&agent(&[]), &said, complaint);
            assert_eq!(kinds(&checks), expect, "{said}");
        }
    }

    #[test]
    fn rules_of_doas_fit_users_and_groups() {
        let account = agent(&[(10, "wheel")]);
        let cases = [
            ("", vec!["ok"]),
            ("permit bob\npermit :ops\n# permit agent\n", vec!["ok"]),
            ("permit agent\n", vec!["warning"]),
            ("permit nopass agent as root cmd apt\n", vec!["failure"]),
            ("permit persist keepenv :wheel\n", vec!["warning"]),
            (
                "permit nopass setenv { PATH=/bin -HOME } :wheel # x\n",
                vec!["failure"],
            ),
            ("permit nopass 1001\n", vec!["failure"]),
            ("permit nopass agent\ndeny agent\n", vec!["ok"]),
            ("permit nopass agent\ndeny agent cmd sh\n", vec!["failure"]),
            ("permit nopass agent\ndeny agent as bob\n", vec!["failure"]),
            ("permit nopass \\\n  agent\n", vec!["failure"]),
        ];
        for (text, expect) in cases {
            let checks = by_doas(&account, Path::new("/etc/doas.conf"), text);
            assert_eq!(kinds(&checks), expect, "{text}");
        }
    }
}
