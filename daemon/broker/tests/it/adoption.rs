//! A broker dies and another one continues: no output is lost or read twice.

use std::io::Write;
use std::thread;

use remit_common::outcome::{State, Stream};
use remit_common::refusal::Refusal;
use remit_common::wire::{JobQuery, Request};
use remit_link::{ToBroker, ToWarden};

use crate::stage::{Broker, Dir, FakeJob, ending};

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
        while client.page(id, Stream::Stdout, 0, 0).total == 0 {}
        broker.kill();
    }
    let mut broker = Broker::start(&dir);
    adopt(&broker);
    for _ in 0..2 {
        // The writer can have ended by itself.
        let _ = again.send(());
    }
    writer.join().unwrap();
    let totals = broker.drained(id);
    assert_eq!(totals.stdout_bytes, text.len() as u64);
    assert!(std::fs::read(dir.spool.join(format!("{id}.out"))).unwrap() == text);
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
        job: remit_common::names::JobId([1; 16]),
        wait_ms: 0,
        part: None,
    }));
    assert_eq!(broker.lose_link(), Some(0));
}
