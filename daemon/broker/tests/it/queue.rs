use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_link::{SameRequest, ToBroker, ToWarden, WaitReason, WaitingApproval};
use remit_wire::outcome::{ApprovalView, Ending, JobReport, QueuePosition, State};
use remit_wire::{Reply, Request};

use crate::stage::{Broker, Client, Dir, FakeJob, ending, report, run};

fn queue(broker: &Broker, number: u8, owner: u32) -> (FakeJob, [std::os::fd::OwnedFd; 2]) {
    let ToWarden::Run { ticket, .. } = broker.hear_request() else {
        panic!("no run")
    };
    let (mut job, pipes) = FakeJob::new(number, owner);
    job.meta.waiting = Some(WaitReason::QueuePosition);
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

fn queue_position(position: u32, of: u32) -> Option<QueuePosition> {
    Some(QueuePosition { position, of })
}

fn asked() -> ApprovalView {
    ApprovalView {
        by: vec!["%sre".into()],
        expires_ms: 9,
        line: "remit approve 0101-0101".into(),
        digest: "ab".repeat(32),
    }
}

fn waiting() -> Option<WaitReason> {
    Some(WaitReason::Approval(Box::new(WaitingApproval {
        view: asked(),
        approved_by: Vec::new(),
        missing: 2,
        same: None,
    })))
}

fn waiting_again(job: JobId) -> Option<WaitReason> {
    let mut reason = waiting();
    if let Some(WaitReason::Approval(waiting)) = &mut reason {
        let asked_ms = 1_000;
        waiting.same = Some(SameRequest { job, asked_ms });
    }
    reason
}

#[test]
fn request_for_the_same_names_the_earlier_one() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    for (number, same, expect) in [
        (1, None, vec![]),
        (
            2,
            Some(FakeJob::new(1, 1000).0.id),
            vec![
                "when this was asked for, the same was waiting for an approval as 01010101010101010101010101010101, \
                 since 1970-01-01 00:00:01 UTC",
            ],
        ),
    ] {
        let call = client.call(Request::Run(run(&["true"])));
        let ToWarden::Run { ticket, .. } = broker.hear_request() else {
            panic!("no run")
        };
        let (mut job, _pipes) = FakeJob::new(number, 1000);
        job.meta.waiting = same.map_or_else(waiting, waiting_again);
        broker.tell(
            &ToBroker::Job {
                secrets: Vec::new(),
                ticket: Some(ticket),
                meta: Box::new(job.meta.clone()),
            },
            &[],
        );
        assert_eq!(report(client.reply(call).0).notes, expect);
    }
}

/// Without its own wait_ms a call does not wait for an approval.
#[test]
fn approved_request_is_queued_under_same_id() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let call = client.call(Request::Run(run(&["true"])));
    let ToWarden::Run { ticket, .. } = broker.hear_request() else {
        panic!("no run")
    };
    let (mut job, pipes) = FakeJob::new(1, 1000);
    job.meta.waiting = waiting();
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
        (first.state, first.approval, first.queue_position),
        (State::AwaitingApproval, Some(asked()), None)
    );
    let call = client.call(Request::Job(remit_wire::JobQuery {
        job: job.id,
        wait_ms: 50_000,
        part: None,
    }));
    let remit_wire::ToClient::Progress { progress, .. } = client.receive() else {
        panic!("no sign of life")
    };
    assert_eq!(
        progress.last_line,
        "waiting for an approval by %sre; approvers type: remit approve 0101-0101"
    );
    broker.tell(
        &ToBroker::Counted {
            job: job.id,
            approved_by: vec!["ann".into()],
            missing: 1,
        },
        &[],
    );
    let mut other = broker.client(1000);
    let counted = other.job(job.id, 0);
    let so_far = "approved by ann; 1 other person has to approve it, too";
    assert_eq!(
        (counted.state, counted.approval, counted.notes),
        (
            State::AwaitingApproval,
            Some(asked()),
            vec![so_far.to_owned()]
        )
    );
    broker.tell(&ToBroker::Approved { job: job.id }, &[]);
    let queued = other.job(job.id, 0);
    assert_eq!(
        (queued.state, queued.approval, queued.queue_position),
        (State::Queued, None, queue_position(1, 1))
    );
    let started = ToBroker::Started {
        job: job.id,
        started_ms: 77,
        waited_ms: 1500,
    };
    broker.tell(&started, &[&pipes[0], &pipes[1]]);
    drop(pipes);
    assert_eq!(other.job(job.id, 0).state, State::Running);
    drop(job);
    broker.drained(first.job);
    broker.end(first.job);
    let ended = report(client.reply(call).0);
    assert_eq!((ended.state, ended.waited_ms), (State::Exited, 1500));
}

#[test]
fn request_denied_after_handover_keeps_reason() {
    let dir = Dir::new();
    let broker = Broker::fresh(&dir);
    let (mut job, _pipes) = FakeJob::new(1, 1000);
    job.meta.waiting = waiting();
    broker.hand_over(&job.meta, &[]);
    broker.tell(&ToBroker::Adopted, &[]);
    let mut broker = broker;
    let mut client = broker.client(1000);
    assert_eq!(client.job(job.id, 0).approval, Some(asked()));
    let ending = Ending::unmeasured(State::Denied, "denied by ann: no".into(), true)
        .refused(Code::ApprovalDenied, "ask ann");
    let ended = ToBroker::Ended {
        then: Vec::new(),
        visibility: None,
        enforced: None,
        job: job.id,
        ending: Box::new(ending.clone()),
    };
    broker.tell(&ended, &[]);
    let refused = client.job(job.id, 1000);
    assert_eq!((refused.approval, refused.ending), (None, Some(ending)));
}

#[test]
fn queued_run_starts_and_ends_under_same_id() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let (first, mut job, pipes) = queued(&broker, &mut client, 1, 1000);
    let (second, ..) = queued(&broker, &mut client, 2, 1000);
    assert_eq!(
        (first.state, first.queue_position),
        (State::Queued, queue_position(1, 1))
    );
    assert_eq!(
        (second.state, second.queue_position),
        (State::Queued, queue_position(2, 2))
    );
    let mut other = broker.client(1001);
    assert_eq!(
        queued(&broker, &mut other, 3, 1001).0.queue_position,
        queue_position(1, 1)
    );
    let call = client.call(Request::Job(remit_wire::JobQuery {
        job: job.id,
        wait_ms: 50_000,
        part: None,
    }));
    let remit_wire::ToClient::Progress { progress, .. } = client.receive() else {
        panic!("no sign of life")
    };
    assert_eq!(progress.queue_position, queue_position(1, 2));
    let started = ToBroker::Started {
        job: job.id,
        started_ms: 77,
        waited_ms: 1500,
    };
    broker.tell(&started, &[&pipes[0], &pipes[1]]);
    drop(pipes);
    job.write(b"hi\n", b"");
    assert_eq!(other.job_list().len(), 1);
    let mut third = broker.client(1000);
    assert_eq!(
        third.job(second.job, 0).queue_position,
        queue_position(1, 1)
    );
    let running = third.job(job.id, 0);
    assert_eq!(
        (
            running.state,
            running.queue_position,
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
fn cancelled_queued_job_is_reported() {
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
        then: Vec::new(),
        visibility: None,
        enforced: None,
        job: job.id,
        ending: Box::new(cancelled),
    };
    broker.tell(&message, &[]);
    let report = report(client.reply(call).0);
    assert_eq!(
        (report.state, report.queue_position, report.stdout.total),
        (State::Cancelled, None, 0)
    );
    let started = ToBroker::Started {
        job: job.id,
        started_ms: 7,
        waited_ms: 8,
    };
    broker.tell(&started, &[]);
    assert_eq!(client.job(job.id, 0).state, State::Cancelled);
}

#[test]
fn new_broker_restores_queue_despite_clock_change() {
    let dir = Dir::new();
    let mut broker = Broker::start(&dir);
    assert_eq!(broker.hear(), ToWarden::Ready);
    let mut metas = [4, 2, 9].map(|number| {
        let mut meta = FakeJob::new(number, 1000).0.meta;
        meta.waiting = Some(WaitReason::QueuePosition);
        meta.started_ms = 1000 - u64::from(number);
        meta.age_ms = 60_000;
        meta
    });
    metas[2].waiting = None;
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
    // The order of the warden counts, not the number: an approved job is queued after its request.
    let waiting = client.job(JobId([2; 16]), 0);
    assert_eq!(waiting.queue_position, queue_position(2, 2));
    let waiting = client.job(JobId([4; 16]), 0);
    assert_eq!(waiting.queue_position, queue_position(1, 2));
    assert!(
        (60_000..70_000).contains(&waiting.waited_ms),
        "{}",
        waiting.waited_ms
    );
    assert_eq!(client.job(JobId([9; 16]), 0).waited_ms, 5);
    let call = client.call(Request::Job(remit_wire::JobQuery {
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

/// As many as limits of remit.toml let wait.
#[test]
fn list_has_all_jobs_of_a_long_queue() {
    let dir = Dir::new();
    let mut broker = Broker::start(&dir);
    assert_eq!(broker.hear(), ToWarden::Ready);
    for number in 1..=700_u32 {
        let mut meta = FakeJob::new(1, 1000).0.meta;
        meta.job = JobId(u128::from(number).to_le_bytes());
        meta.number = number.into();
        meta.waiting = Some(WaitReason::QueuePosition);
        broker.hand_over(&meta, &[]);
    }
    broker.tell(&ToBroker::Adopted, &[]);
    let listed = broker.client(1000).ask(Request::Jobs { limit: u32::MAX });
    let Ok(Reply::Jobs(jobs)) = listed else {
        panic!("{listed:?}");
    };
    assert_eq!(jobs.len(), 700);
}
