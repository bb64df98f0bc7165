use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_wire::Request;
use remit_wire::outcome::{JobReport, State};

use crate::fake::{Answer, Fake, JOB, ended, exited, followed, job, reply, running};
use crate::plan::{check, checked, made};

#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(shut, |open| !*open).unwrap());
    }
}

fn press(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
}

fn spawn(fake: &Fake, args: &[&str]) -> (Child, Receiver<String>) {
    let mut child = fake
        .remit(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    (child, lines)
}

fn stop_with_int() -> Request {
    Request::Stop {
        job: JOB,
        signal: Some(2),
    }
}

#[test]
fn the_first_stops_the_job() {
    let stopped = Door::default();
    let door = stopped.clone();
    let fake = Fake::new(move |request| {
        match request {
            Request::Stop { .. } => door.open(),
            Request::Follow(_) => door.pass(),
            _ => return reply(running()),
        }
        let report = ended(State::Cancelled, None, Some(2), "by its owner");
        followed(&report, [b"", b""], request)
    });
    let (mut child, lines) = spawn(&fake, &["run", "sleep", "9"]);
    assert!(matches!(fake.heard(), Request::Run(_)));
    assert!(matches!(fake.heard(), Request::Follow(_)));
    press(&child);
    assert_eq!(fake.heard(), stop_with_int());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(
        lines.iter().collect::<Vec<_>>(),
        [
            format!(
                "remit: stopping job {}; press Ctrl-C again to leave it to the daemon",
                job()
            ),
            "remit: the job was cancelled: by its owner; every process of it is gone, verified"
                .to_owned(),
        ]
    );
}

#[test]
fn a_check_is_stopped_and_no_other_starts() {
    let stopped = Door::default();
    let door = stopped.clone();
    let fake = Fake::new(move |request| match request {
        Request::Stop { .. } => {
            door.open();
            reply(check(running()))
        }
        Request::Job(query) if query.job != JOB => {
            door.pass();
            reply(check(ended(
                State::Cancelled,
                None,
                Some(2),
                "by its owner",
            )))
        }
        request if checked(request).is_some() => reply(check(running())),
        request => made(request),
    });
    let checks = ["--check", "a.test", "--check", "b.test"];
    let (mut child, _lines) = spawn(
        &fake,
        &[&["plan", "--mkdir", "/etc/a"], &checks[..]].concat(),
    );
    while !matches!(fake.heard(), Request::Job(query) if query.job != JOB) {}
    press(&child);
    assert!(matches!(fake.heard(), Request::Stop { job, .. } if job != JOB));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let started = |request: &Request| checked(request) == Some("b.test");
    assert!(!fake.heard_as_sent().iter().any(started));
}

#[test]
fn stop_is_sent_again_after_broken_connection() {
    let stopped = Door::default();
    let door = stopped.clone();
    let stops = AtomicU32::new(0);
    let fake = Fake::new(move |request| {
        match request {
            Request::Stop { .. } if stops.fetch_add(1, Ordering::SeqCst) == 0 => {
                return Answer::HangUp;
            }
            Request::Stop { .. } => door.open(),
            Request::Follow(_) => door.pass(),
            _ => return reply(running()),
        }
        let report = ended(State::Cancelled, None, Some(2), "by its owner");
        followed(&report, [b"", b""], request)
    });
    let (mut child, lines) = spawn(&fake, &["run", "sleep", "9"]);
    assert!(matches!(fake.heard(), Request::Run(_)));
    assert!(matches!(fake.heard(), Request::Follow(_)));
    press(&child);
    assert_eq!(
        (fake.heard(), fake.heard()),
        (stop_with_int(), stop_with_int())
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(lines.iter().count(), 2);
}

#[test]
fn the_second_leaves_although_nothing_is_answered() {
    let never = Door::default();
    let door = never.clone();
    let fake = Fake::new(move |request| {
        if !matches!(request, Request::Run(_)) {
            door.pass();
        }
        reply(running())
    });
    let (mut child, _lines) = spawn(&fake, &["run", "sleep", "9"]);
    assert!(matches!(fake.heard(), Request::Run(_)));
    assert!(matches!(fake.heard(), Request::Follow(_)));
    press(&child);
    assert_eq!(fake.heard(), stop_with_int());
    press(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    never.open();
}

#[test]
fn early_interrupt_is_kept_until_id_known() {
    let started = Door::default();
    let stopped = Door::default();
    let (start, stop) = (started.clone(), stopped.clone());
    let fake = Fake::new(move |request| {
        match request {
            Request::Run(_) => {
                start.pass();
                return reply(running());
            }
            Request::Stop { .. } => stop.open(),
            _ => stop.pass(),
        }
        followed(
            &ended(State::Cancelled, None, Some(2), ""),
            [b"", b""],
            request,
        )
    });
    let (mut child, lines) = spawn(&fake, &["run", "sleep", "9"]);
    assert!(matches!(fake.heard(), Request::Run(_)));
    press(&child);
    assert!(lines.recv().unwrap().starts_with("remit: stopping the job"));
    started.open();
    let heard = [fake.heard(), fake.heard()];
    assert!(heard.contains(&stop_with_int()), "{heard:?}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn queued_job_is_stopped_too() {
    let stopped = Door::default();
    let door = stopped.clone();
    let queued = JobReport {
        state: State::Queued,
        ..running()
    };
    let fake = Fake::new(move |request| {
        match request {
            Request::Stop { .. } => door.open(),
            Request::Follow(_) => door.pass(),
            _ => return reply(queued.clone()),
        }
        let report = ended(State::Cancelled, None, None, "by its owner");
        followed(&report, [b"", b""], request)
    });
    let (mut child, _lines) = spawn(&fake, &["run", "sleep", "9"]);
    fake.heard();
    fake.heard();
    press(&child);
    assert_eq!(fake.heard(), stop_with_int());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn end_of_unaffected_job_is_reported() {
    let stopped = Door::default();
    let door = stopped.clone();
    let fake = Fake::new(move |request| {
        match request {
            Request::Stop { .. } => door.open(),
            Request::Follow(_) => door.pass(),
            _ => return reply(running()),
        }
        followed(&exited(3, b"", b""), [b"", b""], request)
    });
    let (mut child, lines) = spawn(&fake, &["run", "sleep", "9"]);
    fake.heard();
    fake.heard();
    press(&child);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(
        lines.iter().last().as_deref(),
        Some(
            "remit: the job exited by itself with status 3; every process of it is gone, verified"
        )
    );
}

#[test]
fn follower_leaves_and_learns_how_to_stop() {
    let never = Door::default();
    let door = never.clone();
    let fake = Fake::new(move |request| {
        if matches!(request, Request::Follow(_)) {
            door.pass();
        }
        reply(running())
    });
    let (mut child, lines) = spawn(&fake, &["job", &job(), "--follow"]);
    assert!(matches!(fake.heard(), Request::Job(_)));
    assert!(matches!(fake.heard(), Request::Follow(_)));
    press(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let expected = format!("remit: job {0} goes on; to stop it: remit stop {0}", job());
    assert_eq!(lines.iter().collect::<Vec<_>>(), [expected]);
    assert_eq!(fake.all_heard(), [], "the job is not stopped");
    never.open();
}

/// Inspects the signal masks instead of sending SIGINT, which shells ignore in background processes.
#[test]
fn other_verbs_leave_ctrl_c_as_it_is() {
    let never = Door::default();
    let door = never.clone();
    let fake = Fake::new(move |_| {
        door.pass();
        Answer::HangUp
    });
    for (args, touched) in [
        (&["run", "sleep", "9"][..], true),
        (&["job", &job(), "--wait"], false),
    ] {
        let mut child = fake.remit(args).spawn().unwrap();
        fake.heard();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let is_touched = status.lines().any(|line| {
            let mask = line
                .strip_prefix("SigBlk:")
                .or_else(|| line.strip_prefix("SigCgt:"));
            let mask = mask.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
            mask.is_some_and(|mask| mask & (1 << (Signal::SIGINT as u64 - 1)) != 0)
        });
        assert_eq!(is_touched, touched, "{args:?}");
    }
    never.open();
}
