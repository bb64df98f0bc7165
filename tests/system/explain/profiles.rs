//! Answers for other profiles, for limits, and for jobs without a refusal.

use remit_common::denial::Layer;
use remit_tests::caller::{argv, script};
use remit_tests::daemon::Options;
use remit_wire::Run;
use remit_wire::outcome::State;

use super::scene::{NO_BUS, Scene, only, stderr};

const PROFILES: &str = "
[profile.site]
summary = \"reads, and writes one directory\"
base = \"read\"
write = [\"/var/lib/misc\"]
leads_to_root = true

[profile.closed]
summary = \"sees little, and itself by network\"
base = \"strict\"
network = \"loopback\"

[profile.one]
summary = \"reaches one place\"
base = \"strict\"
network = [\"127.0.0.1:9\"]

[[grant]]
name = \"test\"
to = [\"#64001\"]
allow = [\"run\"]
profile = \"read\"
approval = \"none\"
";

/// Programs that a test machine may have, and the command that their refusal or note names.
const ANSWERED: [(&str, &str); 58] = [
    ("systemctl is-active nginx", "service.status"),
    ("systemctl list-units", "service.list"),
    ("systemctl list-sockets", "units.sockets"),
    ("systemctl list-jobs", "units.jobs"),
    ("systemctl list-dependencies nginx", "units.dependencies"),
    ("systemctl show nginx", "units.properties"),
    ("systemctl start nginx", "service.start"),
    ("systemctl stop nginx", "service.stop"),
    ("systemctl reload nginx", "service.reload"),
    ("systemctl enable nginx", "service.enable"),
    ("systemctl disable nginx", "service.disable"),
    ("systemctl reboot", "system.reboot"),
    ("service --status-all", "service.list"),
    ("localectl", "host.locale"),
    ("networkctl list", "network.interfaces"),
    ("systemd-analyze blame", "units.boot_times"),
    ("docker ps -a", "containers.list"),
    ("docker logs web-1", "containers.logs"),
    ("docker inspect web-1", "containers.inspect"),
    ("docker volume ls", "containers.volumes"),
    ("docker system df", "containers.usage"),
    ("docker restart web-1", "container.restart"),
    ("psql -c x", "postgres.activity"),
    ("mailq", "mail.queue"),
    ("redis-cli ping", "redis.info"),
    ("fail2ban-client status", "fail2ban.status"),
    ("curl -sS http://localhost:8080/", "probe.http"),
    ("sshd -t", "sshd.test"),
    ("visudo -c", "sudoers.test"),
    ("logrotate -d /etc/logrotate.conf", "logrotate.test"),
    ("host example.com", "name.lookup"),
    ("nslookup example.com", "name.lookup"),
    ("openssl s_client -connect localhost:443", "probe.tls"),
    ("ip6tables -L", "firewall.ip6tables"),
    ("ip route add default via 10.0.0.1", "network.routes"),
    ("ifconfig", "network.interfaces"),
    ("lsof +L1", "disks.deleted"),
    ("lsof", "openfiles.unit"),
    ("lsof /var/log/syslog", "openfiles.file"),
    ("lsof -p 1", "openfiles.process"),
    ("lsof -i :80", "network.port"),
    ("fuser 80/tcp", "network.port"),
    ("netstat -ltnp", "network.listening"),
    ("pmap -x 1", "processes.show"),
    ("lslocks", "disks.locks"),
    ("strace -p 1", "processes.show"),
    ("gdb -batch -p 1", "processes.show"),
    ("perf stat -p 1", "processes.show"),
    ("passwd -l nobody", "user.lock"),
    ("usermod -L nobody", "user.lock"),
    ("groupadd ops", "users.groups"),
    ("lastb", "users.failed_logins"),
    ("apt-get remove -y bash", "package.remove"),
    ("dpkg --audit", "packages.list"),
    ("rpm -V bash", "packages.changed"),
    ("hwclock -w", "time.status"),
    ("hostname x", "host.identity"),
    ("findmnt", "disks.mounts"),
];

fn scene() -> Scene {
    Scene::new(Options {
        policy: PROFILES.into(),
        config: NO_BUS.into(),
        ..Options::default()
    })
}

#[test]
fn answer_is_true_for_named_profile() {
    let mut scene = scene().of_root();
    let report = scene.within("site", &["touch", "/etc/x"]);
    let denial = only(&report);
    assert_eq!(
        (denial.layer, denial.object.as_deref()),
        (Layer::Mounts, Some("/etc/x"))
    );
    assert_eq!(denial.rule, "profile 'site' can change only /var/lib/misc");

    let report = scene.within("closed", &["curl", "-sS", "http://example.com"]);
    assert!(
        only(&report)
            .rule
            .contains("only its own loopback interface"),
        "{report:?}"
    );
    let report = scene.within("one", &["curl", "-sS", "http://example.com"]);
    assert!(
        only(&report).rule.contains("reaches only 127.0.0.1:9"),
        "{report:?}"
    );

    let report = scene.within("one", &["curl", "-sS", "http://127.0.0.1:9"]);
    assert!(report.denials.is_empty(), "nobody listens: {report:?}");

    // The answer neither checks nor reveals if the path exists on the host.
    for path in ["/home/alice/x", "/root/x"] {
        let report = scene.within("closed", &["cat", path]);
        let denial = only(&report);
        assert_eq!(
            (denial.layer, denial.object.as_deref()),
            (Layer::Mounts, Some(path)),
            "{denial:?}"
        );
        assert!(denial.guess);
    }
    let report = scene.within("closed", &["cat", "/usr/x"]);
    assert!(
        report.denials.is_empty(),
        "it is just not there: {:?}",
        report.denials
    );
}

#[test]
fn failed_program_names_command_that_answers() {
    let mut scene = scene();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (typed, expect) in ANSWERED {
        let words: Vec<&str> = typed.split(' ').collect();
        let report = scene.ended(argv(&words));
        let ending = report.ending.as_ref();
        if ending.is_some_and(|ending| ending.exit == Some(127)) {
            continue;
        }
        count += 1;
        let next = report
            .denials
            .iter()
            .filter_map(|denial| denial.next.as_ref());
        // The commands that are not granted here are named without a call.
        let named = [
            format!("\"name\": \"{expect}\""),
            format!("'{expect}' answers it, and is not granted to you"),
        ];
        let names = |text: &String| named.iter().any(|named| text.contains(named));
        if !next.chain(&report.notes).any(names) {
            let found = (&report.denials, &report.notes);
            wrong.push(format!("{typed}: {} {found:?}", stderr(&report)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(count >= 20, "{count}");
}

/// A pipe hides the status of what was refused.
#[test]
fn refusal_of_a_job_that_ends_well_is_explained_once() {
    let mut scene = scene();
    for (text, next) in [
        ("cat /etc/shadow | head -1", "getent"),
        ("touch /etc/x /etc/y; true", "call access"),
        ("systemctl restart nginx | cat", "service.restart"),
    ] {
        let report = scene.ended(script(text));
        let ending = report.ending.as_ref();
        assert_eq!(ending.and_then(|ending| ending.exit), Some(0), "{text}");
        let denial = only(&report);
        let named = denial.next.as_ref().is_some_and(|said| said.contains(next));
        assert!(named && denial.guess, "{text}: {denial:?}");
    }
    let report = scene.ended(script("cat /etc/shadow | wc -l"));
    let is_warned = report
        .notes
        .iter()
        .any(|note| note.contains("leave it out"));
    assert!(is_warned, "{:?}", report.notes);
}

#[test]
fn unrefused_job_gets_no_explanation() {
    let mut scene = scene();
    for (run, exit) in [
        (script("echo Permission denied; true"), 0),
        (argv(&["false"]), 1),
        (argv(&["ls", "/nonexistent"]), 2),
        (
            script("echo 'is this a Read only file system?' >&2; exit 3"),
            3,
        ),
    ] {
        let report = scene.ended(run);
        assert_eq!(
            report.ending.as_ref().and_then(|ending| ending.exit),
            Some(exit),
            "{}",
            stderr(&report)
        );
        assert!(report.denials.is_empty(), "{:?}", report.denials);
    }
}

#[test]
fn limit_that_ended_job_is_stated_as_fact() {
    let mut scene = Scene::new(Options {
        limits: "cpu_s = 1".into(),
        ..Options::default()
    });
    let report = scene.script("while :; do :; done");
    assert_eq!(report.state, State::Signalled, "{report:?}");
    let denial = only(&report);
    assert_eq!(
        (denial.layer, denial.operation.as_str(), denial.guess),
        (Layer::Rlimit, "cpu", false)
    );
    assert!(denial.lift.is_some() && denial.next.is_some(), "{denial:?}");
}

#[test]
fn answers_are_few_and_bounded_whatever_is_written() {
    let mut scene = scene();
    let flood = "i=0; while [ $i -lt 3000 ]; do echo \"cat: /x$i: Permission denied\"; i=$((i+1)); done >&2; exit 1";
    let report = scene.script(flood);
    assert!(
        (1..=3).contains(&report.denials.len()),
        "{:?}",
        report.denials
    );
    let odd = "printf 'cat: \\047/\\033[31m\\342\\200\\256\\047: Permission denied\\n' >&2; exit 1";
    let report = scene.ended(Run {
        profile: None,
        ..script(odd)
    });
    let object = only(&report).object.clone().unwrap_or_default();
    assert!(!object.contains(['\u{1b}', '\u{202e}']), "{object:?}");
}
