use std::thread;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_link::ToBroker;
use remit_wire::outcome::{Followed, State};
use remit_wire::{Follow, JobQuery, Reply, Request, ToClient};

use crate::output::job;
use crate::stage::{Broker, Client, Dir, FakeJob, LONG};

fn query(job: JobId, stdout: u64, stderr: u64, wait_ms: u32) -> Request {
    Request::Follow(Follow {
        job,
        stdout,
        stderr,
        wait_ms,
    })
}

fn followed(reply: Result<Reply, Refusal>) -> Followed {
    match reply {
        Ok(Reply::Followed(followed)) => *followed,
        other => panic!("{other:?}"),
    }
}

fn follow(client: &mut Client, job: JobId, stdout: u64, stderr: u64, wait_ms: u32) -> Followed {
    followed(client.ask(query(job, stdout, stderr, wait_ms)))
}

#[test]
fn new_output_is_sent_at_once_end_with_report() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut job = job(&broker, &mut client, 1);
    let id = job.id;
    let start = Instant::now();
    let call = client.call(query(id, 0, 0, caps::WAIT_MS));
    job.write(b"one", b"");
    let first = followed(client.reply(call).0);
    assert!(start.elapsed() < LONG, "it is answered when it comes");
    assert_eq!(
        (first.state, first.stdout.bytes.as_slice()),
        (State::Running, &b"one"[..])
    );
    assert!(first.stderr.bytes.is_empty() && first.report.is_none() && !first.stdout.eof);
    let call = client.call(query(id, 3, 0, caps::WAIT_MS));
    job.write(b"", b"two");
    let second = followed(client.reply(call).0);
    assert_eq!((second.stdout.offset, second.stdout.bytes.len()), (3, 0));
    assert_eq!(
        (second.stderr.offset, second.stderr.bytes.as_slice()),
        (0, &b"two"[..])
    );
    for known in [3, 99] {
        let start = Instant::now();
        let none = follow(&mut client, id, known, 3, 100);
        assert!(start.elapsed() >= Duration::from_millis(100));
        assert!(none.stdout.bytes.is_empty() && none.stderr.bytes.is_empty());
    }
    let call = client.call(query(id, 3, 3, caps::WAIT_MS));
    drop(job);
    broker.drained(id);
    broker.end(id);
    let last = followed(client.reply(call).0);
    assert_eq!(
        (last.state, last.stdout.eof, last.stderr.eof),
        (State::Exited, true, true)
    );
    assert_eq!(last.report.unwrap().stdout.total, 3);
    let start = Instant::now();
    let all = follow(&mut client, id, 0, 0, caps::WAIT_MS);
    assert_eq!(
        (all.stdout.bytes.as_slice(), all.stdout.eof),
        (&b"one"[..], true)
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    let mut other = broker.client(1001);
    assert_eq!(other.ask(query(id, 0, 0, 0)), Err(Refusal::no_such_job()));
}

#[test]
fn many_small_writes_cost_few_answers() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut job = job(&broker, &mut client, 1);
    let id = job.id;
    let start = Instant::now();
    let writer = thread::spawn(move || {
        for _ in 0..2000 {
            job.write(b"x", b"");
            thread::sleep(Duration::from_micros(200));
        }
    });
    let (mut known, mut answers) = (0, 0);
    while known < 2000 {
        known += follow(&mut client, id, known, 0, caps::WAIT_MS)
            .stdout
            .bytes
            .len() as u64;
        answers += 1;
    }
    let most = start.elapsed().as_millis() / 20 + 1;
    writer.join().unwrap();
    assert!(answers <= most, "{answers} answers, {most} at most");
}

#[test]
fn a_flood_is_followed_page_by_page() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let FakeJob {
        id, mut out, err, ..
    } = job(&broker, &mut client, 1);
    drop(err);
    let text: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    let sent = text.clone();
    let writer = thread::spawn(move || std::io::Write::write_all(&mut out, &sent).unwrap());
    let mut all = Vec::new();
    while all.len() < text.len() {
        let page = follow(&mut client, id, all.len() as u64, 0, caps::WAIT_MS).stdout;
        assert!(page.bytes.len() <= caps::PAGE && !page.bytes.is_empty());
        all.extend_from_slice(&page.bytes);
    }
    writer.join().unwrap();
    assert!(all == text);
}

#[test]
fn queued_job_is_followed_from_start() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let (mut job, pipes) = FakeJob::new(1, 1000);
    job.meta.waiting = Some(remit_link::WaitReason::QueuePosition);
    broker.hand_over(&job.meta, &[]);
    let waiting = follow(&mut client, job.id, 0, 0, 0);
    assert_eq!(
        (waiting.state, waiting.queue_position.unwrap().position),
        (State::Queued, 1)
    );
    let call = client.call(query(job.id, 0, 0, caps::WAIT_MS));
    let started = ToBroker::Started {
        job: job.id,
        started_ms: 5,
        waited_ms: 6,
    };
    broker.tell(&started, &[&pipes[0], &pipes[1]]);
    job.write(b"hi", b"");
    let running = followed(client.reply(call).0);
    assert_eq!(
        (running.state, running.queue_position),
        (State::Running, None)
    );
    assert_eq!(running.stdout.bytes.as_slice(), b"hi");
}

#[test]
fn many_followers_do_not_delay_others() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut first = broker.client(1000);
    let mut other = broker.client(1001);
    let mut job = job(&broker, &mut first, 1);
    let mut crowd: Vec<_> = (1..caps::SESSIONS_PER_UID)
        .map(|_| broker.client(1000))
        .collect();
    for client in &mut crowd {
        for _ in 0..caps::CALLS_PER_SESSION {
            client.call(query(job.id, 0, 0, caps::WAIT_MS));
            thread::sleep(Duration::from_millis(4));
        }
    }
    // Of 20 answers one may be late: a busy machine can stall.
    let mut late = |during| {
        let (begin, mut took) = (Instant::now(), Vec::new());
        while begin.elapsed() < during || took.len() < 20 {
            let start = Instant::now();
            other.job_list();
            took.push(start.elapsed());
            thread::sleep(Duration::from_millis(6));
        }
        took.sort_unstable();
        took[took.len() * 19 / 20 - 1]
    };
    let idle = late(Duration::from_secs(2));
    let readers: Vec<_> = crowd
        .into_iter()
        .map(|client| thread::spawn(move || client.rest().len()))
        .collect();
    let page = vec![b'x'; caps::PAGE];
    let writer = thread::spawn(move || job.write(&page, &page));
    let busy = late(Duration::from_secs(2));
    writer.join().unwrap();
    broker.kill();
    for reader in readers {
        reader.join().unwrap();
    }
    let most = Duration::from_secs(2);
    assert!(idle < most && busy < most, "{idle:?} {busy:?}");
}

/// Each waiting call gets progress once a second. To redact it, an automaton of the secret's forms is built in milliseconds.
#[test]
fn many_waiting_calls_of_secret_job_do_not_delay_others() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut first = broker.client(1000);
    let (mut job, pipes) = FakeJob::new(1, 1000);
    let secret: Vec<u8> = (0..caps::NAMED_VALUE)
        .map(|n| b'a' + u8::try_from(n * n % 23).unwrap())
        .collect();
    let message = ToBroker::Job {
        secrets: vec![secret.into()],
        ticket: Some(99),
        meta: Box::new(job.meta.clone()),
    };
    broker.tell(&message, &[&pipes[0], &pipes[1]]);
    job.write(b"one line\n", b"");
    while first.job_list().iter().all(|job| job.output_bytes == 0) {
        thread::sleep(Duration::from_millis(20));
    }
    let mut crowd: Vec<_> = (1..caps::SESSIONS_PER_UID)
        .map(|_| broker.client(1000))
        .collect();
    for client in &mut crowd {
        for _ in 0..caps::CALLS_PER_SESSION {
            client.call(Request::Job(JobQuery {
                job: job.id,
                wait_ms: caps::WAIT_MS,
                part: None,
            }));
            thread::sleep(Duration::from_millis(4));
        }
    }
    let (before, start) = (broker.processor_time(), Instant::now());
    thread::sleep(Duration::from_secs(4));
    let (used, passed) = (broker.processor_time() - before, start.elapsed());
    assert!(used < passed / 2, "{used:?} in {passed:?}");
    let progress = match crowd[0].receive() {
        ToClient::Progress { progress, .. } => progress,
        other => panic!("{other:?}"),
    };
    assert_eq!(progress.last_line, "one line");
}
