//! The history, which the broker stores and answers from.

use std::process::Stdio;

use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_link::{HistoryMark, HistoryRecord, ToBroker, ToWarden};
use remit_wire::{HistoryPage, HistoryQuery, Kind, Reply, Request};

use crate::stage::{Broker, Client, Dir};

fn record(seq: u64, uid: u32) -> HistoryRecord {
    HistoryRecord {
        seq,
        at_ms: seq * 10,
        kind: Kind::Ended,
        uid,
        user: format!("#{uid}"),
        job: Some(JobId([1; 16])),
        command: Some("df -h".into()),
        verdict: "exited".into(),
        cause: None,
    }
}

fn tell(broker: &Broker, seqs: std::ops::RangeInclusive<u64>, uid: u32) {
    for seq in seqs {
        let entry = Box::new(record(seq, uid));
        broker.tell(&ToBroker::History { entry }, &[]);
    }
}

fn query() -> HistoryQuery {
    HistoryQuery {
        limit: 100,
        ..HistoryQuery::default()
    }
}

fn own(client: &mut Client) -> Vec<u64> {
    match client.ask(Request::History(query())) {
        Ok(Reply::History(page)) => seqs(&page),
        other => panic!("{other:?}"),
    }
}

fn seqs(page: &HistoryPage) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

fn any(broker: &Broker, user: Option<&str>) -> Vec<u64> {
    let question = ToBroker::HistoryQuestion {
        question: 7,
        user: user.map(str::to_owned),
        query: query(),
    };
    broker.tell(&question, &[]);
    loop {
        match broker.hear_any().0 {
            ToWarden::HistoryAnswer {
                question: 7,
                page: Ok(page),
            } => return seqs(&page),
            ToWarden::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn start(dir: &Dir, newest: Option<HistoryMark>) -> Broker {
    let broker = Broker::start_with(dir, "--history \"$1\"", Stdio::null());
    let opened = ToWarden::HistoryOpened { newest };
    assert_eq!(broker.hear_any().0, opened);
    assert_eq!(broker.hear_any().0, ToWarden::Ready);
    broker.tell(&ToBroker::Adopted, &[]);
    broker
}

#[test]
fn stored_entries_survive_broker_and_users_see_their_own() {
    let dir = Dir::new();
    let mut broker = start(&dir, None);
    tell(&broker, 1..=3, 8);
    tell(&broker, 4..=5, 9);
    assert_eq!(own(&mut broker.client(8)), [3, 2, 1]);
    assert_eq!(own(&mut broker.client(9)), [5, 4]);
    assert_eq!(any(&broker, None), [5, 4, 3, 2, 1]);
    assert_eq!(any(&broker, Some("#9")), [5, 4]);
    broker.kill();
    let newest = HistoryMark { seq: 5, at_ms: 50 };
    let mut broker = start(&dir, Some(newest));
    tell(&broker, 6..=6, 8);
    assert_eq!(own(&mut broker.client(8)), [6, 3, 2, 1]);
}

#[test]
fn warden_forgets_stored_entries_by_64() {
    let dir = Dir::new();
    let broker = start(&dir, None);
    tell(&broker, 1..=130, 8);
    for seq in [64, 128] {
        assert_eq!(broker.hear_any().0, ToWarden::HistoryStored { seq });
    }
    assert_eq!(any(&broker, None).len(), 100);
}

#[test]
fn without_directory_questions_are_refused() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    tell(&broker, 1..=1, 8);
    let refused = broker.client(8).ask(Request::History(query())).unwrap_err();
    assert_eq!(refused.code, Code::NotStarted);
    assert_eq!(dir.files(), [""; 0]);
}
