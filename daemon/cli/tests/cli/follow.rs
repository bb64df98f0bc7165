use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use remit_common::caps;
use remit_common::names::Runtime;
use remit_common::refusal::{Code, Refusal};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Follow, Reply, Request};

use crate::fake::{
    Answer, Fake, JOB, Said, ended, exited, followed, job, paged, reply, running, written,
};

fn byte_by_byte(stdout: &'static [u8], stderr: &'static [u8], at_once: usize) -> Fake {
    let end = exited(7, stdout, stderr);
    Fake::new(move |request| match request {
        Request::Follow(asked) => {
            let known =
                asked.stdout as usize >= stdout.len() && asked.stderr as usize >= stderr.len();
            let report = if known { end.clone() } else { running() };
            Answer::Reply(written(&report, [stdout, stderr], at_once, request))
        }
        _ => reply(running()),
    })
}

fn follows(fake: &Fake) -> Vec<Follow> {
    let follow = |request| match request {
        Request::Follow(follow) => Some(follow),
        _ => None,
    };
    fake.all_heard().into_iter().filter_map(follow).collect()
}

#[test]
fn both_streams_are_passed_on_as_they_come() {
    let fake = byte_by_byte(b"a\x1bb\xff\n", b"err", 1);
    for args in [&["run", "x"][..], &["job", &job(), "--follow"]] {
        let said = fake.output(args);
        assert_eq!(said.status, Some(7), "{said:?}");
        assert_eq!(
            (said.stdout.as_slice(), said.stderr.as_str()),
            (&b"a\x1bb\xff\n"[..], "err")
        );
        let asked: Vec<_> = follows(&fake)
            .iter()
            .map(|follow| (follow.stdout, follow.stderr))
            .collect();
        assert_eq!(asked, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (5, 3)]);
    }
}

#[test]
fn each_request_uses_a_long_wait() {
    let fake = byte_by_byte(b"", b"", 1);
    fake.output(&["run", "x"]);
    let expect = Follow {
        job: JOB,
        stdout: 0,
        stderr: 0,
        wait_ms: caps::WAIT_MS,
    };
    assert_eq!(follows(&fake), [expect]);
}

fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(from)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    lines
}

fn piped(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_line_is_seen_while_the_job_runs() {
    let (end, ends) = mpsc::channel();
    let ends = Mutex::new(ends);
    let fake = Fake::new(move |request| match request {
        Request::Follow(Follow { stdout: 0, .. }) => followed(&running(), [b"now\n", b""], request),
        Request::Follow(_) => {
            ends.lock().unwrap().recv().unwrap();
            followed(&exited(0, b"now\n", b""), [b"now\n", b""], request)
        }
        _ => reply(running()),
    });
    let mut child = piped(fake.remit(&["run", "x"]));
    let seen = lines(child.stdout.take().unwrap());
    assert_eq!(seen.recv_timeout(Duration::from_secs(30)).unwrap(), "now");
    assert_eq!(child.try_wait().unwrap(), None, "it runs");
    end.send(()).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(seen.recv().is_err(), "nothing is seen twice");
}

#[test]
fn what_a_job_wrote_last_is_paged_whole() {
    let all: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let mut end = exited(0, b"", b"");
    end.stdout.total = all.len() as u64;
    let bytes = all.clone();
    let fake = Fake::new(move |request| match request {
        Request::Run(_) => reply(running()),
        Request::Follow(_) => Answer::Reply(written(&end, [&bytes, b""], 1000, request)),
        _ => paged(&end, &bytes, request),
    });
    let said = fake.output(&["run", "x"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout == all, "{} bytes", said.stdout.len());
}

fn breaking(
    stdout: &'static [u8],
    broken: impl Fn(Reply) -> Answer + Send + Sync + 'static,
) -> Fake {
    let asked = AtomicUsize::new(0);
    Fake::new(move |request| {
        let Request::Follow(follow) = request else {
            return reply(running());
        };
        let report = match follow.stdout as usize >= stdout.len() {
            true => exited(0, stdout, b""),
            false => running(),
        };
        let reply = written(&report, [stdout, b""], 1, request);
        match asked.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => broken(reply),
            _ => Answer::Reply(reply),
        }
    })
}

#[test]
fn broken_connection_loses_and_repeats_nothing() {
    let ways: [fn(Reply) -> Answer; 4] = [
        |_| Answer::HangUp,
        Answer::Torn,
        |_| Answer::Refuse(Refusal::new(Code::DaemonUnavailable, "the broker is gone")),
        |_| Answer::Refuse(Refusal::new(Code::RateLimited, "too often")),
    ];
    for broken in ways {
        let fake = breaking(b"once\n", broken);
        let said = fake.output(&["run", "x"]);
        assert_eq!((said.status, said.text()), (Some(0), "once\n"), "{said:?}");
        assert_eq!(said.stderr, "");
        let runs = |request: &Request| matches!(request, Request::Run(_));
        assert!(
            !fake.all_heard().iter().skip(1).any(runs),
            "nothing is run again"
        );
    }
}

#[test]
fn restarted_daemon_reports_interrupted_job() {
    let gone = Arc::new(Mutex::new(mpsc::channel().0));
    let (tell, reported) = mpsc::channel();
    *gone.lock().unwrap() = tell;
    let fake = Arc::new(Fake::new(move |request| match request {
        Request::Follow(Follow { stdout: 0, .. }) => {
            followed(&running(), [b"so far", b""], request)
        }
        Request::Follow(_) => {
            gone.lock().unwrap().send(()).unwrap();
            Answer::HangUp
        }
        _ => reply(running()),
    }));
    let child = piped(fake.remit(&["run", "x"]));
    fake.heard();
    fake.heard();
    std::fs::remove_file(Runtime::new(fake.dir()).socket()).unwrap();
    reported.recv().unwrap();
    // Enough time for one failed connection attempt. Without one the test checks less, but does not fail.
    std::thread::sleep(Duration::from_millis(200));
    let end = ended(State::Interrupted, None, None, "remitd was restarted");
    fake.again(move |request| followed(&end, [b"so far, and more", b""], request));
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(
        (said.status, said.text()),
        (Some(137), "so far, and more"),
        "{said:?}"
    );
    assert_eq!(
        said.stderr,
        "remit: the job was interrupted: remitd was restarted\n"
    );
}

#[test]
fn closed_reader_does_not_end_job() {
    let fake = Fake::new(|request| match request {
        Request::Follow(_) => followed(&running(), [&[b'x'; 100_000], b""], request),
        _ => reply(running()),
    });
    for args in [&["run", "x"][..], &["job", &job(), "--follow"]] {
        let mut child = piped(fake.remit(args));
        drop(child.stdout.take());
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!(said.status, Some(141));
        assert_eq!(
            said.stderr,
            format!(
                "remit: nobody reads the output any more; job {0} goes on: to stop it: remit stop {0}\n",
                job()
            )
        );
        let stops = |request: &Request| matches!(request, Request::Stop { .. });
        assert!(!fake.all_heard().iter().any(stops));
    }
}

#[test]
fn stdout_continues_without_stderr_reader() {
    let fake = byte_by_byte(b"wanted", b"unread", 1);
    let mut command = fake.remit(&["run", "x"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    let said = Said::from(output.wait_with_output().unwrap());
    assert_eq!((said.status, said.text()), (Some(7), "wanted"));
}

#[test]
fn write_error_tells_of_running_job() {
    let fake = Fake::new(|request| followed(&running(), [b"some\n", b""], request));
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut command = fake.remit(&["run", "x"]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.status, Some(74));
    assert!(
        said.stderr
            .contains(&format!("remit job {} --follow\n", job())),
        "{said:?}"
    );
    assert!(said.stderr.contains("No space left"), "{said:?}");
}

#[test]
fn unrequested_page_is_not_passed_on() {
    let fake = Fake::new(|request| {
        let Request::Follow(asked) = request else {
            return reply(running());
        };
        let other = Request::Follow(Follow {
            stdout: asked.stdout + 1,
            ..asked.clone()
        });
        Answer::Reply(written(&running(), [b"abc", b""], 9, &other))
    });
    let said = fake.output(&["run", "x"]);
    assert_eq!((said.status, said.text()), (Some(69), ""), "{said:?}");
}

#[test]
fn json_is_one_object_at_the_end() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 4 {
        0..=2 => reply(running()),
        _ => reply(exited(3, b"done", b"")),
    });
    for args in [
        &["run", "--json", "x"][..],
        &["job", &job(), "--json", "--follow"],
    ] {
        let said = fake.output(args);
        assert_eq!(
            (said.status, &said.json()["stdout"]),
            (Some(3), &"done".into())
        );
        let is_waiting = |request: &Request| matches!(request, Request::Job(query) if query.wait_ms == caps::WAIT_MS);
        assert_eq!(
            fake.all_heard()
                .iter()
                .filter(|request| is_waiting(request))
                .count(),
            3
        );
    }
}

#[test]
fn one_stream_is_followed_from_where_one_wants() {
    let end = |request: &Request| {
        let mut report = exited(0, b"", b"");
        report.stdout.total = 10;
        report.stderr.total = 10;
        match request {
            Request::Follow(_) => followed(&report, [b"0123456789", b"abcdefghij"], request),
            _ => reply(JobReport {
                state: State::Running,
                ending: None,
                ..report
            }),
        }
    };
    let fake = Fake::new(end);
    for (args, stdout, stderr, known) in [
        (&["--tail", "3"][..], "789", "hij", (7, 7)),
        (&["--tail", "99"], "0123456789", "abcdefghij", (0, 0)),
        (&["--stdout", "--offset", "4"], "456789", "", (4, u64::MAX)),
        (&["--stderr", "--tail", "4"], "ghij", "", (u64::MAX, 6)),
        (&["--stderr"], "abcdefghij", "", (u64::MAX, 0)),
    ] {
        let id = job();
        let said = fake.output(&[&["job", &id, "--follow"], args].concat());
        assert_eq!(
            (said.status, said.text(), said.stderr.as_str()),
            (Some(0), stdout, stderr)
        );
        let asked: Vec<_> = follows(&fake)
            .iter()
            .map(|follow| (follow.stdout, follow.stderr))
            .collect();
        assert_eq!(asked, [known], "{args:?}");
    }
}

#[test]
fn ended_job_is_printed_with_status() {
    let report = ended(State::TimedOut, None, Some(9), "after 5 s");
    let report = JobReport {
        stdout: exited(0, b"out", b"").stdout,
        ..report
    };
    let fake = Fake::job(report);
    let said = fake.output(&["job", &job(), "--follow"]);
    assert_eq!((said.status, said.text()), (Some(124), "out"));
    assert_eq!(said.stderr, "remit: the job timed out: after 5 s\n");
    assert_eq!(follows(&fake), []);
}
