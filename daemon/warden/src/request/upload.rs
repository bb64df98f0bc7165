//! The begin of an upload. The broker keeps the bytes: nothing here depends on what they are, because `remit-commit` compares
//! their hash with the one that was approved.

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_link::Answer;
use remit_plan::{FILE_BYTES, Upload};
use remit_policy::{Ask, Verdict};

use super::{Call, with_subject};
use crate::audit::{Event, Record, unrecorded};
use crate::config::Settings;
use crate::identity::peer::Subject;
use crate::job::context::RequestCx;

/// Who may use one of these may upload.
const PLANNERS: [&str; 3] = ["plan.make", "plan.private", "plan.extract"];
/// Word of remit-commit before the beginning of the paths of the requester's uploads.
const WORD: &str = "--uploads";

/// Records that a user begins to send a file. Errors: the denial of a plan; `too_large`; an audit log that is full.
pub fn begin(cx: &mut RequestCx<'_>, session: u64, upload: Upload) -> Result<Answer, Refusal> {
    let subject = cx.sessions.subject(session)?;
    cx.life.check_open()?;
    let reports = &mut cx.job.reports;
    reports.breakers.check(subject.uid(), Effect::Read)?;
    reports.audit.may_write(subject.uid())?;
    let (policy, ids) = (&cx.policies.live.policy, cx.policies.caller_ids(subject)?);
    let denied = |name: &str| -> Option<Refusal> {
        let (effect, args) = (Effect::Read, &[][..]);
        match policy.decide(ids, &Ask::Command { name, effect, args }) {
            Verdict::Allow(_) | Verdict::Ask(_) => None,
            Verdict::Deny(denial) => Some(denial.into()),
        }
    };
    if let [Some(denial), Some(_), Some(_)] = PLANNERS.map(denied) {
        return Err(denial);
    }
    if upload.size > FILE_BYTES {
        let text = format!(
            "the upload has {} bytes, the most is {FILE_BYTES}",
            upload.size
        );
        return Err(Refusal::new(Code::TooLarge, text).object("upload"));
    }
    let (user, size, hash) = (subject.user(), upload.size, upload.hash());
    let message = format!("{user} uploads {size} bytes, sha256 {hash}");
    let record = with_subject(Record::new(Event::Upload, message), subject, Some(session))
        .field("UPLOAD", hash)
        .number("UPLOAD_BYTES", size)
        .for_history(subject.owner(), None, None);
    let written = reports.audit.write(record);
    written.map_err(|why| unrecorded(&why))?;
    Ok(Answer::Upload)
}

impl Call {
    /// Returns the beginning of the paths of the requester's uploads, if the plan has some.
    pub fn uploads_at(&self) -> Option<&str> {
        match self.own.words.as_slice() {
            [word, start] if word == WORD => Some(start),
            _ => None,
        }
    }
}

/// Has remit-commit, or a check, find the uploads of this requester, if its plan has some.
pub fn add_words(call: &mut Call, settings: &Settings, by: &Subject) {
    let Some(Ok(bundle)) = call.file_change() else {
        return;
    };
    let mut entries = bundle.plan().entries().iter();
    if entries.any(|entry| entry.change.uploaded().is_some()) {
        let start = settings.state.uploads().join(format!("{}-", by.uid()));
        call.own.words = vec![WORD.to_owned(), start.to_string_lossy().into_owned()];
    }
}
