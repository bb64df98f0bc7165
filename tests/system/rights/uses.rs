//! One use of a grant permits one run, and only of the commands that existed when it was given.

use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::Daemon;
use remit_wire::outcome::State;

use super::scene::{
    POLICY, ann, bot, changes, give_as, grants, newest, options, reload, runs, started, to_bot,
    until,
};

/// Jobs waited for a slot under a policy without approval. A grant given meanwhile does not let them run.
#[test]
fn w05_one_use_does_not_run_all_that_waited() {
    let free = POLICY.replace(
        "approval = { by = [\"%ops\", \"bob\"], expires = \"10min\" }",
        "approval = \"none\"",
    );
    let daemon = Daemon::start(remit_tests::daemon::Options {
        jobs: 1,
        policy: format!(
            "{free}\n[[grant]]\nto = [\"root\"]\nallow = [\"site.*\"]\neffect = \"change\"\napproval = {{ by = [\"%ops\"] }}\n"
        ),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &bot());
    let first = caller
        .run(at_once(change("site.wait", &[])))
        .expect("it runs");
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            caller
                .run(at_once(change("site.reload", &[])))
                .expect("it waits")
                .job
        })
        .collect();
    daemon.set_file("config/policy.d/10-test.toml", POLICY);
    reload(&daemon);
    let mut new = to_bot("site.*");
    new.uses = Some(1);
    let _ = give_as(&daemon, &ann(), new).expect("ann can approve it");
    let _ = caller.stop(first.job).expect("it is bot's");
    let ends: Vec<_> = waiting.iter().map(|job| caller.end_of(*job)).collect();
    for end in &ends {
        assert_eq!(end.state, State::Denied, "{end:?}");
        let cause = remit_tests::caller::cause(end);
        assert!(cause.contains("needs an approval now"), "{cause}");
    }
    let by_grant = |daemon: &Daemon| {
        let intents = daemon.records("intent").into_iter();
        let by = |record: &serde_json::Value| record["REMIT_RULE"].to_string().contains("grant 1");
        intents.filter(by).count()
    };
    assert_eq!(
        (by_grant(&daemon), grants(&daemon)[0].uses_left),
        (0, Some(1))
    );
    let mut states = Vec::new();
    for _ in 0..2 {
        let report = caller.run(change_at_once()).expect("a rule grants it");
        states.push(match report.state {
            State::AwaitingApproval => State::AwaitingApproval,
            _ => caller.end_of(report.job).state,
        });
    }
    assert_eq!(states, [State::Exited, State::AwaitingApproval]);
    assert_eq!(by_grant(&daemon), 1);
    until("it is used up", || grants(&daemon).is_empty());
    daemon.stop();
}

fn change_at_once() -> remit_wire::Run {
    at_once(change("site.reload", &[]))
}

const LATER: &str = r##"
[[command]]
name = "site.wipe"
summary = "wipes"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"
"##;

fn state(daemon: &Daemon, name: &str) -> State {
    let report = changes(daemon, &bot(), name).expect("a rule grants it");
    report.state
}

#[test]
fn q06_pattern_grant_excludes_later_commands() {
    let mut daemon = started();
    let granted = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert_eq!(granted.new.what, "site.* (site.reload, site.wait)");
    let record = newest(&daemon, "given").to_string();
    assert!(
        record.contains("site.* (site.reload, site.wait)"),
        "{record}"
    );
    daemon.set_file("config/policy.d/20-later.toml", LATER);
    reload(&daemon);
    for restarts in [false, true] {
        if restarts {
            daemon.restart_cleanly();
        }
        assert_eq!(state(&daemon, "site.wipe"), State::AwaitingApproval);
        assert!(runs(&daemon), "it was there");
        assert_eq!(
            grants(&daemon)[0].new.what,
            "site.* (site.reload, site.wait)"
        );
    }
    daemon.stop();
}

#[test]
fn q06_grant_excludes_redefined_command() {
    for what in ["site.reload", "site.*"] {
        let daemon = started();
        let _ = give_as(&daemon, &ann(), to_bot(what)).expect("ann can approve it");
        assert!(runs(&daemon));
        let other = POLICY.replace("/usr/bin/true", "/usr/bin/false");
        daemon.set_file("config/policy.d/10-test.toml", &other);
        reload(&daemon);
        assert_eq!(state(&daemon, "site.reload"), State::AwaitingApproval);
        let left = usize::from(what.contains('*'));
        assert_eq!(grants(&daemon).len(), left, "{what}");
        daemon.stop();
    }
}
