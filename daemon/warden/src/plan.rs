//! From a request to exactly what will be executed. Pure but for reading sealed memory files.

mod asked;
mod bound;
mod call;
mod record;
mod runtime;
mod slot;
mod whole;

use std::ffi::CString;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_common::wire::Bytes;
use remit_confine::Measured;
use remit_policy::{Basis, Grant, PATH_DIRS};

use crate::approval::AsFound;
use crate::clock;
use crate::peer::Subject;
use crate::uids::JobUid;
use crate::walls::Ready;

pub use asked::{Asked, args};
pub use bound::{Bound, Setting};
pub use call::Call;
pub use record::who;
pub use runtime::Runtime;
pub use slot::{Passed, Slot, SlotWhat};
pub use whole::{Content, Whole};

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
    /// What was made for it ahead, where it runs at once.
    pub ready: Option<Ready>,
}

/// All that an exec needs, decided, but for the right to do it. Nothing of it comes from the caller's process.
#[derive(Debug)]
pub struct Draft {
    /// The job's id.
    pub job: JobId,
    /// Its place in the order of all jobs, also over restarts.
    pub number: u64,
    /// The uid that it alone has, also where its program runs as another user.
    pub uid: JobUid,
    /// What was made for it ahead. It is taken when it begins, and ends with what never does.
    pub ready: Option<Ready>,
    /// For whom.
    pub requester: Requester,
    /// Where a program without a slash is looked up.
    pub path: Vec<CString>,
    /// What is executed, in which sandbox.
    pub bound: Bound,
    /// The caller's request id with the content's hash.
    pub request: Option<(String, [u8; 32])>,
    /// How long it waited for a place.
    pub waited: Option<Duration>,
    /// Bytes it holds while it waits.
    pub held: usize,
    call: Call,
}

/// A draft with the right to execute it.
#[derive(Debug)]
pub struct Plan {
    draft: Draft,
    grant: Grant,
    /// What a person approved of it, where one did.
    pub approved: Option<Approved>,
}

/// What was approved, to be found so once more just before the exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// SHA-256 of all that runs.
    pub digest: [u8; 32],
    /// Until when it may begin, on the clock that counts since the boot.
    pub deadline: Duration,
    /// The program and what else is compared just before the exec, as they were.
    pub files: Vec<Measured>,
    /// All that was found of files when it was asked for.
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
    /// What it rests on.
    pub fn basis(&self) -> &Basis {
        self.grant.basis()
    }

    /// Takes what the policy in force makes of it in the place of what it was.
    ///
    /// # Errors
    /// The arguments are not those of the command as it is now, or [`Bound::new`] refuses them.
    pub fn bind_anew(&mut self, grant: Grant, setting: &Setting<'_>) -> Result<(), Refusal> {
        self.draft.bound = Bound::new(&self.draft.call, grant.terms(), setting)?;
        self.grant = grant;
        Ok(())
    }

    /// Gives up the right: it will not be executed.
    pub fn into_draft(self) -> Draft {
        self.draft
    }
}

impl Draft {
    /// With the right to execute it, by a rule or by an approval of exactly this.
    pub fn granted(self, grant: Grant, approved: Option<Approved>) -> Plan {
        Plan {
            draft: self,
            grant,
            approved,
        }
    }

    /// Puts together what was asked, what a rule says of it, and the job that it becomes.
    pub fn new(call: Call, bound: Bound, requester: Requester, new: NewJob) -> Self {
        let NewJob {
            job,
            number,
            uid,
            ready,
        } = new;
        let path = PATH_DIRS.iter().filter_map(|dir| CString::new(*dir).ok());
        Self {
            job,
            number,
            uid,
            ready,
            requester,
            path: path.collect(),
            bound,
            request: call.request().map(|(id, content)| (id.to_owned(), content)),
            waited: None,
            held: call.held,
            call,
        }
    }

    /// What was asked, to be judged by a policy that came while it waited.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Digest of the policy by which it was decided.
    pub fn policy(&self) -> &str {
        &self.bound.policy
    }

    /// In words.
    pub fn asked(&self) -> &Rc<Asked> {
        &self.bound.asked
    }

    /// What runs, on one line.
    pub fn command(&self) -> &str {
        self.bound.asked.command()
    }

    /// What the broker must take out of what it shows of the output: it has them in its memory alone.
    pub fn secrets(&self) -> Vec<Bytes> {
        let secrets = self.bound.secrets();
        secrets.map(|value| Bytes::from(value.to_vec())).collect()
    }

    /// The script, which becomes descriptor 3.
    pub fn script(&self) -> Option<BorrowedFd<'_>> {
        self.call.script()
    }

    /// Standard input, where it is no secret.
    pub fn stdin(&self) -> Option<BorrowedFd<'_>> {
        self.call.stdin()
    }

    /// How long it waited for a place, where it did.
    pub fn waited_ms(&self) -> Option<u64> {
        self.waited.map(clock::millis)
    }
}

#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod tests;
