//! Jobs that wait for a place.

use remit_common::names::JobId;
use remit_common::outcome::{ApprovalView, Ending, JobReport, Place, State};
use remit_common::refusal::Code;
use remit_common::wire::{Reply, Request};
use remit_link::{ToBroker, ToWarden, Waits};

use crate::stage::{Broker, Client, Dir, FakeJob, ending, report, run};

/// Answers the next run with a job that waits; the job and its pipes.
fn queue(broker: &Broker, number: u8, owner: u32) -> (FakeJob, [std::os::fd::OwnedFd; 2]) {
    let ToWarden::Run { ticket, .. } = broker.hear_request() else {
        panic!("no run")
    };
    let (mut job, pipes) = FakeJob::new(number, owner);
    job.meta.waits = Some(Waits::Place);
    let meta = Box::new(job.meta.clone());
    broker.tell(
        &ToBroker::Job {
            secrets: Vec::new(),
            ticket: Some(ticket),
            meta,
        },
        &[],
    );
    (job, pipes)
}

fn queued(
    broker: &Broker,
    client: &mut Client,
    number: u8,
    owner: u32,
) -> (JobReport, FakeJob, [std::os::fd::OwnedFd; 2]) {
    let mut request = run(&["true"]);
    request.wait_ms = Some(0);
    let call = client.call(Request::Run(request));
    let (job, pipes) = queue(broker, number, owner);
    (report(client.reply(call).0), job, pipes)
}

fn place(position: u32, of: u32) -> Option<Place> {
    Some(Place { position, of })
}

fn asked() -> ApprovalView {
    ApprovalView {
        by: vec!["%sre".into()],
        expires_ms: 9,
        line: "remit approve 0101-0101".into(),
        digest: "ab".repeat(32),
    }
}

/// Without a wait_ms of its own a call does not wait for people.
#[test]
fn a_request_waits_for_an_approval_then_for_a_place_under_one_id() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let call = client.call(Request::Run(run(&["true"])));
    let ToWarden::Run { ticket, .. } = broker.hear_request() else {
        panic!("no run")
    };
    let (mut job, pipes) = FakeJob::new(1, 1000);
    job.meta.waits = Some(Waits::Approval(Box::new(asked())));
    let meta = Box::new(job.meta.clone());
    let ticket = Some(ticket);
    broker.tell(
        &ToBroker::Job {
            secrets: Vec::new(),
            ticket,
            meta,
        },
        &[],
    );
    let first = report(client.reply(call).0);
    assert_eq!(
        (first.state, first.approval, first.place),
        (State::AwaitingApproval, Some(asked()), None)
    );
    let call = client.call(Request::Job(remit_common::wire::JobQuery {
        job: job.id,
        wait_ms: 50_000,
        part: None,
    }));
    let remit_common::wire::ToClient::Progress { progress, .. } = client.receive() else {
        panic!("no sign of life")
    };
    assert_eq!(progress.last_line, "waiting for an approval by %sre");
    broker.tell(&ToBroker::Approved { job: job.id }, &[]);
    let mut other = broker.client(1000);
    let queued = other.job(job.id, 0);
    assert_eq!(
        (queued.state, queued.approval, queued.place),
        (State::Queued, None, place(1, 1))
    );
    let begun = ToBroker::Begun {
        job: job.id,
        started_ms: 77,
        waited_ms: 1500,
    };
    broker.tell(&begun, &[&pipes[0], &pipes[1]]);
    drop(pipes);
    assert_eq!(other.job(job.id, 0).state, State::Running);
    drop(job);
    broker.drained(first.job);
    broker.end(first.job);
    // The call that waits since before the approval.
    let ended = report(client.reply(call).0);
    assert_eq!((ended.state, ended.waited_ms), (State::Exited, 1500));
}

#[test]
fn a_request_that_is_refused_after_all_says_why_also_to_the_next_broker() {
    let dir = Dir::new();
    let broker = Broker::fresh(&dir);
    let (mut job, _pipes) = FakeJob::new(1, 1000);
    job.meta.waits = Some(Waits::Approval(Box::new(asked())));
    broker.hand_over(&job.meta, &[]);
    broker.tell(&ToBroker::Adopted, &[]);
    let mut broker = broker;
    let mut client = broker.client(1000);
    assert_eq!(client.job(job.id, 0).approval, Some(asked()));
    let ending = Ending::unmeasured(State::Denied, "denied by ann: no".into(), true)
        .refused(Code::ApprovalDenied, "ask ann");
    let ended = ToBroker::Ended {
        sight: None,
        enforced: None,
        job: job.id,
        ending: Box::new(ending.clone()),
    };
    broker.tell(&ended, &[]);
    let told = client.job(job.id, 1000);
    assert_eq!((told.approval, told.ending), (None, Some(ending)));
}

#[test]
fn a_run_waits_begins_and_ends_under_one_id() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let (first, mut job, pipes) = queued(&broker, &mut client, 1, 1000);
    let (second, ..) = queued(&broker, &mut client, 2, 1000);
    assert_eq!((first.state, first.place), (State::Queued, place(1, 1)));
    assert_eq!((second.state, second.place), (State::Queued, place(2, 2)));
    let mut other = broker.client(1001);
    assert_eq!(queued(&broker, &mut other, 3, 1001).0.place, place(1, 1));
    // Waiting for its end is waiting through both, and tells the place meanwhile.
    let call = client.call(Request::Job(remit_common::wire::JobQuery {
        job: job.id,
        wait_ms: 50_000,
        part: None,
    }));
    let remit_common::wire::ToClient::Progress { progress, .. } = client.receive() else {
        panic!("no sign of life")
    };
    assert_eq!(progress.place, place(1, 2));
    let begun = ToBroker::Begun {
        job: job.id,
        started_ms: 77,
        waited_ms: 1500,
    };
    broker.tell(&begun, &[&pipes[0], &pipes[1]]);
    drop(pipes);
    job.write(b"hi\n", b"");
    assert_eq!(other.job_list().len(), 1);
    let mut third = broker.client(1000);
    assert_eq!(third.job(second.job, 0).place, place(1, 1));
    let running = third.job(job.id, 0);
    assert_eq!(
        (
            running.state,
            running.place,
            running.started_ms,
            running.waited_ms
        ),
        (State::Running, None, 77, 1500)
    );
    let id = job.id;
    drop(job);
    broker.drained(id);
    broker.end(id);
    let ended = report(client.reply(call).0);
    assert_eq!(
        (ended.state, ended.waited_ms, ended.stdout.lines),
        (State::Exited, 1500, 1)
    );
}

#[test]
fn one_that_never_begins_ends_and_is_told() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let call = client.call(Request::Run(run(&["true"])));
    let (job, _) = queue(&broker, 1, 1000);
    let cancelled = Ending {
        state: State::Cancelled,
        exit: None,
        ..ending()
    };
    let message = ToBroker::Ended {
        sight: None,
        enforced: None,
        job: job.id,
        ending: Box::new(cancelled),
    };
    broker.tell(&message, &[]);
    let report = report(client.reply(call).0);
    assert_eq!(
        (report.state, report.place, report.stdout.total),
        (State::Cancelled, None, 0)
    );
    // It begins no more.
    let begun = ToBroker::Begun {
        job: job.id,
        started_ms: 7,
        waited_ms: 8,
    };
    broker.tell(&begun, &[]);
    assert_eq!(client.job(job.id, 0).state, State::Cancelled);
}

#[test]
fn a_new_broker_takes_the_queue_over_and_clocks_do_not_matter() {
    let dir = Dir::new();
    let mut broker = Broker::start(&dir);
    assert_eq!(broker.hear(), ToWarden::Ready);
    let mut metas = [4, 2, 9].map(|number| {
        let mut meta = FakeJob::new(number, 1000).0.meta;
        meta.waits = Some(Waits::Place);
        // The later it was asked for, the earlier it was by the clock.
        meta.started_ms = 1000 - u64::from(number);
        meta.age_ms = 60_000;
        meta
    });
    metas[2].waits = None;
    metas[2].waited_ms = 5;
    for meta in &metas {
        broker.hand_over(meta, &[]);
    }
    broker.tell(&ToBroker::Adopted, &[]);
    let mut client = broker.client(1000);
    let ids: Vec<_> = client
        .job_list()
        .iter()
        .map(|job| (job.job_id, job.state))
        .collect();
    let expect = [(9, State::Running), (4, State::Queued), (2, State::Queued)];
    assert_eq!(
        ids,
        expect.map(|(number, state)| (JobId([number; 16]), state))
    );
    let waits = client.job(JobId([4; 16]), 0);
    assert_eq!(waits.place, place(2, 2));
    assert!(
        (60_000..70_000).contains(&waits.waited_ms),
        "{}",
        waits.waited_ms
    );
    assert_eq!(client.job(JobId([9; 16]), 0).waited_ms, 5);
    let call = client.call(Request::Job(remit_common::wire::JobQuery {
        job: JobId([9; 16]),
        wait_ms: 1200,
        part: None,
    }));
    let (reply, progress) = client.reply(call);
    assert!(matches!(reply, Ok(Reply::Job { .. })));
    assert!(
        (60_000..70_000).contains(&progress[0].elapsed_ms),
        "{progress:?}"
    );
}
