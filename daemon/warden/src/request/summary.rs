//! A request as text and fields for its audit records: intent, end and refusal. Pure.

use std::ffi::{CStr, CString};

use remit_common::behalf::Behalf;
use remit_common::builtin;
use remit_common::names::{JobId, SetId};
use remit_common::text;
use remit_common::wire::{Effect, Purpose};
use remit_policy::{Command, ParamKind};
use sha2::{Digest, Sha256};

use super::COMMAND_LINE;
use crate::audit::Record;
use crate::audit::chain::hex;
use crate::request::arguments::HIDDEN;
use crate::request::shadow::ShadowVerdict;
use crate::request::validated::{Call, What};

/// The profiles of a run and of a one-off change that name none. remit-policy decides the same.
const OF_RUN: &str = "read";
const OF_CHANGE: &str = "host";
/// Bytes of a script on one line of a list. A record has more of it.
const SCRIPT_LINE: usize = 200;

impl Call {
    /// Returns a hash of the command's name and its arguments.
    pub fn command_hash(&self) -> [u8; 32] {
        let mut args: Vec<&(String, String)> = self.args().iter().collect();
        args.sort();
        let mut hash = Sha256::new();
        let words = args
            .into_iter()
            .flat_map(|(name, value)| [name.as_str(), value]);
        for word in self.named().into_iter().chain(words) {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word);
        }
        hash.finalize().into()
    }
}

/// A request as text. Never contains values of the environment, standard input or secrets.
#[derive(Debug)]
pub struct RequestSummary {
    command: String,
    named: Option<String>,
    /// Number of arguments, without the command itself.
    arguments: usize,
    argv: String,
    /// SHA-256 and length of all arguments, if `argv` is not exactly these bytes.
    whole: Option<([u8; 32], usize)>,
    cwd: Vec<u8>,
    /// Names of the caller's variables on one line, if there are any.
    env: Option<String>,
    is_try: bool,
    profile: Option<String>,
    effect: Effect,
    reason: Option<String>,
    script: Option<(Vec<u8>, [u8; 32])>,
    stdin_sha256: Option<[u8; 32]>,
    request: Option<String>,
    client: String,
    /// The job of the commit that it follows. A client cannot claim it.
    follows: Option<JobId>,
    traceparent: Option<String>,
    set: Option<SetId>,
    behalf: Option<Behalf>,
    pub shadow: Option<ShadowVerdict>,
}

impl RequestSummary {
    /// Returns true for `remit try`. Only root's are allowed.
    pub const fn is_try(&self) -> bool {
        self.is_try
    }

    /// Describes a request before the policy decides. `command`: its definition in the current policy, if any.
    pub fn new(call: &Call, command: Option<&Command>) -> Self {
        let (line, profile) = match &call.what {
            What::Program(argv) => (program_line(call, argv), call.profile.as_deref()),
            What::Named { name, args } => {
                let line = text::command_line(&redacted_words(name, args, command), COMMAND_LINE);
                (line, None)
            }
        };
        let default = match (&call.what, &call.purpose) {
            (What::Program(_), Purpose::Use | Purpose::Try) => Some(OF_RUN),
            (What::Program(_), Purpose::Change { .. }) => Some(OF_CHANGE),
            (What::Named { .. }, _) => None,
        };
        Self {
            argv: line.clone(),
            whole: match &call.what {
                // A script has its own hash. A hash of a named command would let readers guess its hidden values.
                What::Program(argv) if call.script.is_none() => whole(argv, &line),
                What::Program(_) | What::Named { .. } => None,
            },
            command: line,
            named: call
                .named()
                .map(|name| text::line(name.as_bytes(), COMMAND_LINE)),
            arguments: match &call.what {
                What::Program(argv) => argv.len().saturating_sub(1),
                What::Named { args, .. } => args.len(),
            },
            cwd: call.cwd.as_bytes().to_vec(),
            env: match call.env_names().as_slice() {
                [] => None,
                names => Some(text::command_line(names, COMMAND_LINE)),
            },
            is_try: matches!(call.purpose, Purpose::Try),
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
            follows: call.own.follows,
            traceparent: call.traceparent.clone(),
            set: call.set,
            behalf: call.behalf.clone(),
            shadow: call.shadow.clone(),
        }
    }

    /// Describes a request that is bound to a rule. `words`: a named command without secrets.
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
            // `command` is what the caller wrote. `argv` is what is executed for it.
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

    pub fn command(&self) -> &str {
        &self.command
    }

    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Returns the command's name and the number of its arguments, and nothing of what they or a script say.
    pub fn gist(&self) -> String {
        let count = match self.arguments {
            1 => "1 argument".to_owned(),
            count => format!("{count} arguments"),
        };
        match (&self.named, &self.script) {
            (Some(name), _) => format!("{name} ({count})"),
            (None, Some(_)) => "a script".to_owned(),
            (None, None) => format!("a program ({count})"),
        }
    }

    pub fn client(&self) -> &str {
        &self.client
    }

    pub fn follows(&self) -> Option<JobId> {
        self.follows
    }

    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    pub fn set(&self) -> Option<SetId> {
        self.set
    }

    pub fn behalf(&self) -> Option<&Behalf> {
        self.behalf.as_ref()
    }

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
            .maybe("FOLLOWS", self.follows.map(|job| job.to_string()))
            .maybe("BEHALF", self.behalf.as_ref().map(Behalf::as_str))
            .maybe("TRACEPARENT", self.traceparent.as_ref())
    }

    pub fn whole(&self, record: Record) -> Record {
        let script = self.script.as_ref();
        let record = self
            .program(record)
            .maybe("REASON", self.reason.as_ref())
            .field("CWD", &self.cwd)
            .maybe("ENV", self.env.as_ref())
            .maybe("TRY", self.is_try.then_some("yes"))
            .maybe("SCRIPT", script.map(|(start, _)| start))
            .maybe("SCRIPT_SHA256", script.map(|(_, hash)| hex(hash)))
            .maybe("STDIN_SHA256", self.stdin_sha256.map(|hash| hex(&hash)))
            .maybe("REQUEST_ID", self.request.as_ref())
            .maybe("SET", self.set.map(|set| set.to_string()));
        match &self.shadow {
            Some(shadow) => shadow.add_to(record),
            None => record,
        }
    }
}

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

/// Returns hash and length of all arguments, each with a NUL after it, if `line` is truncated or has escapes.
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

/// Shows a value only if it is known not to be secret: by the definition, or in a built-in command.
fn redacted_words(name: &str, args: &[(String, String)], command: Option<&Command>) -> Vec<String> {
    let is_builtin = builtin::find(name).is_ok();
    let is_plain = |arg: &str| {
        let param = command.and_then(|c| c.params.iter().find(|param| param.name == arg));
        is_builtin || param.is_some_and(|param| !matches!(param.kind, ParamKind::Secret { .. }))
    };
    let word = |(arg, value): &(String, String)| match is_plain(arg) {
        true => format!("{arg}={value}"),
        false => format!("{arg}={HIDDEN}"),
    };
    let args = args.iter().map(word);
    std::iter::once(name.to_owned()).chain(args).collect()
}
