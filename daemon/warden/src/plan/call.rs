//! A request, checked against every bound. Pure but for reading sealed memory files.
//!
//! What the arguments of a named command mean is not looked at here: whether there is such a command
//! is for those to know who may use it.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Bytes, Effect, Purpose};
use remit_common::{builtin, caps};
use remit_common::{text, traceparent};
use remit_link::{Spec, SpecWhat, memfd};
use remit_policy::Ask;
use sha2::{Digest, Sha256};

/// The interpreter finds its script here; the sandbox puts it there.
const SCRIPT_PATH: &[u8] = b"/proc/self/fd/3";
const DEFAULT_INTERPRETER: &[u8] = b"sh";
const SCRIPT_IN_RECORD: usize = 8 << 10;

/// A request whose every byte was checked against the bounds.
#[derive(Debug)]
pub struct Call {
    pub(super) what: What,
    pub(super) purpose: Purpose,
    pub(super) cwd: CString,
    pub(super) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) script: Option<Sealed>,
    pub(super) stdin: Option<Sealed>,
    pub(super) held: usize,
    pub(super) profile: Option<String>,
    pub(super) runtime_s: Option<u32>,
    pub(super) request_id: Option<String>,
    pub(super) client: String,
    pub(super) traceparent: Option<String>,
    pub(super) content: [u8; 32],
}

/// What it asks for.
#[derive(Debug)]
pub(super) enum What {
    /// A program with its arguments; for a script the interpreter with the script's place.
    Program(Rc<[CString]>),
    /// A command by its name: one of our own or of the policy's, or none.
    Named {
        /// Its name.
        name: String,
        /// Names with values.
        args: Vec<(String, String)>,
    },
}

/// A sealed memory file of the warden's own, the SHA-256 of its bytes, and how they begin.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) fd: OwnedFd,
    pub(super) size: usize,
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
        check_purpose(&spec)?;
        let mut fds = fds.into_iter();
        let mut script = None;
        let mut gathered = false;
        let what = match spec.what {
            SpecWhat::Argv(argv) => program(argv.into_iter().map(Bytes::into_vec).collect())?,
            SpecWhat::Script { interpreter } => {
                script = Some(sealed(fds.next(), "script", caps::SCRIPT)?);
                let interpreter = interpreter.map_or(DEFAULT_INTERPRETER.to_vec(), Bytes::into_vec);
                program(vec![interpreter, SCRIPT_PATH.to_vec()])?
            }
            SpecWhat::Named { name, args } => {
                check_named(&name, &args)?;
                gathered = builtin::find(&name).is_ok();
                What::Named { name, args }
            }
        };
        remit_policy::check_env_count(spec.env.len())?;
        let stdin = match spec.stdin {
            true => Some(sealed(fds.next(), "stdin", caps::STDIN)?),
            false => None,
        };
        let cwd = spec.cwd.map_or(b"/".to_vec(), Bytes::into_vec);
        remit_policy::check_cwd(&cwd)?;
        let mut content = Sha256::new_with_prefix(&content_spec);
        // What one of our own commands is given is no part of the request: it differs each time.
        let given = stdin.as_ref().filter(|_| !gathered);
        [script.as_ref(), given]
            .into_iter()
            .flatten()
            .for_each(|part| content.update(part.sha256));
        let parts = [script.as_ref(), stdin.as_ref()].into_iter().flatten();
        let held = content_spec.len() + parts.map(|part| part.size).sum::<usize>();
        Ok(Self {
            held,
            what,
            purpose: spec.purpose,
            cwd: CString::new(cwd).map_err(|_| nul("cwd"))?,
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
            traceparent: traceparent::checked(spec.traceparent),
            content: content.finalize().into(),
        })
    }

    /// What policy is asked about it. The names must outlive the question.
    pub fn ask<'a>(&'a self, env_names: &'a [&'a [u8]]) -> Ask<'a> {
        let profile = self.profile.as_deref();
        match (&self.what, &self.purpose) {
            (_, Purpose::Try) => Ask::Try { profile, env_names },
            (What::Named { name, args }, Purpose::Use | Purpose::Change { .. }) => Ask::Command {
                name,
                effect: self.effect(),
                args,
            },
            (What::Program(argv), Purpose::Use | Purpose::Change { .. }) => Ask::Run {
                profile,
                argv0: argv.first().map_or(&[][..], |argv0| argv0.as_bytes()),
                env_names,
            },
        }
    }

    /// Names of the variables the caller wants.
    pub fn env_names(&self) -> Vec<&[u8]> {
        self.env.iter().map(|(name, _)| name.as_slice()).collect()
    }

    /// The named command that it is for, if it is for one.
    pub fn named(&self) -> Option<&str> {
        match &self.what {
            What::Program(_) => None,
            What::Named { name, .. } => Some(name),
        }
    }

    /// The arguments of the named command, as they were typed.
    pub fn args(&self) -> &[(String, String)] {
        match &self.what {
            What::Program(_) => &[],
            What::Named { args, .. } => args,
        }
    }

    /// Whether it asks to look or to change.
    pub fn effect(&self) -> Effect {
        match self.purpose {
            Purpose::Use | Purpose::Try => Effect::Read,
            Purpose::Change { .. } => Effect::Change,
        }
    }

    /// Why it is asked for, where it is a change.
    pub fn reason(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Change { reason } => Some(reason),
            Purpose::Use | Purpose::Try => None,
        }
    }

    /// The caller's id of the request, and a hash of all it asks for.
    pub fn request(&self) -> Option<(&str, [u8; 32])> {
        self.request_id.as_deref().map(|id| (id, self.content))
    }

    pub(super) fn script(&self) -> Option<BorrowedFd<'_>> {
        self.script.as_ref().map(|part| part.fd.as_fd())
    }

    pub(super) fn stdin(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(|part| part.fd.as_fd())
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

fn nul(name: &str) -> Refusal {
    Refusal::new(Code::InvalidArgs, format!("{name} holds a NUL byte")).object(name)
}

fn program(argv: Vec<Vec<u8>>) -> Result<What, Refusal> {
    remit_policy::check_argv(&argv)?;
    let argv: Result<Vec<_>, _> = argv.into_iter().map(CString::new).collect();
    Ok(What::Program(argv.map_err(|_| nul("argv"))?.into()))
}

/// Whether what is to be done goes with its purpose, and has nothing of the caller's that it cannot
/// have.
fn check_purpose(spec: &Spec) -> Result<(), Refusal> {
    let is_named = matches!(spec.what, SpecWhat::Named { .. });
    let is_try = matches!(spec.purpose, Purpose::Try);
    if let Purpose::Change { reason } = &spec.purpose {
        check_reason(reason)?;
        if !is_named {
            let text = "only a named command can change the host";
            return Err(Refusal::new(Code::InvalidArgs, text)
                .object("name")
                .next("`remit access`, or the tool access, lists the commands that you may use"));
        }
    }
    let object = match () {
        () if !is_named => return Ok(()),
        () if spec.cwd.is_some() => "cwd",
        () if !spec.env.is_empty() => "env",
        () if spec.profile.is_some() && !is_try => "profile",
        () => return Ok(()),
    };
    let text = format!("'{object}' does not go with a named command");
    Err(Refusal::new(Code::InvalidArgs, text)
        .object(object)
        .next("give its name and its arguments alone"))
}

fn check_reason(reason: &str) -> Result<(), Refusal> {
    let refuse = |code, why: String| Err(Refusal::new(code, why).object("reason"));
    if reason.trim().is_empty() {
        let why = "a change needs a reason: one sentence for those who read the record";
        return refuse(Code::InvalidArgs, why.into());
    }
    if reason.len() > caps::REASON {
        let (size, cap) = (reason.len(), caps::REASON);
        let why = format!("the reason has {size} bytes, at most {cap} are allowed");
        return refuse(Code::TooLarge, why);
    }
    Ok(())
}

/// The bounds that hold for the arguments of every command, also of one that does not exist.
fn check_named(name: &str, args: &[(String, String)]) -> Result<(), Refusal> {
    let refuse = |object: &str, why: String| {
        let text = format!("{why} are allowed");
        Err(Refusal::new(Code::TooLarge, text)
            .object(object)
            .next("access with the command's name tells its arguments"))
    };
    if name.len() > caps::NAME {
        let (size, cap) = (name.len(), caps::NAME);
        return refuse("name", format!("the name has {size} bytes, at most {cap}"));
    }
    if args.len() > caps::NAMED_ARGS {
        let (count, cap) = (args.len(), caps::NAMED_ARGS);
        return refuse("args", format!("{count} arguments, at most {cap}"));
    }
    for (name, value) in args {
        let longest = name.len().max(value.len());
        if longest > caps::NAMED_VALUE {
            let shown = text::line(name.as_bytes(), caps::NAME);
            let cap = caps::NAMED_VALUE;
            let why = format!("argument '{shown}' has {longest} bytes, at most {cap}");
            return refuse(&shown, why);
        }
    }
    Ok(())
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
    let size = memfd::check(&fd, cap).map_err(|error| refuse(error.to_string()))?;
    // Made by this process, of bytes that came: nobody else has ever held it, so no lease makes this open wait.
    // The job gets one that it can only read.
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
