//! Notifies people of a change that waits for their approval: runs a command of the policy as an ordinary job.

use std::time::Instant;

use remit_common::admin::PendingView;
use remit_common::outcome::ApprovalView;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Effect, Purpose};
use remit_link::{Spec, SpecWhat, memfd};

use super::shared::{NOTIFICATIONS, WITHIN};
use crate::audit::{Event, Record, json};
use crate::identity::peer::Subject;
use crate::job::context::RequestCx;
use crate::job::granted;
use crate::request::{Call, Requester};
use crate::service::log::{self, Weight};

/// Session and ticket of jobs that the daemon starts itself. No client has these numbers.
const OWN: u64 = 0;

/// Runs the notification command of remit.toml. A failure is recorded, and the request still waits.
pub fn tell_people(cx: &mut RequestCx<'_>, view: &PendingView, asked: &ApprovalView) {
    if cx.settings.config.approval.notify.is_empty() {
        return;
    }
    let result = match cx.approvals.people.take(view.uid, Instant::now()) {
        true => run_notification(cx, &described(view, asked)),
        false => {
            let minutes = WITHIN.as_secs() / 60;
            let text = format!(
                "they were notified of {NOTIFICATIONS} of {} within {minutes} min",
                view.user
            );
            Err(Refusal::new(Code::RateLimited, text))
        }
    };
    if let Err(refusal) = result {
        let job = view.job;
        let message = format!(
            "nobody was notified of {}'s change [{}] that waits for an approval: {}",
            view.user,
            job.short(),
            refusal.message
        );
        let audit = &mut cx.job.reports.audit;
        log::beside(audit, Weight::Warning, format_args!("{message}"));
        let record = Record::new(Event::Refusal, message)
            .with_warning_priority()
            .field("JOB", job.to_string())
            .number("UID", view.uid)
            .field("USER", &view.user)
            .field("VERDICT", refusal.code.as_str())
            .field("POLICY", &cx.policies.live.digest)
            .field("CAUSE", &refusal.message);
        audit.note(record);
    }
}

fn run_notification(cx: &mut RequestCx<'_>, json: &str) -> Result<(), Refusal> {
    let name = cx.settings.config.approval.notify.clone();
    let cannot = |why: String| Refusal::new(Code::NotStarted, why);
    let policy = &cx.policies.live.policy;
    let grant = policy.notification(&name).map_err(cannot)?;
    let input = memfd::seal(c"notification", json.as_bytes());
    let input = input.map_err(|error| cannot(format!("no memory file: {error}")))?;
    let call = Call::new(spec(name, grant.command().map(|c| c.effect)), vec![input])?;
    let requester = Requester {
        subject: Subject::daemon(),
        session: OWN,
        ticket: OWN,
    };
    granted::start_granted(cx, requester, call, grant).map(drop)
}

fn spec(name: String, effect: Option<Effect>) -> Spec {
    Spec {
        traceparent: None,
        what: SpecWhat::Named {
            name,
            args: Vec::new(),
        },
        cwd: None,
        env: Vec::new(),
        stdin: true,
        profile: None,
        max_runtime_s: None,
        request_id: None,
        client: "remitd".to_owned(),
        purpose: match effect {
            Some(Effect::Change) => Purpose::Change {
                reason: "to notify people of a change that waits for them".to_owned(),
            },
            Some(Effect::Read) | None => Purpose::Use,
        },
    }
}

fn described(view: &PendingView, asked: &ApprovalView) -> String {
    let mut text = String::from("{\"id\":");
    json::string(&mut text, &view.job.to_string());
    for (name, value) in [
        ("user", view.user.as_str()),
        ("command", &view.command),
        ("reason", &view.reason),
        ("digest", &asked.digest),
        ("line", &asked.line),
    ] {
        text += &format!(",\"{name}\":");
        json::string(&mut text, value);
    }
    text += &format!(",\"uid\":{},\"by\":[", view.uid);
    for (at, word) in asked.by.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        json::string(&mut text, word);
    }
    text += &format!("],\"expires_ms\":{}}}\n", asked.expires_ms);
    text
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;

    use super::*;

    #[test]
    fn any_request_is_one_json_line() {
        let view = PendingView {
            job: JobId([0xab; 16]),
            user: "ag\"ent".into(),
            uid: 1000,
            command: "service.restart unit=a\\b\n\u{1b}[2J".into(),
            reason: "\"},{\"by\":[\"me\"]".into(),
            by: vec!["%sre".into(), "ann".into()],
            yours: false,
            asked_ms: 1,
            left_ms: 2,
            digest: [1; 32],
        };
        let asked = ApprovalView {
            by: view.by.clone(),
            expires_ms: 7,
            line: "remit approve abab-abab".into(),
            digest: "01".repeat(32),
        };
        let text = described(&view, &asked);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains('\u{1b}'));
        assert!(
            text.contains(r#""command":"service.restart unit=a\\b\u000a\u001b[2J""#),
            "{text}"
        );
        assert!(
            text.contains(r#""reason":"\"},{\"by\":[\"me\"]""#),
            "{text}"
        );
        assert!(
            text.contains(r#""by":["%sre","ann"],"expires_ms":7}"#),
            "{text}"
        );
        let no_approver = ApprovalView {
            by: vec![],
            ..asked
        };
        assert!(described(&view, &no_approver).contains(r#""by":[],"#));
    }
}
