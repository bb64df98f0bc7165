//! Turns a request into exactly what will be executed. Pure, except for reads of sealed memory files.

mod ask;
mod bound;
mod record;
mod runtime;

use std::ffi::CString;
use std::ops::{Deref, DerefMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_common::wire::{Bytes, Purpose};
use remit_link::{JobMeta, Spec, SpecWhat};
use remit_policy::{Act, Approval, Basis, Command, CommitUse, Grant, PATH_DIRS};
use remit_spawn::{KeptView, Measured};

use crate::approval::AsFound;
use crate::approval::accepted::SignedBefore;
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::job::allocation::JobUid;
use crate::job::life::Life;
use crate::job::pack::PackSocket;
use crate::sandbox::PreforkedJob;
use crate::state_dir::ledger::EndDecision;

pub use crate::request::arguments::{ArgumentSlot, Passed, SlotWhat};
pub use crate::request::full_view::Whole;
pub use crate::request::shadow::ShadowVerdict;
pub use crate::request::summary::{RequestSummary, args};
pub use crate::request::validated::Call;
pub use bound::{BoundAct, BoundCall, PolicyContext};
pub use record::{with_groups, with_requester, with_subject};

/// The word of remit-commit with which an undo leaves what others have changed.
pub const PARTLY: &str = "--partly";
/// Bytes of an argv on one line, for lists and records.
const COMMAND_LINE: usize = 4096;

#[derive(Debug)]
pub struct Requester {
    pub subject: Subject,
    pub session: u64,
    pub ticket: u64,
}

impl Requester {
    /// The daemon itself. No client has this session and ticket.
    pub fn daemon() -> Self {
        Self {
            subject: Subject::daemon(),
            session: 0,
            ticket: 0,
        }
    }
}

/// What no client can say of a call.
#[derive(Debug, Default)]
pub struct OwnPart {
    /// Further words of a command of remit-commit.
    pub words: Vec<String>,
    /// The job of the commit or undo that it follows.
    pub follows: Option<JobId>,
}

impl Call {
    /// A command that the daemon starts itself. `input` is a sealed memory file.
    pub fn own(
        name: String,
        args: Vec<(String, String)>,
        purpose: Purpose,
        input: Option<OwnedFd>,
    ) -> Result<Self, Refusal> {
        Self::of_daemon((name, args), purpose, input, "remitd".to_owned())
    }

    /// The same call of remit-commit, with words that only the daemon adds.
    #[must_use]
    pub fn with_words(mut self, words: Vec<String>) -> Self {
        self.own.words = words;
        self
    }

    /// Returns true if the daemon has it leave what others have changed.
    pub fn is_partial_undo(&self) -> bool {
        self.own.words.iter().any(|word| word == PARTLY)
    }

    /// Returns true if it follows a commit or an undo.
    pub const fn follows_commit(&self) -> bool {
        self.own.follows.is_some()
    }

    /// A command that follows a commit, or an undo by the daemon. `follows`: the job of either, once it is known.
    pub fn following(act: &Act, purpose: Purpose, follows: Option<JobId>) -> Result<Self, Refusal> {
        let named = (act.command.name.clone(), act.args.clone());
        let client = follows.map(|job| format!("remitd, after job {}", job.short()));
        let mut call = Self::of_daemon(named, purpose, None, client.unwrap_or_default())?;
        call.own.follows = follows;
        Ok(call)
    }

    fn of_daemon(
        (name, args): (String, Vec<(String, String)>),
        purpose: Purpose,
        input: Option<OwnedFd>,
        client: String,
    ) -> Result<Self, Refusal> {
        let spec = Spec {
            traceparent: None,
            set: None,
            behalf: None,
            what: SpecWhat::Named { name, args },
            cwd: None,
            env: Vec::new(),
            stdin: input.is_some(),
            profile: None,
            max_runtime_s: None,
            request_id: None,
            client,
            purpose,
        };
        Self::new(spec, input.into_iter().collect())
    }
}

#[derive(Debug)]
pub struct NewJob {
    pub job: JobId,
    pub number: u64,
    pub uid: JobUid,
    pub ready: Option<PreforkedJob>,
}

/// Everything that an exec needs, except the right to do it. Nothing of it comes from the caller's process.
#[derive(Debug)]
pub struct Draft {
    pub job: JobId,
    pub life: Life,
    /// Number in the order of all jobs, also across restarts.
    pub number: u64,
    /// Unique to this job, even if its program runs as another user.
    pub uid: JobUid,
    /// What was prepared in advance: used by the start, or destroyed with a draft that never starts.
    pub ready: Option<PreforkedJob>,
    pub requester: Requester,
    /// Directories in which a program without a slash is looked up.
    pub path: Vec<CString>,
    pub bound: BoundCall,
    /// The caller's request id, and the hash of the content.
    pub request: Option<(String, [u8; 32])>,
    pub waited: Option<Duration>,
    /// Bytes that the draft holds while it waits.
    pub held: usize,
    /// The copy of the machine that it reads, from its start.
    pub kept: Option<Rc<KeptView>>,
    /// Where it gives the contents of its plan.
    pub pack: Option<PackSocket>,
    call: Call,
}

/// A draft with the right to execute it.
#[derive(Debug)]
pub struct Plan {
    draft: Draft,
    grant: Grant,
    pub approved: Option<Approved>,
    /// The approval of the commit that it follows.
    pub follows: Option<ApprovedBy>,
}

/// The people that have approved a request, and what its rules ask for.
#[derive(Clone, Debug)]
pub struct ApprovedBy {
    /// As many different people as its rules ask for.
    pub people: Vec<Subject>,
    /// Those of them who have signed it.
    pub signed: Vec<SignedBefore>,
    pub asked: Approval,
}

/// What was approved. It is checked again just before the exec.
#[derive(Clone, Debug)]
pub struct Approved {
    pub by: ApprovedBy,
    /// SHA-256 of all that runs.
    pub digest: [u8; 32],
    /// Latest start, as time since boot (CLOCK_BOOTTIME).
    pub deadline: Duration,
    /// The program and other files to compare just before the exec, as approved.
    pub files: Vec<Measured>,
    /// All findings about files at the time of the request.
    pub found: AsFound,
}

impl Deref for Plan {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

impl DerefMut for Plan {
    fn deref_mut(&mut self) -> &mut Draft {
        &mut self.draft
    }
}

impl Plan {
    pub fn basis(&self) -> &Basis {
        self.grant.basis()
    }

    pub fn definition(&self) -> Option<&Command> {
        self.grant.command().map(AsRef::as_ref)
    }

    pub fn commit_use(&self) -> Option<CommitUse> {
        self.grant.command()?.commit_use()
    }

    /// Returns the id of the commit that it makes. `None` if it makes none.
    pub fn committed(&self) -> Option<String> {
        let is_commit = self.commit_use() == Some(CommitUse::Commit);
        let bundle = self.draft.call.file_change()?.ok();
        Some(bundle.filter(|_| is_commit)?.plan().commit_id())
    }

    /// Returns false for what the broker does not end by a claim about its output: jobs of the daemon, and what finishes or
    /// takes back changes of files. Both print a few lines.
    pub fn may_be_over_limit(&self) -> bool {
        !self.basis().is_of_daemon() && self.commit_use().is_none()
    }

    /// Returns whether remitd itself takes back changes of files by it: a recovery, an undo of what nobody confirmed, or a
    /// command that follows that undo. No administrator ends it: the requester may be one.
    pub fn is_automatic_undo(&self) -> bool {
        matches!(self.basis(), Basis::Recovery | Basis::Unconfirmed)
    }

    /// Binds the plan again, to the policy in force. Fails if the arguments do not fit the command as it is now.
    pub fn rebind(&mut self, grant: Grant, setting: &PolicyContext<'_>) -> Result<(), Refusal> {
        self.draft.bound = BoundCall::new(&self.draft.call, grant.terms(), setting)?;
        self.grant = grant;
        Ok(())
    }

    /// Returns what its rules ask for, of a plan that people have approved or that a temporary grant covers.
    pub fn asked_approval(&self) -> Option<&Approval> {
        if let Basis::TemporaryGrant { approval, .. } = self.basis() {
            return Some(approval);
        }
        self.approved.as_ref().map(|approved| &approved.by.asked)
    }

    pub fn decision(&self) -> Option<EndDecision> {
        let digest = self.approved.as_ref()?.digest;
        Some(EndDecision { digest, by: None })
    }

    /// Returns whether the approval has expired.
    pub fn is_late(&self, now: Duration) -> bool {
        let approved = self.approved.as_ref();
        approved.is_some_and(|approved| approved.deadline <= now)
    }

    pub fn into_draft(self) -> Draft {
        self.draft
    }
}

impl Draft {
    /// Adds the right to execute, by a rule or by an approval of exactly this draft.
    pub fn granted(self, grant: Grant, approved: Option<Approved>) -> Plan {
        Plan {
            draft: self,
            grant,
            approved,
            follows: None,
        }
    }

    pub fn new(call: Call, bound: BoundCall, requester: Requester, new: NewJob) -> Self {
        let NewJob {
            job,
            number,
            uid,
            ready,
        } = new;
        let path = PATH_DIRS.iter().filter_map(|dir| CString::new(*dir).ok());
        Self {
            job,
            life: Life::new(),
            number,
            uid,
            ready,
            requester,
            path: path.collect(),
            bound,
            request: call.request().map(|(id, content)| (id.to_owned(), content)),
            waited: None,
            held: call.held,
            kept: None,
            pack: None,
            call,
        }
    }

    /// Returns the metadata of a job that neither waits nor has ended.
    pub fn meta(&self, started_ms: u64, since: Instant) -> JobMeta {
        JobMeta {
            has_secrets: self.bound.has_secrets(),
            may_change: !matches!(self.call.purpose, Purpose::Use),
            job: self.job,
            owner: self.requester.subject.owner(),
            command: self.command().to_owned(),
            waiting: None,
            number: self.number,
            started_ms,
            age_ms: timers::millis(since.elapsed()),
            waited_ms: 0,
            enforced: None,
            ending: None,
            then: Vec::new(),
            is_unread: false,
        }
    }

    /// The original call, for a policy that came into force during the wait.
    pub fn call(&self) -> &Call {
        &self.call
    }

    pub fn policy(&self) -> &str {
        &self.bound.policy
    }

    pub fn asked(&self) -> &Rc<RequestSummary> {
        &self.bound.asked
    }

    pub fn command(&self) -> &str {
        self.bound.asked.command()
    }

    /// Values that the broker must redact in shown output. The broker keeps them only in memory.
    pub fn secrets(&self) -> Vec<Bytes> {
        let secrets = self.bound.secrets();
        secrets.map(|value| Bytes::from(value.to_vec())).collect()
    }

    /// The script, passed as descriptor 3.
    pub fn script(&self) -> Option<BorrowedFd<'_>> {
        self.call.script()
    }

    /// Standard input, unless it is a secret.
    pub fn stdin(&self) -> Option<BorrowedFd<'_>> {
        self.call.stdin()
    }

    pub fn waited_ms(&self) -> Option<u64> {
        self.waited.map(timers::millis)
    }
}

pub(crate) mod access;
pub(crate) mod arguments;
pub(crate) mod copies;
pub(crate) mod file_change;
#[cfg(test)]
pub mod fixture;
pub(crate) mod full_view;
mod laid;
mod shadow;
pub(crate) mod staged;
pub(crate) mod summary;
#[cfg(test)]
mod tests;
pub(crate) mod upload;
pub(crate) mod validated;
