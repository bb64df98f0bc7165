//! Starts the real broker; the test plays the warden.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod calls;
mod clients;
mod confinement {
    use std::fs;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use remit_wire::host::Section;
    use remit_wire::{Reply, Request};

    use crate::output::job;
    use crate::stage::{Broker, Dir};

    #[test]
    fn broker_has_no_capability_and_two_threads() {
        let dir = Dir::new();
        let mut broker = Broker::fresh(&dir);
        let _client = broker.client(1000);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(broker.status(set), "0000000000000000", "{set}");
        }
        let expect = [
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            // The one that serves, and one for blocking work.
            ("Threads", "2"),
            ("Groups", ""),
        ];
        for (field, value) in expect {
            assert_eq!(broker.status(field), value, "{field}");
        }
        assert!(
            broker
                .status("Uid")
                .split_whitespace()
                .all(|uid| uid != "0")
        );
        // The process is undumpable: its /proc files belong to root.
        let proc = fs::metadata(format!("/proc/{}/fd", broker.process.id())).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&proc), 0);
    }

    /// At a limit of processes clone(2) fails with EAGAIN.
    #[test]
    fn broker_without_further_threads_serves_on_those_it_has() {
        let dir = Dir::new();
        let mut broker = Broker::fresh(&dir);
        let mut client = broker.client(1000);
        let process = format!("--pid={}", broker.process.id());
        let mut prlimit = Command::new("prlimit");
        prlimit.args([process.as_str(), "--nproc=1:1"]);
        // Its own user may lower its limits; root may need CAP_SYS_RESOURCE.
        prlimit.uid(65_534).gid(65_534);
        assert!(prlimit.status().unwrap().success());
        // Each leaves a helper without a thread: the queue of them is emptied, too.
        for number in 1..=100 {
            let mut job = job(&broker, &mut client, number);
            job.write(b"said", b"and");
            let id = job.id;
            drop(job);
            let totals = broker.drained(id);
            assert_eq!((totals.stdout_bytes, totals.stderr_bytes), (4, 3));
            broker.end(id);
            assert_eq!(client.job(id, 1000).stdout.head.as_slice(), b"said");
        }
        assert_eq!(broker.status("Threads"), "2");
    }

    #[test]
    fn broker_that_gets_no_thread_is_refused_with_reason() {
        let dir = Dir::new();
        let (_near, link) = remit_link::Link::pair_closing(drop).unwrap();
        let link = std::os::fd::AsFd::as_fd(&link).try_clone_to_owned();
        let script = "exec prlimit --nproc=1:1 \"$0\" --spool \"$1\" 3<&0 </dev/null";
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(&dir.binary)
            .arg(&dir.spool)
            .stdin(Stdio::from(link.unwrap()))
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap();
        let says = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{says}");
        assert!(says.contains("cannot start a thread: "), "{says}");
    }

    #[test]
    fn root_missing_link_and_open_spool_are_refused() {
        let dir = Dir::new();
        let start = |uid: u32, stdin: Stdio| {
            let output = Command::new("/bin/sh")
                .args(["-c", "exec \"$0\" --spool \"$1\" 3<&0 </dev/null"])
                .arg(&dir.binary)
                .arg(&dir.spool)
                .stdin(stdin)
                .uid(uid)
                .gid(uid)
                .output()
                .unwrap();
            (
                output.status.code(),
                String::from_utf8(output.stderr).unwrap(),
            )
        };
        let link = || {
            let (own_end, broker_end) = remit_link::Link::pair_closing(drop).unwrap();
            let broker_end = std::os::fd::AsFd::as_fd(&broker_end)
                .try_clone_to_owned()
                .unwrap();
            (own_end, Stdio::from(broker_end))
        };
        let (own_end, broker_end) = link();
        drop(own_end);
        let (code, log) = start(65_534, broker_end);
        assert!(
            code == Some(0) && log.contains("remit-broker: confined by "),
            "{code:?} {log}"
        );
        let has_landlock = log.contains("confined by landlock and seccomp");
        assert!(has_landlock || std::env::var_os("REMIT_TESTS_MUST_RUN").is_none());
        let (_own_end, broker_end) = link();
        let (code, error) = start(0, broker_end);
        assert!(
            code == Some(78) && error.contains("refusing to run as root"),
            "{code:?} {error}"
        );
        let (code, error) = start(65_534, Stdio::null());
        assert!(
            code == Some(78) && error.contains("descriptor 3 is not the link"),
            "{code:?} {error}"
        );
        fs::set_permissions(
            &dir.spool,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let (_own_end, broker_end) = link();
        let (code, error) = start(65_534, broker_end);
        assert!(
            code == Some(78) && error.contains("open to other users"),
            "{code:?} {error}"
        );
    }

    #[test]
    fn host_facts_are_readable_when_confined() {
        let dir = Dir::new();
        let mut broker = Broker::fresh(&dir);
        let mut client = broker.client(1000);
        let sections = vec![
            Section::Os,
            Section::Load,
            Section::Mounts,
            Section::Network,
            Section::Ports,
            Section::Users,
        ];
        let Ok(Reply::Host(report)) = client.ask(Request::Host { sections }) else {
            panic!()
        };
        assert!(report.os.is_some() && report.load.is_some() && report.mounts.is_some());
        assert!(report.network.is_some() && report.ports.is_some() && report.users.is_some());
        let fenced_off: Vec<_> = report
            .gaps
            .iter()
            .filter(|gap| gap.why.contains("ermi"))
            .collect();
        assert!(fenced_off.is_empty(), "{fenced_off:?}");
        assert!(report.packages.is_none(), "only what was asked for");
    }
}
mod damage;
mod follow;
mod history {
    use std::process::Stdio;

    use remit_common::names::JobId;
    use remit_common::refusal::Code;
    use remit_link::{HistoryMark, HistoryRecord, ToBroker, ToWarden};
    use remit_wire::host::Since;
    use remit_wire::{HistoryPage, HistoryQuery, Kind, Reply, Request};

    use crate::stage::{Broker, Client, Dir, FakeJob};

    fn record(seq: u64, uid: u32) -> HistoryRecord {
        HistoryRecord {
            seq,
            at_ms: seq * 10,
            kind: Kind::Ended,
            uid,
            user: format!("#{uid}"),
            job: Some(JobId([1; 16])),
            command: Some("df -h".into()),
            verdict: "exited".into(),
            cause: None,
        }
    }

    fn tell(broker: &Broker, seqs: std::ops::RangeInclusive<u64>, uid: u32) {
        for seq in seqs {
            broker.deliver(Some(&record(seq, uid)), None, &[]);
        }
    }

    fn query() -> HistoryQuery {
        HistoryQuery {
            limit: 100,
            ..HistoryQuery::default()
        }
    }

    fn own(client: &mut Client) -> Vec<u64> {
        match client.ask(Request::History(query())) {
            Ok(Reply::History(page)) => seqs(&page),
            other => panic!("{other:?}"),
        }
    }

    fn seqs(page: &HistoryPage) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.seq).collect()
    }

    fn question(user: Option<&str>) -> ToBroker {
        ToBroker::HistoryQuestion {
            question: 7,
            user: user.map(str::to_owned),
            query: query(),
        }
    }

    fn any(broker: &Broker, user: Option<&str>) -> Vec<u64> {
        broker.tell(&question(user), &[]);
        answered(broker)
    }

    fn answered(broker: &Broker) -> Vec<u64> {
        loop {
            match broker.hear_any().0 {
                ToWarden::HistoryAnswer {
                    question: 7,
                    page: Ok(page),
                } => return seqs(&page),
                ToWarden::Closed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn start(dir: &Dir, newest: Option<HistoryMark>) -> Broker {
        let broker = Broker::start_with(dir, "--history \"$1\"", Stdio::null());
        let opened = ToWarden::HistoryOpened { newest };
        assert_eq!(broker.hear_any().0, opened);
        assert_eq!(broker.hear_any().0, ToWarden::Ready);
        broker.tell(&ToBroker::Adopted, &[]);
        broker
    }

    #[test]
    fn stored_entries_survive_broker_and_users_see_their_own() {
        let dir = Dir::new();
        let mut broker = start(&dir, None);
        tell(&broker, 1..=3, 8);
        tell(&broker, 4..=5, 9);
        assert_eq!(own(&mut broker.client(8)), [3, 2, 1]);
        assert_eq!(own(&mut broker.client(9)), [5, 4]);
        assert_eq!(any(&broker, None), [5, 4, 3, 2, 1]);
        assert_eq!(any(&broker, Some("#9")), [5, 4]);
        broker.kill();
        let newest = HistoryMark { seq: 5, at_ms: 50 };
        let mut broker = start(&dir, Some(newest));
        tell(&broker, 6..=6, 8);
        assert_eq!(own(&mut broker.client(8)), [6, 3, 2, 1]);
    }

    #[test]
    fn entry_is_stored_before_the_message_that_comes_with_it() {
        let dir = Dir::new();
        let broker = start(&dir, None);
        broker.deliver(Some(&record(1, 8)), Some(&question(None)), &[]);
        assert_eq!(answered(&broker), [1]);
        broker.deliver(Some(&record(2, 8)), None, &[]);
        assert_eq!(any(&broker, None), [2, 1]);
    }

    #[test]
    fn warden_forgets_stored_entries_by_64() {
        let dir = Dir::new();
        let broker = start(&dir, None);
        tell(&broker, 1..=130, 8);
        for seq in [64, 128] {
            assert_eq!(broker.hear_any().0, ToWarden::HistoryStored { seq });
        }
        assert_eq!(any(&broker, None).len(), 100);
    }

    /// A job of the daemon itself, and one whose client has disconnected, have no request here.
    #[test]
    fn changing_job_without_a_client_is_known_to_snapshots() {
        let dir = Dir::new();
        let mut broker = start(&dir, None);
        // The one of the start. Another user asks for it, so that the rate limit is not that of the job's user.
        let mut other = broker.client(9);
        while !matches!(other.ask(Request::Snapshots), Ok(Reply::Snapshots(all)) if all.len() == 1)
        {
            std::thread::yield_now();
        }
        let mut client = broker.client(8);
        for (number, may_change) in [(1, true), (2, false)] {
            let (mut job, [out, err]) = FakeJob::new(number, 8);
            job.meta.may_change = may_change;
            let message = ToBroker::Job {
                secrets: Vec::new(),
                ticket: Some(0),
                meta: Box::new(job.meta.clone()),
            };
            broker.tell(&message, &[&out, &err]);
            let id = job.id;
            drop(job);
            broker.drained(id);
            broker.end(id);
            assert!(client.job(id, 20_000).ending.is_some());
            let changes = client.ask(Request::HostChanges(Since::Job(id)));
            assert_eq!(changes.is_ok(), may_change, "{changes:?}");
        }
    }

    #[test]
    fn without_directory_questions_are_refused() {
        let dir = Dir::new();
        let mut broker = Broker::fresh(&dir);
        tell(&broker, 1..=1, 8);
        let refused = broker.client(8).ask(Request::History(query())).unwrap_err();
        assert_eq!(refused.code, Code::NotStarted);
        assert_eq!(dir.files(), [""; 0]);
    }
}
mod named;
mod output;
mod queue;
mod search;
mod stage;
