//! What the broker has left itself, seen from outside and by what still works.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use remit_common::host::Section;
use remit_common::wire::{Reply, Request};

use crate::stage::{Broker, Dir};

#[test]
fn no_capability_no_new_privileges_seccomp_and_one_thread() {
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
    // Undumpable: the kernel gives its /proc files to root.
    let proc = fs::metadata(format!("/proc/{}/fd", broker.process.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&proc), 0);
}

#[test]
fn root_a_missing_link_and_an_open_spool_are_refused_and_the_fences_told() {
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
        let (ours, theirs) = remit_link::Link::pair().unwrap();
        let theirs = std::os::fd::AsFd::as_fd(&theirs)
            .try_clone_to_owned()
            .unwrap();
        (ours, Stdio::from(theirs))
    };
    // With a warden that is gone: confined, then the end.
    let (ours, theirs) = link();
    drop(ours);
    let (code, log) = start(65_534, theirs);
    assert!(
        code == Some(0) && log.contains("remit-broker: confined by "),
        "{code:?} {log}"
    );
    let has_landlock = log.contains("confined by landlock and seccomp");
    assert!(has_landlock || std::env::var_os("REMIT_TESTS_MUST_RUN").is_none());
    let (_ours, theirs) = link();
    let (code, error) = start(0, theirs);
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
    let (_ours, theirs) = link();
    let (code, error) = start(65_534, theirs);
    assert!(
        code == Some(78) && error.contains("open to other users"),
        "{code:?} {error}"
    );
}

#[test]
fn host_facts_are_told_from_behind_the_fences() {
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
