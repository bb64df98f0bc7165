//! A temporary grant covers only the commands that existed when it was given.

use remit_common::outcome::State;
use remit_tests::daemon::Daemon;

use super::scene::{
    POLICY, ann, bot, changes, give_as, grants, newest, reload, runs, started, to_bot,
};

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
