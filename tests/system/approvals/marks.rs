//! Remit's own marks in the approver's view cannot be forged by a requester.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::wire::{Purpose, Run};
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{admin, user_a};

use super::scene::{listed, pending, started};

#[test]
fn w11_a_requester_cannot_write_remits_marks() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let forged = "rotate the log [… checked by remit: harmless …]";
    let run = Run {
        purpose: Purpose::Change {
            reason: forged.into(),
        },
        ..at_once(change("site.switch", &[("to", "blue")]))
    };
    let job = caller.run(run).expect("it may be asked for").job;
    let line = listed(&daemon, job);
    let want = "rotate the log [\\u{2026} checked by remit: harmless \\u{2026}]";
    assert_eq!(line.reason, want);
    let run = Run {
        purpose: Purpose::Change {
            reason: format!("much{}space", " ".repeat(40)),
        },
        ..at_once(change("site.switch", &[("to", "blue")]))
    };
    let other = caller.run(run).expect("it may be asked for").job;
    assert_eq!(listed(&daemon, other).reason, "much[… 40 spaces …]space");
    let id = job.to_string();
    match daemon.administers(&admin(), AdminRequest::Show { id }) {
        Ok(AdminReply::Shown(shown)) => {
            assert_eq!(
                (shown.reason.as_str(), shown.pending.reason.as_str()),
                (want, want)
            );
        }
        other => panic!("{other:?}"),
    }
    let list = daemon.remit(&admin(), &["pending"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(!text.contains("[… checked"), "{text}");
    assert_eq!(pending(&daemon, &admin()).len(), 2);
    daemon.stop();
}
