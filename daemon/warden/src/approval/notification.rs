//! Notifies people of a change that waits for their approval: runs a command of the policy as an ordinary job.

use std::time::Instant;

use nix::unistd::gethostname;
use remit_common::admin::PendingView;
use remit_common::outcome::ApprovalView;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Effect, Purpose};
use remit_link::memfd;

use super::shared::{NOTIFICATIONS, WITHIN};
use super::view::typed;
use crate::audit::{Event, Record, json};
use crate::job::breaker::{Pause, PauseScope};
use crate::job::context::RequestCx;
use crate::job::granted;
use crate::request::{Call, Requester};
use crate::service::log::{self, Weight};

/// Characters of a title: what a phone shows of a notification.
const TITLE: usize = 120;

/// Runs the notification command of remit.toml. A failure is recorded, and the request still waits.
pub fn tell_people(cx: &mut RequestCx<'_>, view: &PendingView, asked: &ApprovalView, gist: &str) {
    if cx.settings.config.approval.notify.is_empty() {
        return;
    }
    let result = match cx.approvals.people.take(view.uid, Instant::now()) {
        true => run_notification(cx, &described(view, asked, gist, &host())),
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

pub fn tell_of_pauses(cx: &mut RequestCx<'_>) {
    if cx.life.check_open().is_err() {
        return;
    }
    for pause in std::mem::take(&mut cx.job.reports.breakers.unannounced) {
        if cx.settings.config.approval.notify.is_empty() {
            continue;
        }
        if let Err(refusal) = run_notification(cx, &described_pause(&pause, &host())) {
            say!(
                "nobody was notified that {} is paused: {}",
                pause.user,
                refusal.message
            );
        }
    }
}

/// Returns this machine's name as a word for a command line.
fn host() -> String {
    let name = gethostname().unwrap_or_default();
    host_word(&name.to_string_lossy()).to_owned()
}

fn host_word(name: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        true => name,
        false => "HOST",
    }
}

/// Makes a title that means nothing but its letters to any service: no markup, no quotes, one line of ASCII.
fn title(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " .,:()#_@+/-".contains(c);
    let plain = text.chars().map(|c| if is_plain(c) { c } else { '?' });
    plain.take(TITLE).collect()
}

fn described_pause(pause: &Pause, host: &str) -> String {
    let (what, verb) = match pause.scope {
        PauseScope::Changes => ("the changes of ", "are"),
        PauseScope::Everything => ("", "is"),
    };
    let title = title(&format!("{host}: {what}{} {verb} paused", pause.user));
    let mut text = String::from("{\"paused\":");
    json::string(&mut text, pause.scope.name());
    for (name, value) in [
        ("user", &pause.user),
        ("reason", &pause.why),
        ("line", &format!("remit resume {}", pause.user)),
        ("title", &title),
    ] {
        text += &format!(",\"{name}\":");
        json::string(&mut text, value);
    }
    text + &format!(",\"uid\":{},\"since_ms\":{}}}\n", pause.uid, pause.since_ms)
}

fn run_notification(cx: &mut RequestCx<'_>, json: &str) -> Result<(), Refusal> {
    let name = cx.settings.config.approval.notify.clone();
    let cannot = |why: String| Refusal::new(Code::NotStarted, why);
    let policy = &cx.policies.live.policy;
    let grant = policy.notification(&name).map_err(cannot)?;
    let input = memfd::seal(c"notification", json.as_bytes());
    let input = input.map_err(|error| cannot(format!("no memory file: {error}")))?;
    let purpose = match grant.command().map(|command| command.effect) {
        Some(Effect::Change) => Purpose::Change {
            reason: "to notify people of a change that waits for them".to_owned(),
        },
        Some(Effect::Read) | None => Purpose::Use,
    };
    let call = Call::own(name, Vec::new(), purpose, Some(input))?;
    granted::start_granted(cx, Requester::daemon(), call, grant).map(drop)
}

fn described(view: &PendingView, asked: &ApprovalView, gist: &str, host: &str) -> String {
    let approvals = match view.missing {
        0 | 1 => String::new(),
        count => format!(", {count} approvals"),
    };
    let title = title(&format!("{host}: {} asks for {gist}{approvals}", view.user));
    let approve = match view.signed {
        // The key is on the approver's own computer.
        Some(_) => format!("remit approve --on {host} {}", typed(view.job)),
        None => format!("ssh -t {host} {}", asked.line),
    };
    let mut text = String::from("{\"id\":");
    json::string(&mut text, &view.job.to_string());
    for (name, value) in [
        ("user", view.user.as_str()),
        ("command", &view.command),
        ("reason", &view.reason),
        ("digest", &asked.digest),
        ("line", &asked.line),
        ("title", &title),
        ("approve", &approve),
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
    use remit_common::signed::Signed;

    use super::*;

    #[test]
    fn pause_is_one_json_line() {
        let pause = Pause {
            uid: 1000,
            user: "ag\"ent\n".into(),
            login: None,
            scope: PauseScope::Changes,
            why: "changes that failed in a row: 3".into(),
            since_ms: 7,
        };
        assert_eq!(
            described_pause(&pause, "web1"),
            "{\"paused\":\"changes\",\"user\":\"ag\\\"ent\\u000a\",\"reason\":\"changes that failed in a row: 3\",\
             \"line\":\"remit resume ag\\\"ent\\u000a\",\"title\":\"web1: the changes of ag?ent? are paused\",\"uid\":1000,\"since_ms\":7}\n"
        );
    }

    #[test]
    fn only_a_plain_name_of_the_machine_is_named() {
        for name in ["web1", "web1.example.org", "a_b"] {
            assert_eq!(host_word(name), name);
        }
        for name in ["", "-oProxyCommand=x", "a b", "a;b", "h\u{f6}st", "a\nb"] {
            assert_eq!(host_word(name), "HOST");
        }
    }

    #[test]
    fn any_request_is_one_json_line() {
        let view = PendingView {
            job: JobId([0xab; 16]),
            user: "ag\"ent".into(),
            uid: 1000,
            command: "service.restart unit=a\\b\n\u{1b}[2J".into(),
            reason: "\"},{\"by\":[\"me\"]".into(),
            by: vec!["%sre".into(), "ann".into()],
            approved_by: Vec::new(),
            missing: 1,
            signed: None,
            yours: false,
            asked_ms: 1,
            left_ms: 2,
            digest: [1; 32],
            set: None,
            behalf: None,
        };
        let asked = ApprovalView {
            by: view.by.clone(),
            expires_ms: 7,
            line: "remit approve abab-abab".into(),
            digest: "01".repeat(32),
        };
        let text = described(&view, &asked, "service.restart (1 argument)", "web1");
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
        assert!(
            text.contains(
                r#","title":"web1: ag?ent asks for service.restart (1 argument)","approve":"ssh -t web1 remit approve abab-abab","#
            ),
            "{text}"
        );
        let signed = PendingView {
            signed: Some(Signed::Touch),
            ..view.clone()
        };
        let text = described(&signed, &asked, "x", "web1");
        let approve = r#","approve":"remit approve --on web1 abab-abab","#;
        assert!(text.contains(approve), "{text}");
        let two = PendingView {
            missing: 2,
            signed: None,
            user: "<!channel> *x* \u{202e}".into(),
            ..view.clone()
        };
        let gist = "x".repeat(200);
        let text = described(&two, &asked, &gist, "web1");
        let begin = r#""title":"web1: ??channel? ?x? ? asks for xxx"#;
        assert!(text.contains(begin), "{text}");
        let title = text.split("\"title\":\"").nth(1).unwrap();
        assert_eq!(title.find('"'), Some(TITLE));
        let text = described(&two, &asked, "a script", "web1");
        assert!(text.contains(" asks for a script, 2 approvals\""), "{text}");
        let no_approver = ApprovalView {
            by: vec![],
            ..asked
        };
        assert!(described(&view, &no_approver, "x", "HOST").contains(r#""by":[],"#));
    }
}
