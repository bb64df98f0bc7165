//! Failures that agents meet every day, really run in profile `read`; remit-refusals(7) shows the answers.

use std::path::Path;
use std::process::Command;

use remit_common::denial::Layer::{self, Identity, Mounts, Network, Seccomp};
use remit_tests::caller::{argv, script};
use remit_tests::daemon::Options;
use remit_wire::Run;

use super::scene::{NO_BUS, Scene, stderr};

/// The typed command, a part of its output, the layer that the answer names, and a part of the next step.
struct Failure {
    typed: &'static str,
    says: &'static str,
    layer: Layer,
    next: &'static str,
}

const fn failure(
    typed: &'static str,
    says: &'static str,
    layer: Layer,
    next: &'static str,
) -> Failure {
    Failure {
        typed,
        says,
        layer,
        next,
    }
}

/// In the order of the page. Arguments are split at blanks; `sh:` marks a script.
const FAILURES: [Failure; 42] = [
    failure(
        "curl -sS http://example.com",
        "Could not resolve host",
        Network,
        "\"ports\"",
    ),
    failure("wget http://example.com", "", Network, "\"ports\""),
    failure("ssh localhost", "", Network, "\"ports\""),
    failure("dig example.com", "", Network, "name.lookup"),
    failure("getent hosts example.com", "", Network, "name.lookup"),
    failure(
        "ping -c 1 127.0.0.1",
        "Operation not permitted",
        Network,
        "network.route_to",
    ),
    failure("tcpdump -c 1", "", Network, "network.connections"),
    failure("iptables -L", "", Network, "firewall.iptables"),
    failure("git pull", "Read-only file system", Mounts, "call access"),
    failure(
        "git ls-remote https://example.com/x.git",
        "Could not resolve host",
        Network,
        "\"ports\"",
    ),
    failure(
        "python3 -m pip install --target /tmp/x requests",
        "",
        Network,
        "package.install",
    ),
    failure(
        "systemctl status nginx",
        "Failed to connect to",
        Network,
        "service.status",
    ),
    failure(
        "systemctl restart nginx",
        "Failed to connect to",
        Network,
        "service.restart",
    ),
    failure(
        "systemctl --failed",
        "Failed to connect to",
        Network,
        "service.failed",
    ),
    failure("systemctl list-timers", "", Network, "units.timers"),
    failure("systemctl cat nginx", "", Network, "units.properties"),
    failure("loginctl", "", Network, "users.sessions"),
    failure("timedatectl", "", Network, "time.status"),
    failure("hostnamectl", "", Network, "host.identity"),
    failure(
        "apt-get install -y nginx",
        "Permission denied",
        Identity,
        "package.install",
    ),
    failure(
        "apt-get update",
        "Permission denied",
        Identity,
        "packages.updates",
    ),
    failure(
        "touch /etc/x",
        "Read-only file system",
        Mounts,
        "call access",
    ),
    failure(
        "sh: echo x | tee /etc/x",
        "Read-only file system",
        Mounts,
        "call access",
    ),
    failure(
        "sed -i s/a/b/ /etc/passwd",
        "Read-only file system",
        Mounts,
        "call access",
    ),
    failure(
        "chmod 600 /etc/passwd",
        "Read-only file system",
        Mounts,
        "call access",
    ),
    failure(
        "rm /etc/passwd",
        "Read-only file system",
        Mounts,
        "call access",
    ),
    failure(
        "sh: echo x > /dev/sda",
        "Read-only file system",
        Mounts,
        "\"disks\"",
    ),
    failure("kill 1", "Operation not permitted", Identity, "job_stop"),
    failure(
        "mount -t tmpfs none /mnt",
        "must be superuser",
        Seccomp,
        "disks.mounts",
    ),
    failure(
        "dmesg",
        "Operation not permitted",
        Identity,
        "host.kernel_log",
    ),
    failure("crontab -e", "passwd file", Identity, "schedule.cron"),
    failure(
        "cat /etc/shadow",
        "Permission denied",
        Identity,
        "\"getent\", \"passwd\"",
    ),
    failure("ls /root", "Permission denied", Identity, "files.list"),
    failure("su -c id", "", Identity, "call access"),
    failure("sudo id", "", Identity, "call access"),
    failure("useradd bob", "Permission denied", Identity, "users.list"),
    failure(
        "chage -l root",
        "cannot open /etc/shadow",
        Identity,
        "\"getent\", \"passwd\"",
    ),
    failure("reboot", "", Identity, "system.reboot"),
    failure(
        "sysctl -w vm.swappiness=1",
        "permission denied",
        Identity,
        "host.sysctl",
    ),
    failure(
        "ip link set lo down",
        "Operation not permitted",
        Identity,
        "network.interfaces",
    ),
    failure(
        "unshare -r id",
        "Operation not permitted",
        Seccomp,
        "in a sandbox already",
    ),
    failure(
        "date -s 2020-01-01",
        "Operation not permitted",
        Seccomp,
        "time.status",
    ),
];

#[test]
fn everyday_failures_match_answers_on_page() {
    let mut scene = Scene::new(Options {
        config: NO_BUS.into(),
        ..Options::default()
    });
    let repository = repository(&scene);
    let mut rows = Vec::new();
    for failure in &FAILURES {
        let typed = failure.typed;
        let run = request(typed, &repository);
        let report = scene.ended(run);
        let said = stderr(&report);
        let missing = report
            .ending
            .as_ref()
            .is_some_and(|ending| ending.exit == Some(127));
        assert!(
            !missing,
            "{typed}: a program is not installed (make packages): {said}"
        );
        assert!(said.contains(failure.says), "{typed}: {said}");
        let [denial, ..] = report.denials.as_slice() else {
            panic!("{typed}: nothing is explained: {said}");
        };
        assert_eq!(denial.layer, failure.layer, "{typed}: {denial:?}");
        let next = denial.next.as_deref().unwrap_or_default();
        assert!(next.contains(failure.next), "{typed}: {denial:?}");
        assert!(denial.rule.contains("'read'"), "{typed}: {denial:?}");
        assert!(
            denial.lift.as_ref().is_some_and(|lift| !lift.is_empty()),
            "{typed}: {denial:?}"
        );
        assert!(denial.guess, "nobody saw it: {denial:?}");
        assert!(
            report
                .notes
                .iter()
                .all(|note| !next.contains(note.as_str())),
            "{typed}: said twice: {report:?}"
        );
        add_row(&mut rows, failure, denial.layer, &denial.rule, next);
    }
    let rows: Vec<String> = rows.iter().map(Row::to_roff).collect();
    compare_with_page(&rows.concat());
}

fn repository(scene: &Scene) -> String {
    let path = scene.daemon.path().join("repository");
    let path = path.display().to_string();
    let line = format!(
        "git init -q -b main '{path}' && git -C '{path}' remote add origin https://example.com/x.git && chmod -R a+rX '{path}'"
    );
    let made = Command::new("sh").args(["-c", &line]).status();
    assert!(made.is_ok_and(|made| made.success()), "git works");
    path
}

fn request(typed: &str, repository: &str) -> Run {
    if let Some(text) = typed.strip_prefix("sh: ") {
        return script(text);
    }
    let words: Vec<&str> = typed.split(' ').collect();
    match words.as_slice() {
        // The repository belongs to another user and is outside the working directory.
        ["git", "pull"] => argv(&[
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            repository,
            "pull",
            "origin",
            "main",
        ]),
        // pip would retry for ten seconds.
        ["python3", "-m", "pip", "install", rest @ ..] => {
            argv(&[&["python3", "-m", "pip", "--retries", "0", "install"], rest].concat())
        }
        words => argv(words),
    }
}

/// Commands with the same answer.
#[derive(Default)]
struct Row {
    answer: String,
    next: String,
    typed: Vec<String>,
    says: Vec<&'static str>,
}

impl Row {
    fn to_roff(&self) -> String {
        let mut text = String::new();
        for (at, typed) in self.typed.iter().enumerate() {
            let macro_name = if at == 0 { ".TP" } else { ".TQ" };
            text += &format!("{macro_name}\n.B {typed}\n");
        }
        text += &self.answer;
        if !self.says.is_empty() {
            text += &format!(".br\nIt says: {}\n", roff(&self.says.join(", or ")));
        }
        text + &self.next
    }
}

fn add_row(rows: &mut Vec<Row>, failure: &Failure, layer: Layer, rule: &str, next: &str) {
    let answer = format!("{}: {}.\n", layer.as_str(), roff(rule));
    let next = format!(".br\nNext: {}.\n", roff(next));
    let known = rows
        .iter()
        .position(|row| row.answer == answer && row.next == next);
    let at = known.unwrap_or_else(|| {
        rows.push(Row {
            answer,
            next,
            ..Row::default()
        });
        rows.len() - 1
    });
    let row = &mut rows[at];
    let typed = failure.typed.strip_prefix("sh: ").unwrap_or(failure.typed);
    row.typed.push(roff(typed));
    if !failure.says.is_empty() && !row.says.contains(&failure.says) {
        row.says.push(failure.says);
    }
}

fn roff(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
}

/// The page's list must equal what this test has seen. `REMIT_WRITE_DOCS=1` writes it.
fn compare_with_page(rows: &str) {
    const BEGIN: &str = ".\\\" what tests/system/explain saw begins\n";
    const END: &str = ".\\\" and ends\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man/remit-refusals.7");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the list begins");
    let (list, after) = rest.split_once(END).expect("the list ends");
    if list == rows {
        return;
    }
    if std::env::var_os("REMIT_WRITE_DOCS").is_some() {
        let page = format!("{before}{BEGIN}{rows}{END}{after}");
        return std::fs::write(path, page).expect("the page is ours");
    }
    panic!("remit-refusals(7) shows another list; REMIT_WRITE_DOCS=1 writes this one:\n{rows}");
}
