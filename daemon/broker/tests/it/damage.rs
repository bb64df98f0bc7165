//! Brokers that die or are killed at any moment, and damaged spools: no output is lost or read twice.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_link::{JobMeta, ToBroker, ToWarden};
use remit_wire::outcome::{JobReport, State, Stream};
use remit_wire::{JobQuery, Request};

use crate::output::job;
use crate::stage::{Broker, Client, Dir, FakeJob, LONG, ending};

fn adopted(dir: &Dir, options: &str, metas: &[JobMeta]) -> (Broker, Client) {
    let mut broker = Broker::start_with(dir, options, Stdio::null());
    assert_eq!(broker.hear(), ToWarden::Ready);
    for meta in metas {
        broker.hand_over(meta, &[]);
    }
    broker.tell(&ToBroker::Adopted, &[]);
    let client = broker.client(1000);
    (broker, client)
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[test]
fn counts_are_right_after_any_kill() {
    let dir = Dir::new();
    let options = "--per-job 3000000";
    let (
        FakeJob {
            id,
            mut out,
            err,
            meta,
        },
        pipes,
    ) = FakeJob::new(1, 1000);
    drop(err);
    let text: Vec<u8> = (0..2_500_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    let sent = text.clone();
    let writer = thread::spawn(move || out.write_all(&sent).unwrap());
    let mut killed = 0;
    let started = Instant::now();
    let totals = loop {
        assert!(started.elapsed() < LONG, "killed {killed} times");
        let mut broker = Broker::start_with(&dir, options, Stdio::null());
        assert_eq!(broker.hear(), ToWarden::Ready);
        broker.hand_over(&meta, &pipes);
        broker.tell(&ToBroker::Adopted, &[]);
        let mut client = broker.client(1000);
        let before = client.job(id, 0).stdout.total;
        if killed < 30 && !writer.is_finished() {
            thread::sleep(Duration::from_micros(killed * 137 % 2000));
            broker.kill();
            killed += 1;
            continue;
        }
        let report = client.job(id, 0);
        assert!(report.stdout.total >= before);
        let seen = &text[..usize::try_from(report.stdout.total).unwrap()];
        assert_eq!(
            report.stdout.lines,
            newlines(seen),
            "after {} bytes",
            seen.len()
        );
        drop(pipes);
        let totals = broker.drained(id);
        broker.end(id);
        let report = client.job(id, 1000);
        assert_eq!(
            (report.stdout.total, report.stdout.lines),
            (text.len() as u64, 2_500_000)
        );
        assert!(text.ends_with(&report.stdout.tail) && report.stdout.tail.len() > 12_000);
        break totals;
    };
    writer.join().unwrap();
    assert_eq!(totals.stdout_bytes, text.len() as u64);
    assert!(killed > 3, "{killed} times");
    assert_eq!(
        fs::metadata(dir.spool.join(format!("{id}.out")))
            .unwrap()
            .len(),
        3_000_000
    );
    let meta = JobMeta {
        ending: Some(ending()),
        ..meta
    };
    let (_broker, mut client) = adopted(&dir, options, &[meta]);
    let report = client.job(id, 0);
    assert_eq!(
        (report.stdout.total, report.stdout.lines),
        (text.len() as u64, 2_500_000)
    );
    assert!(text.ends_with(&report.stdout.tail) && report.stdout.tail.len() > 12_000);
    let expect = format!(
        "3000000 bytes are, of {} bytes (2500000 newlines)",
        text.len()
    );
    assert!(report.notes[0].contains(&expect), "{:?}", report.notes);
}

#[test]
fn foreign_spool_entries_are_kept_and_logged_once() {
    let dir = Dir::new();
    let [known, unknown] = [1, 2].map(|number| JobId([number; 16]));
    let path = |name: &str| dir.spool.join(name);
    fs::write(path(&format!("{unknown}.out")), "x").unwrap();
    fs::write(path("core"), "x").unwrap();
    fs::create_dir(path(&format!("{known}.out"))).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", path(&format!("{known}.err"))).unwrap();
    let (mut log, writer) = std::io::pipe().unwrap();
    let mut broker = Broker::start_with(&dir, "", Stdio::from(writer));
    assert_eq!(broker.hear(), ToWarden::Ready);
    let (job, _) = FakeJob::new(1, 1000);
    let meta = JobMeta {
        ending: Some(ending()),
        ..job.meta.clone()
    };
    broker.hand_over(&meta, &[]);
    broker.tell(&ToBroker::Adopted, &[]);
    let report = broker.client(1000).job(known, 0);
    assert_eq!((report.stdout.total, report.stderr.total), (0, 0));
    assert_eq!(
        dir.files(),
        [
            format!("{known}.err"),
            format!("{known}.out"),
            "core".to_owned()
        ]
    );
    broker.lose_link();
    drop(broker);
    let mut lines = String::new();
    log.read_to_string(&mut lines).unwrap();
    let entries: Vec<_> = lines
        .lines()
        .filter(|line| line.contains("left unchanged"))
        .collect();
    assert_eq!(entries.len(), 1, "{lines}");
    for name in [
        "'core'",
        &format!("'{known}.out'"),
        &format!("'{known}.err'"),
    ] {
        assert!(entries[0].contains(name), "{entries:?}");
    }
}

fn changed(change: impl FnOnce(&Dir, JobId)) -> JobReport {
    let dir = Dir::new();
    let options = "--per-job 20000";
    let mut first = Broker::fresh_with(&dir, options);
    let mut client = first.client(1000);
    let mut job = job(&first, &mut client, 1);
    job.write(&b"line\n".repeat(100_000), b"");
    let (id, meta) = (job.id, job.meta.clone());
    drop(job);
    first.drained(id);
    first.end(id);
    first.kill();
    change(&dir, id);
    let meta = JobMeta {
        ending: Some(ending()),
        ..meta
    };
    let (_broker, mut client) = adopted(&dir, options, &[meta]);
    client.job(id, 0)
}

#[test]
fn counts_survive_and_damage_is_reported() {
    let report = changed(|_, _| {});
    assert_eq!(
        (report.stdout.total, report.stdout.lines),
        (500_000, 100_000)
    );
    assert!(
        report.notes[0].contains("20000 bytes are, of 500000"),
        "{:?}",
        report.notes
    );
    let report =
        changed(|dir, id| fs::write(dir.spool.join(format!("{id}.lost")), [0; 16]).unwrap());
    assert!(report.notes[0].contains("is damaged"), "{:?}", report.notes);
    let report = changed(|dir, id| fs::remove_file(dir.spool.join(format!("{id}.out"))).unwrap());
    assert!(
        report.notes[0].contains("no longer there"),
        "{:?}",
        report.notes
    );
}

#[test]
fn output_removed_by_others_is_reported() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut job = job(&broker, &mut client, 1);
    job.write(b"gone", b"here");
    let id = job.id;
    drop(job);
    broker.drained(id);
    broker.end(id);
    fs::remove_file(dir.spool.join(format!("{id}.out"))).unwrap();
    let report = client.job(id, 1000);
    assert_eq!((report.stdout.total, report.stdout.head.len()), (4, 0));
    assert_eq!(report.stderr.head.as_slice(), b"here");
    assert!(
        report.notes[0].contains("its output is no longer there"),
        "{:?}",
        report.notes
    );
    let file = File::options()
        .write(true)
        .open(dir.spool.join(format!("{id}.err")))
        .unwrap();
    file.set_len(2).unwrap();
    assert_eq!(client.job(id, 0).stderr.head.as_slice(), b"he");
    assert!(client.grep(id, |_| {}).unwrap().eof);
    let page = client.page(id, Stream::Stderr, 0, 9);
    assert_eq!((page.bytes.as_slice(), page.eof), (&b"he"[..], true));
    let found = client.grep(id, |query| query.stream = Stream::Stderr);
    assert!(found.unwrap().eof);
}

#[test]
fn output_survives_brokers_that_die_while_it_flows() {
    let dir = Dir::new();
    let (job, pipes) = FakeJob::new(1, 1000);
    let text: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    let (id, sent) = (job.id, text.clone());
    let FakeJob {
        mut out, err, meta, ..
    } = job;
    drop(err);
    let (again, more) = std::sync::mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        for part in sent.chunks(sent.len() / 5) {
            out.write_all(part).unwrap();
            more.recv().unwrap();
        }
    });
    let adopt = |broker: &Broker| {
        assert_eq!(broker.hear(), ToWarden::Ready);
        let job = ToBroker::Job {
            secrets: Vec::new(),
            ticket: None,
            meta: Box::new(meta.clone()),
        };
        broker.tell(&job, &[&pipes[0], &pipes[1]]);
        broker.tell(&ToBroker::Adopted, &[]);
    };
    for _ in 0..4 {
        let mut broker = Broker::start(&dir);
        adopt(&broker);
        again.send(()).unwrap();
        let mut client = broker.client(1000);
        while client.page(id, Stream::Stdout, 0, 0).total == 0 {
            // Each question is one of the user's requests, which have a rate.
            thread::sleep(Duration::from_millis(5));
        }
        broker.kill();
    }
    let mut broker = Broker::start(&dir);
    adopt(&broker);
    for _ in 0..2 {
        let _ = again.send(());
    }
    writer.join().unwrap();
    let totals = broker.drained(id);
    assert_eq!(totals.stdout_bytes, text.len() as u64);
    assert!(fs::read(dir.spool.join(format!("{id}.out"))).unwrap() == text);
    broker.end(id);
    let mut client = broker.client(1000);
    let report = client.job(id, 1000);
    assert_eq!(report.state, State::Exited);
    assert!(text.starts_with(&report.stdout.head) && text.ends_with(&report.stdout.tail));
}

#[test]
fn ended_jobs_are_restored_unknown_files_removed() {
    let dir = Dir::new();
    let mut first = Broker::start(&dir);
    first.tell(&ToBroker::Adopted, &[]);
    assert_eq!(first.hear(), ToWarden::Ready);
    let mut jobs = Vec::new();
    for number in [1, 2] {
        let (mut job, pipes) = FakeJob::new(number, 1000);
        first.hand_over(&job.meta, &pipes);
        job.write(b"kept\n", b"");
        let (id, meta) = (job.id, job.meta.clone());
        drop(job);
        drop(pipes);
        first.drained(id);
        first.end(id);
        jobs.push((id, meta));
    }
    first.kill();
    assert_eq!(dir.files().len(), 2);

    let mut second = Broker::start(&dir);
    let (id, mut meta) = jobs.remove(0);
    meta.ending = Some(ending());
    second.tell(
        &ToBroker::Job {
            secrets: Vec::new(),
            ticket: None,
            meta: Box::new(meta),
        },
        &[],
    );
    second.tell(&ToBroker::Adopted, &[]);
    let mut client = second.client(1000);
    let report = client.job(id, 0);
    assert_eq!(
        (report.state, report.stdout.head.as_slice()),
        (State::Exited, &b"kept\n"[..])
    );
    assert!(client.page(id, Stream::Stdout, 0, 100).eof);
    let unknown = Request::Job(JobQuery {
        job: jobs[0].0,
        wait_ms: 0,
        part: None,
    });
    assert_eq!(client.ask(unknown), Err(Refusal::no_such_job()));
    assert_eq!(dir.files(), [format!("{id}.out")]);
}

#[test]
fn a_broker_without_its_warden_ends() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    client.call(Request::Job(JobQuery {
        job: JobId([1; 16]),
        wait_ms: 0,
        part: None,
    }));
    assert_eq!(broker.lose_link(), Some(0));
}
