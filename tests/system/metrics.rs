//! `remit metrics`: figures of the real daemon in a file that Prometheus can read, as the example of the package writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use remit_common::admin::AdminRequest;
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_tests::process::Identity;

const POLICY: &str = r##"
[[command]]
name = "site.switch"
summary = "switches"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[grant]]
name = "asks"
to = ["#64001"]
allow = ["site.*"]
effect = "change"
approval = { by = ["#64005"], expires = "10min" }

[[grant]]
name = "looks"
to = ["#64001"]
allow = ["run"]
approval = "none"
"##;

/// Reads the text format of Prometheus, version 0.0.4, as strictly as promtool: values by name and label.
fn parse(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut lines = text.lines().peekable();
    if !text.ends_with('\n') || text.contains("\n\n") {
        return Err("a line has no end, or is empty".into());
    }
    while let Some(line) = lines.next() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        else {
            return wrong("no help");
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with("remit_") || !name.chars().all(is_name) || name.contains("__") {
            return wrong("no name of ours");
        }
        if help.is_empty() || help.trim() != help || help.contains('\\') {
            return wrong("no plain help");
        }
        if !families.insert(name) {
            return wrong("a family twice");
        }
        let kind = lines.next().and_then(|line| {
            let of = line.strip_prefix("# TYPE ")?;
            of.strip_prefix(name)?.strip_prefix(' ')
        });
        match kind {
            Some("counter") if name.ends_with("_total") => {}
            Some("gauge") if !name.ends_with("_total") => {}
            _ => return wrong("no type, or not that of the name"),
        }
        let mut count = 0;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let wrong = |why: &str| Err(format!("{why}: {line}"));
            let Some((of, value)) = line.rsplit_once(' ') else {
                return wrong("no value");
            };
            let Some(label) = of.strip_prefix(name) else {
                return wrong("a sample of another family");
            };
            if !label.is_empty() && !is_label(label) {
                return wrong("no label");
            }
            let digits = value.chars().all(|c| c.is_ascii_digit() || c == '.');
            let Some(number) = value.parse::<f64>().ok().filter(|_| digits) else {
                return wrong("no number");
            };
            if samples.insert(of.to_owned(), number).is_some() {
                return wrong("a sample twice");
            }
            count += 1;
        }
        if count == 0 {
            return wrong("no sample");
        }
    }
    Ok(samples)
}

/// `{name="value"}`, with escapes of a backslash, a quote and an end of line alone.
fn is_label(label: &str) -> bool {
    let inner = label
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix("\"}"));
    let Some((name, value)) = inner.and_then(|inner| inner.split_once("=\"")) else {
        return false;
    };
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        let is_right = match c {
            '\\' => matches!(rest.next(), Some('\\' | '"' | 'n')),
            c => c != '"' && !c.is_control(),
        };
        if !is_right {
            return false;
        }
    }
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase())
}

#[test]
fn what_prometheus_refuses_is_refused_here() {
    let good =
        "# HELP remit_x An x.\n# TYPE remit_x gauge\nremit_x{a=\"b\\n\\\"\\\\\"} 1.5\nremit_x 2\n";
    let samples = parse(good).unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples["remit_x"], 2.0);
    for (from, to) in [
        ("# HELP remit_x An x.\n", ""),
        ("# TYPE remit_x gauge\n", ""),
        ("gauge", "counter"),
        ("gauge", "thing"),
        ("remit_x 2\n", "remit_x 2"),
        ("remit_x 2\n", "remit_x 2\n\n"),
        ("remit_x 2\n", "remit_x two\n"),
        ("remit_x 2\n", "remit_x -2\n"),
        ("remit_x 2\n", "remit_x\n"),
        ("remit_x 2\n", "remit_y 2\n"),
        ("remit_x 2\n", "remit_x 2\nremit_x 2\n"),
        ("{a=\"b", "{a=\"b\"b"),
        ("{a=\"b", "{a=\"\\q"),
        ("{a=\"b", "{A=\"b"),
        ("{a=\"b", "{a=b"),
        ("An x.", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(parse(&bad).is_err(), "{bad}");
    }
    assert!(parse(&format!("{good}{good}")).is_err(), "a family twice");
    let none = "# HELP remit_x An x.\n# TYPE remit_x gauge\n";
    assert!(parse(none).is_err(), "no sample");
}

/// Runs `ExecStart=` of the packaged unit with this program, socket and directory.
fn run_unit(daemon: &Daemon, user: &Identity, dir: &Path) -> Output {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/examples/remit-metrics.service"
    );
    let unit = fs::read_to_string(unit).unwrap();
    let value = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key));
        let value = lines.next().unwrap().to_owned();
        assert_eq!(lines.next(), None, "{key} twice");
        value
    };
    let writable = value("ReadWritePaths=");
    assert_eq!(value("ConditionPathIsDirectory="), writable);
    let command = value("ExecStart=").replace(&writable, dir.to_str().unwrap());
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("/usr/bin/remit"));
    let mut command = Command::new(daemon.program("remit"));
    command
        .arg("--runtime")
        .arg(daemon.runtime().dir())
        .args(words);
    user.runs(&mut command);
    command.output().unwrap()
}

fn figures(dir: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(dir.join("remit.prom")).unwrap();
    parse(&text).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

#[test]
fn figures_are_those_of_the_daemon() {
    let mut daemon = Daemon::start(Options {
        policy: POLICY.to_owned(),
        waiting: 200,
        ..Options::default()
    });
    let root = Identity::new(0, &[]);
    let dir = daemon.path().join("textfile");
    fs::create_dir(&dir).unwrap();
    // As that of Debian: the user of node_exporter owns it.
    chown(&dir, Some(64_009), Some(64_009)).unwrap();
    let run = |daemon: &Daemon| {
        let output = run_unit(daemon, &root, &dir);
        assert!(output.status.success(), "{output:?}");
        figures(&dir)
    };
    let before = run(&daemon);
    assert_eq!(before["remit_up"], 1.0);
    let file = dir.join("remit.prom").metadata().unwrap();
    assert_eq!((file.permissions().mode() & 0o7777, file.uid()), (0o644, 0));

    let mut caller = Caller::new(&daemon, &user_a());
    caller.run(argv(&["true"])).unwrap();
    let mut ask = || caller.run(at_once(change("site.switch", &[]))).unwrap().job;
    let (first, second, _third) = (ask(), ask(), ask());
    caller.run(change("no.such", &[])).unwrap_err();
    let digest = daemon.pending_request(first).digest;
    daemon.approve(&admin(), first, digest).unwrap();
    let _ = caller.end_of(first);
    let why = "not now".to_owned();
    let deny = AdminRequest::Deny { job: second, why };
    daemon.administers(&admin(), deny).unwrap();
    let figures = run(&daemon);
    assert_eq!(figures["remit_approvals_pending"], 1.0);
    assert_eq!(figures["remit_locked"], 0.0);
    let why = "a test".to_owned();
    let lock = AdminRequest::Lock { why, kill: false };
    daemon.administers(&admin(), lock).unwrap();

    let after = run(&daemon);
    let grown = |name: &str| after[name] - before[name];
    let records = daemon.audit();
    for (name, event) in [
        ("remit_jobs_started_total", "intent"),
        ("remit_approvals_asked_total", "asked"),
        (
            "remit_approval_decisions_total{decision=\"approved\"}",
            "approved",
        ),
        (
            "remit_approval_decisions_total{decision=\"denied\"}",
            "denied",
        ),
        ("remit_approval_decisions_total{decision=\"void\"}", "void"),
    ] {
        let of = |record: &&serde_json::Value| record["REMIT_EVENT"] == event;
        assert_eq!(
            after[name],
            records.iter().filter(of).count() as f64,
            "{name}"
        );
    }
    assert_eq!(after["remit_audit_records_total"], records.len() as f64);
    let refused: f64 = after
        .iter()
        .filter(|(name, _)| name.starts_with("remit_refusals_total{"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(refused, daemon.records("refusal").len() as f64);
    for (name, by) in [
        ("remit_jobs_started_total", 2.0),
        ("remit_approvals_asked_total", 3.0),
        // A lock makes void what waits.
        ("remit_approvals_pending", 0.0),
        ("remit_approval_decisions_total{decision=\"void\"}", 1.0),
        ("remit_locked", 1.0),
        ("remit_sessions", 1.0),
    ] {
        assert_eq!(grown(name), by, "{name}");
    }

    // A daemon that hangs is not up, and that is all that is known.
    daemon.signal(Signal::SIGSTOP);
    let hung = run(&daemon);
    daemon.signal(Signal::SIGCONT);
    assert_eq!(hung, BTreeMap::from([("remit_up".to_owned(), 0.0)]));
    assert_eq!(run(&daemon)["remit_up"], 1.0);
    assert!(daemon.end_alone());
    assert_eq!(run(&daemon), hung);
    let names: Vec<_> = fs::read_dir(&dir).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn others_get_no_figures_and_a_planted_link_is_not_followed() {
    let daemon = Daemon::start(Options::default());
    let dir = daemon.path().join("textfile");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.join("remit.prom");
    let refused = run_unit(&daemon, &user_a(), &dir);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(!path.exists());

    let target = daemon.path().join("target");
    fs::write(&target, "# HELP remit_up of another\n").unwrap();
    symlink(&target, &path).unwrap();
    let refused = run_unit(&daemon, &Identity::new(0, &[]), &dir);
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is no regular file"), "{said}");
    assert_eq!(
        fs::read_to_string(&target).unwrap(),
        "# HELP remit_up of another\n"
    );
    assert!(path.symlink_metadata().unwrap().is_symlink());
    daemon.stop();
}
