//! Builds the audit records of a plan. The intent is recorded before anything runs. Pure.

use remit_common::text;
use remit_common::wire::Effect;
use remit_plan::summary;
use remit_policy::Basis;
use remit_trail::RecordVerdict;

use super::{Call, Draft, Plan, Requester};
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::identity::peer::Subject;

const BECAUSE: usize = 200;
/// Bytes of a plan's summary.
const PLAN: usize = 7 << 10;

impl Call {
    fn plan_paths(&self) -> Option<String> {
        let bundle = self.file_change()?.ok()?;
        Some(bundle.plan().entries().len().to_string())
    }

    fn plan_changes(&self) -> Option<String> {
        let bundle = self.file_change()?.ok()?;
        Some(summary(bundle.plan(), PLAN))
    }
}

impl Plan {
    pub fn queued(&self) -> Record {
        let message = format!("{} waits for a slot: {}", self.named("job"), self.command());
        let record = self.about(Event::Queued, message, self.basis(), self.verdict());
        self.with_digest(record)
    }

    pub fn record(&self) -> Record {
        let (user, profile) = (self.requester.subject.user(), self.bound.compiled.name());
        let does = match (self.basis(), self.bound.effect) {
            (Basis::Notification, _) => "notifies people of a change",
            (Basis::Recovery, _) => "recovers commits of files",
            (Basis::Unconfirmed, _) if self.commit_use().is_none() => "runs what follows an undo",
            (Basis::Unconfirmed, _) => "undoes what nobody confirmed",
            (Basis::TryByRoot, _) => "tries",
            (_, Effect::Read) => "runs",
            (_, Effect::Change) => "changes the host",
        };
        let by = match self.basis() {
            Basis::Approved { by, .. } => format!(", approved by {by}"),
            Basis::TemporaryGrant { by, grant, .. } => format!(", by grant {grant} of {by}"),
            Basis::Rule(_)
            | Basis::TryByRoot
            | Basis::Notification
            | Basis::Recovery
            | Basis::Unconfirmed => String::new(),
        };
        let message = format!(
            "{user} {does} in {profile} [{}]{by}: {}{}",
            self.job.short(),
            self.command(),
            self.because()
        );
        let record = self
            .about(Event::Intent, message, self.basis(), self.verdict())
            .number(
                "JOB_UID",
                self.bound.compiled.fixed_uid().unwrap_or(self.uid.get()),
            )
            .field("BASE", self.bound.compiled.base().name())
            .number("RUNTIME_MAX", self.bound.runtime.seconds)
            .maybe("WAITED_MS", self.waited_ms().map(|ms| ms.to_string()));
        self.marked(self.with_digest(record))
    }

    /// Builds the part of the end record that repeats the intent. Its sentence ends with the command.
    pub fn closing(&self, sentence: &str) -> Record {
        let message = format!("{sentence}: {}", self.command());
        let record = self.core(Event::End, message, self.basis(), self.verdict());
        self.marked(self.with_digest(self.asked().program(record)))
    }

    fn verdict(&self) -> &'static str {
        let verdict = match self.basis() {
            Basis::TryByRoot => RecordVerdict::TryByRoot,
            Basis::Rule(_)
            | Basis::Notification
            | Basis::Recovery
            | Basis::Unconfirmed
            | Basis::Approved { .. }
            | Basis::TemporaryGrant { .. } => RecordVerdict::Allow,
        };
        verdict.name()
    }

    /// Adds the approved digest, which is the same in all records of the request.
    pub fn with_digest(&self, record: Record) -> Record {
        let digest = self.approved.as_ref().map(|approved| hex(&approved.digest));
        record.maybe("DIGEST", digest)
    }
}

impl Draft {
    /// Marks the record of a change. `audit.sync` may require it on the disk before the change starts.
    pub fn marked(&self, record: Record) -> Record {
        match self.bound.effect {
            Effect::Read => record,
            Effect::Change => record.of_change(),
        }
    }

    /// Example: `alice's job [7d025d0d]`.
    pub fn named(&self, what: &str) -> String {
        let user = self.requester.subject.user();
        format!("{user}'s {what} [{}]", self.job.short())
    }

    /// Returns the requester's reason as the end of a sentence. It is untrusted text, as the command before it.
    pub fn because(&self) -> String {
        let reason = self.asked().reason().filter(|reason| !reason.is_empty());
        reason.map_or(String::new(), |reason| {
            format!(", because: {}", text::line(reason.as_bytes(), BECAUSE))
        })
    }

    /// Puts the command last in the sentence: it is untrusted text and may look like text of remit.
    pub fn about(
        &self,
        event: Event,
        message: String,
        rule: impl ToString,
        verdict: &str,
    ) -> Record {
        let is_commit = self.bound.effect == Effect::Change && event != Event::End;
        let changes = is_commit.then(|| self.call.plan_changes()).flatten();
        let record = self.core(event, message, rule, verdict);
        with_groups(self.asked().whole(record), &self.requester.subject)
            .maybe("PLAN_CHANGES", changes)
    }

    fn core(&self, event: Event, message: String, rule: impl ToString, verdict: &str) -> Record {
        let Requester {
            subject, session, ..
        } = &self.requester;
        with_subject(Record::new(event, message), subject, Some(*session))
            .field("JOB", self.job.to_string())
            .field("VERDICT", verdict)
            .field("RULE", rule.to_string())
            .field("POLICY", self.policy())
            .maybe("PLAN_DIGEST", self.call.plan_digest.as_ref())
            .maybe("PLAN_PATHS", self.call.plan_paths())
            .for_history(subject.owner(), Some(self.job), Some(self.command()))
    }
}

/// As [`with_subject`], if somebody asked for it.
pub fn with_requester(record: Record, asked: Option<&Subject>) -> Record {
    match asked {
        Some(subject) => with_subject(record, subject, None),
        None => record,
    }
}

/// Adds the groups with which the policy decided, for a replay under another policy.
pub fn with_groups(record: Record, subject: &Subject) -> Record {
    let gids = subject.caller_ids().gids.iter();
    let gids: Vec<String> = gids.map(u32::to_string).collect();
    record.maybe("GIDS", (!gids.is_empty()).then(|| gids.join(" ")))
}

pub fn with_subject(record: Record, subject: &Subject, session: Option<u64>) -> Record {
    record
        .number("UID", subject.uid())
        .field("USER", subject.user())
        .maybe("LOGINUID", subject.loginuid().map(|uid| uid.to_string()))
        .maybe(
            "LOGINUID_CLAIMED",
            subject.claimed().map(|uid| uid.to_string()),
        )
        .maybe("SESSION", session.map(|number| number.to_string()))
        .field("PEER", subject.peer())
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_policy::CallerIds;

    use super::*;
    use crate::approval::fixture::Scene;

    #[test]
    fn command_after_an_undo_is_no_undo_in_its_record() {
        let scene = Scene::undoes();
        let purpose = || Purpose::Change {
            reason: "why".to_owned(),
        };
        let undo = scene.policy.unconfirmed("/var/lib/remit/commits").unwrap();
        let id = vec![("id".to_owned(), "ab".repeat(16))];
        let call = Call::own("plan.undo".to_owned(), id, purpose(), None).unwrap();
        let undo = scene.own(call, undo);
        let following = ["site.reload unit=a".to_owned()];
        let act = scene.policy.following(&following).unwrap().remove(0);
        let (uid, gids) = (0, &[][..]);
        let basis = Basis::Unconfirmed;
        let grant = scene
            .policy
            .act(CallerIds { uid, gids }, "plan.undo", &act, &basis);
        let call = Call::following(&act, purpose(), Some(undo.job)).unwrap();
        let reload = scene.own(call, grant.unwrap());
        for (plan, does) in [
            (undo, " undoes what nobody confirmed in "),
            (reload, " runs what follows an undo in "),
        ] {
            let message = plan.record().message;
            assert!(message.contains(does), "{message}");
        }
    }

    #[test]
    fn start_with_an_approval_says_why() {
        let record = Scene::new().plan().record();
        assert_eq!(
            record.message,
            "agent changes the host in host [07070707], approved by ann: disk.wipe disk=a, because: it is due"
        );
    }
}
