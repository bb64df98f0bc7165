//! Reports to a service manager and to administrators: readiness, status, reloads.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use remit_common::admin::{AdminReply, AdminRequest, Reloaded};
use remit_common::caps;
use remit_common::refusal::Code;
use remit_link::ToWarden;

use crate::warden::stage::{ALICE, Stage, Way, argv};

/// The service manager's end of sd_notify(3).
struct Manager(UnixDatagram);

impl Manager {
    fn hear(&self) -> String {
        let mut text = [0; 1000];
        let length = self.0.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    fn until(&self, wanted: &str) {
        while self.hear() != wanted {}
    }
}

fn managed(stage: &Stage, more: &[(&str, &str)]) -> (Manager, Command) {
    let path = stage.test_dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut command = stage.command(&Way::default());
    command
        .env("NOTIFY_SOCKET", path)
        .envs(more.iter().copied());
    (Manager(socket), command)
}

#[test]
fn readiness_and_status_are_sent_to_manager() {
    let mut stage = Stage::set(&Way::default());
    let (manager, command) = managed(&stage, &[]);
    let broker = stage.raise_by(command);
    broker.adopted();
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 9]).is_err(), "it is not ready yet");
    manager.0.set_nonblocking(false).unwrap();
    broker.say(&ToWarden::Ready);
    assert_eq!(manager.hear(), "READY=1\nSTATUS=serving; jobs: 0");
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    manager.until("STATUS=serving; jobs: 1");
    let why = "x".to_owned();
    let _ = stage.ask(AdminRequest::Lock { why, kill: true });
    let _ = broker.finish(job);
    manager.until("STATUS=locked, refusing all runs; jobs: 0");
    stage.signal(Signal::SIGTERM);
    manager.until("STOPPING=1");
    assert_eq!(stage.ended(), Some(0));
}

#[test]
fn systemd_watchdog_is_notified_only_for_own_pid() {
    for (pid, fed) in [(None, true), (Some("1"), false)] {
        let mut stage = Stage::set(&Way::default());
        let mut more = vec![("WATCHDOG_USEC", "200000")];
        more.extend(pid.map(|pid| ("WATCHDOG_PID", pid)));
        let (manager, command) = managed(&stage, &more);
        let broker = stage.raise_by(command);
        broker.adopted();
        broker.say(&ToWarden::Ready);
        if fed {
            (0..3).for_each(|_| manager.until("WATCHDOG=1"));
        } else {
            manager.until("READY=1\nSTATUS=serving; jobs: 0");
            let _ = nix::poll::poll(&mut [], 500_u16);
            manager.0.set_nonblocking(true).unwrap();
            assert!(manager.0.recv(&mut [0; 9]).is_err(), "{pid:?}");
        }
        stage.stop();
    }
}

#[test]
fn blocked_service_manager_does_not_delay_clients() {
    let mut stage = Stage::set(&Way::default());
    let (manager, command) = managed(&stage, &[("WATCHDOG_USEC", "2000")]);
    let broker = stage.raise_by(command);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    // A datagram queue is short, but the loop must not block.
    let _ = nix::poll::poll(&mut [], 1500_u16);
    stage.alive();
    manager.until("READY=1\nSTATUS=serving; jobs: 0");
    stage.stop();
}

const CONFIG: &str = "config/remit.toml";

fn reload(stage: &Stage) -> Result<Reloaded, String> {
    match stage.ask(AdminRequest::Reload) {
        AdminReply::Reloaded(reloaded) => Ok(reloaded),
        AdminReply::Refused(refusal) => {
            assert_eq!(refusal.code, Code::InvalidArgs);
            Err(refusal.message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn reload_reports_loaded_and_restart_settings() {
    let (stage, _broker) = Stage::start();
    let policy = stage.test_dir.path().join("config/policy.d/10-test.toml");
    let digest = stage.status().policy;
    let first = Reloaded {
        policy: digest,
        rules: 1,
        commands: 0,
        changes: Vec::new(),
        more_changes: 0,
        warnings: Vec::new(),
        notes: vec![format!("from {}", policy.display())],
    };
    assert_eq!(reload(&stage).as_ref(), Ok(&first));
    let old = std::fs::read_to_string(stage.test_dir.path().join(CONFIG)).unwrap();
    let changed = old.replace("sink = \"file\"", "sink = \"file\"\nsync = \"never\"");
    stage.write(CONFIG, &format!("{changed}max = 9\nmax_per_user = 3\n"));
    let said = reload(&stage).unwrap();
    let keys = ["audit.sync", "jobs.max", "jobs.max_per_user"];
    let [from, restart] = &said.notes[..] else {
        panic!("{said:?}");
    };
    assert_eq!(from, &first.notes[0]);
    assert!(restart.contains("systemctl restart remitd"), "{restart}");
    assert!(restart.ends_with(&keys.join(", ")), "{restart}");
    let status = stage.status();
    assert_eq!(status.needs_restart, keys);
    assert_eq!(usize::try_from(status.max_jobs), Ok(caps::JOBS));
    stage.write(CONFIG, &old);
    assert_eq!(reload(&stage), Ok(first));
    assert!(stage.status().needs_restart.is_empty());
    stage.idle();
    stage.stop();
}

#[test]
fn unsafe_configuration_file_does_not_block_reload() {
    let (stage, _broker) = Stage::start();
    let path = stage.test_dir.path().join(CONFIG);
    let old = std::fs::read_to_string(&path).unwrap();
    let pipe = || mkfifo(&path, Mode::from_bits_truncate(0o644)).unwrap();
    let link = |to: &str| std::os::unix::fs::symlink(to, &path).unwrap();
    let file = |mode, owner, size| {
        std::fs::write(&path, "#".repeat(size)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    let obstacles: [(&str, &dyn Fn()); 8] = [
        ("a pipe", &pipe),
        ("a link to a device", &|| link("/dev/zero")),
        ("a link to a file", &|| link("../stderr")),
        ("a link to itself", &|| link("remit.toml")),
        ("a directory", &|| std::fs::create_dir(&path).unwrap()),
        ("anybody's", &|| file(0o666, 0, 1)),
        ("a user's", &|| file(0o644, 64_001, 1)),
        ("huge", &|| file(0o644, 0, caps::POLICY_FILE + 1)),
    ];
    for (what, lay) in obstacles {
        std::fs::remove_file(&path).unwrap();
        lay();
        let refused = reload(&stage).expect_err(what);
        assert!(refused.contains("remit.toml"), "{what}: {refused}");
        if path.symlink_metadata().unwrap().is_dir() {
            std::fs::remove_dir(&path).unwrap();
        }
        stage.write(CONFIG, &old);
        reload(&stage).expect(what);
    }
    stage.idle();
    stage.stop();
}

#[test]
fn unusable_configuration_fails_whole_reload() {
    let (stage, _broker) = Stage::start();
    let before = stage.status().policy;
    let old = std::fs::read_to_string(stage.test_dir.path().join(CONFIG)).unwrap();
    // A valid new policy waits until both files are valid.
    stage.grant("to = [\"#64001\"]");
    let broker = old.replace("broker = 64100", "broker = \"no-such-user\"");
    let first = old.lines().find(|line| line.starts_with("uid_first"));
    let range = old
        .replace(first.unwrap(), "uid_first = 1000")
        .replace("uid_count = 512", "uid_count = 64000");
    // Longer than a frame that could report it.
    let long = old.replace(
        "broker = 64100",
        &format!("broker = \"{}\"", "x".repeat(90_000)),
    );
    for (text, why) in [
        ("[audit", "remit.toml"),
        (&long, "xxx"),
        ("[jobs]\nmaximum = 1\n", "maximum"),
        ("[jobs]\nmax = 0\n", "jobs.max must be 1 to 1024"),
        (&broker, "no-such-user"),
        (&range, "/etc/"),
    ] {
        stage.write(CONFIG, text);
        let refused = reload(&stage).unwrap_err();
        assert!(
            refused.contains("the old policy stays in force"),
            "{refused}"
        );
        assert!(refused.contains(why), "{refused}");
        let error = stage.status().policy_error.unwrap();
        assert!(error.contains(why), "{text}: {error}");
        assert_eq!(stage.status().policy, before, "{text}");
        let records = stage.records("policy");
        assert_eq!(records.last().unwrap()["REMIT_VERDICT"], "refused");
    }
    stage.write(CONFIG, &old);
    assert!(reload(&stage).is_ok());
    let status = stage.status();
    assert!(status.policy != before && status.policy_error.is_none());
    stage.idle();
    stage.stop();
}

#[test]
fn reload_reports_warnings() {
    let (stage, _broker) = Stage::start();
    stage.write("config/policy.d/20-note", "x");
    stage.grant("to = [\"no-such-user\"]");
    let said = reload(&stage).unwrap();
    let warnings = stage.status().policy_warnings;
    for warning in ["20-note: warning: it is not read", "no-such-user"] {
        assert!(said.warnings.join("\n").contains(warning), "{said:?}");
        assert!(
            warnings.iter().any(|line| line.contains(warning)),
            "{warnings:?}"
        );
    }
    assert!(!warnings.iter().any(|line| line.contains('\n')));
    let record = stage.records("policy").pop().unwrap();
    assert_eq!(record["PRIORITY"], "4", "{record}");
    stage.write("config/policy.d/10-test.toml", "# nothing yet\n");
    let said = reload(&stage).unwrap();
    assert!(
        said.warnings
            .join("\n")
            .contains("nobody has any permission"),
        "{said:?}"
    );

    stage.write(
        "config/policy.d/10-test.toml",
        "[[grant]]\nallow = [\"df *\"]\n",
    );
    let refused = reload(&stage).unwrap_err();
    assert!(refused.contains("10-test.toml:1:1: error: "), "{refused}");
    let record = stage.records("policy").pop().unwrap();
    assert_eq!(record["PRIORITY"], "3", "{record}");
    let message = record["MESSAGE"].as_str().unwrap();
    assert!(
        message.contains("10-test.toml:1:1: error: ") && message.contains(" more)"),
        "{message}"
    );
    for field in ["MESSAGE", "REMIT_CAUSE"] {
        let text = record[field].as_str().unwrap();
        assert!(!text.contains("\\n") && !text.contains('^'), "{text}");
    }
    let cause = record["REMIT_CAUSE"].as_str().unwrap();
    assert!(cause.contains("invalid command name 'df *'"), "{cause}");
    stage.idle();
    stage.stop();
}

#[test]
fn the_status_shows_limits_and_the_newest_refusals() {
    let (stage, broker) = Stage::start();
    let status = stage.status();
    assert_eq!((status.rules, status.refusals.len()), (1, 0), "{status:?}");
    assert_eq!(status.limits[0], "runtime 300 s, 3600 s at most");
    for limit in ["memory ", "tasks 256", "cpu ", "files 1024", "tmp 64 MiB"] {
        let found = status.limits.iter().any(|line| line.starts_with(limit));
        assert!(found, "{limit}: {:?}", status.limits);
    }
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for ticket in 1..8 {
        broker.run(session, ticket, argv(&[]), &[]);
        let _ = broker.answer(ticket).unwrap_err();
    }
    broker.run(session, 9, argv(&["x\u{1b}"; 20_000]), &[]);
    let last = broker.answer(9).unwrap_err();
    let refusals = stage.status().refusals;
    assert_eq!(refusals.len(), caps::RECENT_REFUSALS);
    assert_eq!(
        (refusals[0].code, &refusals[0].message),
        (last.code, &last.message)
    );
    assert_ne!(refusals[0].message, refusals[1].message);
    assert_eq!(refusals[0].user.as_deref(), Some("#64001"));
    assert!(refusals[0].at_ms >= refusals[4].at_ms && refusals[4].at_ms > 0);
    stage.stop();
}
