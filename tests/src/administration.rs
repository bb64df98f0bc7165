//! What tests ask of a daemon as administrators. It panics where an answer is of another kind.

use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, PendingView, Status};
use remit_common::names::JobId;
use remit_common::refusal::Refusal;

use crate::daemon::{Daemon, admin};
use crate::process::Identity;

impl Daemon {
    #[must_use]
    pub fn status(&self) -> Status {
        match self.administers(&admin(), AdminRequest::Status) {
            Ok(AdminReply::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// Returns what waits for an approval, as `user` sees it.
    #[must_use]
    pub fn pending(&self, user: &Identity) -> Vec<PendingView> {
        match self.administers(user, AdminRequest::Pending { seen: None }) {
            Ok(AdminReply::Pending { requests, .. }) => requests,
            other => panic!("{other:?}"),
        }
    }

    /// Returns a request that waits for an approval. Panics if it does not.
    #[must_use]
    pub fn pending_request(&self, job: JobId) -> PendingView {
        let mut all = self.pending(&admin()).into_iter();
        all.find(|view| view.job == job).expect("it is pending")
    }

    /// Approves without a signature.
    pub fn approve(
        &self,
        user: &Identity,
        job: JobId,
        digest: [u8; 32],
    ) -> Result<AdminReply, Refusal> {
        let signature = None;
        let request = AdminRequest::Approve {
            job,
            digest,
            signature,
        };
        self.administers(user, request)
    }

    /// Returns the temporary grants, as `user` sees them.
    #[must_use]
    pub fn grants(&self, user: &Identity) -> Vec<ActiveGrant> {
        match self.administers(user, AdminRequest::Grants) {
            Ok(AdminReply::Grants(all)) => all,
            other => panic!("{other:?}"),
        }
    }
}
