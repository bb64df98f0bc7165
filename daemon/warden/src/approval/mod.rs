//! Requests that another person must approve. [`flow`] is the sequence of one request. An approval is bound to a digest
//! of everything that will run ([`digest`]). A forked child hashes the files ([`file_hash`]).

pub mod accepted;
pub mod approver;
pub mod copies;
mod counted;
pub mod digest;
pub(crate) mod end;
pub mod file_hash;
pub(crate) mod flow;
pub(crate) mod grants;
pub(crate) mod notification;
pub mod signature;
mod shared {
    //! What all requests for approval share: the key of their digests, the grants, limits, and comparisons of copies.

    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::io::{self, Read};
    use std::time::{Duration, Instant};

    use remit_approval::Statement;
    use remit_common::caps;
    use remit_common::refusal::{Code, Refusal};
    use remit_sys::Answer;

    use super::digest::{Key, Parts, encode, statement};
    use super::grants::Grants;
    use super::table::Request;
    use crate::approval::file_hash::Measurement;
    use crate::audit::rate_limit::RateWindow;
    use crate::identity::peer::Subject;

    /// Requests of one user within [`WITHIN`].
    const ASKS: usize = 100;
    /// Notifications about a user within [`WITHIN`]. A user who withdraws and asks again must not keep people busy.
    pub const NOTIFICATIONS: usize = caps::PENDING_PER_UID;
    pub const WITHIN: Duration = Duration::from_secs(600);

    #[derive(Debug)]
    pub struct Comparing {
        pub request: u64,
        pub by: Subject,
        pub at: Vec<usize>,
        pub answer: Answer,
    }

    #[derive(Debug)]
    pub struct Approvals {
        /// Part of every digest; known only to this process.
        key: Key,
        machine_id: String,
        pub comparing: BTreeMap<u64, Comparing>,
        /// Measurements that go on when the audit log can be written, by serial, oldest first.
        pub delayed: Vec<(Instant, u64, Measurement)>,
        pub grants: Grants,
        /// Limits requests for approval, per user.
        asks: RateWindow,
        /// Limits notifications to people.
        pub people: RateWindow,
        /// Of each security key, by fingerprint, the counter of its last signature.
        pub counters: BTreeMap<String, u32>,
    }

    impl Approvals {
        pub fn open(mut random: &File, grants: Grants) -> io::Result<Self> {
            let mut key = [0; 32];
            random.read_exact(&mut key)?;
            let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
            Ok(Self {
                key: Key(key),
                machine_id: machine_id.trim().to_owned(),
                comparing: BTreeMap::new(),
                delayed: Vec::new(),
                grants,
                asks: RateWindow::new(ASKS, WITHIN),
                people: RateWindow::new(NOTIFICATIONS, WITHIN),
                counters: BTreeMap::new(),
            })
        }

        /// A request is recorded before anybody grants anything, so unlimited requests could fill the audit log.
        pub fn check_ask_rate(&mut self, uid: u32) -> Result<(), Refusal> {
            if self.asks.take(uid, Instant::now()) {
                return Ok(());
            }
            let minutes = WITHIN.as_secs() / 60;
            let text = format!("you have asked for {ASKS} approvals within {minutes} minutes");
            Err(Refusal::new(Code::RateLimited, text)
                .next("stop asking; tell the person you work for what you need"))
        }

        pub fn encoded(&self, request: &Request) -> Vec<u8> {
            encode(&self.parts(request))
        }

        /// Returns the text that approvers of the request sign.
        pub fn statement(&self, request: &Request) -> Statement {
            statement(&self.parts(request), request.digest, request.head)
        }

        fn parts<'a>(&'a self, request: &'a Request) -> Parts<'a> {
            Parts {
                machine_id: &self.machine_id,
                key: &self.key,
                draft: &request.draft,
                files: &request.found.files,
                does: &request.found.does,
                opens: &request.found.opens,
                rule: request.pending.rule(),
                expires_ms: request.expires_ms,
            }
        }
    }
}
mod table {
    //! Requests that need an approval: being measured, waiting, or ended and not recorded yet.

    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use remit_common::admin::AuditHead;
    use remit_common::refusal::{Code, Refusal};
    use remit_link::SameRequest;
    use remit_policy::{Consent, Pending};
    use remit_spawn::Measured;

    use crate::approval::accepted::SignedBefore;
    use crate::approval::approver::consent;
    use crate::approval::file_hash::{AsFound, Measuring};
    use crate::approval::signature::VerifiedSignature;
    use crate::event_loop::timers;
    use crate::identity::peer::{Subject, SubjectIds};
    use crate::request::Draft;

    const ASK_AGAIN: &str = "ask again, if it is still wanted: a person decides again";

    /// The request id of a caller, and the hash of the content.
    type RequestId = (String, [u8; 32]);

    /// Returns `next` for a request that never ran. The same id would find the same request for ever.
    pub fn after_unrun(next: &str, id: Option<&RequestId>) -> String {
        match id {
            Some(_) => format!("{next}; use a new request_id, because this one is of this request"),
            None => next.to_owned(),
        }
    }

    /// As [`after_unrun`], for a request that is void or late.
    pub fn ask_again(id: Option<&RequestId>) -> String {
        after_unrun(ASK_AGAIN, id)
    }

    #[derive(Debug)]
    pub struct MeasuringRequest {
        pub draft: Box<Draft>,
        pub pending: Pending,
        pub measuring: Measuring,
    }

    #[derive(Debug)]
    pub struct Approving {
        pub by: Subject,
        pub measuring: Measuring,
    }

    /// One person's approval.
    #[derive(Clone, Debug)]
    pub struct Approval {
        pub by: Subject,
        pub signature: Option<Box<VerifiedSignature>>,
    }

    #[derive(Debug)]
    pub struct Request {
        pub draft: Box<Draft>,
        pub pending: Pending,
        pub found: AsFound,
        pub encoded: Vec<u8>,
        /// SHA-256 of `encoded`, which an approver signs.
        pub digest: [u8; 32],
        pub asked_ms: u64,
        /// Milliseconds since 1970, for display only.
        pub expires_ms: u64,
        /// The same time on the boot clock, which nobody can set. This one decides.
        pub deadline: Duration,
        pub since: Instant,
        /// The newest record when the request was recorded.
        pub head: AuditHead,
        /// Approvals that it has, fewer than its rules ask for.
        pub approvals: Vec<Approval>,
        pub approving: Option<Approving>,
        /// An earlier one of the same user for the same, which is pending, too.
        pub same: Option<SameRequest>,
        /// Administrators whose reading of its private content is on record. Those who use sudo(8) all have uid 0.
        pub content_read_by: BTreeSet<SubjectIds>,
    }

    impl Approval {
        pub fn consent(&self, requester: &Subject) -> Consent<'_> {
            Consent {
                proof: self.signature.as_deref().map(VerifiedSignature::proof),
                ..consent(&self.by, requester)
            }
        }

        pub fn signed_before(&self) -> Option<SignedBefore> {
            self.signature.as_ref().map(|signature| SignedBefore {
                account: self.by.user().to_owned(),
                key: signature.key.clone(),
            })
        }

        /// Returns the security key that has signed, and its counter.
        pub fn counter(&self) -> Option<(&str, u32)> {
            let signature = self.signature.as_ref()?;
            Some((&signature.fingerprint, signature.touch?.counter))
        }
    }

    fn lasts(pending: &Pending) -> Duration {
        Duration::from_secs(pending.approval().expires_s().into())
    }

    impl Request {
        /// A request that is asked now. Its bytes, their digest and the newest record are set next.
        pub fn new(draft: Box<Draft>, pending: Pending, found: AsFound) -> Self {
            let lasts = lasts(&pending);
            let asked_ms = timers::unix_ms();
            Self {
                expires_ms: asked_ms.saturating_add(timers::millis(lasts)),
                deadline: timers::since_boot().saturating_add(lasts),
                draft,
                pending,
                found,
                encoded: Vec::new(),
                digest: [0; 32],
                asked_ms,
                since: Instant::now(),
                head: AuditHead {
                    seq: 0,
                    hash: [0; 32],
                },
                approvals: Vec::new(),
                approving: None,
                same: None,
                content_read_by: BTreeSet::new(),
            }
        }

        /// Returns it for a new request of the same user for the same.
        pub fn same_as(&self, new: &Draft) -> Option<SameRequest> {
            let own = &self.draft;
            let is_own = own.requester.subject.owner() == new.requester.subject.owner();
            let is_same = is_own && own.call().is_same_change(new.call());
            is_same.then_some(SameRequest {
                job: own.job,
                asked_ms: self.asked_ms,
            })
        }

        /// Returns the time for which it can be approved, from the beginning.
        pub fn lasts(&self) -> Duration {
            lasts(&self.pending)
        }

        pub fn held(&self) -> usize {
            let found = self.found.held();
            self.draft
                .held
                .saturating_add(self.encoded.len())
                .saturating_add(found)
        }

        pub fn approvers(&self) -> impl Iterator<Item = &Subject> {
            self.approvals.iter().map(|approval| &approval.by)
        }

        /// Returns how many people still have to approve it.
        pub fn missing(&self) -> usize {
            let count = self.pending.approval().count().get();
            count.saturating_sub(self.approvals.len())
        }

        /// Files to compare again just before the exec.
        pub fn measured(&self) -> Vec<Measured> {
            self.found.checked()
        }
    }

    /// The answer for an unknown id, and for a request that no longer waits and whose end is not remembered.
    pub fn no_such_request() -> Refusal {
        Refusal::new(
            Code::NotFound,
            "no request with this id is waiting for an approval",
        )
        .next("remit pending lists waiting requests")
    }
}
pub mod opens;
mod view;
mod wanted;

pub use crate::approval::file_hash::AsFound;
pub use approver::{from_outside, not_a_jobs_user, still_administers};
pub use shared::{Approvals, Comparing};
pub use table::{MeasuringRequest, Request, ask_again, no_such_request};
pub use view::{content_shown, with_approver};
pub use wanted::{copied, look_up_again, wanted};

#[cfg(test)]
pub mod fixture;
