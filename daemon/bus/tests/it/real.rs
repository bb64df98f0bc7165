//! A real dbus-daemon and real clients of it, whose connect(2) is asked about.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::stage::{Dir, Proxy};

const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=PATH</listen>
  <auth>EXTERNAL</auth>
  <limit name="max_incomplete_connections">4</limit>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

struct Daemon {
    child: Child,
    path: PathBuf,
    _dir: Dir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_missing(program: &str) -> bool {
    let is_missing = Command::new(program).arg("--version").output().is_err();
    if is_missing {
        let must = std::env::var_os("REMIT_TESTS_MUST_RUN").is_some();
        assert!(
            !must,
            "{program} is missing and REMIT_TESTS_MUST_RUN is set"
        );
        eprintln!("left out: {program} is missing");
    }
    is_missing
}

fn daemon() -> Option<Daemon> {
    if is_missing("dbus-daemon") {
        return None;
    }
    let dir = Dir::new();
    let (path, file) = (dir.0.join("bus"), dir.0.join("bus.conf"));
    let text = CONFIGURATION.replace("PATH", path.to_str().unwrap());
    fs::write(&file, text).unwrap();
    let mut child = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", file.display()))
        .args(["--nofork", "--print-address"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut address)
        .unwrap();
    assert!(address.starts_with("unix:path="), "{address}");
    Some(Daemon {
        child,
        path,
        _dir: dir,
    })
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .env(
            "DBUS_SYSTEM_BUS_ADDRESS",
            "unix:path=/run/dbus/system_bus_socket",
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.success(), text)
}

/// Runs each program in the job of a proxy: whether it succeeds, and a part of what it prints.
fn runs(cases: &[(&str, &str, bool, &str)]) {
    let Some(daemon) = daemon() else { return };
    let proxy = Proxy::start(&daemon.path);
    proxy.job(|| {
        for (program, arguments, succeeds, expect) in cases {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            let (success, text) = run(program, &arguments);
            assert_eq!(success, *succeeds, "{program} {arguments:?}: {text}");
            assert!(text.contains(expect), "{program} {arguments:?}: {text}");
        }
    });
    assert_eq!(proxy.stop(), Ok(()));
}

/// A dbus-daemon accepts nobody while it has so many connections without Hello.
#[test]
fn silent_connections_of_jobs_do_not_keep_others_from_the_bus() {
    if is_missing("dbus-send") {
        return;
    }
    let Some(daemon) = daemon() else { return };
    let proxy = Proxy::start(&daemon.path);
    let all = proxy.job(|| [(); 8].map(|()| crate::stage::connect().unwrap()));
    let status = Command::new("timeout")
        .args(["20", "dbus-send", "--print-reply"])
        .arg("--dest=org.freedesktop.DBus")
        .arg(format!("--bus=unix:path={}", daemon.path.display()))
        .args(["/org/freedesktop/DBus", "org.freedesktop.DBus.GetId"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    drop(all);
}

const REFUSED: &str =
    "Refused by remit: org.freedesktop.DBus.RequestName is not a look; the bus is read-only here";

#[test]
fn busctl_reads_and_is_refused() {
    if is_missing("busctl") {
        return;
    }
    let driver = "org.freedesktop.DBus /org/freedesktop/DBus";
    runs(&[
        (
            "busctl",
            "--system --no-pager list",
            true,
            "org.freedesktop.DBus",
        ),
        (
            "busctl",
            &format!("--system introspect {driver}"),
            true,
            "GetNameOwner",
        ),
        (
            "busctl",
            &format!("--system call {driver} org.freedesktop.DBus ListNames"),
            true,
            ":1.",
        ),
        (
            "busctl",
            &format!("--system get-property {driver} org.freedesktop.DBus Features"),
            true,
            "as ",
        ),
        (
            "busctl",
            &format!("--system call {driver} org.freedesktop.DBus RequestName su a.b 0"),
            false,
            "Refused by remit: ",
        ),
        ("busctl", "--system monitor", false, "Refused by remit: "),
        (
            "busctl",
            "--system call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
             StopUnit ss a.service fail",
            false,
            "Refused by remit: ",
        ),
    ]);
}

#[test]
fn libdbus_reads_and_is_refused() {
    let send = "--system --print-reply --dest=org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus";
    if !is_missing("dbus-send") {
        runs(&[
            (
                "dbus-send",
                &format!("{send}.ListNames"),
                true,
                "org.freedesktop.DBus",
            ),
            (
                "dbus-send",
                &format!("{send}.RequestName string:a.b uint32:0"),
                false,
                REFUSED,
            ),
        ]);
    }
}
