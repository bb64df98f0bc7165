use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use nix::fcntl::{SpliceFFlags, splice};
use remit_common::caps;
use remit_common::hex::hex;
use remit_link::{ToBroker, ToWarden};
use remit_wire::outcome::{OutputPart, Stream};
use remit_wire::{JobQuery, PageQuery, PartQuery, Reply, Request};

use crate::stage::{Broker, Client, Dir, FakeJob, run};

pub fn job(broker: &Broker, client: &mut Client, number: u8) -> FakeJob {
    let mut request = run(&["true"]);
    request.wait_ms = Some(0);
    let call = client.call(Request::Run(request));
    let job = broker.start_job(number, 1000);
    client.reply(call).0.unwrap();
    job
}

#[test]
fn pages_hold_exactly_the_bytes_asked_for() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut job = job(&broker, &mut client, 1);
    let text: Vec<u8> = (0..600_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    job.write(&text, "\u{20ac}\u{20ac}".as_bytes());
    let id = job.id;
    drop(job);
    broker.drained(id);
    assert!(!client.page(id, Stream::Stdout, text.len() as u64, 10).eof);
    broker.end(id);
    let mut all = Vec::new();
    loop {
        let page = client.page(id, Stream::Stdout, all.len() as u64, u32::MAX);
        assert!(page.bytes.len() <= caps::PAGE && page.total == text.len() as u64);
        all.extend_from_slice(&page.bytes);
        if page.eof {
            break;
        }
    }
    assert!(all == text);
    let mut ask = |offset, limit, tail| {
        let page = PageQuery {
            stream: Stream::Stderr,
            offset,
            limit,
            tail,
            whole_characters: true,
        };
        match client.ask(Request::Job(JobQuery {
            job: id,
            wait_ms: 0,
            part: Some(PartQuery::Page(page)),
        })) {
            Ok(Reply::Job {
                part: Some(OutputPart::Page(page)),
                ..
            }) => (page.offset, page.bytes.len(), page.eof),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(0, 4, false), (0, 3, false));
    assert_eq!(ask(0, 2, false), (0, 2, false), "no whole character fits");
    assert_eq!(ask(3, 100, false), (3, 3, true));
    assert_eq!(ask(0, 4, true), (3, 3, true));
    assert_eq!(ask(99, 4, false), (6, 0, true));
}

#[test]
fn excess_output_is_reported_once_and_counted() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let FakeJob {
        id, mut out, err, ..
    } = job(&broker, &mut client, 1);
    drop(err);
    let share = caps::SPOOL_PER_JOB;
    let before = broker.memory();
    let writer = thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..(2 * share) >> 20 {
            out.write_all(&block).unwrap();
        }
        out.write_all(b"the end").unwrap();
    });
    assert_eq!(broker.hear(), ToWarden::OverLimit { job: id });
    writer.join().unwrap();
    let ToWarden::Drained { totals, .. } = broker.hear() else {
        panic!("reported twice")
    };
    assert_eq!(totals.stdout_bytes, 2 * share + 7);
    broker.end(id);
    assert_eq!(
        File::open(dir.spool.join(format!("{id}.out")))
            .unwrap()
            .metadata()
            .unwrap()
            .len(),
        share
    );
    let report = client.job(id, 1000);
    assert!(report.stdout.tail.ends_with(b"xthe end") && report.stdout.total == 2 * share + 7);
    assert!(
        report.notes[0].contains("more than 64 MiB"),
        "{:?}",
        report.notes
    );
    assert!(client.page(id, Stream::Stdout, share, 10).eof);
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
}

#[test]
fn pipe_open_after_exit_is_abandoned() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut job = job(&broker, &mut client, 1);
    job.write(b"said", b"");
    broker.tell(&ToBroker::Exited { job: job.id }, &[]);
    assert_eq!(broker.drained(job.id).stdout_bytes, 4);
}

#[test]
fn a_noisy_job_does_not_keep_others_waiting() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let (mut client, mut other) = (broker.client(1000), broker.client(1001));
    let mut noisy = job(&broker, &mut client, 1);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let signal = std::sync::Arc::clone(&stop);
    let writer = thread::spawn(move || {
        let block = vec![0; 64 << 10];
        while !signal.load(std::sync::atomic::Ordering::Relaxed) {
            noisy.out.write_all(&block).unwrap();
        }
    });
    let start = std::time::Instant::now();
    for _ in 0..50 {
        other.ask(Request::Jobs { limit: 1 }).unwrap();
    }
    let took = start.elapsed();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    assert!(took.as_secs() < 5, "50 requests took {took:?}");
}

/// splice(2) into a pipe holds the pipe's lock while it waits for its source. Every read of the pipe waits.
#[test]
fn locked_pipe_does_not_delay_others() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let (mut client, mut other) = (broker.client(1000), broker.client(1001));
    let (mut job, pipes) = FakeJob::new(1, 1000);
    job.write(b"kept", b"");
    let (id, out) = (job.id, job.out.try_clone().unwrap());
    let (source, silent) = UnixStream::pair().unwrap();
    let (tell, signal) = mpsc::channel();
    let holder = thread::spawn(move || {
        tell.send(nix::unistd::gettid()).unwrap();
        splice(source, None, out, None, 4096, SpliceFFlags::empty())
    });
    let call = format!("/proc/self/task/{}/syscall", signal.recv().unwrap());
    let in_splice = format!("{} ", libc::SYS_splice);
    while !fs::read_to_string(&call).unwrap().starts_with(&in_splice) {
        assert!(!holder.is_finished());
        thread::yield_now();
    }
    let message = ToBroker::Job {
        secrets: Vec::new(),
        ticket: Some(99),
        meta: Box::new(job.meta.clone()),
    };
    broker.tell(&message, &[&pipes[0], &pipes[1]]);
    drop(pipes);
    for _ in 0..10 {
        other.ask(Request::Jobs { limit: 1 }).unwrap();
        assert_eq!(client.job(id, 0).stdout.total, 0);
    }
    drop(silent);
    assert_eq!(holder.join().unwrap(), Ok(0));
    drop(job);
    assert_eq!(broker.drained(id).stdout_bytes, 4);
    broker.end(id);
}

#[test]
fn the_digest_is_of_stdout_then_stderr() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    for (number, out, err) in [(1, "", ""), (2, "abc", ""), (3, "", "abc"), (4, "a", "bc")] {
        let mut job = job(&broker, &mut client, number);
        job.write(out.as_bytes(), err.as_bytes());
        let id = job.id;
        drop(job);
        let sha256 = hex(&broker.drained(id).sha256);
        let expect = match number {
            1 => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            _ => "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        };
        assert_eq!(sha256, expect, "{out:?} {err:?}");
        broker.end(id);
    }
    assert_eq!(dir.files().len(), 4);
}

#[test]
fn full_disk_loses_middle_and_recovers() {
    let dir = Dir::new();
    let mut broker = Broker::start_with_small_spool(&dir, "true");
    assert_eq!(broker.hear(), ToWarden::Ready);
    broker.tell(&ToBroker::Adopted, &[]);
    let mut client = broker.client(1000);
    let mut large = job(&broker, &mut client, 1);
    let text: Vec<u8> = (0..500_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    large.write(&text, b"and an error");
    let id = large.id;
    drop(large);
    let totals = broker.drained(id);
    assert_eq!(
        (totals.stdout_bytes, totals.stderr_bytes),
        (text.len() as u64, 12)
    );
    broker.end(id);
    let report = client.job(id, 1000);
    assert!(text.starts_with(&report.stdout.head) && text.ends_with(&report.stdout.tail));
    assert!(report.stdout.head.len() > 10_000 && report.stdout.tail.len() > 10_000);
    assert_eq!(report.stderr.head.as_slice(), b"and an error");
    assert!(
        report.notes[0].contains("took no more output"),
        "{:?}",
        report.notes
    );
    broker.tell(&ToBroker::Forgotten { job: id }, &[]);
    let mut small = job(&broker, &mut client, 2);
    small.write(&text[..500_000], b"");
    let id = small.id;
    drop(small);
    broker.drained(id);
    broker.end(id);
    let report = client.job(id, 1000);
    assert_eq!((report.stdout.total, report.notes.len()), (500_000, 0));
    assert_eq!(
        client.page(id, Stream::Stdout, 400_000, 5).bytes.as_slice(),
        &text[400_000..400_005]
    );
}

/// Neither the last bytes nor the note fit on the disk.
#[test]
fn output_is_counted_when_disk_is_full() {
    let dir = Dir::new();
    let fill = "{ cat /dev/zero >other 2>/dev/null; true; }";
    let mut broker = Broker::start_with_small_spool(&dir, fill);
    assert_eq!(broker.hear(), ToWarden::Ready);
    broker.tell(&ToBroker::Adopted, &[]);
    let mut client = broker.client(1000);
    let before = broker.descriptors();
    let mut job = job(&broker, &mut client, 1);
    let text: Vec<u8> = (0..500_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    job.write(&text, b"and an error\n");
    let id = job.id;
    drop(job);
    broker.drained(id);
    broker.end(id);
    let report = client.job(id, 1000);
    let (out, err) = (&report.stdout, &report.stderr);
    assert_eq!((out.total, out.lines), (text.len() as u64, 500_000));
    assert_eq!(
        (err.total, err.lines, err.head.len() + err.tail.len()),
        (13, 1, 13)
    );
    assert!(text.starts_with(&out.head) && out.head.len() > 12_000);
    assert!(text.ends_with(&out.tail) && out.tail.len() > 12_000);
    let notes = &report.notes;
    assert!(
        notes[0].contains("its file system is almost full"),
        "{notes:?}"
    );
    assert!(
        notes[0].contains("all 3388903 bytes (500001 newlines) were counted"),
        "{notes:?}"
    );
    broker.has_at_most(before);
}

#[test]
fn limits_come_from_the_command_line() {
    let dir = Dir::new();
    let mut broker =
        Broker::fresh_with(&dir, "--per-job 1048576 --per-user 1572864 --total 9999999");
    let mut client = broker.client(1000);
    let text = b"line\n".repeat(300_000);
    let mut first = job(&broker, &mut client, 1);
    first.write(&text, b"");
    let id = first.id;
    drop(first);
    assert_eq!(broker.hear(), ToWarden::OverLimit { job: id });
    broker.drained(id);
    broker.end(id);
    let report = client.job(id, 1000);
    assert_eq!(
        (report.stdout.total, report.stdout.lines),
        (1_500_000, 300_000)
    );
    let expect = "the job wrote more than 1 MiB: its first 1048576 bytes are kept; all 1500000 bytes (300000 \
                  newlines) were counted, and only the end of the rest is shown";
    assert_eq!(report.notes, [expect]);
    let mut second = job(&broker, &mut client, 2);
    second.write(&text[..1_000_000], b"");
    let next = second.id;
    drop(second);
    broker.drained(next);
    let report = client.job(id, 0);
    assert_eq!(
        (
            report.stdout.total,
            report.stdout.lines,
            report.stdout.head.len()
        ),
        (1_500_000, 300_000, 0)
    );
    assert!(
        report.notes[0].ends_with("it had 1500000 bytes (300000 newlines)"),
        "{:?}",
        report.notes
    );
    assert_eq!(client.job(next, 0).stdout.lines, 200_000);
    assert_eq!(dir.files(), [format!("{id}.lost"), format!("{next}.out")]);
}
