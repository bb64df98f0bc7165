//! What a request asks for, as every record about it tells: intent, end and refusal. Pure.

use remit_common::builtin::Builtin;
use remit_common::text;

use super::{COMMAND_LINE, Call, DEFAULT_PROFILE};
use crate::audit::Record;
use crate::audit::chain::hex;

/// A request in words. Never values of its environment, nor its standard input.
#[derive(Debug)]
pub struct Asked {
    command: String,
    named: Option<&'static str>,
    argv: String,
    cwd: Vec<u8>,
    profile: String,
    script: Option<(Vec<u8>, [u8; 32])>,
    stdin_sha256: Option<[u8; 32]>,
    request: Option<String>,
    client: String,
}

impl Asked {
    /// What runs, on one line.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Adds what names the program: for the records that belong to an intent.
    pub fn program(&self, record: Record) -> Record {
        record
            .maybe("COMMAND", self.named)
            .field("ARGV", &self.argv)
            .field("PROFILE", &self.profile)
    }

    /// Adds all of it.
    pub fn whole(&self, record: Record) -> Record {
        let script = self.script.as_ref();
        self.program(record)
            .field("CWD", &self.cwd)
            .maybe("SCRIPT", script.map(|(start, _)| start))
            .maybe("SCRIPT_SHA256", script.map(|(_, hash)| hex(hash)))
            .maybe("STDIN_SHA256", self.stdin_sha256.map(|hash| hex(&hash)))
            .maybe("REQUEST_ID", self.request.as_ref())
            .field("CLIENT", &self.client)
    }
}

impl From<&Call> for Asked {
    fn from(call: &Call) -> Self {
        let command = call.command();
        let argv = match call.named {
            // The command is what the caller wrote, the argv what is executed for it.
            Some(_) => text::command_line(&call.argv, COMMAND_LINE),
            None => command.clone(),
        };
        let profile = call.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
        Self {
            command,
            named: call.named.as_ref().map(Builtin::name),
            argv,
            cwd: call.cwd.clone(),
            profile: profile.to_owned(),
            script: call
                .script
                .as_ref()
                .map(|part| (part.start.clone(), part.sha256)),
            stdin_sha256: call.stdin.as_ref().map(|part| part.sha256),
            request: call.request_id.clone(),
            client: call.client.clone(),
        }
    }
}
