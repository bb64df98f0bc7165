//! What a request asks for, as every record about it tells: intent, end and refusal. Pure.

use std::ffi::{CStr, CString};

use remit_common::builtin;
use remit_common::text;
use remit_common::wire::{Effect, Purpose};
use remit_policy::{Command, Kind};
use sha2::{Digest, Sha256};

use super::COMMAND_LINE;
use super::call::{Call, What};
use super::slot::HIDDEN;
use crate::audit::Record;
use crate::audit::chain::hex;

/// What a run without a profile means (remit-policy decides the same).
const DEFAULT_PROFILE: &str = "read";
/// Of a script, on one line, for lists; a record has more of it.
const SCRIPT_LINE: usize = 200;

/// A request in words. Never values of its environment, nor its standard input, nor secrets.
#[derive(Debug)]
pub struct Asked {
    command: String,
    named: Option<String>,
    argv: String,
    /// Of all its bytes, where the line is not exactly these.
    whole: Option<([u8; 32], usize)>,
    cwd: Vec<u8>,
    profile: Option<String>,
    effect: Effect,
    reason: Option<String>,
    script: Option<(Vec<u8>, [u8; 32])>,
    stdin_sha256: Option<[u8; 32]>,
    request: Option<String>,
    client: String,
    traceparent: Option<String>,
}

impl Asked {
    /// As far as it is known before anybody has decided about it. `command`: what the policy in force
    /// has by its name, if it has.
    pub fn new(call: &Call, command: Option<&Command>) -> Self {
        let (line, profile) = match &call.what {
            What::Program(argv) => (program_line(call, argv), call.profile.as_deref()),
            What::Named { name, args } => {
                let line = text::command_line(&told(name, args, command), COMMAND_LINE);
                (line, None)
            }
        };
        let default = match call.what {
            What::Program(_) => Some(DEFAULT_PROFILE),
            What::Named { .. } => None,
        };
        Self {
            argv: line.clone(),
            whole: match &call.what {
                // A script has a hash of its own, and what is hidden of a named command must not be guessed by one.
                What::Program(argv) if call.script.is_none() => whole(argv, &line),
                What::Program(_) | What::Named { .. } => None,
            },
            command: line,
            named: call
                .named()
                .map(|name| text::line(name.as_bytes(), COMMAND_LINE)),
            cwd: call.cwd.as_bytes().to_vec(),
            profile: profile.or(default).map(str::to_owned),
            effect: call.effect(),
            reason: reason(&call.purpose),
            script: call
                .script
                .as_ref()
                .map(|part| (part.start.clone(), part.sha256)),
            stdin_sha256: call.stdin.as_ref().map(|part| part.sha256),
            request: call.request_id.clone(),
            client: call.client.clone(),
            traceparent: call.traceparent.clone(),
        }
    }

    /// As it is bound to a grant. `words`: a named command as it may be told.
    pub(super) fn bound(
        call: &Call,
        words: Option<&[String]>,
        argv: &[CString],
        cwd: &CStr,
        profile: &str,
        effect: Effect,
    ) -> Self {
        let asked = Self::new(call, None);
        let (command, argv) = match words {
            // The command is what the caller wrote, the argv what is executed for it.
            Some(words) => (text::command_line(words, COMMAND_LINE), argv_line(argv)),
            None => (asked.command, asked.argv),
        };
        Self {
            command,
            argv,
            cwd: cwd.to_bytes().to_vec(),
            profile: Some(profile.to_owned()),
            effect,
            ..asked
        }
    }

    /// What runs, on one line.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Why, in the requester's words; none for what only looks.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The name of the named command, where it is one.
    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// What the client calls itself.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The caller's trace.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Adds what names the program and who claims to ask: for every record of a job.
    pub fn program(&self, record: Record) -> Record {
        record
            .maybe("COMMAND", self.named.as_ref())
            .maybe("ARGS", args(self.named(), &self.command))
            .field("ARGV", &self.argv)
            .maybe("ARGV_BYTES", self.whole.map(|(_, bytes)| bytes.to_string()))
            .maybe("ARGV_SHA256", self.whole.map(|(hash, _)| hex(&hash)))
            .maybe("PROFILE", self.profile.as_ref())
            .field("EFFECT", self.effect.name())
            .field("CLIENT", &self.client)
            .maybe("TRACEPARENT", self.traceparent.as_ref())
    }

    /// Adds all of it.
    pub fn whole(&self, record: Record) -> Record {
        let script = self.script.as_ref();
        self.program(record)
            .maybe("REASON", self.reason.as_ref())
            .field("CWD", &self.cwd)
            .maybe("SCRIPT", script.map(|(start, _)| start))
            .maybe("SCRIPT_SHA256", script.map(|(_, hash)| hex(hash)))
            .maybe("STDIN_SHA256", self.stdin_sha256.map(|hash| hex(&hash)))
            .maybe("REQUEST_ID", self.request.as_ref())
    }
}

/// Of a named command's line, what stands after its name.
pub fn args<'a>(named: Option<&str>, command: &'a str) -> Option<&'a str> {
    let (_, args) = command.split_once(' ')?;
    named.map(|_| args)
}

fn reason(purpose: &Purpose) -> Option<String> {
    match purpose {
        Purpose::Change { reason } => Some(reason.clone()),
        Purpose::Use | Purpose::Try => None,
    }
}

/// The argv, or the interpreter and how its script begins.
fn program_line(call: &Call, argv: &[CString]) -> String {
    match (&call.script, argv.first()) {
        (Some(script), Some(interpreter)) => format!(
            "{} script: {}",
            text::line(interpreter.as_bytes(), SCRIPT_LINE),
            text::line(script.start.trim_ascii(), SCRIPT_LINE)
        ),
        _ => argv_line(argv),
    }
}

/// Hash and length of all arguments, each with a NUL behind it, where `line` was cut or something in it escaped.
fn whole(argv: &[CString], line: &str) -> Option<([u8; 32], usize)> {
    let is_plain = |arg: &CString| {
        let arg = arg.as_bytes();
        !arg.iter().any(|byte| byte.is_ascii_control()) && !text::show(arg).escaped
    };
    let bytes = argv.iter().map(|arg| arg.as_bytes_with_nul().len()).sum();
    if !line.ends_with('…') && argv.iter().all(is_plain) {
        return None;
    }
    let mut sha = Sha256::new();
    argv.iter()
        .for_each(|arg| sha.update(arg.as_bytes_with_nul()));
    Some((sha.finalize().into(), bytes))
}

fn argv_line(argv: &[CString]) -> String {
    let argv: Vec<_> = argv.iter().map(|arg| arg.as_bytes()).collect();
    text::command_line(&argv, COMMAND_LINE)
}

/// A named command as it was asked for. A value is told where it is known to be none to hide: by
/// the definition, or because the command is one of our own.
fn told(name: &str, args: &[(String, String)], command: Option<&Command>) -> Vec<String> {
    let ours = builtin::find(name).is_ok();
    let is_plain = |arg: &str| {
        let param = command.and_then(|c| c.params.iter().find(|param| param.name == arg));
        ours || param.is_some_and(|param| !matches!(param.kind, Kind::Secret { .. }))
    };
    let word = |(arg, value): &(String, String)| match is_plain(arg) {
        true => format!("{arg}={value}"),
        false => format!("{arg}={HIDDEN}"),
    };
    let args = args.iter().map(word);
    std::iter::once(name.to_owned()).chain(args).collect()
}
