//! Answers to a well-behaved client.

use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, SpecWhat, Startable, ToBroker, ToWarden};
use remit_wire::outcome::{Enforced, State};
use remit_wire::{Access, FromClient, Reply, Request, What};

use crate::stage::{Broker, Client, Dir, report, run};

#[test]
fn run_reaches_warden_and_output_returns() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let call = client.call(Request::Run(run(&["echo", "hi"])));
    let mut job = broker.start_job(1, 1000);
    broker.tell(
        &ToBroker::Running {
            job: job.id,
            enforced: Box::new(Enforced {
                uid: 7,
                ..Enforced::default()
            }),
        },
        &[],
    );
    job.write(b"hi\n", b"oh");
    let id = job.id;
    drop(job);
    let totals = broker.drained(id);
    assert_eq!((totals.stdout_bytes, totals.stderr_bytes), (3, 2));
    broker.end(id);
    let report = report(client.reply(call).0);
    assert_eq!((report.job, report.state), (id, State::Exited));
    assert_eq!(
        (report.stdout.head.as_slice(), report.stderr.head.as_slice()),
        (&b"hi\n"[..], &b"oh"[..])
    );
    assert_eq!(report.enforced.unwrap().uid, 7);
    assert_eq!(dir.files(), [format!("{id}.err"), format!("{id}.out")]);
    broker.tell(&ToBroker::Forgotten { job: id }, &[]);
    assert_eq!(client.ask(gone(id)).unwrap_err(), Refusal::no_such_job());
    assert!(dir.files().is_empty());
}

fn gone(job: JobId) -> Request {
    Request::Job(remit_wire::JobQuery {
        job,
        wait_ms: 0,
        part: None,
    })
}

#[test]
fn script_and_stdin_travel_sealed_in_this_order() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut request = run(&[]);
    request.what = What::Script {
        text: b"cat; df".to_vec().into(),
        interpreter: None,
    };
    request.stdin = Some(b"input".to_vec().into());
    request.wait_ms = Some(0);
    let call = client.call(Request::Run(request));
    // What can be said about `df` depends on what is granted. Without an answer the run goes on.
    let ToWarden::Access { ticket, access, .. } = broker.hear() else {
        panic!()
    };
    assert_eq!((access.argv, access.name, access.query), (None, None, None));
    let answer = Err(Refusal::new(Code::DeniedRule, "no"));
    broker.tell(&ToBroker::Answer { ticket, answer }, &[]);
    let (
        ToWarden::Run {
            ticket,
            spec,
            session,
        },
        fds,
    ) = broker.hear_with_fds()
    else {
        panic!()
    };
    assert_eq!(
        (session, spec.client.as_str(), spec.stdin),
        (client.session, "test 1", true)
    );
    assert_eq!(spec.what, SpecWhat::Script { interpreter: None });
    let texts: Vec<_> = fds
        .into_iter()
        .map(|fd| {
            assert!(remit_link::memfd::check(&fd, 100).is_ok());
            let (mut file, mut text) = (std::fs::File::from(fd), String::new());
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        })
        .collect();
    assert_eq!(texts, ["cat; df", "input"]);
    let (job, pipes) = crate::stage::FakeJob::new(1, 1000);
    broker.tell(
        &ToBroker::Job {
            secrets: Vec::new(),
            ticket: Some(ticket),
            meta: Box::new(job.meta.clone()),
        },
        &[&pipes[0], &pipes[1]],
    );
    let report = report(client.reply(call).0);
    assert_eq!(report.state, State::Running);
    assert!(
        report.notes[0].contains("mount table"),
        "{:?}",
        report.notes
    );
}

#[test]
fn warden_refusal_and_known_job_reach_client() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let call = client.call(Request::Run(run(&["true"])));
    let ToWarden::Run { ticket, .. } = broker.hear() else {
        panic!()
    };
    let refusal = Refusal::new(Code::DeniedRule, "no").by("rule 7");
    broker.tell(
        &ToBroker::Answer {
            ticket,
            answer: Err(refusal.clone()),
        },
        &[],
    );
    assert!(refusal.next.is_none());
    assert_eq!(client.reply(call).0, Err(refusal.with_next()));

    let call = client.call(Request::Run(run(&["true"])));
    let job = broker.start_job(1, 1000);
    let again = client.call(Request::Run(run(&["true"])));
    let ToWarden::Run { ticket, .. } = broker.hear() else {
        panic!()
    };
    broker.tell(
        &ToBroker::Answer {
            ticket,
            answer: Ok(Answer::Known(job.id)),
        },
        &[],
    );
    let id = job.id;
    drop(job);
    broker.drained(id);
    broker.end(id);
    let is_stale = |note: &String| note.starts_with("nothing ran for this call");
    let reply = |client: &mut Client| match client.receive() {
        remit_wire::ToClient::Reply { id: call, reply } => {
            let report = report(reply);
            (call, report.job, report.notes.iter().any(is_stale))
        }
        other => panic!("{other:?}"),
    };
    let mut replies = [reply(&mut client), reply(&mut client)];
    replies.sort_unstable();
    assert_eq!(replies, [(call, id, false), (again, id, false)]);
    // The job of the stage started in 1970.
    let late = client.call(Request::Run(run(&["true"])));
    let ToWarden::Run { ticket, .. } = broker.hear_request() else {
        panic!()
    };
    let answer = Ok(Answer::Known(id));
    broker.tell(&ToBroker::Answer { ticket, answer }, &[]);
    assert_eq!(reply(&mut client), (late, id, true));
}

#[test]
fn third_equal_denial_is_delayed_across_connections() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let denied = |object: &str| {
        Refusal::new(Code::DeniedRule, "no rule allows it")
            .object(object)
            .next("ask for a rule")
    };
    let ask = |broker: &mut Broker, uid, object: &str| {
        let mut client = broker.client(uid);
        let start = Instant::now();
        let call = client.call(Request::Run(run(&["true"])));
        let ToWarden::Run { ticket, .. } = broker.hear_request() else {
            panic!()
        };
        let answer = Err(denied(object));
        broker.tell(&ToBroker::Answer { ticket, answer }, &[]);
        (client.reply(call).0.unwrap_err(), start.elapsed())
    };
    for _ in 0..2 {
        assert_eq!(ask(&mut broker, 1000, "a").0, denied("a"));
    }
    let (third, took) = ask(&mut broker, 1000, "a");
    assert!(
        third
            .next
            .unwrap()
            .starts_with("refused 3 times for the same reason")
    );
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert_eq!(ask(&mut broker, 1000, "b").0, denied("b"));
    assert_eq!(ask(&mut broker, 1001, "a").0, denied("a"));
}

#[test]
fn foreign_job_is_answered_as_unknown() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let (mut owner, mut other) = (broker.client(1000), broker.client(1001));
    owner.call(Request::Run(run(&["sleep", "9"])));
    let job = broker.start_job(1, 1000);
    for id in [job.id, JobId([9; 16])] {
        assert_eq!(other.ask(gone(id)), Err(Refusal::no_such_job()));
        assert_eq!(
            other.ask(Request::Stop {
                job: id,
                signal: None
            }),
            Err(Refusal::no_such_job())
        );
    }
    assert_eq!(
        other.ask(Request::Jobs { limit: 10 }),
        Ok(Reply::Jobs(Vec::new()))
    );
    let mut second = broker.client(1000);
    match second.ask(Request::Jobs { limit: 10 }) {
        Ok(Reply::Jobs(jobs)) => assert_eq!((jobs.len(), jobs[0].job_id), (1, job.id)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn stop_asks_warden_and_awaits_end() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut request = run(&["sleep", "9"]);
    request.wait_ms = Some(0);
    let call = client.call(Request::Run(request));
    let job = broker.start_job(1, 1000);
    assert_eq!(report(client.reply(call).0).state, State::Running);
    let refused = client
        .ask(Request::Stop {
            job: job.id,
            signal: Some(65),
        })
        .unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgs);
    let call = client.call(Request::Stop {
        job: job.id,
        signal: Some(15),
    });
    let ToWarden::Stop {
        ticket,
        signal: Some(15),
        job: id,
        ..
    } = broker.hear_request()
    else {
        panic!()
    };
    broker.tell(
        &ToBroker::Answer {
            ticket,
            answer: Ok(Answer::Stopping(id)),
        },
        &[],
    );
    drop(job);
    broker.drained(id);
    broker.end(id);
    assert_eq!(report(client.reply(call).0).state, State::Exited);
    assert_eq!(
        report(client.ask(Request::Stop {
            job: id,
            signal: None
        }))
        .state,
        State::Exited
    );
}

#[test]
fn waiting_call_shows_progress_and_is_forgettable() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let forgotten = client.call(Request::Run(run(&["sleep", "8"])));
    let first = broker.start_job(1, 1000);
    client.send(&FromClient::Forget { id: forgotten });
    let mut request = run(&["sleep", "9"]);
    request.wait_ms = Some(1500);
    let call = client.call(Request::Run(request));
    let mut job = broker.start_job(2, 1000);
    job.write(b"one\ntwo\nthr", b"");
    let (reply, progress) = client.reply(call);
    assert_eq!(report(reply).state, State::Running);
    assert_eq!(progress.len(), 1);
    assert_eq!(
        (progress[0].output_bytes, progress[0].last_line.as_str()),
        (11, "two")
    );
    assert_eq!(client.job(first.id, 0).state, State::Running);
}

#[test]
fn access_is_the_wardens_to_answer() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let question = Access {
        argv: None,
        profile: None,
        name: None,
        query: Some("nginx".into()),
    };
    let call = client.call(Request::Access(question.clone()));
    let ToWarden::Access {
        ticket,
        session,
        access,
    } = broker.hear()
    else {
        panic!()
    };
    let without_query = Access {
        query: None,
        ..question
    };
    assert_eq!((session, access), (client.session, without_query));
    let report = remit_wire::AccessReport {
        user: "u".into(),
        uid: 1000,
        grants: Vec::new(),
        asked: None,
        profiles: Vec::new(),
        commands: Vec::new(),
        more_commands: 0,
        more_grants: 0,
    };
    broker.tell(
        &ToBroker::Answer {
            ticket,
            answer: Ok(Answer::Access(
                Box::new(report.clone()),
                Startable::default(),
            )),
        },
        &[],
    );
    assert_eq!(client.reply(call).0, Ok(Reply::Access(report)));
    let refused = client
        .ask(Request::Access(Access {
            argv: Some(Vec::new()),
            profile: None,
            name: None,
            query: None,
        }))
        .unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgs);
    assert!(matches!(broker.hear(), ToWarden::Refused { .. }));
}

#[test]
fn oversized_request_is_refused_before_warden() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut script = run(&[]);
    script.what = What::Script {
        text: vec![b' '; caps::SCRIPT + 1].into(),
        interpreter: None,
    };
    let mut stdin = run(&["cat"]);
    stdin.stdin = Some(vec![0; caps::STDIN + 1].into());
    for request in [script, stdin] {
        assert_eq!(
            client.ask(Request::Run(request)).unwrap_err().code,
            Code::TooLarge
        );
        assert!(matches!(broker.hear(), ToWarden::Refused { .. }));
    }
    assert!(broker.hears_nothing(Duration::from_millis(50)));
    let mut request = run(&["cat"]);
    request.stdin = Some(vec![0; caps::STDIN].into());
    request.what = What::Script {
        text: vec![b' '; caps::SCRIPT].into(),
        interpreter: None,
    };
    client.call(Request::Run(request));
    assert!(matches!(broker.hear(), ToWarden::Run { .. }));
}
