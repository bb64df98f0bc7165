//! A requester sees in the history what was decided, and by whom.

use remit_common::wire::{HistoryQuery, Kind, Reply, Request};
use remit_tests::daemon::admin;

use super::scene::{approve, asked, asks, deny, started};

#[test]
fn approval_is_in_history_of_requester() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let _ = approve(&daemon, job).expect("it waits");
    let _ = caller.end_of(job);
    let (other, _) = asks(&mut caller, "site.wait", &[]);
    let _ = deny(&daemon, &admin(), other, "not today").expect("it waits");

    let query = HistoryQuery {
        limit: 100,
        ..HistoryQuery::default()
    };
    let Ok(Reply::History(page)) = caller.ask(Request::History(query)) else {
        panic!("one may ask for one's own");
    };
    let verdicts = |entry: &remit_common::wire::HistoryEntry| {
        let verdict = entry.verdict.clone();
        (entry.kind, verdict, entry.cause.clone().unwrap_or_default())
    };
    let verdicts: Vec<_> = page.entries.iter().map(verdicts).collect();
    let expect = [
        (Kind::Decided, "denied", "denied by #64005: not today"),
        (Kind::Asked, "awaiting_approval", ""),
        (Kind::Ended, "exited", "exited with status 0"),
        (Kind::Started, "allow", ""),
        (Kind::Decided, "approved", "approved by #64005"),
        (Kind::Asked, "awaiting_approval", ""),
    ];
    let expect = expect.map(|(kind, verdict, cause)| (kind, verdict.to_owned(), cause.to_owned()));
    assert_eq!(verdicts, expect);
    let ids = [(&other, 2), (&job, 4)].map(|(job, count)| vec![job.to_string(); count]);
    let found: Vec<String> = page
        .entries
        .iter()
        .filter_map(|e| e.job_id.clone())
        .collect();
    assert_eq!(found, ids.concat());
    assert!(page.entries.iter().all(|entry| entry.user == "#64001"));
    daemon.stop();
}
