//! Prints what failed and what to do, as text or JSON (`error`). MCP tool calls in a sentence become command lines.

use std::io::{self, Write};
use std::path::Path;

use nix::unistd::{AccessFlags, access, geteuid};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::ClientError;
use serde_json::{Deserializer, Value, json};

use super::output::{self, Form};
use crate::error::{Exit, Failure};

impl Failure {
    /// Prints how to watch `job`, if an error leaves its fate unknown.
    pub fn leaves(self, job: JobId) -> Self {
        if self.is_in_doubt() {
            output::note(&format!(
                "job {job} belongs to the daemon; to see what becomes of it: remit job {job} --follow"
            ));
        }
        self
    }

    /// Prints how to find a job that may have started although its reply never came.
    pub fn may_have_started(self, request_id: &str) -> Self {
        if self.is_in_doubt() {
            output::note(&format!(
                "the command may have started: 'remit jobs' lists it; to get that same job and start no other: \
                 the same line with --request-id {request_id}"
            ));
        }
        self
    }

    pub fn report(&self, form: Form) -> Exit {
        let (exit, refusal) = self.tell();
        match (form, refusal) {
            (Form::Text, _) | (Form::Json, None) => exit,
            (Form::Json, Some(refusal)) => match output::json(&json!({ "error": refusal })) {
                Ok(()) => exit,
                Err(error) => error.report(Form::Text),
            },
        }
    }

    /// Returns what [`Self::tell`] prints, without its lines of a rule.
    pub fn sentence(&self) -> String {
        let with = |message: &str, next: Option<String>| match next {
            Some(next) => format!("{message}; to go on: {next}"),
            None => message.to_owned(),
        };
        match self {
            Self::Usage(error) => error.to_string(),
            Self::Client(error) => {
                let (_, refusal) = client(error);
                with(&sentence(error), refusal.next.or(refusal.lift))
            }
            Self::Input(refusal)
            | Self::Machine(refusal)
            | Self::NotAllowed(refusal)
            | Self::Ssh(_, refusal) => {
                let next = refusal.next.as_ref().or(refusal.lift.as_ref());
                with(&refusal.message, next.cloned())
            }
            Self::NotApproved(why) => format!("not approved: {why}"),
            Self::NotRoot(verb) => format!("only root may use 'remit {verb}'"),
            Self::Gone => "nobody reads the output".to_owned(),
            Self::Unread(job) => format!("nobody reads the output; job {job} goes on"),
            Self::Output(error) => format!("cannot write output: {error}"),
            Self::Lost(what) => what.clone(),
        }
    }

    /// Prints it on standard error. Returns also the `error` of JSON, if there is one.
    pub fn tell(&self) -> (Exit, Option<Refusal>) {
        let (exit, refusal) = match self {
            Self::Usage(error) => return (usage(error), None),
            Self::Gone => return (Exit::OK, None),
            Self::Unread(job) => {
                output::note(&format!(
                    "nobody reads the output any more; job {job} goes on: to stop it: remit stop {job}"
                ));
                return (Exit::UNREAD, None);
            }
            Self::Output(_) | Self::Lost(_) => {
                output::note(&self.sentence());
                return (Exit::OUTPUT, None);
            }
            Self::Input(refusal)
            | Self::Machine(refusal)
            | Self::NotAllowed(refusal)
            | Self::Ssh(_, refusal) => {
                output::note(&refusal.message);
                let ways = refusal.next.iter().chain(&refusal.lift);
                for way in ways.flat_map(|ways| ways.lines()) {
                    output::note(&format!("to go on: {way}"));
                }
                let exit = match self {
                    Self::NotAllowed(_) => Exit::NOT_ALLOWED,
                    Self::Ssh(exit, _) => *exit,
                    _ => Exit::REFUSED,
                };
                (exit, refusal.clone())
            }
            Self::NotApproved(_) | Self::NotRoot(_) => {
                let message = self.sentence();
                output::note(&message);
                let (exit, code) = match self {
                    Self::NotRoot(_) => (Exit::NOT_ALLOWED, Code::DeniedRule),
                    _ => (Exit::NOT_APPROVED, Code::NeedsApproval),
                };
                (exit, Refusal::new(code, message))
            }
            Self::Client(error) => {
                let (exit, refusal) = client(error);
                output::note(&sentence(error));
                advise(error, &refusal);
                (exit, refusal)
            }
        };
        (exit, Some(refusal))
    }
}

fn usage(error: &clap::Error) -> Exit {
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        _ if error.use_stderr() => Exit::USAGE,
        Ok(()) => Exit::OK,
        Err(error) => Failure::from(error).tell().0,
    }
}

fn sentence(error: &ClientError) -> String {
    match error {
        ClientError::NotAllowed { socket } if is_admin_beside(socket) => format!(
            "you may not connect to '{}', though you are an administrator: the daemon could not open it to your \
             group; why: journalctl -u remitd; until that is mended: sudo remit …, or add yourself to its group",
            socket.display()
        ),
        error => error.to_string(),
    }
}

fn advise(error: &ClientError, refusal: &Refusal) {
    if let Some(next) = &refusal.next {
        output::note(&format!("to go on: {next}"));
    }
    let label = match error {
        ClientError::Refused(_) => "to lift it",
        _ => "to go on",
    };
    if let Some(lift) = &refusal.lift {
        // The lines of a rule are shown as they are pasted.
        let mut lines = lift.lines();
        output::note(&format!("{label}: {}", lines.next().unwrap_or_default()));
        lines.for_each(|line| output::complain(&format!("{line}\n")));
    }
}

fn is_admin_beside(socket: &Path) -> bool {
    let admin = socket.with_file_name("admin.sock");
    admin != socket && access(&admin, AccessFlags::W_OK).is_ok()
}

fn client(error: &ClientError) -> (Exit, Refusal) {
    let unavailable = || Refusal::new(Code::DaemonUnavailable, error.to_string());
    match error {
        ClientError::NotRunning { .. } => {
            let lift = match geteuid().is_root() {
                true => "systemctl start remitd; journalctl -u remitd -n 20 shows why it ended",
                false => "sudo systemctl start remitd; systemctl status remitd shows why it ended",
            };
            (Exit::UNAVAILABLE, unavailable().lift(lift))
        }
        ClientError::Broken(_) => {
            let look = match geteuid().is_root() {
                true => "journalctl -u remitd -n 20 shows why",
                false => "systemctl status remitd shows why",
            };
            (Exit::UNAVAILABLE, unavailable().lift(look))
        }
        ClientError::NotAllowed { .. } => (
            Exit::NOT_ALLOWED,
            unavailable().by("permissions of the socket"),
        ),
        ClientError::Refused(refusal) => match refusal.code {
            Code::DaemonUnavailable => (Exit::UNAVAILABLE, in_our_words(refusal)),
            _ => (Exit::REFUSED, in_our_words(refusal)),
        },
    }
}

const TOOLS: [&str; 3] = ["run ", "change ", "host "];

/// What is said of MCP tools in other words than calls, and what people type instead. A text that has another one is before it.
const WORDS: [(&str, &str); 16] = [
    (", or the tool job without an id,", ""),
    (", or the tool access with the name,", ""),
    (", or the tool access,", ""),
    ("the tool access", "'remit access'"),
    ("call access", "run 'remit access'"),
    ("access without a name", "'remit access'"),
    (
        "call run with the name",
        "use 'remit run --name' with the name",
    ),
    (
        "call change with the name",
        "use 'remit change' with the name",
    ),
    ("call change again", "run 'remit change' again"),
    ("the tool host (section ports)", "'remit host ports'"),
    (
        "the tool host (sections os, users, units, network)",
        "'remit host os users units network'",
    ),
    ("job_stop", "'remit stop'"),
    // It follows.
    ("with the rule in lift", "with the rule below"),
    (
        "change {\"argv\": […], \"reason\": …}",
        "'remit change -m WHY -- PROGRAM...'",
    ),
    ("plan {\"argv\": […]}", "'remit plan -- PROGRAM...'"),
    (
        "change {\"plan_id\": …, \"then\": [\"service.reload unit=…\"]}",
        "'remit change --plan ID -m WHY --then \"service.reload unit=UNIT\"'",
    ),
];

/// Returns the sentence in words that people type: agents call tools. Each call, such as `run {"argv": ["id"]}`, becomes a
/// line.
pub fn typed(sentence: &str) -> String {
    let (mut typed, mut rest) = (String::new(), sentence);
    while let Some((before, tool, call, after)) = first_call(rest) {
        typed += before;
        match line(tool, &call) {
            Some(line) => typed += &format!("'{line}'"),
            None => typed += &format!("{tool}{call}"),
        }
        rest = after;
    }
    let typed = typed + rest;
    WORDS
        .iter()
        .fold(typed, |typed, (tool, verb)| typed.replace(tool, verb))
}

fn in_our_words(refusal: &Refusal) -> Refusal {
    Refusal {
        next: refusal.next.as_deref().map(typed),
        ..refusal.clone()
    }
}

fn first_call(text: &str) -> Option<(&str, &'static str, Value, &str)> {
    let calls = TOOLS.iter().filter_map(|tool| {
        let at = text.find(&format!("{tool}{{"))?;
        Some((at, *tool))
    });
    let (at, tool) = calls.min()?;
    let (before, from) = text.split_at_checked(at)?;
    let json = from.get(tool.len()..)?;
    let mut values = Deserializer::from_str(json).into_iter::<Value>();
    let call = values.next()?.ok()?;
    let after = json.get(values.byte_offset()..)?;
    Some((before, tool, call, after))
}

fn line(tool: &str, call: &Value) -> Option<String> {
    let words = |name: &str| -> Option<String> {
        let all = call.get(name)?.as_array()?.iter().map(word);
        Some(all.collect::<Option<Vec<_>>>()?.join(" "))
    };
    match (tool, call.get("name").and_then(Value::as_str)) {
        ("host ", _) => Some(format!("remit host {}", words("sections")?)),
        ("run ", None) => Some(format!("remit run -- {}", words("argv")?)),
        ("run ", Some(name)) => Some(format!("remit run --name {name}{}", arguments(call)?)),
        ("change ", Some(name)) => Some(format!(
            "remit change {name}{} --reason TEXT",
            arguments(call)?
        )),
        _ => None,
    }
}

fn arguments(call: &Value) -> Option<String> {
    let mut words = String::new();
    for (key, value) in call
        .get("args")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let one = std::slice::from_ref(value);
        for value in value.as_array().map_or(one, Vec::as_slice) {
            words += &format!(" {key}={}", word(value)?);
        }
    }
    Some(words)
}

/// Quotes a word for a shell. Returns `None` for a word with `'`, `$`, a backquote or a backslash.
fn word(value: &Value) -> Option<String> {
    let word = match value {
        Value::String(word) => word.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.,:/@+=%".contains(sign);
    match word.chars().all(plain) && !word.is_empty() {
        true => Some(word),
        false if !word.contains('\'') => {
            Some(format!("\"{word}\"")).filter(|word| !word.contains(['$', '`', '\\']))
        }
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_become_verbs() {
        for (sentence, expect) in [
            (
                "look: run {\"argv\": [\"ip\", \"-s\", \"addr\"]}, or not",
                "look: 'remit run -- ip -s addr', or not",
            ),
            (
                "run {\"name\": \"service.failed\"}",
                "'remit run --name service.failed'",
            ),
            (
                "call access; if it lists service.restart: change {\"name\": \"service.restart\", \"args\": {\"unit\": \"nginx.service\"}}, with a reason",
                "run 'remit access'; if it lists service.restart: 'remit change service.restart unit=nginx.service --reason TEXT', with a reason",
            ),
            (
                "change {\"name\": \"package.install\", \"args\": {\"packages\": [\"a\", \"b\"]}}",
                "'remit change package.install packages=a packages=b --reason TEXT'",
            ),
            (
                "host {\"sections\": [\"ports\", \"units\"]} tells",
                "'remit host ports units' tells",
            ),
            (
                "run {\"name\": \"x\", \"args\": {\"a\": \"*.timer\"}}",
                "'remit run --name x a=\"*.timer\"'",
            ),
            (
                "run {broken and host {\"sections\": [\"ports\"]}",
                "run {broken and host {\"sections\": [\"ports\"]}",
            ),
            ("run {\"argv\": [\"$(x)\"]}", "run {\"argv\":[\"$(x)\"]}"),
            (
                "no; or change {\"argv\": […], \"reason\": …}: a person approves it; or plan {\"argv\": […]}: it runs in a copy",
                "no; or 'remit change -m WHY -- PROGRAM...': a person approves it; or 'remit plan -- PROGRAM...': it runs in a copy",
            ),
            (
                "have it follow: change {\"plan_id\": …, \"then\": [\"service.reload unit=…\"]}",
                "have it follow: 'remit change --plan ID -m WHY --then \"service.reload unit=UNIT\"'",
            ),
            // Texts of remit-broker and remit-policy.
            (
                "a job of yours: job_stop; a service: call access",
                "a job of yours: 'remit stop'; a service: run 'remit access'",
            ),
            (
                "`ss -ltnpe` shows uid and cgroup of each socket, and the tool host (section ports) names the unit",
                "`ss -ltnpe` shows uid and cgroup of each socket, and 'remit host ports' names the unit",
            ),
            (
                "the tool host (sections os, users, units, network) and journalctl have much of it",
                "'remit host os users units network' and journalctl have much of it",
            ),
            (
                "whatever the message says: the tool access shows what is granted",
                "whatever the message says: 'remit access' shows what is granted",
            ),
            (
                "`remit access --name NAME`, or the tool access with the name, explains it",
                "`remit access --name NAME` explains it",
            ),
            (
                "access without a name shows in grants whether you may use it",
                "'remit access' shows in grants whether you may use it",
            ),
            (
                "an administrator can grant it, with the rule in lift",
                "an administrator can grant it, with the rule below",
            ),
            ("nothing", "nothing"),
        ] {
            assert_eq!(typed(sentence), expect, "{sentence}");
        }
    }
}
