//! Requests as approvers, requesters and the audit log see them.

use std::collections::BTreeMap;
use std::ffi::CString;

use remit_approval::{ActContext, CheckEnd, Context, HOST_JOBS, Now};
use remit_common::admin::PendingView;
use remit_common::escape::{foreign, quoted};
use remit_common::names::JobId;
use remit_common::outcome::ApprovalView;
use remit_common::refusal::Code;
use remit_common::signed::Signed;
use remit_link::{JobMeta, WaitReason, WaitingApproval};
use remit_policy::Base;
use remit_trail::RecordVerdict;

use super::approver;
use super::table::{Approval, Request};
use super::wanted::copied;
use crate::approval::file_hash::is_own_program;
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::job::table::Jobs;
use crate::request::{BoundAct, with_subject};
use crate::state_dir::ledger::DecidedBy;

const LINE: usize = 300;
const NAMED: usize = 8;

/// Returns a request's id as people type it.
pub fn typed(job: JobId) -> String {
    let short = job.short();
    let (first, second) = short.split_at(short.len() / 2);
    format!("{first}-{second}")
}

impl Request {
    /// Returns what approvers type on this machine.
    pub fn line(&self) -> String {
        let signed = match self.pending.approval().signed() {
            Some(_) => " --signed",
            None => "",
        };
        format!("remit approve {}{signed}", typed(self.draft.job))
    }

    pub fn left_ms(&self) -> u64 {
        timers::millis(self.deadline.saturating_sub(timers::since_boot()))
    }

    pub fn view(&self) -> ApprovalView {
        ApprovalView {
            by: self.named(),
            expires_ms: self.expires_ms,
            line: self.line(),
            digest: hex(&self.digest),
        }
    }

    pub fn pending_view(&self, reader: Option<&Subject>) -> PendingView {
        let subject = &self.draft.requester.subject;
        let reason = self.draft.asked().reason().unwrap_or_default();
        PendingView {
            job: self.draft.job,
            user: quoted(subject.user().as_bytes(), LINE),
            uid: subject.uid(),
            command: foreign(self.draft.command(), LINE),
            reason: quoted(reason.as_bytes(), LINE),
            by: self.named(),
            approved_by: self.approved_by(),
            missing: self.still_missing(),
            signed: self.pending.approval().signed(),
            yours: reader.is_some_and(|reader| approver::may_approve(reader, self).is_ok()),
            asked_ms: self.asked_ms,
            left_ms: self.left_ms(),
            digest: self.digest,
            set: self.draft.asked().set(),
            behalf: self.draft.asked().behalf().cloned(),
        }
    }

    pub fn context(&self, jobs: &Jobs, reader: &Subject, today: BTreeMap<usize, Now>) -> Context {
        let bound = &self.draft.bound;
        let whole = self.draft.whole();
        let command = self.pending.command();
        Context {
            pending: self.pending_view(Some(reader)),
            loginuid: whole.subject.loginuid(),
            peer: whole.subject.peer(),
            client: whole.client.to_owned(),
            summary: command.map_or_else(String::new, |command| command.summary.clone()),
            profile: bound.compiled.profile().clone(),
            runtime_source: bound.runtime.source(),
            usual_runtime_s: bound.runtime.other_than(),
            is_own_program: runs_own_program(&bound.argv),
            loose: self.found.loose.clone(),
            today,
            required: jobs.required.lines(timers::since_boot()),
            checks: self.checks(jobs),
            host_jobs: host_jobs(jobs),
            acts: bound.acts.iter().map(act).collect(),
            head: self.head,
        }
    }

    fn checks(&self, jobs: &Jobs) -> Vec<CheckEnd> {
        let uid = self.draft.requester.subject.uid();
        let plan = self.draft.call().plan_digest();
        plan.map_or_else(Vec::new, |plan| {
            jobs.checks.ends(uid, plan, timers::since_boot())
        })
    }

    /// Returns true if it has content that only root and its possible approvers may read: copies of files, or a plan.
    pub fn has_private_content(&self) -> bool {
        self.has_plan() || !copied(&self.draft.bound, &self.found.files).is_empty()
    }

    /// Returns true if standard input is a plan. It can have bytes of files that its requester may read, and others may not.
    pub fn has_plan(&self) -> bool {
        self.draft.call().file_change().is_some()
    }

    pub fn meta(&self) -> JobMeta {
        JobMeta {
            waiting: Some(WaitReason::Approval(Box::new(WaitingApproval {
                view: self.view(),
                approved_by: self.approved_by(),
                missing: self.still_missing(),
                same: self.same,
            }))),
            ..self.draft.meta(self.asked_ms, self.since)
        }
    }

    pub fn approved_by(&self) -> Vec<String> {
        let users = self.approvers();
        users.map(|by| quoted(by.user().as_bytes(), LINE)).collect()
    }

    pub fn still_missing(&self) -> u8 {
        u8::try_from(self.missing()).unwrap_or(u8::MAX)
    }

    fn named(&self) -> Vec<String> {
        let by = self.pending.approval().asked_of();
        let mut named: Vec<String> = by.iter().take(NAMED).cloned().collect();
        if let Some(more @ 1..) = by.len().checked_sub(NAMED) {
            named.push(format!("{more} more"));
        }
        named
    }
}

fn act(BoundAct { act, bound }: &BoundAct) -> ActContext {
    ActContext {
        text: act.text(),
        argv: bound
            .argv
            .iter()
            .map(|arg| arg.as_bytes().to_vec().into())
            .collect(),
        profile: bound.compiled.profile().clone(),
        is_own_program: runs_own_program(&bound.argv),
    }
}

fn runs_own_program(argv: &[CString]) -> bool {
    argv.first().is_some_and(|program| is_own_program(program))
}

fn host_jobs(jobs: &Jobs) -> Vec<String> {
    let live = jobs.live().map(|(_, job)| &job.plan);
    let live: Vec<_> = live
        .filter(|plan| plan.bound.compiled.base() == Base::Host)
        .collect();
    let first = live.iter().take(HOST_JOBS);
    let mut named: Vec<String> = first
        .map(|plan| format!("{} [{}]", foreign(plan.command(), LINE), plan.job.short()))
        .collect();
    if let Some(more @ 1..) = live.len().checked_sub(HOST_JOBS) {
        named.push(format!("{more} more"));
    }
    named
}

pub fn asked(request: &Request) -> Record {
    let draft = &request.draft;
    let by = request.pending.approval().asked_of().join(" ");
    let message = format!(
        "{} asks for a change in {} [{}], which {by} can approve: {}{}",
        draft.requester.subject.user(),
        draft.bound.compiled.name(),
        draft.job.short(),
        draft.command(),
        draft.because()
    );
    let verdict = Code::NeedsApproval.as_str();
    let record = draft.about(Event::Asked, message, request.pending.rule(), verdict);
    about(draft.marked(record), request).field("BY", by)
}

/// `reader`: an administrator who gets its plan, or the content of its copies.
pub fn content_shown(request: &Request, reader: &Subject) -> Record {
    let draft = &request.draft;
    let (user, change) = (reader.user(), draft.named("change"));
    let what = match request.has_plan() {
        true => format!("the plan of {change}"),
        false => format!("the files that {change} has copies of"),
    };
    let message = format!("{user} reads {what}: {}", draft.command());
    with_subject(Record::new(Event::Shown, message), reader, None)
        .field("JOB", draft.job.to_string())
        .field("DIGEST", hex(&request.digest))
}

/// `before`: the counter of the key's last signature.
pub fn approved(request: &Request, approval: &Approval, before: Option<u32>) -> Record {
    let Approval { by, signature } = approval;
    let draft = &request.draft;
    let (approver, change) = (by.user(), draft.named("change"));
    let number = number(request);
    let of = number
        .as_ref()
        .map_or_else(String::new, |number| format!(" ({number} approvals)"));
    let signed = signature.as_ref().map_or_else(String::new, |one| {
        format!(", signed by {}", one.fingerprint)
    });
    let message = format!(
        "{approver} approves {change}{of}{signed}: {}",
        draft.command()
    );
    let rule = request.pending.rule();
    let verdict = RecordVerdict::Approved.name();
    let record = draft.about(Event::Approved, message, rule, verdict);
    let record = with_approver(about(draft.marked(record), request), &DecidedBy::new(by))
        .maybe("APPROVALS", number);
    match signature {
        Some(signature) => signature.on_record(record, before),
        None => record,
    }
}

/// `1 of 2`, if one person is not enough.
fn number(request: &Request) -> Option<String> {
    let count = request.pending.approval().count().get();
    let approvals = request.approvals.len().saturating_add(1);
    (count > 1).then(|| format!("{approvals} of {count}"))
}

pub fn about(record: Record, request: &Request) -> Record {
    record
        .maybe("UNDO_STAYS", request.found.stays.clone())
        .maybe("OPENS", request.found.opens.in_short())
        .maybe("OPENS_UNKNOWN", request.found.opens.why_unknown())
        .field("DIGEST", hex(&request.digest))
        .number("EXPIRES", request.expires_ms)
        .maybe(
            "SIGNED",
            request.pending.approval().signed().map(Signed::as_str),
        )
}

pub fn with_approver(record: Record, by: &DecidedBy) -> Record {
    record
        .field("APPROVER", &by.user)
        .number("APPROVER_UID", by.uid)
        .maybe("APPROVER_LOGINUID", by.loginuid.map(|uid| uid.to_string()))
        .maybe(
            "APPROVER_LOGINUID_CLAIMED",
            by.claimed.map(|uid| uid.to_string()),
        )
        .field("APPROVER_PEER", &by.peer)
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_policy::MachineTable;

    use remit_link::SameRequest;

    use crate::approval::fixture::{Scene, spec};
    use crate::identity::peer::Subject;
    use crate::request::Draft;
    use crate::request::fixture::named;

    #[test]
    fn request_for_the_same_is_found_for_its_user_alone() {
        let scene = Scene::new();
        let wipes = |disk, reason: &str, max_runtime_s| {
            let reason = reason.to_owned();
            remit_link::Spec {
                max_runtime_s,
                ..spec(
                    named("disk.wipe", &[("disk", disk)]),
                    Purpose::Change { reason },
                )
            }
        };
        let waiting = scene.request(wipes("a", "it is due", None), Vec::new());
        let of_another = || {
            let mut draft = scene.draft(wipes("a", "it is due", None), Vec::new());
            draft.requester.subject = Subject::fake(64_001, "other", Some(64_001));
            draft
        };
        let same = SameRequest {
            job: waiting.draft.job,
            asked_ms: waiting.asked_ms,
        };
        let asked = |spec| scene.draft(spec, Vec::new());
        for (new, expect) in [
            (asked(wipes("a", "it is due", None)), Some(same)),
            (asked(wipes("a", "in other words", None)), Some(same)),
            (asked(wipes("b", "it is due", None)), None),
            (asked(wipes("a", "it is due", Some(9))), None),
            (scene.change("service.call", &[("verb", "a")]), None),
            (of_another(), None),
        ] {
            assert_eq!(waiting.same_as(&new), expect, "{}", new.command());
        }
        // Bytes are compared, too.
        let same = |one: Draft, other: Draft| one.call().is_same_change(other.call());
        let script = |text: &[u8], stdin: &[u8]| scene.script(text, stdin);
        assert!(same(script(b"true", b"x"), script(b"true", b"x")));
        assert!(!same(script(b"true", b"x"), script(b"false", b"x")));
        assert!(!same(script(b"true", b"x"), script(b"true", b"y")));
    }

    #[test]
    fn line_to_type_signs_if_the_rule_asks_for_it() {
        for (signed, expect) in [
            ("", "remit approve 0707-0707"),
            (", signed = \"touch\"", "remit approve 0707-0707 --signed"),
        ] {
            let policy = format!(
                "[[command]]\nname = \"disk.wipe\"\nsummary = \"wipes a disk\"\nargv = [\"/usr/bin/true\"]\n\
                 effect = \"change\"\nprofile = \"strict\"\n\
                 [[grant]]\nname = \"ops\"\nto = [\"#64001\"]\nallow = [\"disk.wipe\"]\neffect = \"change\"\n\
                 approval = {{ by = [\"#64002\"]{signed} }}\n"
            );
            let scene = Scene::of(&policy, &MachineTable::default());
            let purpose = Purpose::Change { reason: "x".into() };
            let request = scene.request(spec(named("disk.wipe", &[]), purpose), Vec::new());
            assert_eq!(request.view().line, expect);
        }
    }
}
