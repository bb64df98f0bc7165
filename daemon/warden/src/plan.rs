//! From a request to exactly what will be executed. Pure but for reading sealed memory files.

mod asked;
mod record;

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Duration;

use remit_common::builtin::Builtin;
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Bytes, Purpose};
use remit_confine::Limits;
use remit_link::{Spec, SpecWhat, memfd};
use remit_policy::{Ask, Basis, Grant, PATH_DIRS, Policy, Verdict, Who};
use sha2::{Digest, Sha256};

use crate::config::JobLimits;
use crate::look;
use crate::peer::Subject;
use crate::uids::JobUid;

pub use asked::Asked;
pub use record::who;

/// The interpreter finds its script here; the sandbox puts it there.
const SCRIPT_PATH: &[u8] = b"/proc/self/fd/3";
/// What a run without a profile means (remit-policy decides the same).
const DEFAULT_PROFILE: &str = "read";
const DEFAULT_INTERPRETER: &[u8] = b"sh";
/// Of an argv, on one line, for lists and records.
const COMMAND_LINE: usize = 4096;
/// Of a script, on one line, for lists; a record has more of it.
const SCRIPT_LINE: usize = 200;
const SCRIPT_IN_RECORD: usize = 8 << 10;

/// A request whose every byte was checked against the bounds.
#[derive(Debug)]
pub struct Call {
    argv: Vec<Vec<u8>>,
    named: Option<Builtin>,
    purpose: Purpose,
    cwd: Vec<u8>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    script: Option<Sealed>,
    stdin: Option<Sealed>,
    held: usize,
    profile: Option<String>,
    runtime_s: Option<u32>,
    request_id: Option<String>,
    client: String,
    content: [u8; 32],
}

/// A sealed memory file, the SHA-256 of its bytes, and how they begin.
#[derive(Debug)]
struct Sealed {
    fd: OwnedFd,
    size: usize,
    sha256: [u8; 32],
    start: Vec<u8>,
}

impl Call {
    /// Checks a spec and the descriptors beside it. The broker checked them too; it is not believed.
    ///
    /// # Errors
    /// `invalid_args` or `too_large`, naming the part.
    pub fn new(spec: Spec, fds: Vec<OwnedFd>) -> Result<Self, Refusal> {
        let content_spec = postcard::to_extend(&Keyed::of(&spec), Vec::new()).unwrap_or_default();
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
        ask(self.purpose, self.profile.as_deref(), argv0, env_names)
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

fn ask<'a>(
    purpose: Purpose,
    profile: Option<&'a str>,
    argv0: &'a [u8],
    env_names: &'a [&'a [u8]],
) -> Ask<'a> {
    match purpose {
        Purpose::Use => Ask::Run {
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
    purpose: Purpose,
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
            purpose: spec.purpose,
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

/// Who asked, and through what.
#[derive(Debug)]
pub struct Requester {
    /// The identity.
    pub subject: Subject,
    /// Its session.
    pub session: u64,
    /// Where the answer goes.
    pub ticket: u64,
}

/// What every new job has of its own.
#[derive(Debug)]
pub struct NewJob {
    /// Its id.
    pub job: JobId,
    /// Its place in the order of all jobs.
    pub number: u64,
    /// The uid that it alone has.
    pub uid: JobUid,
}

/// All that an exec needs, decided. Nothing of it comes from the caller's process.
#[derive(Debug)]
pub struct Plan {
    /// The job's id.
    pub job: JobId,
    /// Its place in the order of all jobs, also over restarts.
    pub number: u64,
    /// The uid that it alone has.
    pub uid: JobUid,
    /// For whom.
    pub requester: Requester,
    /// The program and its arguments.
    pub argv: Vec<CString>,
    /// Where a program without a slash is looked up.
    pub path: Vec<CString>,
    /// The whole environment.
    pub env: Vec<CString>,
    /// The working directory.
    pub cwd: CString,
    /// The script, which becomes descriptor 3.
    pub script: Option<OwnedFd>,
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// What the job may use.
    pub limits: Limits,
    /// When it ends at the latest, in seconds.
    pub runtime_s: u32,
    /// The profile's name.
    pub profile: &'static str,
    /// The caller's request id with the content's hash.
    pub request: Option<(String, [u8; 32])>,
    /// In words.
    pub asked: Rc<Asked>,
    /// How long it waited for a place.
    pub waited: Option<Duration>,
    /// Bytes it holds while it waits.
    pub held: usize,
    purpose: Purpose,
    asked_profile: Option<String>,
    asked_env: Vec<(Vec<u8>, Vec<u8>)>,
    basis: Basis,
    policy: String,
}

impl Plan {
    /// Puts together what was asked and what was granted.
    ///
    /// # Errors
    /// A variable that the grant does not list, a runtime over the limit.
    pub fn new(
        (call, asked): (Call, Rc<Asked>),
        grant: &Grant,
        requester: Requester,
        policy: &str,
        config: &JobLimits,
        NewJob { job, number, uid }: NewJob,
    ) -> Result<Self, (JobUid, Refusal)> {
        let runtime_s = call.runtime_s.unwrap_or(config.runtime_s);
        let (env, argv, cwd) = match parts(&call, grant, runtime_s, config) {
            Ok(parts) => parts,
            Err(refusal) => return Err((uid, refusal)),
        };
        Ok(Self {
            job,
            number,
            uid,
            requester,
            argv,
            path: PATH_DIRS
                .iter()
                .filter_map(|dir| CString::new(*dir).ok())
                .collect(),
            env,
            cwd,
            limits: config.limits(),
            runtime_s,
            profile: grant.profile().name(),
            asked,
            request: call.request().map(|(id, content)| (id.to_owned(), content)),
            basis: grant.basis().clone(),
            policy: policy.to_owned(),
            waited: None,
            held: call.held,
            purpose: call.purpose,
            asked_profile: call.profile,
            asked_env: call.env,
            script: call.script.map(|part| part.fd),
            stdin: call.stdin.map(|part| part.fd),
        })
    }

    /// What the policy `newer` is asked about it, which came while it waited.
    ///
    /// # Errors
    /// What [`Self::new`] refuses, or the policy itself.
    pub fn grant_anew(
        &mut self,
        newer: &Policy,
        digest: &str,
        who: Who<'_>,
    ) -> Result<(), Refusal> {
        let names: Vec<&[u8]> = self.asked_env.iter().map(|(n, _)| n.as_slice()).collect();
        let argv0 = self.argv.first().map_or(&[][..], |argv0| argv0.as_bytes());
        let asked = ask(self.purpose, self.asked_profile.as_deref(), argv0, &names);
        let grant = match newer.decide(who, &asked) {
            Verdict::Allow(grant) => grant,
            Verdict::Deny(denial) => return Err(denial.into()),
        };
        self.env = remit_policy::environment(&grant, &self.asked_env)?;
        self.profile = grant.profile().name();
        self.basis = grant.basis().clone();
        self.policy = digest.to_owned();
        Ok(())
    }

    /// Digest of the policy that granted it.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// What runs, on one line.
    pub fn command(&self) -> &str {
        self.asked.command()
    }

    /// How long it waited for a place, where it did.
    pub fn waited_ms(&self) -> Option<u64> {
        let millis = |waited: Duration| u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        self.waited.map(millis)
    }
}

type Parts = (Vec<CString>, Vec<CString>, CString);

fn parts(call: &Call, grant: &Grant, runtime_s: u32, config: &JobLimits) -> Result<Parts, Refusal> {
    if runtime_s == 0 || runtime_s > config.max_runtime_s {
        let max = config.max_runtime_s;
        let text = format!("max_runtime_s is {runtime_s}, it must be 1 to {max}");
        return Err(Refusal::new(Code::InvalidArgs, text).object("max_runtime_s"));
    }
    let nul = |name: &str| {
        Refusal::new(Code::InvalidArgs, format!("{name} holds a NUL byte")).object(name)
    };
    let env = remit_policy::environment(grant, &call.env)?;
    let argv = call.argv.iter().map(|arg| CString::new(arg.as_slice()));
    let argv = argv.collect::<Result<_, _>>().map_err(|_| nul("argv"))?;
    let cwd = CString::new(call.cwd.as_slice()).map_err(|_| nul("cwd"))?;
    Ok((env, argv, cwd))
}
