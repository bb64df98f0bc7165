//! Telling people that a change waits for them: by a command of the policy, run as a job as any other.

use std::time::{Duration, Instant};

use remit_common::admin::PendingView;
use remit_common::caps;
use remit_common::outcome::ApprovalView;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Effect, Purpose};
use remit_link::{Spec, SpecWhat, memfd};

use crate::audit::{Event, Record};
use crate::json;
use crate::often::Often;
use crate::peer::Subject;
use crate::pipeline;
use crate::plan::{Call, Requester};
use crate::say::{self, Weight};
use crate::warden::Warden;

/// The caller of what the daemon runs of its own accord: numbers that no session and no ticket has.
const OWN: u64 = 0;
/// How often people are told of one user's changes, and within which time. Who takes back and asks again
/// could keep them, and the places of jobs, busy for ever.
const MOST: usize = caps::PENDING_PER_UID;
const WITHIN: Duration = Duration::from_secs(600);

/// How often people may be told, of each user's changes.
pub const fn how_often() -> Often {
    Often::new(MOST, WITHIN)
}

impl Warden {
    /// Has the command that remit.toml names tell of a request. What goes wrong is recorded; the request
    /// waits all the same.
    pub fn tell_people(&mut self, view: &PendingView, asked: &ApprovalView) {
        if self.config.approval.notify.is_empty() {
            return;
        }
        let told = match self.people.take(view.uid, Instant::now()) {
            true => self.run_notification(&described(view, asked)),
            false => {
                let minutes = WITHIN.as_secs() / 60;
                let text = format!(
                    "they were told of {MOST} of {} within {minutes} min",
                    view.user
                );
                Err(Refusal::new(Code::RateLimited, text))
            }
        };
        if let Err(refusal) = told {
            let job = view.job;
            let message = format!(
                "nobody was told of {}'s change [{}] that waits for an approval: {}",
                view.user,
                job.short(),
                refusal.message
            );
            say::beside(&self.audit, Weight::Warning, format_args!("{message}"));
            let record = Record::new(Event::Refusal, message)
                .doubtful()
                .field("JOB", job.to_string())
                .number("UID", view.uid)
                .field("USER", &view.user)
                .field("VERDICT", refusal.code.as_str())
                .field("POLICY", &self.policy.digest)
                .field("CAUSE", &refusal.message);
            self.audit.note(record);
        }
    }

    fn run_notification(&mut self, json: &str) -> Result<(), Refusal> {
        let name = self.config.approval.notify.clone();
        let cannot = |why: String| Refusal::new(Code::NotStarted, why);
        let grant = self.policy.policy.notification(&name).map_err(cannot)?;
        let input = memfd::seal(c"notification", json.as_bytes());
        let input = input.map_err(|error| cannot(format!("no memory file: {error}")))?;
        let call = Call::new(spec(name, grant.command().map(|c| c.effect)), vec![input])?;
        let requester = Requester {
            subject: Subject::daemon(),
            session: OWN,
            ticket: OWN,
        };
        pipeline::granted(self, requester, call, grant).map(drop)
    }
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
                reason: "to tell people of a change that waits for them".to_owned(),
            },
            Some(Effect::Read) | None => Purpose::Use,
        },
    }
}

/// The request as one JSON object.
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
    fn whatever_was_asked_is_one_json_object_on_one_line() {
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
        let nobody = ApprovalView {
            by: vec![],
            ..asked
        };
        assert!(described(&view, &nobody).contains(r#""by":[],"#));
    }
}
