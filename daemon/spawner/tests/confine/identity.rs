//! A job's identity, as the job itself sees it.

use super::common::*;
use remit_confine::*;
use std::collections::HashMap;

fn status(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|l| l.split_once(":\t")).collect()
}

#[test]
fn kernel_reports_job_identity() {
    let uid = uid();
    let ran = run(
        &["cat", "/proc/self/status"],
        &With {
            uid: Some(uid),
            ..With::default()
        },
    );
    let status = status(&ran.out);
    let four = format!("{uid}\t{uid}\t{uid}\t{uid}");
    for (key, want) in [
        ("Uid", four.as_str()),
        ("Gid", four.as_str()),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "2"),
        ("SigBlk", "0000000000000000"),
        ("SigIgn", "0000000000000000"),
        ("Umask", "0022"),
    ] {
        assert_eq!(status.get(key), Some(&want), "{key}");
    }
    assert_eq!(status["Groups"].trim(), "4");
    assert_eq!(
        status["NSpid"].split_whitespace().count(),
        1,
        "the host's pid namespace"
    );
}

#[test]
fn job_has_own_session_and_default_attributes() {
    // Pid and session are those of the host's /proc.
    let ran = run(&["cat", "/proc/self/stat"], &With::default());
    let fields: Vec<&str> = ran.out.rsplit_once(") ").unwrap().1.split(' ').collect();
    let pid = ran.out.split(' ').next().unwrap();
    let (session, tty, nice) = (fields[3], fields[4], fields[16]);
    assert_eq!((session, tty, nice), (pid, "0", "0"));
    assert_eq!(sh("cat /proc/self/oom_score_adj").out, "1000\n");
}

#[test]
fn the_login_uid_is_the_requesters() {
    if !has("audit", probe().unwrap().loginuid) {
        return;
    }
    let ran = run(
        &["cat", "/proc/self/loginuid"],
        &With {
            loginuid: Some(4242),
            ..With::default()
        },
    );
    assert_eq!(ran.out, "4242");
    assert_ne!(
        run(&["cat", "/proc/self/loginuid"], &With::default()).out,
        "4242"
    );
}

#[test]
fn keys_of_the_daemon_are_not_the_jobs() {
    if !has("keyrings", probe().unwrap().keyrings) {
        return;
    }
    let ran = sh("cat /proc/keys");
    // A uid that owns no keyring sees only possessed ones: the new, anonymous one.
    let rings = ran.out.lines().filter(|l| l.contains("keyring")).count();
    assert!(ran.out.contains("_ses"), "{}", ran.out);
    assert_eq!(rings, 1, "{}", ran.out);
}

#[cfg(feature = "mutate")]
#[test]
fn without_layer_job_has_no_own_keyring() {
    let kernel = probe().unwrap();
    if !has("keyrings", kernel.keyrings) {
        return;
    }
    let fixture = fixture();
    let sandbox = read_without(&profile(), &kernel, Layer::Keyring).unwrap();
    let ran = run_in(&sandbox, &fixture, &["cat", "/proc/keys"], &With::default());
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    assert!(!done.contains(&Step::Keyring));
    let own = ran
        .out
        .lines()
        .filter(|l| l.contains("keyring") && l.contains(" _ses"))
        .count();
    assert_eq!(own, 0, "{}", ran.out);
    end(fixture);
}

#[test]
fn host_processes_cannot_be_signalled_or_read() {
    let me = std::process::id();
    let ran = sh(&format!(
        "kill -0 {me}; echo $?; cat /proc/{me}/environ; ls /proc/{me}/root; kill -9 -1; echo $?"
    ));
    // kill -1 reaches only the job itself, and the shell survives it.
    assert!(ran.out.starts_with("1\n"), "{ran:?}");
    assert!(
        ran.err.contains("Operation not permitted") && ran.err.contains("Permission denied"),
        "{ran:?}"
    );
    // The host's processes are visible, so ps is right.
    assert!(sh("ls /proc").out.lines().any(|l| l == me.to_string()));
}
