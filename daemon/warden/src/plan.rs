//! From a request to exactly what will be executed. Pure but for reading sealed memory files.

mod asked;
mod call;
mod record;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Purpose;
use remit_confine::Limits;
use remit_policy::{Basis, Grant, PATH_DIRS, Policy, Verdict, Who};

use crate::clock;
use crate::config::JobLimits;
use crate::peer::Subject;
use crate::uids::JobUid;

pub use asked::Asked;
pub use call::Call;
pub use record::who;

/// What a run without a profile means (remit-policy decides the same).
const DEFAULT_PROFILE: &str = "read";
/// Of an argv, on one line, for lists and records.
const COMMAND_LINE: usize = 4096;

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
    pub profile: String,
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
            profile: grant.profile().name.clone(),
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
        let asked = call::ask(&self.purpose, self.asked_profile.as_deref(), argv0, &names);
        let grant = match newer.decide(who, &asked) {
            Verdict::Allow(grant) => grant,
            Verdict::Ask(pending) => return Err(pending.into()),
            Verdict::Deny(denial) => return Err(denial.into()),
        };
        self.env = remit_policy::environment(&grant, &self.asked_env)?;
        self.profile.clone_from(&grant.profile().name);
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
        self.waited.map(clock::millis)
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
