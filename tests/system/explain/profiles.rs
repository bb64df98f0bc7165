//! Answers for other profiles, for limits, and for jobs without a refusal.

use remit_common::denial::Layer;
use remit_tests::caller::{argv, script};
use remit_tests::daemon::Options;
use remit_wire::Run;
use remit_wire::outcome::State;

use super::scene::{Scene, only, stderr};

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

fn scene() -> Scene {
    Scene::new(Options {
        policy: PROFILES.into(),
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
fn unrefused_job_gets_no_explanation() {
    let mut scene = scene();
    for (run, exit) in [
        (script("touch /etc/x; curl x; true"), 0),
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
