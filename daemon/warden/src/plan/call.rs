//! A request, checked against every bound. Pure but for reading sealed memory files.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use remit_common::builtin::Builtin;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Bytes, Purpose};
use remit_link::{Spec, SpecWhat, memfd};
use remit_policy::Ask;
use sha2::{Digest, Sha256};

use super::COMMAND_LINE;
use crate::look;

/// The interpreter finds its script here; the sandbox puts it there.
const SCRIPT_PATH: &[u8] = b"/proc/self/fd/3";
const DEFAULT_INTERPRETER: &[u8] = b"sh";
/// Of a script, on one line, for lists; a record has more of it.
const SCRIPT_LINE: usize = 200;
const SCRIPT_IN_RECORD: usize = 8 << 10;

/// A request whose every byte was checked against the bounds.
#[derive(Debug)]
pub struct Call {
    pub(super) argv: Vec<Vec<u8>>,
    pub(super) named: Option<Builtin>,
    pub(super) purpose: Purpose,
    pub(super) cwd: Vec<u8>,
    pub(super) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) script: Option<Sealed>,
    pub(super) stdin: Option<Sealed>,
    pub(super) held: usize,
    pub(super) profile: Option<String>,
    pub(super) runtime_s: Option<u32>,
    pub(super) request_id: Option<String>,
    pub(super) client: String,
    pub(super) content: [u8; 32],
}

/// A sealed memory file, the SHA-256 of its bytes, and how they begin.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) fd: OwnedFd,
    size: usize,
    pub(super) sha256: [u8; 32],
    pub(super) start: Vec<u8>,
}

impl Call {
    /// Checks a spec and the descriptors beside it. The broker checked them too; it is not believed.
    ///
    /// # Errors
    /// `invalid_args` or `too_large`, naming the part.
    pub fn new(spec: Spec, fds: Vec<OwnedFd>) -> Result<Self, Refusal> {
        let content_spec = postcard::to_extend(&Keyed::of(&spec), Vec::new()).unwrap_or_default();
        if let Purpose::Change { .. } = spec.purpose {
            let text = "there is no command of the effect 'change'";
            return Err(Refusal::new(Code::NotFound, text));
        }
        let mut fds = fds.into_iter();
        let (mut script, mut named) = (None, None);
        let argv = match spec.what {
            SpecWhat::Argv(argv) => argv.into_iter().map(Bytes::into_vec).collect(),
            SpecWhat::Script { interpreter } => {
                script = Some(sealed(fds.next(), "script", caps::SCRIPT)?);
                let interpreter = interpreter.map_or(DEFAULT_INTERPRETER.to_vec(), Bytes::into_vec);
                vec![interpreter, SCRIPT_PATH.to_vec()]
            }
            SpecWhat::Named { name, args } => {
                alone(&spec.cwd, &spec.env)?;
                let builtin = Builtin::parse(&name, &args)?;
                let argv = look::argv(&builtin)?;
                named = Some(builtin);
                argv
            }
        };
        remit_policy::check_argv(&argv)?;
        remit_policy::check_env_count(spec.env.len())?;
        let stdin = match spec.stdin {
            true => Some(sealed(fds.next(), "stdin", caps::STDIN)?),
            false => None,
        };
        let cwd = spec.cwd.map_or(b"/".to_vec(), Bytes::into_vec);
        remit_policy::check_cwd(&cwd)?;
        let mut content = Sha256::new_with_prefix(&content_spec);
        // What a named command is given is no part of the request: it differs each time.
        let given = stdin.as_ref().filter(|_| named.is_none());
        [script.as_ref(), given]
            .into_iter()
            .flatten()
            .for_each(|part| content.update(part.sha256));
        let parts = [script.as_ref(), stdin.as_ref()].into_iter().flatten();
        let held = content_spec.len() + parts.map(|part| part.size).sum::<usize>();
        Ok(Self {
            held,
            argv,
            named,
            purpose: spec.purpose,
            cwd,
            env: spec
                .env
                .into_iter()
                .map(|(n, v)| (n.into_vec(), v.into_vec()))
                .collect(),
            script,
            stdin,
            profile: spec.profile,
            runtime_s: spec.max_runtime_s,
            request_id: bounded("request_id", spec.request_id, caps::REQUEST_ID)?,
            client: text::line(spec.client.as_bytes(), caps::CLIENT_NAME),
            content: content.finalize().into(),
        })
    }

    /// What policy is asked about it. The names must outlive the question.
    pub fn ask<'a>(&'a self, env_names: &'a [&'a [u8]]) -> Ask<'a> {
        let argv0 = self.argv.first().map_or(&[][..], Vec::as_slice);
        ask(&self.purpose, self.profile.as_deref(), argv0, env_names)
    }

    /// Names of the variables the caller wants.
    pub fn env_names(&self) -> Vec<&[u8]> {
        self.env.iter().map(|(name, _)| name.as_slice()).collect()
    }

    /// The caller's id of the request, and a hash of all it asks for.
    pub fn request(&self) -> Option<(&str, [u8; 32])> {
        self.request_id.as_deref().map(|id| (id, self.content))
    }

    /// What runs, on one line: the named command, the argv, or the interpreter and how the script
    /// begins.
    pub fn command(&self) -> String {
        if let Some(named) = &self.named {
            return text::command_line(&named.words(), COMMAND_LINE);
        }
        match (&self.script, self.argv.first()) {
            (Some(script), Some(interpreter)) => format!(
                "{} script: {}",
                text::line(interpreter, SCRIPT_LINE),
                text::line(script.start.trim_ascii(), SCRIPT_LINE)
            ),
            _ => text::command_line(&self.argv, COMMAND_LINE),
        }
    }
}

/// The question that policy is asked.
pub(super) fn ask<'a>(
    purpose: &Purpose,
    profile: Option<&'a str>,
    argv0: &'a [u8],
    env_names: &'a [&'a [u8]],
) -> Ask<'a> {
    match purpose {
        Purpose::Use | Purpose::Change { .. } => Ask::Run {
            profile,
            argv0,
            env_names,
        },
        Purpose::Try => Ask::Try { profile, env_names },
    }
}

/// What makes two requests the same: everything but the id itself and the client's name.
#[derive(serde::Serialize)]
struct Keyed<'a> {
    what: &'a SpecWhat,
    cwd: &'a Option<Bytes>,
    env: &'a [(Bytes, Bytes)],
    stdin: bool,
    profile: &'a Option<String>,
    max_runtime_s: Option<u32>,
    purpose: &'a Purpose,
}

impl<'a> Keyed<'a> {
    fn of(spec: &'a Spec) -> Self {
        Self {
            what: &spec.what,
            cwd: &spec.cwd,
            env: &spec.env,
            stdin: spec.stdin,
            profile: &spec.profile,
            max_runtime_s: spec.max_runtime_s,
            purpose: &spec.purpose,
        }
    }
}

/// A named command has its own arguments and nothing else of the caller's.
fn alone(cwd: &Option<Bytes>, env: &[(Bytes, Bytes)]) -> Result<(), Refusal> {
    let object = match (cwd, env) {
        (None, []) => return Ok(()),
        (Some(_), _) => "cwd",
        (None, _) => "env",
    };
    let text = format!("'{object}' does not go with a named command");
    Err(Refusal::new(Code::InvalidArgs, text).object(object))
}

fn sealed(fd: Option<OwnedFd>, name: &str, cap: usize) -> Result<Sealed, Refusal> {
    let refuse = |why: String| {
        Refusal::new(
            Code::InvalidArgs,
            format!("the {name} cannot be used: {why}"),
        )
        .object(name)
    };
    let fd = fd.ok_or_else(|| refuse("it did not come along".into()))?;
    // Checked before it is opened: to open what is no memory file might wait.
    let size = memfd::check(&fd, cap).map_err(|error| refuse(error.to_string()))?;
    // The broker shares the offset of what it sent: the job gets an open file of its own,
    // and reads from the start whatever the broker does meanwhile.
    let own = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let own = own.map_err(|error| refuse(error.to_string()))?;
    let mut bytes = vec![0; size];
    own.read_exact_at(&mut bytes, 0)
        .map_err(|error| refuse(error.to_string()))?;
    let sha256 = Sha256::digest(&bytes).into();
    let mut start = bytes;
    start.truncate(SCRIPT_IN_RECORD);
    Ok(Sealed {
        fd: own.into(),
        size,
        sha256,
        start,
    })
}

fn bounded(name: &str, text: Option<String>, cap: usize) -> Result<Option<String>, Refusal> {
    match text {
        Some(text) if text.len() > cap => Err(Refusal::new(
            Code::TooLarge,
            format!("{name} has {} bytes, at most {cap} are allowed", text.len()),
        )
        .object(name)),
        Some(text) if text.is_empty() => {
            Err(Refusal::new(Code::InvalidArgs, format!("{name} is empty")).object(name))
        }
        other => Ok(other),
    }
}
