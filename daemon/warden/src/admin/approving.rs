//! Requests that wait for an approval, as those see and decide them who can approve.

use remit_common::admin::{AdminReply, PendingView};
use remit_common::names::{JobId, id_prefix};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};

use super::Wants;
use crate::approval::shown::{Shown, shown};
use crate::approval::{Request, no_such_request};
use crate::peer::Subject;
use crate::warden::Warden;

/// The refusal of what is no beginning of an id.
pub fn bad_id() -> Refusal {
    let text = "an id is given by its first 4 to 32 hexadecimal digits";
    Refusal::new(Code::InvalidArgs, text).object("id")
}

/// Of an answer beside what it lists.
const FIXED: usize = 64;

impl Warden {
    /// The list, now or once it is another one than was seen.
    pub(super) fn pending(
        &mut self,
        subject: &Subject,
        seen: Option<u64>,
    ) -> Result<AdminReply, Wants> {
        self.end_expired();
        match seen == Some(self.approvals.generation) {
            true => Err(Wants::Pending),
            false => Ok(self.pending_list(subject)),
        }
    }

    fn pending_list(&self, subject: &Subject) -> AdminReply {
        let mut room = caps::ADMIN_FRAME - FIXED;
        let views = self
            .approvals
            .iter()
            .map(|(_, r)| r.pending_view(Some(subject)));
        let fits = |view: &PendingView| {
            let size =
                postcard::to_extend(view, Vec::new()).map_or(usize::MAX, |bytes| bytes.len());
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        let requests: Vec<PendingView> = views.take_while(fits).collect();
        let omitted = self.approvals.len() - requests.len();
        AdminReply::Pending {
            state: self.approvals.generation,
            requests,
            omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        }
    }

    /// Tells those who wait for another list, where there is one.
    pub fn tell_pending(&mut self) {
        let generation = self.approvals.generation;
        if std::mem::replace(&mut self.approvals.told, generation) == generation {
            return;
        }
        let waiting = std::mem::take(&mut self.admins.waiting);
        let (told, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(_, what)| *what == Wants::Pending);
        self.admins.waiting = waiting;
        for (number, _) in told {
            let Some(admin) = self.admins.live.get(&number) else {
                continue;
            };
            let reply = self.pending_list(&admin.subject);
            if let (Ok(bytes), Some(admin)) = (
                frame::encode(&reply, caps::ADMIN_FRAME),
                self.admins.live.get_mut(&number),
            ) {
                admin.output.extend(bytes);
                self.admin_event(number);
            }
        }
    }

    /// One request with all that will run.
    pub(super) fn show(&mut self, subject: &Subject, id: &str) -> Result<AdminReply, Refusal> {
        self.end_expired();
        let prefix = id_prefix(id).ok_or_else(bad_id)?;
        let found = match self.approvals.beginning(&prefix).as_slice() {
            [] => None,
            [serial] => self.approvals.get(*serial),
            several => {
                let text = format!("{} requests have an id that begins so", several.len());
                return Err(Refusal::new(Code::InvalidArgs, text)
                    .object(prefix)
                    .next("give more digits of it; remit pending lists them"));
            }
        };
        let request: &Request = found.ok_or_else(no_such_request)?;
        Ok(AdminReply::Shown(Box::new(shown(&Shown {
            pending: &request.pending_view(Some(subject)),
            draft: &request.draft,
            files: &request.found.files,
            loose: &request.found.loose,
            does: &request.found.does,
            rule: &request.pending.rule().to_string(),
            command: request.pending.command().map(AsRef::as_ref),
        }))))
    }

    /// An approval was carried out, or was not; its refusal is recorded.
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
