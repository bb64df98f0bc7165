//! What an attempt says about an entry, in sentences with a way out. Pure.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::Duration;

use remit_clients::ServerEntry;
use remit_common::text;
use serde_json::Value;

use super::attempt::{ClientTimeouts, GreetedServer, StartAttempt, StartEnd};
use super::environment::Environment;
use crate::link::reason;
use crate::releases;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    Good,
    /// Worth knowing; the client works.
    Note,
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    pub kind: FindingKind,
    pub what: String,
    pub fix: Option<String>,
}

/// All that was tried.
#[derive(Debug)]
pub struct Tried<'a> {
    pub entry: &'a ServerEntry,
    pub is_one_host: bool,
    pub environment: &'a Environment,
    pub limits: ClientTimeouts,
    /// For a client that starts a server twice: whether the first one answered.
    pub first: Option<bool>,
    pub attempt: &'a StartAttempt,
    /// The same with the agent's socket, if a login was refused without it.
    pub with_agent: Option<&'a StartAttempt>,
}

impl FindingKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

fn good(what: String) -> CheckFinding {
    CheckFinding {
        kind: FindingKind::Good,
        what,
        fix: None,
    }
}

fn note(what: String, fix: &str) -> CheckFinding {
    CheckFinding {
        kind: FindingKind::Note,
        what,
        fix: Some(fix.to_owned()),
    }
}

fn broken(what: String, fix: impl Into<String>) -> CheckFinding {
    CheckFinding {
        kind: FindingKind::Broken,
        what,
        fix: Some(fix.into()),
    }
}

/// Returns true if a host refused a login, so that an agent could help.
pub fn is_denied(attempt: &StartAttempt) -> bool {
    reason::is_denied(&attempt.said) || silent_hosts(attempt).any(|(_, why)| reason::is_denied(why))
}

/// Hosts of `remit-fleet` that did not answer, and why.
fn silent_hosts(attempt: &StartAttempt) -> impl Iterator<Item = (&str, &str)> {
    let data = match &attempt.end {
        StartEnd::GreetedServer(GreetedServer {
            call: Ok((result, _)),
            ..
        }) => Some(&result.data),
        _ => None,
    };
    let hosts = data
        .and_then(|data| data.get("hosts"))
        .and_then(Value::as_array);
    hosts.into_iter().flatten().filter_map(|host| {
        let of = |key| host.get(key).and_then(Value::as_str);
        Some((of("name")?, of("why")?))
    })
}

/// Returns what was found, what is first in a session first.
pub fn all(tried: &Tried<'_>) -> Vec<CheckFinding> {
    let attempt = tried.attempt;
    let mut found = Vec::new();
    if !attempt.noise.is_empty() {
        found.push(broken(
            format!("it printed what is no message: {}", attempt.noise),
            "a login script or a command of authorized_keys prints it, and some clients stop there: let it print nothing \
             without a terminal, or use remit-fleet's own entry, which passes over it",
        ));
    }
    if let Some(lost) = agent_lost(tried) {
        found.push(lost);
    }
    match &attempt.end {
        StartEnd::GreetedServer(answered) => found.extend(session(tried, answered)),
        _ if tried.first == Some(true) => found.push(broken(
            format!(
                "this client may start a server twice, and only the first login worked: {}",
                attempt.said
            ),
            "use remit-fleet's own entry, which logs in once",
        )),
        // Said already.
        _ if tried.with_agent.is_some_and(is_answered) => {}
        StartEnd::NotStarted(error) => {
            found.push(not_started(tried, error.kind(), &error.to_string()))
        }
        StartEnd::Silent(what, patience) => found.push(too_slow(tried, what, *patience)),
        StartEnd::Ended(status) => found.push(ended(tried, *status)),
    }
    if tried.first == Some(true) && tried.is_one_host && is_answered(attempt) {
        found.push(note(
            "some clients start a server twice at each connection: two logins".to_owned(),
            "remit-fleet's own entry logs in once",
        ));
    }
    found
}

fn is_answered(attempt: &StartAttempt) -> bool {
    matches!(attempt.end, StartEnd::GreetedServer(_))
}

fn agent_lost(tried: &Tried<'_>) -> Option<CheckFinding> {
    let with = tried.with_agent?;
    let before = silent_hosts(tried.attempt).count();
    let helps =
        is_answered(with) && (!is_answered(tried.attempt) || silent_hosts(with).count() < before);
    let socket = tried.environment.lost_agent.as_ref()?.to_string_lossy();
    helps.then(|| {
        broken(
            "ssh has a key only through your agent, and this client does not pass SSH_AUTH_SOCK on".to_owned(),
            format!(
                "client-config with --agent {socket}, or --identity FILE, or IdentityAgent in ~/.ssh/config"
            ),
        )
    })
}

fn not_started(tried: &Tried<'_>, kind: ErrorKind, error: &str) -> CheckFinding {
    let program = tried.entry.command.first().map_or("", String::as_str);
    if kind != ErrorKind::NotFound {
        return broken(
            format!("cannot start '{program}': {error}"),
            "check the path and its mode",
        );
    }
    let path = tried.environment.variables.get(OsStr::new("PATH"));
    let path = path.map_or_else(|| "no PATH".into(), |path| path.to_string_lossy());
    broken(
        format!("'{program}' is not found in {path}"),
        "install the client of OpenSSH, or name the system with --os: the entry then has the path of ssh",
    )
}

fn too_slow(tried: &Tried<'_>, what: &str, patience: Duration) -> CheckFinding {
    let seconds = patience.as_secs();
    let words = match tried.attempt.said.as_str() {
        "" => String::new(),
        said => format!(" (ssh said: {said})"),
    };
    broken(
        format!(
            "too slow: no answer to {what} within {seconds} s, when this client gives up{words}"
        ),
        "see with 'ssh -v HOST' what takes the time, or use remit-fleet's own entry, which answers before it logs in",
    )
}

fn ended(tried: &Tried<'_>, status: Option<i32>) -> CheckFinding {
    let said = &tried.attempt.said;
    let status = status.map_or_else(String::new, |status| format!(", status {status}"));
    let words = match said.as_str() {
        "" => format!("it ended without a word{status}"),
        said => format!("{said}{status}"),
    };
    match reason::known(said) {
        _ if reason::is_denied(said) => {
            let means = match said.contains("password") {
                true => {
                    "the host wants a password: it accepts none of the keys that this client has"
                }
                false => "the host accepts none of the keys that this client has",
            };
            broken(
                format!("{means}: {words}"),
                "enroll the key there with 'remit enroll USER key.pub', or name the enrolled one with --identity",
            )
        }
        Some(known) if known.means == said => broken(words, known.fix("ssh")),
        Some(known) => broken(format!("{}: {words}", known.means), known.fix("ssh")),
        None => broken(
            format!("it ended before its first answer: {words}"),
            format!(
                "try by hand: {} --check",
                text::command_line(&tried.entry.command, 400)
            ),
        ),
    }
}

fn session(tried: &Tried<'_>, answered: &GreetedServer) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    let GreetedServer {
        server,
        tools,
        hello,
        call,
    } = answered;
    let (took, limit) = (hello.as_secs_f32(), tried.limits.hello.as_secs());
    if !["remit", "remit-fleet"].contains(&server.name.as_str()) {
        let name = &server.name;
        found.push(broken(
            format!("'{name}' answers, and not remit"),
            "leave the command as client-config prints it",
        ));
        return found;
    }
    let answers = format!("answers within {took:.2} s of {limit}, with {tools} tools");
    found.push(match tools {
        0 => broken(
            format!("{answers}: a client has nothing to call"),
            "install the same release of remit on both sides",
        ),
        _ => good(answers),
    });
    if *hello > tried.limits.hello / 2 {
        found.push(note(
            format!("that is slow: this client gives up after {limit} s"),
            "remit-fleet's own entry answers before it logs in",
        ));
    }
    if let Some(other) = releases::other(server) {
        found.push(note(other, "upgrade the older one"));
    }
    match call {
        Err(why) => found.push(broken(
            format!("a call failed: {why}"),
            "look into the journal of the host: journalctl -u remitd",
        )),
        Ok((result, _)) if result.is_error => found.push(refused(result.data.get("error"))),
        Ok((result, took)) if tried.is_one_host => found.push(access(&result.data, *took)),
        Ok((result, _)) => {
            let listed = result.data.get("hosts").and_then(Value::as_array);
            let listed = listed.map_or(0, Vec::len);
            let more = result.data.get("more_hosts").and_then(Value::as_u64);
            let silent: Vec<_> = silent_hosts(tried.attempt).collect();
            found.push(good(answering(listed, silent.len(), more.unwrap_or(0))));
            found.extend(silent.into_iter().map(|(host, why)| {
                broken(
                    format!("{host}: {why}"),
                    format!("remit-fleet hosts --probe --on {host}"),
                )
            }));
        }
    }
    found
}

/// Returns how many hosts answer. Those without an answer are listed first, so `more` may have some only if no other is listed.
fn answering(listed: usize, silent: usize, more: u64) -> String {
    let bound = match more > 0 && silent == listed {
        true => "at most ",
        false => "",
    };
    let all = more.saturating_add(listed as u64);
    let answering = all.saturating_sub(silent as u64);
    format!("{bound}{answering} of {all} hosts answer")
}

fn refused(error: Option<&Value>) -> CheckFinding {
    let of = |key| {
        error
            .and_then(|error| error.get(key))
            .and_then(Value::as_str)
    };
    let message = of("message").unwrap_or("no reason given");
    // The text of mcp-shim for a socket that it may not open.
    if message.starts_with("you may not connect") {
        return broken(
            format!("the account is not enrolled: {message}"),
            "'remit enroll USER key.pub' on the host, as root",
        );
    }
    let next = of("next").or_else(|| of("lift"));
    broken(
        format!("a call is refused: {message}"),
        next.unwrap_or("ask an administrator of the host"),
    )
}

fn access(data: &serde_json::Map<String, Value>, took: Duration) -> CheckFinding {
    let user = data.get("user").and_then(Value::as_str).unwrap_or("?");
    let grants = data
        .get("grants")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    match grants {
        0 => broken(
            format!("no rule grants '{user}' anything"),
            "'remit enroll USER key.pub' on the host, or a grant in /etc/remit/policy.d",
        ),
        _ => good(format!(
            "access of '{user}': {grants} grants, in {:.2} s",
            took.as_secs_f32()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_not_listed_are_counted() {
        for (listed, silent, more, expect) in [
            (3, 0, 0, "3 of 3 hosts answer"),
            (3, 3, 0, "0 of 3 hosts answer"),
            (100, 2, 900, "998 of 1000 hosts answer"),
            (100, 100, 900, "at most 900 of 1000 hosts answer"),
        ] {
            assert_eq!(answering(listed, silent, more), expect);
        }
    }
}
