//! What jobs of `read` ask the system bus, over the real daemon, `remit-bus` and a bus of the test's own. Machines with a
//! service manager are asked in `tests/machine/test-bus`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_wire::outcome::JobReport;
use serde_json::Value;

/// A bus that lets everybody do everything: only remit-bus is in the way.
const PERMISSIVE: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/>
<allow receive_type="method_call"/><allow receive_type="signal"/><allow eavesdrop="true"/></policy></busconfig>"#;

/// Asks for the bus's id: `GetId` is in the table.
const ASK: [&str; 5] = [
    "dbus-send",
    "--system",
    "--print-reply=literal",
    "--dest=org.freedesktop.DBus",
    "/",
];

/// A bus at the usual path, which only this test sees.
pub struct TestBus(Child);

impl TestBus {
    pub fn start() -> Self {
        // Of this thread, and of all that it starts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).unwrap();
        fs::create_dir_all("/run/dbus").unwrap();
        mount(
            Some("none"),
            "/run/dbus",
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .unwrap();
        fs::write("/run/dbus/permissive.conf", PERMISSIVE).unwrap();
        let mut command = Command::new("dbus-daemon");
        let command = command.args([
            "--config-file=/run/dbus/permissive.conf",
            "--nofork",
            "--print-address",
        ]);
        let mut bus = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        assert!(address.contains("/run/dbus/system_bus_socket"), "{address}");
        Self(bus)
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn asks(caller: &mut Caller, call: &str, more: &[&str]) -> JobReport {
    let words = [&ASK[..], &[call], more].concat();
    caller.run(argv(&words)).unwrap()
}

fn stderr(report: &JobReport) -> String {
    String::from_utf8_lossy(&report.stderr.head).into_owned()
}

/// Returns the record of what a job asked, once it is there.
fn record(daemon: &Daemon, report: &JobReport) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let id = report.job.to_string();
        let found = daemon
            .records("bus")
            .into_iter()
            .find(|record| record["REMIT_JOB"] == id.as_str());
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < deadline, "no record of {id}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn questions_are_answered_acts_are_refused_and_both_are_recorded() {
    let _bus = TestBus::start();
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let report = asks(&mut caller, "org.freedesktop.DBus.GetId", &[]);
    assert_eq!(
        report.ending.as_ref().unwrap().exit,
        Some(0),
        "{}",
        stderr(&report)
    );
    assert_eq!(stdout(&report).trim().len(), 32, "{report:?}");
    let asked = record(&daemon, &report);
    assert!(
        asked["REMIT_BUS"].as_str().unwrap().ends_with(",0"),
        "{asked}"
    );
    assert_eq!(asked["REMIT_BUS_REFUSED"], Value::Null);

    let name = ["string:org.example.Mine", "uint32:0"];
    let report = asks(&mut caller, "org.freedesktop.DBus.RequestName", &name);
    assert_ne!(report.ending.as_ref().unwrap().exit, Some(0));
    let sentence = "Refused by remit: org.freedesktop.DBus.RequestName";
    assert!(stderr(&report).contains(sentence), "{}", stderr(&report));
    let denial = report.denials.first().unwrap();
    assert_eq!(
        (denial.layer.as_str(), denial.object.as_deref()),
        ("bus", Some("org.freedesktop.DBus.RequestName"))
    );
    let asked = record(&daemon, &report);
    assert!(
        asked["REMIT_BUS"].as_str().unwrap().ends_with(",1"),
        "{asked}"
    );
    assert_eq!(
        asked["REMIT_BUS_REFUSED"],
        "org.freedesktop.DBus.RequestName"
    );
    // The bus is asked directly: nobody has the name.
    let owner = [
        "--type=method_call",
        "org.freedesktop.DBus.NameHasOwner",
        "string:org.example.Mine",
    ];
    let owner = Command::new(ASK[0])
        .args(&ASK[1..])
        .args(owner)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&owner.stdout).contains("false"),
        "{owner:?}"
    );

    let report = caller.run(argv(&["true"])).unwrap();
    daemon.is_well();
    let id = report.job.to_string();
    let of_true = daemon
        .records("bus")
        .into_iter()
        .any(|record| record["REMIT_JOB"] == id.as_str());
    assert!(!of_true, "a job that asks nothing has no record");
    daemon.stop();
}

/// Whatever a job connects to by an address of the bus's length, it does not reach it.
#[test]
fn only_the_bus_is_reached() {
    let _bus = TestBus::start();
    let daemon = Daemon::start(Options::default());
    // 27 and 31 bytes: with sun_family, and without the final NUL, as long as the bus's addresses.
    for path in [
        "/run/dbus/other-socket-here",
        "/run/dbus/another-socket-inhere",
    ] {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let connects = format!(
            "perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die \"socket: $!\"; \
             connect(S, pack(\"Sa*\", AF_UNIX, \"{path}\")) or die \"connect: $!\"; syswrite S, \"hello\"; print \"connected\"'"
        );
        let report = Caller::new(&daemon, &user_a())
            .run(script(&connects))
            .unwrap();
        assert_eq!(stdout(&report), "connected", "{}", stderr(&report));
        assert!(listener.accept().is_err(), "'{path}' was reached");
        let outside = Command::new("sh").args(["-c", &connects]).output().unwrap();
        assert_eq!(outside.stdout, b"connected", "{outside:?}");
        assert!(
            listener.accept().is_ok(),
            "without a sandbox '{path}' is reached"
        );
    }
    for (what, call) in [
        (
            "another length",
            "connect(S, pack(\"Sa*\", AF_UNIX, \"/run/dbus/permissive.conf\"))",
        ),
        ("listen", "listen(S, 1)"),
    ] {
        let tries = format!(
            "perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die; {call} or print 0+$!'"
        );
        let report = Caller::new(&daemon, &user_a()).run(script(&tries)).unwrap();
        assert_eq!(stdout(&report), libc::EPERM.to_string(), "{what}");
    }
    // systemd's clients insist on a name.
    let binds = "perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
                 bind(S, pack(\"Sa*\", AF_UNIX, \"/tmp/a-name-of-mine\")) or die \"$!\"; \
                 print -e \"/tmp/a-name-of-mine\" ? \"taken\" : \"not taken\"'";
    let report = Caller::new(&daemon, &user_a()).run(script(binds)).unwrap();
    assert_eq!(stdout(&report), "not taken", "{}", stderr(&report));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn end_of_remit_bus_ends_no_job() {
    let _bus = TestBus::start();
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let running = caller
        .run(at_once(script("while :; do sleep 1; done")))
        .unwrap();
    for _ in 0..3 {
        let before = daemon.bus().unwrap();
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while daemon.bus().is_none_or(|now| now == before) {
            assert!(Instant::now() < deadline, "it is not started again");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Its workers are new, too.
        loop {
            let report = asks(
                &mut Caller::new(&daemon, &user_b()),
                "org.freedesktop.DBus.GetId",
                &[],
            );
            if report.ending.unwrap().exit == Some(0) {
                break;
            }
            assert!(Instant::now() < deadline, "the next one does not answer");
        }
    }
    let report = caller.job(running.job, 0).unwrap();
    assert!(report.ending.is_none(), "{report:?}");
    caller.stop(running.job).unwrap();
    daemon.is_well();
    daemon.stop();
}

/// Nobody answers, and a job's time ends.
#[test]
fn stopped_remit_bus_hinders_only_jobs_that_ask() {
    let _bus = TestBus::start();
    let daemon = Daemon::start(Options::default());
    let pid = Pid::from_raw(daemon.bus().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let mut caller = Caller::new(&daemon, &user_a());
    let words = [&ASK[..], &["org.freedesktop.DBus.GetId"]].concat();
    let asks = caller.run(at_once(argv(&words))).unwrap();
    daemon_serves(&daemon);
    let stopped = caller.stop(asks.job).unwrap();
    assert!(stopped.ending.unwrap().kill_verified);
    kill(pid, Signal::SIGCONT).unwrap();
    daemon.is_well();
    daemon.stop();
}

fn daemon_serves(daemon: &Daemon) {
    let report = Caller::new(daemon, &user_b())
        .run(argv(&["echo", "served"]))
        .unwrap();
    assert_eq!(stdout(&report), "served\n");
}

#[test]
fn switched_off_there_is_no_bus() {
    let _bus = TestBus::start();
    let config = "[bus]\noff = true\n".to_owned();
    let daemon = Daemon::start(Options {
        config,
        ..Options::default()
    });
    assert_eq!(daemon.bus(), None);
    let report = asks(
        &mut Caller::new(&daemon, &user_a()),
        "org.freedesktop.DBus.GetId",
        &[],
    );
    assert_ne!(report.ending.unwrap().exit, Some(0));
    assert_eq!(daemon.records("bus").len(), 0);
    assert!(Path::new("/run/dbus/system_bus_socket").exists());
    daemon.stop();
}

/// Calls that `remit.toml` adds are asked; it is read at the start.
#[test]
fn administrator_adds_calls_that_look() {
    let _bus = TestBus::start();
    let config = "[bus]\ncalls = [\"org.freedesktop.DBus.ReloadConfig\"]\n".to_owned();
    let daemon = Daemon::start(Options {
        config,
        ..Options::default()
    });
    let report = asks(
        &mut Caller::new(&daemon, &user_a()),
        "org.freedesktop.DBus.ReloadConfig",
        &[],
    );
    let ending = report.ending.as_ref().unwrap();
    assert_eq!(ending.exit, Some(0), "{}", stderr(&report));
    daemon.stop();
}
