use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest, AnyJob, PendingView};
use remit_common::refusal::Code;
use remit_wire::outcome::{ApprovalView, Ending, JobReport, JobSummary, State};
use remit_wire::{AccessReport, GrantView, Reply, Request};
use serde_json::json;

use crate::fake::{
    Answer, Fake, JOB, Said, ended, exited, followed, job, reply, running, squeezed,
};

const CHANGE: [&str; 4] = ["change", "web.reload", "-m", "new TLS"];

fn approval() -> ApprovalView {
    ApprovalView {
        by: vec!["%sre".into(), "bob".into()],
        expires_ms: 951_782_399_000,
        line: "remit approve abab-abab".into(),
        digest: "5a".repeat(32),
    }
}

fn awaiting() -> JobReport {
    JobReport {
        state: State::AwaitingApproval,
        approval: Some(approval()),
        enforced: None,
        ..running()
    }
}

fn waiting_note() -> String {
    format!(
        "remit: job {} waits for the approval of another person: %sre, bob\n\
         remit: to approve it, they run: remit approve abab-abab\n\
         remit: it expires at 2000-02-28 23:59:59 UTC\n",
        job()
    )
}

fn becoming(report: JobReport) -> Fake {
    Fake::new(move |request| match request {
        Request::Run(_) => reply(awaiting()),
        Request::Follow(_) => followed(&report, [b"reloaded\n", b""], request),
        _ => reply(report.clone()),
    })
}

#[test]
fn approved_change_runs() {
    for args in [&CHANGE[..], &["run", "ls"]] {
        let fake = becoming(exited(3, b"reloaded\n", b""));
        let said = fake.output(args);
        assert_eq!(
            (said.status, said.text(), &said.stderr),
            (Some(3), "reloaded\n", &waiting_note()),
            "{args:?}"
        );
        let said = fake.output(&[&["--json"], args].concat());
        assert_eq!(
            (said.json()["exit"].clone(), said.stderr),
            (json!(3), waiting_note())
        );
    }
}

#[test]
fn no_wait_prints_job_state() {
    let fake = Fake::job(awaiting());
    let args = [&CHANGE[..], &["--no-wait"]].concat();
    let said = fake.output(&args);
    let state = format!("job {} awaiting_approval\n", job());
    assert_eq!(
        (said.status, said.text(), &said.stderr),
        (Some(0), &*state, &waiting_note())
    );
    assert_eq!(fake.all_heard().len(), 1, "nothing is asked again");
    let said = fake.output(&[&["--json"], &args[..]].concat());
    let json = said.json();
    assert_eq!(json["state"], "awaiting_approval");
    assert_eq!(
        json["approval"],
        json!({
            "by": ["%sre", "bob"],
            "expires_ms": 951_782_399_000_u64,
            "line": "remit approve abab-abab",
            "digest": "5a".repeat(32),
        })
    );

    let fake = Fake::job(running());
    let said = fake.output(&["run", "--no-wait", "sleep", "9"]);
    let state = format!("job {} running\n", job());
    assert_eq!(
        (said.status, said.text(), &*said.stderr),
        (Some(0), &*state, "")
    );

    let fake = Fake::job(exited(7, b"out", b"err"));
    let said = fake.output(&["run", "--no-wait", "x"]);
    assert_eq!(
        (said.status, said.text(), &*said.stderr),
        (Some(7), "out", "err")
    );
}

fn refused(state: State, cause: &str, code: Code) -> JobReport {
    JobReport {
        ending: Some(
            Ending::unmeasured(state, cause.into(), true)
                .refused(code, "settle it with them, then call change again"),
        ),
        enforced: None,
        ..ended(state, None, None, cause)
    }
}

#[test]
fn unstarted_job_tells_reason_and_fix() {
    for (state, cause, code, sentence) in [
        (
            State::Denied,
            "denied by ann: not\x1b[2J tonight",
            Code::ApprovalDenied,
            "the job was not approved: denied by ann: not\\x1b[2J tonight",
        ),
        (
            State::Expired,
            "nobody approved it in time; it never ran",
            Code::ApprovalExpired,
            "the request expired: nobody approved it in time; it never ran",
        ),
        (
            State::Denied,
            "the policy has changed; it never ran",
            Code::ApprovalVoid,
            "the request is void: the policy has changed; it never ran",
        ),
        (
            State::NotStarted,
            "'/usr/bin/x' has changed",
            Code::ApprovalVoid,
            "the job was not started: '/usr/bin/x' has changed",
        ),
    ] {
        let report = refused(state, cause, code);
        let fake = becoming(JobReport {
            approval: None,
            ..report.clone()
        });
        let said = fake.output(&CHANGE);
        assert_eq!(said.status, Some(125), "{said:?}");
        assert_eq!(
            said.stderr,
            format!(
                "{}remit: {sentence}\nremit: what to do next: settle it with them, then run 'remit change' again\n",
                waiting_note()
            )
        );
        let json = fake.output(&[&["--json"], &CHANGE[..]].concat()).json();
        assert_eq!(
            (&json["code"], &json["state"]),
            (&json!(code), &json!(state))
        );

        let fake = Fake::job(report);
        let shown = squeezed(fake.output(&["job", &job()]).text());
        let next = "next settle it with them, then run 'remit change' again".to_owned();
        assert!(shown.contains(&next), "{shown:?}");
        assert_eq!(fake.output(&["job", &job(), "--wait"]).status, Some(125));
        let stopped = fake.output(&["stop", &job()]);
        let ended = format!("{} ended: {sentence}\n", job());
        assert_eq!((stopped.status, stopped.text()), (Some(0), &*ended));
    }
}

fn pressed(now: JobReport) -> (Said, Vec<Request>) {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let stopped = go.clone();
    let fake = Fake::new(move |request| match request {
        Request::Run(_) => reply(awaiting()),
        Request::Follow(_) => {
            gate.lock().unwrap().recv().unwrap();
            let report = ended(State::Cancelled, None, Some(2), "by its owner");
            followed(&report, [b"", b""], request)
        }
        Request::Stop { .. } => {
            stopped.send(()).unwrap();
            reply(now.clone())
        }
        _ => reply(now.clone()),
    });
    let mut child = fake
        .remit(&CHANGE)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = vec![fake.heard(), fake.heard()];
    assert!(matches!(heard[1], Request::Follow(_)), "{heard:?}");
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let stderr = lines.map(|line| line.unwrap() + "\n").collect();
    let said = Said {
        stderr,
        ..Said::from(child.wait_with_output().unwrap())
    };
    heard.extend(fake.heard_as_sent());
    (said, heard)
}

#[test]
fn ctrl_c_leaves_pending_request() {
    let (said, heard) = pressed(awaiting());
    assert_eq!(said.status, Some(130), "{said:?}");
    let left = format!(
        "{}remit: job {1} still waits for an approval; to withdraw it: remit stop {1}\n",
        waiting_note(),
        job()
    );
    assert_eq!(said.stderr, left);
    assert!(!heard.iter().any(|one| matches!(one, Request::Stop { .. })));
}

#[test]
fn ctrl_c_stops_one_that_was_approved_meanwhile() {
    let (said, heard) = pressed(running());
    assert_eq!(said.status, Some(130), "{said:?}");
    let stop = Request::Stop {
        job: JOB,
        signal: Some(2),
    };
    assert!(heard.contains(&stop), "{heard:?}");
    assert!(
        said.stderr.contains("the job was cancelled: by its owner"),
        "{said:?}"
    );
}

#[test]
fn second_ctrl_c_always_leaves() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let fake = Fake::new(move |request| {
        if !matches!(request, Request::Run(_)) {
            let _ = gate.lock().unwrap().recv();
        }
        reply(awaiting())
    });
    let mut child = fake.remit(&CHANGE).stderr(Stdio::null()).spawn().unwrap();
    let press = || {
        kill(
            Pid::from_raw(i32::try_from(child.id()).unwrap()),
            Signal::SIGINT,
        )
        .unwrap()
    };
    fake.heard();
    assert!(matches!(fake.heard(), Request::Follow(_)));
    press();
    assert!(matches!(fake.heard(), Request::Job(_)));
    press();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(go);
}

#[test]
fn pending_job_names_its_approvers() {
    let fake = Fake::job(awaiting());
    let shown = squeezed(fake.output(&["job", &job()]).text());
    for line in [
        "state awaiting_approval",
        "asked %sre, bob",
        "until 2000-02-28 23:59:59 UTC",
        "they type remit approve abab-abab",
        &format!("digest {}", "5a".repeat(32)),
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line}: {shown:?}");
    }
}

#[test]
fn job_lists_name_asked_approvers() {
    let summary = |state| JobSummary {
        job_id: JOB,
        command: "web.reload".into(),
        state,
        exit: None,
        started_ms: 0,
        output_bytes: 0,
    };
    let asked = AtomicU32::new(0);
    let fake = Fake::new(move |request| match request {
        Request::Jobs { .. } => {
            let state = match asked.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => State::AwaitingApproval,
                _ => State::Running,
            };
            Answer::Reply(Reply::Jobs(vec![summary(state)]))
        }
        _ => reply(awaiting()),
    });
    let said = fake.output(&["jobs", "--mine"]);
    assert!(
        said.text().contains(" awaiting_approval by %sre, bob "),
        "{said:?}"
    );
    let json = fake.output(&["--json", "jobs", "--mine"]).json();
    assert_eq!(json["jobs"][0]["by"], json!(["%sre", "bob"]));
    let json = fake.output(&["--json", "jobs", "--mine"]).json();
    assert_eq!(json["jobs"][0].get("by"), None);

    let fake = Fake::new(|_| Answer::HangUp);
    let _heard = fake.answer_each_administrator(|request| match request {
        AdminRequest::Jobs { .. } => AdminReply::Jobs {
            jobs: vec![AnyJob {
                then: Vec::new(),
                job: JOB,
                user: "agent".into(),
                uid: 1001,
                command: "web.reload".into(),
                state: State::AwaitingApproval,
                exit: None,
                cause: None,
                unconfirmed: None,
                started_ms: 0,
                runtime_ms: 0,
                kill_verified: None,
            }],
            omitted: 0,
        },
        _ => AdminReply::Pending {
            state: 1,
            requests: vec![PendingView {
                job: JOB,
                user: "agent".into(),
                uid: 1001,
                command: "web.reload".into(),
                reason: "x".into(),
                by: vec!["%sre".into()],
                approved_by: Vec::new(),
                missing: 1,
                signed: None,
                yours: false,
                asked_ms: 0,
                left_ms: 1,
                digest: [0; 32],
                set: None,
                behalf: None,
            }],
            omitted: 0,
        },
    });
    let said = fake.output(&["jobs"]);
    assert!(
        said.text().contains(" awaiting_approval by %sre "),
        "{said:?}"
    );
}

#[test]
fn access_tells_what_is_left_of_a_grant() {
    let fake = Fake::new(|_| {
        Answer::Reply(Reply::Access(AccessReport {
            user: "agent".into(),
            uid: 1001,
            grants: vec![GrantView {
                rule: "grant 7 by ann".into(),
                allow: vec!["service.restart".into()],
                profile: "units".into(),
                env: Vec::new(),
                approval: None,
                left: Some("12 min, 3 runs".into()),
            }],
            asked: None,
            profiles: Vec::new(),
            commands: Vec::new(),
            more_commands: 0,
            more_grants: 0,
        }))
    });
    let shown = squeezed(fake.output(&["access"]).text());
    let left = "granted grant 7 by ann: service.restart, 12 min, 3 runs".to_owned();
    assert!(shown.contains(&left), "{shown:?}");
}
