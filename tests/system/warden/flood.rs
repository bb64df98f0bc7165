//! Floods of refusals: the audit log stays short, counts them, and keeps free space for others.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_link::{ToBroker, ToWarden};
use serde_json::Value;

use crate::warden::audit_log;
use crate::warden::stage::{ALICE, Broker, SOON, Stage, Way, argv};

const MALLORY: u32 = 64_003;
const PEGGY: u32 = 64_009;
const MOST: u64 = 1 << 20;

/// Sends `count` requests that are refused, with no more in flight than a broker has.
fn denied(broker: &Broker, session: u64, from: u64, count: u64, words: &[&str]) {
    const AT_ONCE: u64 = 32;
    for first in (from..from + count).step_by(32) {
        let last = (first + AT_ONCE).min(from + count);
        for ticket in first..last {
            broker.run(session, ticket, argv(words), &[]);
        }
        let mut left = last - first;
        while left > 0 {
            if let (ToBroker::Answer { answer, .. }, _) = broker.hear() {
                assert_eq!(answer.unwrap_err().code, Code::DeniedRule);
                left -= 1;
            }
        }
    }
}

fn number(record: &Value, name: &str) -> u64 {
    let text = record[name].as_str();
    text.map_or(0, |text| text.parse().expect("it is a number"))
}

fn counted(records: &[Value], uid: Option<u32>) -> (u64, u64) {
    let uid = uid.map(|uid| uid.to_string());
    let own = records
        .iter()
        .filter(|record| record["REMIT_UID"].as_str() == uid.as_deref());
    own.fold((0, 0), |(single, more), record| {
        match number(record, "REMIT_SUPPRESSED") {
            0 => (single + 1, more),
            count => (single, more + count),
        }
    })
}

fn length(stage: &Stage) -> u64 {
    let path = stage.test_dir.path().join("state/audit.jsonl");
    std::fs::metadata(path).unwrap().len()
}

fn accounted(stage: &Stage, uid: Option<u32>, all: u64) -> (u64, u64) {
    let start = Instant::now();
    loop {
        let (single, more) = counted(&stage.records("refusal"), uid);
        if single + more >= all {
            return (single, more);
        }
        let late = start.elapsed() > Duration::from_millis(SOON.into());
        assert!(!late, "{single} and {more} of {all}: {}", stage.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn denial_flood_is_counted_in_limited_space() {
    let (stage, broker) = Stage::start();
    let _mallory = stage.connect(MALLORY);
    let mallory = broker.session();
    let _alice = stage.connect(ALICE);
    let alice = broker.session();
    let _peggy = stage.connect(PEGGY);
    let peggy = broker.session();
    let before = length(&stage);
    for round in 0..10 {
        denied(&broker, mallory, 2000 * round, 2000, &["id", "-u"]);
        broker.run(alice, 1_000_000 + round, argv(&["true"]), &[]);
        let (job, _) = broker.started(1_000_000 + round);
        broker.finish(job);
        denied(&broker, peggy, 2_000_000 + round, 1, &["id"]);
    }
    let (single, more) = accounted(&stage, Some(MALLORY), 20_000);
    assert_eq!(single + more, 20_000);
    assert!(single > 100, "some are recorded one by one: {single}");
    let grown = length(&stage) - before;
    assert!(grown < MOST, "{grown} bytes");
    let records = stage.records("refusal");
    assert_eq!(counted(&records, Some(PEGGY)), (10, 0));
    assert_eq!(stage.records("intent").len(), 10);
    let reported = records
        .iter()
        .find(|record| !record["REMIT_SUPPRESSED"].is_null());
    let reported = reported.expect("there is one");
    let message = reported["MESSAGE"].as_str().expect("a sentence");
    assert!(
        message.contains(" more times since ") && message.contains(" denied_rule"),
        "{message}"
    );
    assert_eq!(reported["REMIT_VERDICT"], "denied_rule");
    eprintln!("{grown} bytes for 20,000 refusals, {single} of them one by one; {message}");
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn long_denied_requests_use_no_more_space() {
    let (stage, broker) = Stage::start();
    let _mallory = stage.connect(MALLORY);
    let mallory = broker.session();
    let long = "x".repeat(20_000);
    let before = length(&stage);
    denied(&broker, mallory, 1, 2000, &["id", &long]);
    accounted(&stage, Some(MALLORY), 2000);
    let grown = length(&stage) - before;
    assert!(grown < MOST, "{grown} bytes");
    stage.stop();
}

#[test]
fn an_orderly_stop_tells_what_was_left_out() {
    let (mut stage, broker) = Stage::start();
    let _mallory = stage.connect(MALLORY);
    let mallory = broker.session();
    denied(&broker, mallory, 1, 2000, &["id"]);
    stage.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(stage.ended(), Some(0));
    let (single, more) = counted(&stage.records("refusal"), Some(MALLORY));
    assert_eq!(single + more, 2000);
    stage.records_are_whole();
}

/// The broker's reports have a separate limit, and so do unknown sessions.
#[test]
fn flood_of_broker_refusals_is_counted() {
    let (stage, broker) = Stage::start();
    let before = length(&stage);
    for at in 0..20_000 {
        broker.say(&ToWarden::Refused {
            session: at % 7,
            refusal: Refusal::new(Code::Busy, "x\nPRIORITY=0\u{1b}[2J"),
        });
    }
    broker.say(&ToWarden::MoreRefused {
        session: 1,
        code: Code::InvalidArgs,
        count: 500,
    });
    broker.run(4711, 1, argv(&["true"]), &[]);
    assert!(broker.answer(1).is_err());
    let (_, more) = accounted(&stage, None, 20_501);
    assert!(more > 18_000, "{more}");
    let records = stage.records("refusal");
    for record in &records {
        let message = record["MESSAGE"].as_str().expect("a sentence");
        assert!(!message.contains(['\n', '\u{1b}']), "{message}");
    }
    let reported = |record: &&Value| record["REMIT_SOURCE"] == "broker";
    let others: Vec<_> = records.iter().filter(|record| !reported(record)).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    assert_eq!(others[0]["REMIT_VERDICT"], "daemon_unavailable");
    let grown = length(&stage) - before;
    assert!(grown < MOST, "{grown} bytes");
    stage.records_are_whole();
    stage.stop();
}

/// While journald reads nothing, no count is lost: omitted records are reported when it reads again.
#[test]
fn omitted_records_are_reported_when_journal_reads() {
    let (stage, broker, journal) = audit_log::start_with("");
    let _mallory = stage.connect(MALLORY);
    let mallory = broker.session();
    let mut records = Vec::new();
    // At most as many as an unread socket holds (net.unix.max_dgram_qlen).
    for first in (1..2000).step_by(5) {
        denied(&broker, mallory, first, 5, &["id"]);
        records.extend(journal.read());
    }
    journal.fill();
    // Longer than a count waits before its record.
    stage.sleeps();
    std::thread::sleep(Duration::from_secs(6));
    let start = Instant::now();
    let reported = |records: &[String]| {
        let lines = records.iter().flat_map(|record| record.lines());
        let counts = lines.filter_map(|line| line.strip_prefix("REMIT_SUPPRESSED="));
        counts
            .map(|count| count.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let refused = |records: &[String]| audit_log::events(records, "refusal") as u64;
    let summaries = |records: &[String]| {
        let all = records.iter();
        all.filter(|record| record.contains("\nREMIT_SUPPRESSED="))
            .count() as u64
    };
    loop {
        records.extend(journal.read());
        let all = refused(&records) - summaries(&records) + reported(&records);
        if all >= 2000 {
            assert_eq!(all, 2000);
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{all}");
        std::thread::sleep(Duration::from_millis(50));
    }
    stage.stop();
}

#[test]
fn connections_that_are_refused_are_counted() {
    use std::os::unix::fs::PermissionsExt;
    let way = Way::default();
    let (stage, _broker) = Stage::start_as(&way);
    let socket = stage.runtime().admin_socket();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let before = length(&stage);
    std::thread::spawn(move || {
        let mallory = remit_tests::process::Identity::new(MALLORY, &[]);
        mallory.adopt().unwrap();
        for _ in 0..5000 {
            let _ = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        }
    })
    .join()
    .unwrap();
    let (single, more) = accounted(&stage, Some(MALLORY), 5000 - 64);
    assert!(more > 1000, "{single} {more}");
    let grown = length(&stage) - before;
    assert!(grown < MOST, "{grown} bytes");
    stage.stop();
}
