//! Starts in a wrong environment.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::poll::poll;
use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::refusal::Code;
use remit_link::{ToBroker, ToWarden};
use remit_tests::process::ends_within;

use crate::warden::stage::{ALICE, Broker, SOON, Stage, Way, all_of, argv};

fn refuses(stage: &Stage, script: &str) -> (Option<i32>, String) {
    let plain = stage.command(&Way::default());
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    if !ends_within(pid, SOON) {
        let _ = child.kill();
        panic!("it starts: {script}");
    }
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (child.wait().unwrap().code(), said)
}

fn works(stage: &Stage, broker: &Broker) {
    let _alice = stage.connect(ALICE);
    // A refused daemon may have connected to see if another one listens.
    let session = broker.session_of(|uid| uid == ALICE);
    broker.run(session, 1, argv(&["echo", "works"]), &[]);
    let (job, mut pipes) = broker.started(1);
    assert_eq!(all_of(pipes.remove(0)), b"works\n");
    assert_eq!(broker.finish(job).exit, Some(0));
    broker.say(&ToWarden::Closed { session });
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn second_daemon_is_refused_without_effect_on_first() {
    let (stage, broker) = Stage::start();
    let (status, said) = refuses(&stage, "exec \"$@\"");
    assert!(
        status == Some(69) && said.contains("another remitd uses"),
        "{status:?} {said}"
    );
    let other = stage.test_dir.directory("other");
    let script = format!("exec \"$@\" --state {}", other.display());
    let (status, said) = refuses(&stage, &script);
    assert!(
        status == Some(69) && said.contains("another remitd has its sockets"),
        "{status:?} {said}"
    );
    works(&stage, &broker);
    stage.idle();
    stage.stop();
}

#[test]
fn obstacle_is_refused_or_replaced_never_followed() {
    type Case = (&'static str, fn(&Path), Option<i32>);
    let cases: [Case; 17] = [
        (
            "state is a link",
            |p| symlink("/tmp", p.join("state")).unwrap(),
            Some(69),
        ),
        (
            "state is a file",
            |p| fs::write(p.join("state"), "").unwrap(),
            Some(71),
        ),
        (
            "state is somebody's",
            |p| own(&p.join("state"), ALICE, 0o755),
            Some(69),
        ),
        (
            "all may write state",
            |p| own(&p.join("state"), 0, 0o777),
            Some(69),
        ),
        (
            "the spool is a link",
            |p| link_in(p, "state", "spool"),
            Some(71),
        ),
        (
            "the warden's own is a link",
            |p| link_in(p, "state", "warden"),
            Some(71),
        ),
        (
            "the audit log is a link",
            |p| link_in(p, "state", "audit.jsonl"),
            Some(71),
        ),
        (
            "the runtime is a link",
            |p| symlink("/tmp", p.join("runtime")).unwrap(),
            Some(69),
        ),
        (
            "the runtime is somebody's",
            |p| own(&p.join("runtime"), ALICE, 0o755),
            Some(69),
        ),
        (
            "all may write the runtime",
            |p| own(&p.join("runtime"), 0, 0o777),
            Some(69),
        ),
        (
            "the socket is a directory",
            |p| fs::create_dir_all(p.join("runtime/admin.sock")).unwrap(),
            Some(71),
        ),
        (
            "all may write the broker",
            |p| {
                let broker = p.join("bin/remit-broker");
                remit_tests::test_dir::copy(&broker, &p.join("bin/new"));
                fs::rename(p.join("bin/new"), &broker).unwrap();
                mode(&broker, 0o777);
            },
            Some(69),
        ),
        (
            "the broker is missing",
            |p| fs::remove_file(p.join("bin/remit-broker")).unwrap(),
            Some(69),
        ),
        (
            "the spawner is missing",
            |p| fs::remove_file(p.join("bin/remit-spawner")).unwrap(),
            Some(69),
        ),
        (
            "the compiler is missing",
            |p| fs::remove_file(p.join("bin/remit-compiler")).unwrap(),
            Some(69),
        ),
        (
            "the compiler dies",
            |p| {
                fs::remove_file(p.join("bin/remit-compiler")).unwrap();
                fs::write(p.join("bin/remit-compiler"), "#!/bin/sh\nexit 3\n").unwrap();
                mode(&p.join("bin/remit-compiler"), 0o755);
            },
            Some(69),
        ),
        (
            "the head is odd",
            |p| {
                fs::create_dir_all(p.join("state/warden")).unwrap();
                fs::write(p.join("state/warden/audit-head"), "short").unwrap();
            },
            Some(71),
        ),
    ];
    for (what, prepare, expect) in cases {
        let stage = Stage::set(&Way::default());
        let canary = stage.test_dir.directory("canary");
        mode(&canary, 0o751);
        prepare(stage.test_dir.path());
        let (status, said) = refuses(&stage, "exec \"$@\"");
        assert_eq!(status, expect, "{what}: {said}");
        assert!(
            said.starts_with("remitd: ") && said.contains('\''),
            "{what}: {said}"
        );
        let kept = fs::metadata(&canary).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o751, "{what}");
    }
}

#[test]
fn parent_directories_must_be_root_owned_or_sticky() {
    let (stage, broker) = Stage::start();
    let wide = stage.test_dir.directory("wide");
    let other_state = stage.test_dir.directory("other");
    let other_state = other_state.display();
    for (uid, bits, refused) in [(0, 0o777, true), (ALICE, 0o755, true), (0, 0o1777, false)] {
        chown(&wide, Some(uid), None).unwrap();
        mode(&wide, bits);
        let wide = wide.display();
        let why = format!("users other than root can write '{wide}'");
        let (status, said) = refuses(&stage, &format!("exec \"$@\" --state {wide}/in/it"));
        // If the path is right, the refusal names the daemon that already runs.
        let other = "another remitd has its sockets";
        assert_eq!(status, Some(69), "{said}");
        assert_eq!(
            (said.contains(&why), said.contains(other)),
            (refused, !refused),
            "{bits:o}: {said}"
        );
        if refused {
            let script = format!("exec \"$@\" --state {other_state} --runtime {wide}/in/it");
            let (status, said) = refuses(&stage, &script);
            assert!(
                status == Some(69) && said.contains(&why),
                "{bits:o}: {said}"
            );
        }
        let _ = fs::remove_dir_all(stage.test_dir.path().join("wide/in"));
    }
    works(&stage, &broker);
    stage.stop();
}

fn own(path: &Path, uid: u32, bits: u32) {
    fs::create_dir(path).unwrap();
    chown(path, Some(uid), None).unwrap();
    mode(path, bits);
}

fn link_in(test_dir: &Path, dir: &str, name: &str) {
    own(&test_dir.join(dir), 0, 0o755);
    symlink(test_dir.join("canary"), test_dir.join(dir).join(name)).unwrap();
}

#[test]
fn link_at_socket_path_is_replaced() {
    let mut stage = Stage::set(&Way::default());
    let test_dir = stage.test_dir.path().to_owned();
    own(&test_dir.join("runtime"), 0, 0o700);
    fs::write(test_dir.join("precious"), "kept").unwrap();
    symlink(
        test_dir.join("precious"),
        test_dir.join("runtime/remit.sock"),
    )
    .unwrap();
    own(&test_dir.join("state"), 0, 0o755);
    own(&test_dir.join("state/spool"), ALICE, 0o777);
    own(&test_dir.join("state/warden"), 0, 0o777);
    let broker = stage.raise(&Way::default());
    broker.adopted();
    broker.say(&ToWarden::Ready);
    works(&stage, &broker);
    assert_eq!(
        fs::read_to_string(test_dir.join("precious")).unwrap(),
        "kept"
    );
    for (name, uid, bits) in [
        ("state", 0, 0o755),
        ("state/spool", 64_100, 0o700),
        ("state/history", 64_100, 0o700),
        ("state/warden", 0, 0o700),
        ("state/warden/open", 0, 0o600),
        ("state/warden/audit-head", 0, 0o600),
        ("state/warden/daemon", 0, 0o600),
        ("state/audit.jsonl", 0, 0o600),
        ("runtime", 0, 0o755),
        ("runtime/remit.sock", 0, 0o660),
        ("runtime/admin.sock", 0, 0o660),
    ] {
        let meta = fs::symlink_metadata(test_dir.join(name)).unwrap();
        let found = (
            std::os::unix::fs::MetadataExt::uid(&meta),
            meta.permissions().mode() & 0o7777,
        );
        assert_eq!(found, (uid, bits), "{name}");
    }
    stage.stop();
}

#[test]
fn settings_that_are_not_parsed_prevent_start() {
    for (script, why) in [
        ("exit 0", "ended without an answer (exit status: 0)"),
        ("echo and more text; exec sleep 60", "sent nonsense: "),
        (
            "printf '\\001\\377\\377\\377\\377'; exec sleep 60",
            "sent nonsense: its message has 4294967295 bytes, over 67108864",
        ),
    ] {
        let stage = Stage::set(&Way::default());
        let path = stage.test_dir.path();
        let (compiler, config) = (
            path.join("bin/remit-compiler"),
            path.join("config/remit.toml"),
        );
        fs::remove_file(&compiler).unwrap();
        let text = path.join("script");
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        remit_tests::test_dir::copy(&text, &compiler);
        let sentence = format!("cannot use '{}': 'remit-compiler' {why}", config.display());
        for start in ["exec \"$@\"", "exec \"$@\" --check"] {
            let (status, said) = refuses(&stage, start);
            // Not 78, after which systemd does not try again.
            assert_eq!(status, Some(69), "{script}: {said}");
            assert!(said.contains(&sentence), "{script}: {said}");
        }
        assert!(!path.join("runtime").exists(), "{script}");
    }
}

#[test]
fn invalid_configuration_prevents_start() {
    let text =
        |name: &'static str, text: &'static str| move |stage: &Stage| stage.write(name, text);
    const CONFIG: &str = "config/remit.toml";
    const POLICY: &str = "config/policy.d/10-test.toml";
    type Prepare = Box<dyn Fn(&Stage)>;
    let cases: Vec<(&str, Prepare)> = vec![
        ("no TOML", Box::new(text(CONFIG, "[audit"))),
        (
            "not UTF-8",
            Box::new(|s| fs::write(s.test_dir.path().join(CONFIG), b"\xff").unwrap()),
        ),
        (
            "an unknown key",
            Box::new(text(CONFIG, "[jobs]\nmaximum = 1\n")),
        ),
        (
            "root as broker",
            Box::new(text(CONFIG, "[accounts]\nbroker = 0\n")),
        ),
        (
            "uids of others",
            // With accounts that exist: an unknown one would end the start before the range is looked at.
            Box::new(text(
                CONFIG,
                "[accounts]\nbroker = 64100\nsocket_group = 64100\nadmin_group = 64100\n\
                 [jobs]\nuid_first = 1000\nuid_count = 64000\n",
            )),
        ),
        (
            "a file that all may write",
            Box::new(|s| mode(&s.test_dir.path().join(CONFIG), 0o666)),
        ),
        (
            "a policy that all may write",
            Box::new(|s| mode(&s.test_dir.path().join(POLICY), 0o666)),
        ),
        (
            "a policy that is a FIFO",
            Box::new(|s| {
                let path = s.test_dir.path().join("config/policy.d/20-fifo.toml");
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
            }),
        ),
        (
            "a broken policy",
            Box::new(text(POLICY, "[[grant]]\nto = [\"#1\"]\n")),
        ),
        (
            "a profile whose user is the broker",
            Box::new(|s| {
                let profile = "[profile.x]\nbase = \"strict\"\nuser = \"#64100\"\n";
                s.write("config/policy.d/20-user.toml", profile);
            }),
        ),
        (
            "a large file",
            Box::new(|s| s.write(CONFIG, &"#".repeat(2 << 20))),
        ),
    ];
    for (what, prepare) in cases {
        let stage = Stage::set(&Way::default());
        prepare(&stage);
        let (status, said) = refuses(&stage, "exec \"$@\"");
        assert!(
            status == Some(78) && said.contains("remit"),
            "{what}: {status:?} {said}"
        );
        let made = stage.test_dir.path().join("runtime").exists();
        assert!(!made, "{what}: it made its directories all the same");
    }
}

/// A directory service that the network does not reach yet may know it later: systemd tries again after 69, not after 78.
#[test]
fn unknown_account_lets_the_start_be_tried_again() {
    const CONFIG: &str = "config/remit.toml";
    const POLICY: &str = "config/policy.d/20-user.toml";
    let account = |key: &str| format!("[accounts]\n{key} = \"no-such-account\"\n");
    let profile = |key: &str| format!("[profile.x]\nbase = \"strict\"\n{key}\n");
    for (file, text) in [
        (CONFIG, account("broker")),
        (CONFIG, account("admin_group")),
        (CONFIG, account("socket_group")),
        (
            CONFIG,
            "[floor]\napprovers = [\"no-such-account\"]\n".to_owned(),
        ),
        (POLICY, profile("user = \"no-such-account\"")),
        (POLICY, profile("groups = [\"no-such-account\"]")),
        (
            POLICY,
            "[[deny]]\nto = [\"no-such-account\"]\ndeny = [\"run\"]\n".to_owned(),
        ),
    ] {
        let stage = Stage::set(&Way::default());
        stage.write(file, &text);
        let (status, said) = refuses(&stage, "exec \"$@\"");
        assert_eq!(status, Some(69), "{text}: {said}");
        assert!(said.contains("tries again"), "{text}: {said}");
        let (status, said) = refuses(&stage, "exec \"$@\" --check");
        assert_eq!(status, Some(78), "{text}: {said}");
    }
}

#[test]
fn foreign_sockets_are_refused() {
    let stage = Stage::set(&Way::default());
    for variables in [
        "LISTEN_FDS=1 LISTEN_FDNAMES=remit",
        "LISTEN_FDS=3 LISTEN_FDNAMES=remit:remit-admin:x",
        "LISTEN_FDS=2 LISTEN_FDNAMES=remit:remit",
        "LISTEN_FDS=2 LISTEN_FDNAMES=a:b",
        "LISTEN_FDS=2",
        "LISTEN_FDS=99999999999999999999 LISTEN_FDNAMES=remit:remit-admin",
        "LISTEN_FDS=2 LISTEN_FDNAMES=remit:remit-admin",
    ] {
        for descriptors in ["", "3</etc/passwd 4</dev/null", "3<&- 4<&-"] {
            let script = format!("export LISTEN_PID=$$ {variables}; exec \"$@\" {descriptors}");
            let (status, said) = refuses(&stage, &script);
            assert_eq!(status, Some(69), "{script}: {said}");
            assert!(said.contains("sockets of the service manager"), "{said}");
        }
    }
}

fn activated(stage: &Stage, names: &str, one: RawFd, two: RawFd) -> Command {
    let plain = stage.command(&Way::default());
    let mut command = Command::new("sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names);
    hand_over(&mut command, one, two);
    command
}

#[test]
fn inherited_sockets_are_identified_by_name_and_survive() {
    for swapped in [false, true] {
        let mut stage = Stage::set(&Way::default());
        let runtime = stage.test_dir.directory("runtime");
        let client = UnixListener::bind(runtime.join("remit.sock")).unwrap();
        let admin = UnixListener::bind(runtime.join("admin.sock")).unwrap();
        mode(&runtime.join("remit.sock"), 0o666);
        let names = if swapped {
            "remit-admin:remit"
        } else {
            "remit:remit-admin"
        };
        let (one, two) = if swapped {
            (&admin, &client)
        } else {
            (&client, &admin)
        };
        // The sockets outlive the daemon, and the next one serves clients that came meanwhile.
        for _ in 0..2 {
            let waiting = stage.connect(ALICE);
            let command = activated(&stage, names, one.as_raw_fd(), two.as_raw_fd());
            let broker = stage.raise_by(command);
            broker.adopted();
            broker.say(&ToWarden::Ready);
            let session = broker.session();
            broker.say(&ToWarden::Closed { session });
            drop(waiting);
            works(&stage, &broker);
            stage.signal(Signal::SIGTERM);
            assert_eq!(stage.ended(), Some(0));
        }
    }
}

#[test]
fn wrong_inherited_descriptor_is_refused_with_advice() {
    let stage = Stage::set(&Way::default());
    let runtime = stage.test_dir.directory("runtime");
    let client = UnixListener::bind(runtime.join("remit.sock")).unwrap();
    let other_listener = UnixListener::bind(runtime.join("other.sock")).unwrap();
    let datagram = UnixDatagram::bind(runtime.join("datagram.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = UnixStream::pair().unwrap().0;
    let file = fs::File::open("/dev/null").unwrap();
    let (other, own_path) = (runtime.join("other.sock"), runtime.join("admin.sock"));
    let bound = format!("bound to '{}', and clients look", other.display());
    for (admin, why) in [
        (other_listener.as_raw_fd(), bound.as_str()),
        (datagram.as_raw_fd(), "not a listening Unix stream socket"),
        (tcp.as_raw_fd(), "not a listening Unix stream socket"),
        (deaf.as_raw_fd(), "not a listening Unix stream socket"),
        (file.as_raw_fd(), "not a socket"),
    ] {
        let mut command = activated(&stage, "remit:remit-admin", client.as_raw_fd(), admin);
        let ended = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(69), "{said}");
        for part in [why, "'remit-admin'", "systemctl restart remitd.socket"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert!(!own_path.exists(), "it bound one itself");
}

fn hand_over(command: &mut Command, one: RawFd, two: RawFd) {
    let dup_all = move || {
        for (fd, at) in [(one, 60), (two, 61), (60, 3), (61, 4)] {
            // SAFETY: numbers only; nothing else uses these in the child.
            if unsafe { libc::dup2(fd, at) } != at {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: only system calls between fork and exec.
    unsafe { command.pre_exec(dup_all) };
}

#[test]
fn whatever_it_inherits_it_starts_as_always() {
    for script in [
        "exec \"$@\" <&- >&- 2>&-",
        "trap '' CHLD TERM HUP INT PIPE ALRM USR1 USR2 XFSZ QUIT; exec \"$@\"",
        "umask 0; cd /tmp; ulimit -S -n 64; exec \"$@\"",
        "umask 777; ulimit -c unlimited; exec \"$@\"",
        "exec \"$@\" 3</etc/passwd 4</dev/null 5</dev/null 9>/dev/null",
        "export LISTEN_PID=1 LISTEN_FDS=2 NOTIFY_SOCKET=/nowhere WATCHDOG_USEC=x \
         IFS=x ENV=/x BASH_ENV=/x PATH=/nowhere TMPDIR=/nowhere LANG=x; exec \"$@\"",
        "exec nice -n 5 \"$@\"",
    ] {
        let mut stage = Stage::set(&Way::default());
        let plain = stage.command(&Way::default());
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .stdin(Stdio::null());
        let broker = stage.raise_by(command);
        broker.adopted();
        broker.say(&ToWarden::Ready);
        let _alice = stage.connect(ALICE);
        let session = broker.session();
        let shell = "ls /proc/self/fd | wc -l; umask; env | grep -c nowhere; pwd";
        broker.run(session, 1, argv(&["sh", "-c", shell]), &[]);
        let (job, mut pipes) = broker.started(1);
        let said = String::from_utf8(all_of(pipes.remove(0))).unwrap();
        assert_eq!(said, "4\n0022\n0\n/\n", "{script}");
        broker.finish(job);
        stage.stop();
    }
}

#[test]
fn too_few_descriptors_are_refused_with_advice() {
    let stage = Stage::set(&Way::default());
    let (status, said) = refuses(&stage, "ulimit -n 64; exec \"$@\"");
    assert!(
        status == Some(69) && said.contains("LimitNOFILE"),
        "{status:?} {said}"
    );
}

#[test]
fn repeated_signals_are_one_reload_or_stop() {
    let (mut stage, broker) = Stage::start();
    for _ in 0..100 {
        stage.signal(Signal::SIGHUP);
        stage.signal(Signal::SIGPIPE);
    }
    stage.alive();
    works(&stage, &broker);
    // The answer proves that no load is in progress.
    let _ = stage.ask(AdminRequest::Reload);
    stage.idle();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for ticket in 1..=4 {
        broker.run(session, ticket, argv(&["sleep", "50"]), &[]);
        let _ = broker.started(ticket);
    }
    let pid = stage.pid();
    for _ in 0..100 {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    assert_eq!(stage.ended(), Some(0));
    // Ends that were not recorded at the hurried stop are recorded at the next start.
    let broker = stage.raise(&Way::default());
    broker.adopted();
    stage.alive();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn a_killed_warden_leaves_records_and_no_job() {
    let (mut stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for ticket in 1..=3 {
        broker.run(session, ticket, argv(&["sleep", "50"]), &[]);
        let _ = broker.started(ticket);
    }
    let below = remit_tests::process::descendants(stage.pid());
    // It dies while it reads its policy, too: no child may hold what the next daemon needs.
    let _ = stage.ask(AdminRequest::Reload);
    stage.signal(Signal::SIGKILL);
    assert_eq!(stage.ended(), None);
    for process in &below {
        assert!(ends_within(process.pid, 20_000), "{process:?}");
    }
    let broker = stage.raise(&Way::default());
    broker.adopted();
    broker.say(&ToWarden::Ready);
    assert_eq!(stage.records("interrupted").len(), 3);
    works(&stage, &broker);
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn a_full_disk_refuses_runs_and_nothing_else() {
    let mut stage = Stage::set(&Way::default());
    let state = stage.test_dir.directory("state");
    let shell = format!(
        "mount -t tmpfs -o size=1m,mode=755 none {} && exec \"$@\"",
        state.display()
    );
    let way = Way {
        shell: Some(shell),
        ..Way::default()
    };
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    // No job has ended yet that could give up its ledger slot.
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 2, argv(&["sleep", "2"]), &[]);
    let (running, _pipes) = broker.started(2);
    let filler = format!("/proc/{}/root{}/filler", stage.pid(), state.display());
    let _ = fs::write(&filler, vec![0; 2 << 20]);
    // One more has a slot prepared in advance, and runs if its record fits into the last page.
    broker.run(session, 3, argv(&["true"]), &[]);
    let last = loop {
        match broker.hear().0 {
            ToBroker::Job { meta, .. } => break Some(meta.job),
            ToBroker::Answer { answer, .. } => {
                assert_eq!(answer.unwrap_err().code, Code::NotStarted);
                break None;
            }
            _ => {}
        }
    };
    for ticket in 4..20 {
        broker.run(session, ticket, argv(&["true"]), &[]);
        assert_eq!(broker.answer(ticket).unwrap_err().code, Code::NotStarted);
    }
    stage.alive();
    let why = String::from("x");
    let locked = stage.ask(AdminRequest::Lock { why, kill: false });
    assert!(matches!(locked, AdminReply::Refused(_)), "{locked:?}");
    assert!(stage.status().locked.is_some());
    // The running job's end waits for free space, and is then recorded once.
    let all = || last.into_iter().chain([running]);
    for job in all() {
        broker.exited(job);
        broker.drained(job);
    }
    let _ = poll(&mut [], 1500_u16);
    stage.alive();
    stage.sleeps();
    fs::remove_file(&filler).unwrap();
    let mut ended = 0;
    while ended < all().count() {
        if let ToBroker::Ended { ending, .. } = broker.hear().0 {
            assert_eq!(ending.exit, Some(0));
            ended += 1;
        }
    }
    assert!(matches!(
        stage.ask(AdminRequest::Unlock),
        AdminReply::Done(_)
    ));
    broker.say(&ToWarden::Closed { session });
    works(&stage, &broker);
    let log_path = format!("/proc/{}/root{}/audit.jsonl", stage.pid(), state.display());
    stage.check_log_is_whole(&fs::read_to_string(log_path).unwrap());
    stage.idle();
    stage.stop();
}

#[test]
fn lost_or_blocked_stderr_reader_has_no_effect() {
    for gone in [true, false] {
        let mut stage = Stage::set(&Way::default());
        let (reader, writer) = std::io::pipe().unwrap();
        if !gone {
            // Almost full.
            let fd = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096));
            assert!(fd.is_ok());
        }
        let mut command = stage.command(&Way::default());
        command.stderr(writer);
        let mut reader = Some(reader);
        if gone {
            reader.take();
        }
        let mut broker = stage.raise_by(command);
        stage.write("config/policy.d/10-test.toml", &"x\n".repeat(400));
        for _ in 0..200 {
            broker.adopted();
            broker.say(&ToWarden::Ready);
            broker.raw(b"\xff");
            broker.is_killed();
            broker = stage.broker();
            // The second restart comes after a second. Reloads of a hundred lines fill a page.
            for _ in 0..3 {
                let _ = stage.ask(AdminRequest::Reload);
            }
            if stage.status().broker_restarts > 3 {
                break;
            }
        }
        while stage.status().policy_error.is_none() {}
        stage.alive();
        drop(reader);
        stage.alive();
        broker.adopted();
        broker.say(&ToWarden::Ready);
        works(&stage, &broker);
        stage.stop();
    }
}
