//! Checks a request against all bounds. Pure, except that sealed memory files are read. The meaning of a command's
//! arguments is not checked here: only those who may use a command learn that it exists.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Bytes, Effect, Purpose};
use remit_common::{behalf::Behalf, builtin, caps, names::SetId, text, traceparent};
use remit_link::{Spec, SpecWhat, memfd};
use remit_plan::{Bundle, PlanPath};
use remit_policy::{CHANGE, CallerIds, Policy, RUN, Stdin};
use sha2::{Digest, Sha256};

use crate::audit::chain::hex;
use crate::request::{OwnPart, shadow::ShadowVerdict};

/// The sandbox puts the script at descriptor 3 for the interpreter.
const SCRIPT_PATH: &[u8] = b"/proc/self/fd/3";
const DEFAULT_INTERPRETER: &[u8] = b"sh";
const SCRIPT_IN_RECORD: usize = 8 << 10;

#[derive(Debug)]
pub struct Call {
    pub(super) what: What,
    pub(super) purpose: Purpose,
    pub(super) cwd: CString,
    pub(super) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) script: Option<Sealed>,
    pub(super) stdin: Option<Sealed>,
    pub held: usize,
    pub(super) profile: Option<String>,
    pub(super) runtime_s: Option<u32>,
    pub(super) request_id: Option<String>,
    pub(super) client: String,
    pub(super) traceparent: Option<String>,
    pub(super) set: Option<SetId>,
    pub(super) behalf: Option<Behalf>,
    pub(super) content: [u8; 32],
    /// Standard input of a command that takes a plan.
    pub(super) file_change: Option<Result<Bundle, String>>,
    /// Of that plan, in hexadecimal.
    pub(super) plan_digest: Option<String>,
    /// Of the commit that it undoes, all that it changed. Empty if that is not known.
    pub(super) undone: Vec<PlanPath>,
    /// Only the daemon sets it.
    pub(super) own: OwnPart,
    /// What the shadow policy says of it, if the policy in force says something else.
    pub shadow: Option<ShadowVerdict>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A program with its arguments. For a script: the interpreter and the script's path.
    Program(Rc<[CString]>),
    /// A command by its name: built-in, of the policy, or unknown.
    Named {
        name: String,
        args: Vec<(String, String)>,
    },
}

/// A sealed memory file that the daemon created, the SHA-256 of its bytes, and the first of them.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) fd: OwnedFd,
    pub(super) size: usize,
    pub(super) sha256: [u8; 32],
    pub(super) start: Vec<u8>,
}

impl Call {
    /// Checks a spec and its descriptors: the broker is not trusted. Errors: `invalid_args`, `too_large`, and the part.
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
        // `file_change::check` has the bound of commands that take no plan.
        let is_named = matches!(what, What::Named { .. });
        let most_stdin = if is_named { caps::BUNDLE } else { caps::STDIN };
        let stdin = spec.stdin.then(|| sealed(fds.next(), "stdin", most_stdin));
        let stdin = stdin.transpose()?;
        let cwd = spec.cwd.map_or(b"/".to_vec(), Bytes::into_vec);
        remit_policy::check_cwd(&cwd)?;
        let mut content = Sha256::new_with_prefix(&content_spec);
        // Standard input of a built-in command is not part of the hash, because it differs each time.
        let passed_stdin = stdin.as_ref().filter(|_| !gathered);
        [script.as_ref(), passed_stdin]
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
            set: spec.set,
            behalf: spec.behalf,
            content: content.finalize().into(),
            file_change: None,
            plan_digest: None,
            undone: Vec::new(),
            own: OwnPart::default(),
            shadow: None,
        })
    }

    /// Completes its arguments ([`Policy::complete`]). The content's hash stays that of what was sent.
    pub fn complete(&mut self, policy: &Policy, caller: CallerIds<'_>) {
        if let What::Named { name, args } = &mut self.what {
            policy.complete(caller, name, args);
        }
    }

    /// Decodes its plan, if its command takes one.
    pub fn decode_plan(&mut self, policy: &Policy) {
        let command = self.named().and_then(|name| policy.command(name));
        let takes_plan = command.is_some_and(|command| command.stdin == Stdin::Plan);
        if let Some(input) = self.stdin.as_ref().filter(|_| takes_plan) {
            let bundle = input
                .bytes()
                .map_err(|error| error.to_string())
                .and_then(|bytes| Bundle::decode(bytes).map_err(|error| error.to_string()));
            if let Ok(bundle) = &bundle {
                let entries = size_of_val(bundle.plan().entries());
                self.held += bundle.as_bytes().len() + entries;
                self.plan_digest = Some(hex(&bundle.plan().digest()));
            }
            self.file_change = Some(bundle);
        }
    }

    pub fn plan_digest(&self) -> Option<&str> {
        self.plan_digest.as_deref()
    }

    /// Returns the plan on its standard input, or why there is none.
    pub fn file_change(&self) -> Option<Result<&Bundle, &str>> {
        let decoded = self.file_change.as_ref()?;
        Some(decoded.as_ref().map_err(String::as_str))
    }

    pub fn env_names(&self) -> Vec<&[u8]> {
        self.env.iter().map(|(name, _)| name.as_slice()).collect()
    }

    pub fn named(&self) -> Option<&str> {
        match &self.what {
            What::Program(_) => None,
            What::Named { name, .. } => Some(name),
        }
    }

    pub fn name_in_rules(&self) -> &str {
        match (&self.what, self.effect()) {
            (What::Named { name, .. }, _) => name,
            (What::Program(_), Effect::Read) => RUN,
            (What::Program(_), Effect::Change) => CHANGE,
        }
    }

    pub fn args(&self) -> &[(String, String)] {
        match &self.what {
            What::Program(_) => &[],
            What::Named { args, .. } => args,
        }
    }

    /// Returns true if it asks for what the other one asks for, for whatever reason.
    pub fn is_same_change(&self, other: &Self) -> bool {
        let parts = |call: &Self| {
            [&call.script, &call.stdin].map(|part| part.as_ref().map(|part| part.sha256))
        };
        (&self.what, &self.cwd, &self.env, self.effect())
            == (&other.what, &other.cwd, &other.env, other.effect())
            && (&self.profile, self.runtime_s) == (&other.profile, other.runtime_s)
            && parts(self) == parts(other)
    }

    pub fn effect(&self) -> Effect {
        match self.purpose {
            Purpose::Use | Purpose::Try => Effect::Read,
            Purpose::Change { .. } => Effect::Change,
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Change { reason } => Some(reason),
            Purpose::Use | Purpose::Try => None,
        }
    }

    /// Returns the caller's request id, and a hash of everything that it asks for.
    pub fn request(&self) -> Option<(&str, [u8; 32])> {
        self.request_id.as_deref().map(|id| (id, self.content))
    }

    pub(super) fn script(&self) -> Option<BorrowedFd<'_>> {
        self.script.as_ref().map(|part| part.fd.as_fd())
    }

    pub fn has_stdin(&self) -> bool {
        self.stdin.is_some()
    }

    pub(super) fn stdin(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(|part| part.fd.as_fd())
    }
}

/// Input of the hash that compares two requests: all but the id, the client's name, the trace, the set and whom it is for.
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
    Refusal::new(Code::InvalidArgs, format!("{name} contains a NUL byte")).object(name)
}

fn program(argv: Vec<Vec<u8>>) -> Result<What, Refusal> {
    remit_policy::check_argv(&argv)?;
    let argv: Result<Vec<_>, _> = argv.into_iter().map(CString::new).collect();
    Ok(What::Program(argv.map_err(|_| nul("argv"))?.into()))
}

/// Needs a reason for a change. Allows a named command no cwd, no environment and, except for a try, no profile.
fn check_purpose(spec: &Spec) -> Result<(), Refusal> {
    let is_named = matches!(spec.what, SpecWhat::Named { .. });
    let is_try = matches!(spec.purpose, Purpose::Try);
    if let Purpose::Change { reason } = &spec.purpose {
        check_reason(reason)?;
    }
    let object = match () {
        () if !is_named => return Ok(()),
        () if spec.cwd.is_some() => "cwd",
        () if !spec.env.is_empty() => "env",
        () if spec.profile.is_some() && !is_try => "profile",
        () => return Ok(()),
    };
    let text = format!("'{object}' cannot be combined with a named command");
    Err(Refusal::new(Code::InvalidArgs, text)
        .object(object)
        .next("give only its name and its arguments"))
}

fn check_reason(reason: &str) -> Result<(), Refusal> {
    let refuse = |code, why: String| Err(Refusal::new(code, why).object("reason"));
    if reason.trim().is_empty() {
        let why = "a change needs a reason: one sentence for readers of the audit log";
        return refuse(Code::InvalidArgs, why.into());
    }
    if reason.len() > caps::REASON {
        let (size, cap) = (reason.len(), caps::REASON);
        let why = format!("the reason has {size} bytes, at most {cap} are allowed");
        return refuse(Code::TooLarge, why);
    }
    Ok(())
}

fn check_named(name: &str, args: &[(String, String)]) -> Result<(), Refusal> {
    let refuse = |object: &str, why: String| {
        let text = format!("{why} are allowed");
        Err(Refusal::new(Code::TooLarge, text)
            .object(object)
            .next("access with the command's name shows its arguments"))
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

impl Sealed {
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        File::from(self.fd.try_clone()?).read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

fn sealed(fd: Option<OwnedFd>, name: &str, cap: usize) -> Result<Sealed, Refusal> {
    let refuse = |why: String| {
        Refusal::new(
            Code::InvalidArgs,
            format!("the {name} cannot be used: {why}"),
        )
        .object(name)
    };
    let fd = fd.ok_or_else(|| refuse("it is missing".into()))?;
    let size = memfd::check(&fd, cap).map_err(|error| refuse(error.to_string()))?;
    // This process made the file from received bytes, so no lease delays this open. The job gets a read-only descriptor.
    let own = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let own = own.map_err(|error| refuse(error.to_string()))?;
    let mut bytes = vec![0; size];
    own.read_exact_at(&mut bytes, 0)
        .map_err(|error| refuse(error.to_string()))?;
    let sha256 = Sha256::digest(&bytes).into();
    let mut start = bytes;
    start.truncate(SCRIPT_IN_RECORD);
    start.shrink_to_fit();
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
