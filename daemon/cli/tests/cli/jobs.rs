use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::Receiver;

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::names::{JobId, Runtime};
use remit_common::refusal::{Code, Refusal};
use remit_wire::outcome::{JobSummary, State};
use remit_wire::{Reply, Request};

use crate::fake::{Answer, Fake, JOB, ended, exited, job, reply, running, squeezed};

fn mine(id: u8, state: State) -> JobSummary {
    JobSummary {
        job_id: JobId([id; 16]),
        command: "df -h\nx".into(),
        state,
        exit: Some(1).filter(|_| state == State::Exited),
        started_ms: 1_795_163_148_000,
        output_bytes: 1536,
    }
}

fn owner() -> Fake {
    Fake::new(|_| {
        Answer::Reply(Reply::Jobs(vec![
            mine(4, State::Queued),
            mine(3, State::Queued),
            mine(2, State::Running),
            mine(1, State::Exited),
        ]))
    })
}

fn hex(id: u8) -> String {
    JobId([id; 16]).to_string()
}

#[test]
fn mine_are_a_table() {
    let fake = owner();
    let head = "JOB STARTED STATE EXIT OUTPUT COMMAND".to_owned();
    let row = |id, state: &str| {
        format!(
            "{} 2026-11-20 08:25:48 UTC {state} 1.5 KiB df -h\\nx",
            hex(id)
        )
    };
    let all = [
        head,
        row(4, "queued, 2nd of 2 -"),
        row(3, "queued, 1st of 2 -"),
        row(2, "running -"),
        row(1, "exited 1"),
    ];
    for args in [&["jobs"][..], &["jobs", "--mine"], &["job"]] {
        assert_eq!(squeezed(fake.output(args).text()), all, "{args:?}");
    }
    let running = fake.output(&["jobs", "--running"]);
    assert_eq!(squeezed(running.text()), all[..4]);
    let two = fake.output(&["jobs", "--limit", "2"]);
    let two = squeezed(two.text());
    assert_eq!((&two[..3], two[3].as_str()), (&all[..3], "… and 2 more"));
    let json = fake.output(&["jobs", "--limit", "1", "--json"]).json();
    assert_eq!(json["jobs"][0]["job_id"], hex(4));
    assert_eq!(
        json["jobs"][0]["place"],
        serde_json::json!({ "position": 2, "of": 2 })
    );
    assert_eq!(
        (&json["jobs"][1], &json["omitted"]),
        (&serde_json::Value::Null, &3.into())
    );
    let asked = Request::Jobs { limit: u32::MAX };
    assert!(fake.all_heard().iter().all(|request| *request == asked));

    let none = Fake::new(|_| Answer::Reply(Reply::Jobs(Vec::new())));
    assert_eq!(none.output(&["jobs"]).text(), "no jobs\n");
}

#[test]
fn void_and_denied_requests_have_their_code() {
    let void = JOB;
    let summary = |job_id| JobSummary {
        job_id,
        ..mine(2, State::Denied)
    };
    let fake = Fake::new(move |request| match request {
        Request::Job(query) => {
            let mut report = ended(State::Denied, None, None, "why");
            report.ending.as_mut().unwrap().code = Some(match query.job == void {
                true => Code::ApprovalVoid,
                false => Code::ApprovalDenied,
            });
            reply(report)
        }
        _ => Answer::Reply(Reply::Jobs(vec![
            summary(void),
            mine(2, State::Denied),
            mine(1, State::Exited),
        ])),
    });
    let json = fake.output(&["jobs", "--mine", "--json"]).json();
    let codes = ["approval_void", "approval_denied"].map(serde_json::Value::from);
    let [void, denied, exited] = [0, 1, 2].map(|at| &json["jobs"][at]["code"]);
    assert_eq!([void, denied], codes.each_ref(), "{json}");
    assert!(exited.is_null(), "{json}");
    let shown = fake.output(&["jobs", "--mine"]);
    assert!(
        shown.text().contains(" void ") && shown.text().contains(" denied "),
        "{shown:?}"
    );

    let decided = |id, cause: &str| AnyJob {
        cause: Some(cause.to_owned()),
        ..somebodys(id, "alice", 1001, State::Denied)
    };
    let all = vec![
        decided(1, "the policy has changed; it never ran"),
        decided(2, "denied by ann: no"),
        somebodys(9, "alice", 1001, State::Cancelled),
    ];
    let (fake, _heard) = administrator(all, 0);
    let json = fake.output(&["jobs", "--json"]).json();
    let [void, denied, cancelled] = [0, 1, 2].map(|at| &json["jobs"][at]["code"]);
    assert_eq!([void, denied], codes.each_ref(), "{json}");
    assert!(cancelled.is_null(), "{json}");
}

fn somebodys(id: u8, user: &str, uid: u32, state: State) -> AnyJob {
    let has_ended = state == State::Cancelled;
    AnyJob {
        then: Vec::new(),
        job: JobId([id; 16]),
        user: user.into(),
        uid,
        command: "df\x1b".into(),
        state,
        exit: None,
        cause: Some("by an administrator".into()).filter(|_| has_ended),
        unconfirmed: None,
        started_ms: 1_795_163_148_000,
        runtime_ms: 2_450,
        kill_verified: Some(id != 9).filter(|_| has_ended),
    }
}

fn administrator(jobs: Vec<AnyJob>, omitted: u32) -> (Fake, Receiver<AdminRequest>) {
    let fake = owner();
    let heard = fake.answer_administrators(AdminReply::Jobs { jobs, omitted });
    (fake, heard)
}

#[test]
fn administrators_see_jobs_of_all_users() {
    let all = vec![
        somebodys(8, "bob", 1002, State::Queued),
        somebodys(7, "alice", 1001, State::Queued),
        somebodys(6, "alice", 1001, State::Running),
        somebodys(9, "alice", 1001, State::Cancelled),
        somebodys(5, "alice", 1001, State::Queued),
    ];
    let (fake, heard) = administrator(all, 0);
    let head = "JOB USER STARTED RUNTIME STATE EXIT COMMAND".to_owned();
    let row = |id, user: &str, rest: &str| {
        format!(
            "{} {user} 2026-11-20 08:25:48 UTC {rest} - df\\x1b",
            hex(id)
        )
    };
    let table = [
        head,
        row(8, "bob", "- queued, 1st of 1"),
        row(7, "alice", "- queued, 2nd of 2"),
        row(6, "alice", "2.4 s running"),
        row(9, "alice", "2.4 s cancelled, stuck"),
        row(5, "alice", "- queued, 1st of 2"),
    ];
    assert_eq!(squeezed(fake.output(&["jobs"]).text()), table);
    assert_eq!(
        heard.recv().unwrap(),
        AdminRequest::Jobs { limit: u32::MAX }
    );
    let running = fake.output(&["jobs", "--running", "--limit", "3"]);
    let running = squeezed(running.text());
    assert_eq!(
        (&running[..4], running[4].as_str()),
        (&table[..4], "… and 1 more")
    );
    let json = fake.output(&["--json", "jobs"]).json();
    crate::man::check_keys(&["jobs"], &json);
    assert_eq!(json["omitted"], 0);
    let job = serde_json::json!({
        "job_id": hex(9),
        "user": "alice",
        "uid": 1001,
        "command": "df\x1b",
        "state": "cancelled",
        "exit": null,
        "cause": "by an administrator",
        "started_ms": 1_795_163_148_000_u64,
        "runtime_ms": 2450,
        "kill_verified": false,
    });
    assert_eq!(json["jobs"][3], job);
    assert_eq!(fake.all_heard(), []);
    fake.output(&["jobs", "--mine"]);
    assert_eq!(fake.heard(), Request::Jobs { limit: u32::MAX });
}

#[test]
fn omitted_jobs_are_counted_without_positions() {
    let queued = vec![somebodys(8, "bob", 1002, State::Queued)];
    let (fake, _heard) = administrator(queued, 3);
    let said = fake.output(&["jobs", "--running"]);
    let lines = squeezed(said.text());
    assert!(lines[1].contains("- queued -"), "{lines:#?}");
    assert_eq!(lines[2], "… and 3 more");
    let json = fake.output(&["--json", "jobs"]).json();
    assert_eq!(
        (&json["omitted"], &json["jobs"][0]["place"]),
        (&3.into(), &serde_json::Value::Null)
    );
}

#[test]
fn others_see_their_own() {
    let (fake, heard) = administrator(Vec::new(), 0);
    let runtime = Runtime::new(fake.dir());
    let mode = |socket, mode| std::fs::set_permissions(socket, PermissionsExt::from_mode(mode));
    mode(runtime.socket(), 0o666).unwrap();
    mode(runtime.admin_socket(), 0o600).unwrap();
    let said = fake.output_unprivileged(&["jobs"]);
    assert!(said.text().contains(&hex(4)), "{said:?}");
    assert!(heard.try_recv().is_err());
    let said = fake.output(&["jobs"]);
    assert_eq!(
        said.text(),
        "no jobs\n",
        "an administrator has all there are: none"
    );
}

#[test]
fn a_job_that_is_not_there_is_refused() {
    let fake = Fake::new(|_| Answer::Refuse(Refusal::no_such_job()));
    for args in [
        &["job", &job()][..],
        &["job", &job(), "--follow"],
        &["stop", &job()],
    ] {
        let said = fake.output(args);
        assert_eq!((said.status, said.text()), (Some(125), ""));
        let lines = "remit: you have no job with this id (not_found)\n\
                     remit: to go on: `remit jobs` lists yours\n";
        assert_eq!(said.stderr, lines);
    }
}

#[test]
fn stop_returns_when_job_is_gone() {
    let fake = Fake::new(|request| match request {
        Request::Stop { .. } => reply(running()),
        _ => reply(ended(State::Cancelled, None, Some(1), "by its owner")),
    });
    let said = fake.output(&["stop", &job(), "--signal", "hup"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(
        said.text(),
        format!(
            "{} ended: the job was cancelled: by its owner; every process of it is gone, verified\n",
            job()
        )
    );
    let stop = Request::Stop {
        job: JOB,
        signal: Some(1),
    };
    assert_eq!(fake.heard(), stop);
}

#[test]
fn unverified_stop_fails() {
    let mut report = ended(State::Cancelled, None, Some(9), "");
    report.ending.as_mut().unwrap().kill_verified = false;
    let said = Fake::job(report).output(&["stop", &job()]);
    assert_eq!(said.status, Some(125));
    assert!(said.stderr.contains("could not be verified"), "{said:?}");
    assert!(said.stderr.contains("keeps its job slot"), "{said:?}");
    assert!(!said.text().contains("gone"), "{said:?}");
}

#[test]
fn status_is_the_same_without_a_reader() {
    let mut unverified = ended(State::Cancelled, None, Some(9), "");
    unverified.ending.as_mut().unwrap().kill_verified = false;
    let (stop, wait) = (["stop", &job()], ["job", &job(), "--wait"]);
    for (report, args, expect) in [
        (unverified, &stop[..], 125),
        (exited(7, b"", b""), &wait[..], 7),
    ] {
        for form in [&[][..], &["--json"]] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let fake = Fake::job(report.clone());
            let mut command = fake.remit(&[args, form].concat());
            let status = command.stdout(writer).status().unwrap();
            assert_eq!(status.code(), Some(expect), "{args:?} {form:?}");
        }
    }
}

fn the_only(job: AnyJob) -> impl Fn(&AdminRequest) -> AdminReply + Send + 'static {
    move |request| match request {
        AdminRequest::Stop { .. } => AdminReply::Stopped(Box::new(job.clone())),
        _ => AdminReply::Job(Box::new(job.clone())),
    }
}

#[test]
fn own_job_is_found_by_id_prefix() {
    let twin = JobId([0xab, 0xab, 0xcd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let fake = Fake::new(move |request| match request {
        Request::Jobs { .. } => {
            let jobs = [JOB, JobId([4; 16]), twin];
            Answer::Reply(Reply::Jobs(
                jobs.map(|job_id| JobSummary {
                    job_id,
                    ..mine(4, State::Exited)
                })
                .into(),
            ))
        }
        _ => reply(ended(State::Exited, Some(0), None, "")),
    });
    for args in [&["job", "ABAB-abab"][..], &["stop", "ababab"]] {
        let said = fake.output(args);
        assert_eq!(said.status, Some(0), "{said:?}");
        let heard = fake.all_heard();
        assert!(format!("{:?}", heard.last()).contains(&job()), "{heard:?}");
    }
    for (id, message) in [
        (
            "abab",
            "2 ids begin with 'abab': abababab, ababcd00 (invalid_args)\nremit: to go on: type more digits",
        ),
        (
            "9744",
            "you have no job with this id (not_found)\nremit: to go on: `remit jobs`",
        ),
    ] {
        for verb in ["job", "stop"] {
            let said = fake.output(&[verb, id]);
            assert_eq!(said.status, Some(125), "{said:?}");
            assert!(
                said.stderr.starts_with(&format!("remit: {message}")),
                "{said:?}"
            );
        }
        assert!(
            fake.all_heard()
                .iter()
                .all(|request| matches!(request, Request::Jobs { .. }))
        );
    }
}

#[test]
fn administrator_sees_state_of_other_users_job() {
    let fake = Fake::new(|_| Answer::Refuse(Refusal::no_such_job()));
    let heard =
        fake.answer_each_administrator(the_only(somebodys(0xab, "alice", 1001, State::Cancelled)));
    let said = fake.output(&["job", "abab-abab"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.text().contains("cancelled") && said.text().contains("alice"),
        "{said:?}"
    );
    let question = AdminRequest::Job {
        id: "abababab".into(),
        wait: false,
    };
    assert_eq!(heard.recv().unwrap(), question);
    for option in ["--wait", "--follow", "--stdout", "--tail=1", "--grep=x"] {
        let said = fake.output(&["job", "abababab", option]);
        assert_eq!((said.status, said.text()), (Some(125), ""), "{said:?}");
        assert!(said.stderr.contains("only its owner can"), "{said:?}");
    }
    assert_eq!(fake.heard_as_sent(), []);
}

#[test]
fn administrators_stop_jobs_of_any_user() {
    let fake = Fake::new(|_| Answer::Refuse(Refusal::no_such_job()));
    let stopped = somebodys(0xab, "alice", 1001, State::Cancelled);
    let heard = fake.answer_each_administrator(the_only(stopped));
    let said = fake.output(&["stop", &job(), "--signal", "KILL"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(
        said.text(),
        format!(
            "{} ended: the job was cancelled: by an administrator; every process of it is gone, verified\n",
            job()
        )
    );
    let stop = AdminRequest::Stop {
        job: JOB,
        signal: Some(9),
    };
    assert_eq!(heard.iter().nth(1).unwrap(), stop);
    let json = fake.output(&["--json", "stop", &job()]).json();
    assert_eq!(
        (&json["user"], &json["state"]),
        (&"alice".into(), &"cancelled".into())
    );
    assert_eq!(
        fake.heard_as_sent(),
        [],
        "it would be recorded as a refusal"
    );
}

#[test]
fn administrators_stop_own_jobs_as_users() {
    let fake = Fake::job(ended(State::Cancelled, None, Some(15), "by its owner"));
    let own = nix::unistd::geteuid().as_raw();
    let heard =
        fake.answer_each_administrator(the_only(somebodys(0xab, "me", own, State::Running)));
    let said = fake.output(&["stop", &job()]);
    assert!(said.text().contains("by its owner"), "{said:?}");
    let asked: Vec<AdminRequest> = heard.try_iter().collect();
    let question = AdminRequest::Job {
        id: job(),
        wait: false,
    };
    assert_eq!(asked, [question]);
}

#[test]
fn broken_admin_socket_does_not_prevent_stop() {
    let fake = Fake::job(ended(State::Cancelled, None, Some(15), "by its owner"));
    let _heard = fake.answer_administrators(AdminReply::Done("x".into()));
    let said = fake.output(&["stop", &job()]);
    assert_eq!(said.status, Some(0), "{said:?}");
}
