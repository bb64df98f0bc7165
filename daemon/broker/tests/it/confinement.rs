//! The broker's confinement, checked from outside and by what still works.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use remit_wire::host::Section;
use remit_wire::{Reply, Request};

use crate::stage::{Broker, Dir};

#[test]
fn broker_has_no_capability_and_one_thread() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let _client = broker.client(1000);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(broker.status(set), "0000000000000000", "{set}");
    }
    let expect = [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
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
        let (own_end, broker_end) = remit_link::Link::pair().unwrap();
        let broker_end = std::os::fd::AsFd::as_fd(&broker_end)
            .try_clone_to_owned()
            .unwrap();
        (own_end, Stdio::from(broker_end))
    };
    // With an ended warden it confines itself and ends.
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
