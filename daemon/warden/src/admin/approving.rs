//! Lists requests that wait for an approval, and reports decisions to approvers.

use std::collections::BTreeMap;

use remit_common::admin::{AdminReply, PendingView};
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};

use super::Wants;
use crate::approval::{Request, no_such_request};
use crate::identity::peer::Subject;
use crate::state::Warden;

/// Bytes of an answer without the entries of its list.
const FIXED: usize = 64;

impl Warden {
    /// Returns the list at once if it differs from the state `seen`. Otherwise the caller waits for a change.
    pub(super) fn pending(
        &mut self,
        subject: &Subject,
        seen: Option<u64>,
    ) -> Result<AdminReply, Wants> {
        self.end_expired();
        match seen == Some(self.jobs.generation) {
            true => Err(Wants::Pending),
            false => Ok(self.pending_list(subject)),
        }
    }

    fn pending_list(&self, subject: &Subject) -> AdminReply {
        let mut free_bytes = caps::ADMIN_FRAME - FIXED;
        let views = self
            .jobs
            .all::<Request>()
            .map(|(_, r)| r.pending_view(Some(subject)));
        let fits = |view: &PendingView| {
            let size =
                postcard::to_extend(view, Vec::new()).map_or(usize::MAX, |bytes| bytes.len());
            let fits = size <= free_bytes;
            free_bytes = free_bytes.saturating_sub(size);
            fits
        };
        let requests: Vec<PendingView> = views.take_while(fits).collect();
        let omitted = self.jobs.all::<Request>().count() - requests.len();
        AdminReply::Pending {
            state: self.jobs.generation,
            requests,
            omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        }
    }

    pub fn tell_pending(&mut self) {
        let generation = self.jobs.generation;
        if std::mem::replace(&mut self.approvals.reported, generation) == generation {
            return;
        }
        let waiting = std::mem::take(&mut self.admins.waiting);
        let (reported, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(_, what)| *what == Wants::Pending);
        self.admins.waiting = waiting;
        for (number, _) in reported {
            let Some(admin) = self.admins.live.get(&number) else {
                continue;
            };
            let reply = self.pending_list(&admin.subject);
            if let (Ok(bytes), Some(admin)) = (
                frame::encode(&reply, caps::ADMIN_FRAME),
                self.admins.live.get_mut(&number),
            ) {
                admin.output.extend(bytes);
                self.on_admin_event(number);
            }
        }
    }

    /// Starts to send a request with all that will run, at once or after its copies are compared.
    pub(super) fn show(&mut self, number: u64, subject: &Subject, id: &str) -> Result<(), Refusal> {
        self.end_expired();
        let id: IdPrefix = id.parse()?;
        let (serial, _) = id
            .choose(self.jobs.all::<Request>(), |(_, request)| request.draft.job)?
            .ok_or_else(no_such_request)?;
        let is_own =
            |(other, what): &(u64, Wants)| *other == number && matches!(what, Wants::Show(_));
        if self.admins.waiting.iter().any(is_own) {
            let text = "another request is being shown on this connection";
            return Err(Refusal::new(Code::Busy, text).next("wait for its answer first"));
        }
        if let Some(wants) = self.compare_copies(serial, subject) {
            self.admins.waiting.push((number, wants));
            return Ok(());
        }
        match self.start_showing(number, subject, serial, BTreeMap::new()) {
            true => Ok(()),
            false => Err(no_such_request()),
        }
    }

    pub fn tell_approver(&mut self, job: JobId, by: &Subject, reply: Result<String, Refusal>) {
        let reply = match reply {
            Ok(sentence) => AdminReply::Done(sentence),
            Err(refusal) => {
                self.record_refusal(Some(by), None, &refusal, None);
                AdminReply::Refused(refusal)
            }
        };
        self.tell_waiting(Wants::Approval(job), || reply);
    }
}
