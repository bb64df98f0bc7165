//! Checks that one key of an agent or an approver starts the command of its role and nothing else. Pure.

use std::path::{Path, PathBuf};

use remit_common::text;

use super::report::Check;
use crate::enrollment::Role;
use crate::openssh::effective::Effective;
use crate::openssh::keys::AuthorizedKey;

const COMMAND_BYTES: usize = 120;

/// The current time in digits: `20261120094500`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    pub utc: String,
    pub local: String,
}

#[derive(Clone, Copy, Debug)]
pub struct KeyLocation<'a> {
    pub user: &'a str,
    pub file: &'a Path,
    pub line: usize,
}

/// The second way of a fix. An enrollment leaves it out: it is the line that it refuses.
pub fn or_enroll(user: &str) -> String {
    format!(", or: remit enroll {user} KEYFILE")
}

/// Checks that a key starts the command of its role and permits no more than the role needs, and that sshd takes it.
pub fn judge(
    role: Role,
    location: KeyLocation<'_>,
    key: &AuthorizedKey<'_>,
    sshd: &Effective,
    now: &Now,
) -> Vec<Check> {
    let KeyLocation { user, file, line } = location;
    let name = format!("{user}: keys");
    let shown_location = format!("'{}':{line}", file.display());
    let again = match role {
        Role::Agent => or_enroll(user),
        Role::Approver => format!(
            ", or remove the line and: remit {} {user} KEYFILE",
            role.verb()
        ),
    };
    let fix = format!(
        "put {} before the key in line {line}{again}",
        role.options()
    );
    let mut found = Vec::new();
    let fault = match forced(key, sshd) {
        None => Some(format!(
            "{shown_location} has no command=: the key opens a shell as '{user}'"
        )),
        Some(command) => {
            command_fault(role, &command).map(|why| format!("{shown_location}: {why}"))
        }
    };
    let command_fix = match sshd.get("forcecommand") {
        None => fix.clone(),
        Some(_) => format!(
            "set 'ForceCommand {}' in a 'Match User {user}' block of sshd_config: it replaces command=",
            role.command()
        ),
    };
    found.extend(fault.map(|why| Check::failure(&name, why, command_fix)));
    let is_left = |right: &&str| {
        // An approver types the digest at a terminal.
        let needs = role == Role::Approver && *right == "pty";
        !needs && grants(sshd, right)
    };
    let left: Vec<&str> = key.options.rights().into_iter().filter(is_left).collect();
    match left.as_slice() {
        [] => {}
        ["pty"] => found.push(Check::warning(
            &name,
            format!("{shown_location} allows a terminal, which mcp-shim does not need"),
            &fix,
        )),
        some => found.push(Check::failure(
            &name,
            format!(
                "{shown_location} is not restricted, it allows {}",
                some.join(", ")
            ),
            &fix,
        )),
    }
    match expired(key, now) {
        Ok(false) => {}
        Ok(true) => found.push(Check::warning(
            &name,
            format!("{shown_location} has expired"),
            format!(
                "remove line {line}, or: remit {} {user} KEYFILE --expires TIME",
                role.verb()
            ),
        )),
        Err(time) => found.push(Check::warning(
            &name,
            format!(
                "{shown_location} expires at '{time}', which is not a time: sshd refuses the key"
            ),
            format!("write expiry-time=\"YYYYMMDDHHMM\" in line {line}"),
        )),
    }
    found
}

/// Says what is wrong with a forced command. An agent's may have options.
fn command_fault(role: Role, command: &[u8]) -> Option<String> {
    match role {
        Role::Agent => shim(command).err(),
        Role::Approver => (command != role.command().as_bytes()).then(|| {
            let shown = text::line(command, COMMAND_BYTES);
            format!("its command is not the approver's: {shown}")
        }),
    }
}

/// Returns the command that a login with this key runs. sshd's ForceCommand overrides the key's `command=`.
pub fn forced(key: &AuthorizedKey<'_>, sshd: &Effective) -> Option<Vec<u8>> {
    let setting = sshd.get("forcecommand").map(|command| command.as_bytes());
    setting.or(key.options.command()).map(<[u8]>::to_vec)
}

/// Returns the program of a forced command, or why it is more than mcp-shim. Shell metacharacters count as more.
pub fn shim(command: &[u8]) -> Result<PathBuf, String> {
    let shown = text::line(command, COMMAND_BYTES);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" /._-=".contains(byte);
    if !command.iter().all(plain) {
        return Err(format!("its command is more than mcp-shim: {shown}"));
    }
    let command = String::from_utf8_lossy(command);
    let program = Path::new(command.split_whitespace().next().unwrap_or_default());
    match program.is_absolute() && program.ends_with("mcp-shim") {
        true => Ok(program.to_owned()),
        false => Err(format!(
            "its command is not mcp-shim with an absolute path: {shown}"
        )),
    }
}

pub fn grants(sshd: &Effective, right: &str) -> bool {
    let not = |keyword: &str| sshd.values(keyword).next() == Some("no");
    let forwards = !sshd.is_yes("disableforwarding");
    match right {
        "agent-forwarding" => forwards && !not("allowagentforwarding"),
        "port-forwarding" => {
            forwards && !(not("allowtcpforwarding") && not("allowstreamlocalforwarding"))
        }
        "x11-forwarding" => forwards && !not("x11forwarding"),
        "pty" => !not("permittty"),
        "user-rc" => !not("permituserrc"),
        _ => true,
    }
}

/// Returns true if the earliest expiry time of the key has passed. The error is a text that is not a time.
fn expired(key: &AuthorizedKey<'_>, now: &Now) -> Result<bool, String> {
    let mut over = false;
    for time in key.options.values("expiry-time") {
        let time = text::line(time, COMMAND_BYTES);
        let (digits, now) = match time.strip_suffix(['Z', 'z']) {
            Some(digits) => (digits, &now.utc),
            None => (time.as_str(), &now.local),
        };
        // YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS.
        if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(time);
        }
        over |= format!("{digits:0<14}") <= *now;
    }
    Ok(over)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::report::Verdict;
    use crate::openssh::keys::KeyLine;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn judged(role: Role, options: &str, sshd: &str) -> Vec<Check> {
        let line = format!("{options} {KEY}");
        let KeyLine::AuthorizedKey(key) = KeyLine::parse(line.as_bytes()) else {
            panic!("{line}");
        };
        let location = KeyLocation {
            user: "agent",
            file: Path::new("/k"),
            line: 3,
        };
        let now = Now {
            utc: "20261120100000".into(),
            local: "20261120120000".into(),
        };
        judge(role, location, &key, &Effective::parse(sshd), &now)
    }

    fn check(options: &str, sshd: &str) -> Vec<String> {
        let found = judged(Role::Agent, options, sshd);
        let word = |check: &Check| match &check.verdict {
            Verdict::Warning(finding) => format!("warning: {}", finding.why),
            Verdict::Failure(finding) => format!("failure: {}", finding.why),
            Verdict::Ok(_) | Verdict::Skipped(_) => panic!("{check:?}"),
        };
        found.iter().map(word).collect()
    }

    #[test]
    fn a_key_for_remit_is_good() {
        for (options, sshd) in [
            (Role::Agent.options().as_str(), ""),
            (
                "command=\"/usr/bin/mcp-shim --socket /run/remit/remit.sock\",restrict",
                "",
            ),
            ("restrict", "forcecommand /usr/bin/mcp-shim"),
            (
                "command=\"/usr/bin/mcp-shim\"",
                "disableforwarding yes\npermittty no\npermituserrc no",
            ),
            (
                "restrict,command=\"/usr/bin/mcp-shim\",expiry-time=\"20261120100001Z\"",
                "",
            ),
        ] {
            assert_eq!(check(options, sshd), [""; 0], "{options}");
        }
    }

    #[test]
    fn unrestricted_key_is_reported_with_its_line() {
        let all = "agent-forwarding, port-forwarding, x11-forwarding, pty, user-rc";
        let cases = [
            ("restrict", "", vec!["failure: '/k':3 has no command=: the key opens a shell as 'agent'".to_owned()]),
            (
                "command=\"/usr/bin/mcp-shim\"",
                "",
                vec![format!("failure: '/k':3 is not restricted, it allows {all}")],
            ),
            (
                "command=\"/usr/bin/mcp-shim\"",
                "x11forwarding no\nallowtcpforwarding no\npermittty no",
                vec!["failure: '/k':3 is not restricted, it allows agent-forwarding, port-forwarding, user-rc".to_owned()],
            ),
            (
                "restrict,pty,command=\"/usr/bin/mcp-shim\"",
                "",
                vec!["warning: '/k':3 allows a terminal, which mcp-shim does not need".to_owned()],
            ),
            (
                "restrict,command=\"/usr/bin/mcp-shim; sh\"",
                "",
                vec!["failure: '/k':3: its command is more than mcp-shim: /usr/bin/mcp-shim; sh".to_owned()],
            ),
            (
                "restrict,command=\"/usr/bin/mcp-shim\"",
                "forcecommand internal-sftp",
                vec!["failure: '/k':3: its command is not mcp-shim with an absolute path: internal-sftp".to_owned()],
            ),
            (
                "restrict,command=\"/usr/bin/mcp-shim\",expiry-time=\"20270101\",expiry-time=\"202611201200\"",
                "",
                vec!["warning: '/k':3 has expired".to_owned()],
            ),
            (
                "restrict,command=\"/usr/bin/mcp-shim\",expiry-time=\"soon\"",
                "",
                vec!["warning: '/k':3 expires at 'soon', which is not a time: sshd refuses the key".to_owned()],
            ),
        ];
        for (options, sshd, expect) in cases {
            assert_eq!(check(options, sshd), expect, "{options}");
        }
        assert_eq!(check("", "").len(), 2);
    }

    #[test]
    fn fix_is_that_of_the_role() {
        let agent = "put restrict,command=\"/usr/bin/mcp-shim\" before the key in line 3, \
                     or: remit enroll agent KEYFILE";
        let approver = "put restrict,pty,command=\"/usr/bin/remit approver-shell\" before the key in line 3, \
                        or remove the line and: remit enroll-approver agent KEYFILE";
        let own = |role: Role| role.options();
        let forces = |command| {
            format!(
                "set 'ForceCommand {command}' in a 'Match User agent' block of sshd_config: it replaces command="
            )
        };
        for (role, options, sshd, expect) in [
            (Role::Agent, "restrict", "", agent),
            (Role::Agent, "restrict,command=\"/bin/sh\"", "", agent),
            (
                Role::Agent,
                "restrict,pty,command=\"/usr/bin/mcp-shim\"",
                "",
                agent,
            ),
            (Role::Agent, "command=\"/usr/bin/mcp-shim\"", "", agent),
            (
                Role::Agent,
                &own(Role::Agent),
                "forcecommand /bin/sh",
                &forces("/usr/bin/mcp-shim"),
            ),
            (Role::Approver, "restrict", "", approver),
            (Role::Approver, "restrict,command=\"/bin/sh\"", "", approver),
            (
                Role::Approver,
                "command=\"/usr/bin/remit approver-shell\"",
                "",
                approver,
            ),
            (
                Role::Approver,
                &own(Role::Approver),
                "forcecommand /bin/sh",
                &forces("/usr/bin/remit approver-shell"),
            ),
            (
                Role::Approver,
                "restrict,command=\"/usr/bin/remit approver-shell\",expiry-time=\"20200101\"",
                "",
                "remove line 3, or: remit enroll-approver agent KEYFILE --expires TIME",
            ),
        ] {
            let [check] = &judged(role, options, sshd)[..] else {
                panic!("{options}");
            };
            let (Verdict::Warning(finding) | Verdict::Failure(finding)) = &check.verdict else {
                panic!("{check:?}");
            };
            assert_eq!(finding.fix, expect, "{options}");
        }
    }

    #[test]
    fn only_the_shim_is_the_shim() {
        for command in ["/usr/bin/mcp-shim", "/opt/remit/mcp-shim --socket /x"] {
            assert!(shim(command.as_bytes()).is_ok(), "{command}");
        }
        for command in [
            "",
            "mcp-shim",
            "bin/mcp-shim",
            "/usr/bin/mcp-shimmy",
            "/bin/sh -c /usr/bin/mcp-shim",
            "/usr/bin/mcp-shim $SSH_ORIGINAL_COMMAND",
            "/usr/bin/mcp-shim\n/bin/sh",
            "/usr/bin/mcp-shim | sh",
            "/usr/bin/mcp-shim `id`",
        ] {
            assert!(shim(command.as_bytes()).is_err(), "{command}");
        }
    }
}
